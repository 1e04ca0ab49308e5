/** Backups from and to S3: requests, retries, and what is left after a failure. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { UserStorage } from "../../../src/config/gateway-config.ts";
import { readCatalog } from "../../../src/jobs/backup-catalog.ts";
import { openDestination, partSizeFor } from "../../../src/jobs/backup-destination.ts";
import { type BackupOptions, runBackup } from "../../../src/jobs/backup-job.ts";
import { verifyArchive } from "../../../src/jobs/backup-verify.ts";
import { openStorage } from "../../../src/objectstore/open-store.ts";
import { type S3Server, startS3Server } from "../../support/s3-server/s3-server.ts";
import { QUIET } from "./backup-fixture.ts";

const signal = new AbortController().signal;
const MIB = 1024 * 1024;

describe("backups on S3", () => {
  let server: S3Server;
  beforeAll(async () => {
    server = await startS3Server({ buckets: ["museum", "archives"] });
  });
  afterAll(() => server.close());
  beforeEach(() => server.reset());

  const storage = (): UserStorage => ({
    uri: "s3://archives/nightly/",
    location: { kind: "s3", bucket: "archives", prefix: "nightly/" },
    connection: {
      endpoint: server.endpoint,
      pathStyle: true,
      awsRegion: server.region,
      ...server.credentials,
      storageClass: "STANDARD_IA",
      sse: "AES256",
      acl: undefined,
    },
  });

  async function run(options: Partial<BackupOptions> = {}) {
    const source = await openStorage("s3://museum/alice", { endpoint: server.endpoint, pathStyle: true, ...server.credentials });
    const destination = await openDestination(storage(), "alice");
    try {
      return await runBackup({
        user: "alice",
        source: { ...source, isLocal: false },
        destination,
        settings: { compression: "store", keep: 2, fullEvery: 1, thumbnails: true, volumeSize: undefined },
        graceMs: 0,
        isPartial: () => false,
        xz: true,
        log: QUIET,
        signal,
        now: () => Date.UTC(2026, 10, 22, 3),
        ...options,
      });
    } finally {
      await source.store.close();
      await destination.close();
    }
  }

  async function verify(): Promise<readonly string[]> {
    const destination = await openDestination(storage(), "alice");
    const [archive] = (await readCatalog(destination.store, destination.prefix)).archives;
    if (!archive) throw new Error("no archive");
    const { faults } = await verifyArchive({ destination, archive, signal });
    await destination.close();
    return faults;
  }

  async function unfinished(): Promise<number> {
    const { store } = await openStorage("s3://archives", { endpoint: server.endpoint, pathStyle: true, ...server.credentials });
    let count = 0;
    for await (const _ of store.listUploads("")) count++;
    await store.close();
    return count;
  }

  const plant = (count: number, size: number): void => {
    for (let i = 0; i < count; i++) server.contents.put("museum", `alice/originals/${String(i).padStart(4, "0")}.jpg`, randomBytes(size));
  };

  it("read each object by one GET of the listed version, many at once, and store one multipart object", async () => {
    plant(40, MIB / 2);
    server.latencyMs = 20;
    const outcome = await run();
    server.latencyMs = 0;
    expect(outcome.exitCode).toBe(0);
    const counts = server.requests.counts();
    expect(counts).toMatchObject({ GetObject: 41, CreateMultipartUpload: 1, CompleteMultipartUpload: 1 });
    expect(counts).not.toHaveProperty("HeadObject");
    expect(counts.UploadPart).toBe(2);
    expect(await verify()).toEqual([]);
  });

  it("go on after throttling, resets and broken bodies", async () => {
    plant(20, MIB);
    server.fault({ operation: "GetObject", skip: 3, times: 2, action: { kind: "truncate", afterBytes: 500_000 } });
    server.fault({ operation: "GetObject", skip: 8, times: 1, action: { kind: "reset" } });
    server.fault({ operation: "UploadPart", times: 2, action: { kind: "status", status: 503, code: "SlowDown" } });
    server.fault({
      operation: "CompleteMultipartUpload",
      times: 1,
      action: { kind: "late-commit", answer: { status: 500, code: "InternalError" } },
    });
    expect((await run()).exitCode).toBe(0);
    expect(await verify()).toEqual([]);
    expect(await unfinished()).toBe(0);
  });

  it("leave nothing unfinished when the destination refuses, or the run is stopped", async () => {
    plant(20, 2 * MIB);
    server.fault({ operation: "UploadPart", skip: 1, times: 100, action: { kind: "status", status: 403, code: "AccessDenied" } });
    await expect(run()).rejects.toThrow(/UploadPart|denied/i);
    expect(await unfinished()).toBe(0);
    server.clearFaults();
    const stop = new AbortController();
    const held = server.fault({ operation: "UploadPart", skip: 1, action: { kind: "delay", ms: 1 } });
    const running = run({ signal: stop.signal });
    await held.firstHit;
    stop.abort(new Error("stopped"));
    await expect(running).rejects.toThrow();
    expect(await unfinished()).toBe(0);
    expect(server.contents.keys("archives")).toEqual([]);
    expect((await run()).exitCode).toBe(0);
    expect(await verify()).toEqual([]);
  });

  it("choose parts that an archive of any size fits into", () => {
    expect(partSizeFor(1000)).toBe(16 * MIB);
    for (const size of [1, 5, 10].map((tib) => tib * 1024 ** 4)) {
      expect((size * 1.2) / partSizeFor(size)).toBeLessThan(10_000);
    }
  });
});

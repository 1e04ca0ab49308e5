import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nameExcluder } from "../../../../src/jobs/sync/name-filter.ts";
import { runSync } from "../../../../src/jobs/sync/run-sync.ts";
import type { SyncSide } from "../../../../src/jobs/sync/sync-places.ts";
import { WorkQueue } from "../../../../src/jobs/sync/work-queue.ts";
import { openStorage } from "../../../../src/objectstore/open-store.ts";
import { type S3Server, startS3Server } from "../../../support/s3-server/s3-server.ts";

const KEYS = 20_000;
let server: S3Server;

beforeAll(async () => {
  server = await startS3Server({ buckets: ["from", "goal"] });
  for (let index = 0; index < KEYS; index++) {
    for (const bucket of ["from", "goal"]) server.contents.put(bucket, `originals/${index}.jpg`, "", { lastModifiedMs: 0 });
  }
});
afterAll(() => server.close());

async function openSide(bucket: string): Promise<SyncSide> {
  const { accessKeyId, secretAccessKey } = server.credentials;
  const connection = { endpoint: server.endpoint, pathStyle: true, accessKeyId, secretAccessKey };
  const { store, prefix } = await openStorage(`s3://${bucket}`, connection);
  const location = { kind: "s3", bucket, prefix } as const;
  return { place: { location, connection }, store, prefix, label: (key) => `s3://${bucket}/${key}` };
}

describe("a sync of many equal objects", () => {
  it("asks for one page of each side per thousand, and for nothing else; memory stays flat", async () => {
    const [source, destination] = await Promise.all([openSide("from"), openSide("goal")]);
    const run = (fastList = false) =>
      runSync({
        fastList,
        source,
        destination,
        compare: "size-or-newer",
        dryRun: false,
        delete: true,
        force: false,
        maxDelete: { objects: 0, share: 0 },
        markers: false,
        excluded: nameExcluder([], false),
        forceGlacier: false,
        ignoreGlacierWarnings: false,
        queue: new WorkQueue(32, 64),
        requests: () => ({}),
        signal: new AbortController().signal,
        onEvent: (event) => expect.unreachable(`nothing happens: ${event.kind}`),
      });
    await run();
    server.requests.clear();
    globalThis.gc?.();
    const before = process.memoryUsage().heapUsed;
    const { exitCode, unchanged } = await run();
    expect([exitCode, unchanged]).toEqual([0, KEYS]);
    expect(server.requests.counts()).toEqual({ ListObjectsV2: 2 * (KEYS / 1000) });
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(64 * 1024 ** 2);
    server.requests.clear();
    expect(await run(true)).toMatchObject({ exitCode: 0, unchanged: KEYS });
    expect(server.requests.count()).toBeLessThanOrEqual(1.25 * 2 * (KEYS / 1000));
    await Promise.all([source.store.close(), destination.store.close()]);
  });
});

describe("nameExcluder", () => {
  it.each([
    ["a.filepart", [], true],
    ["a.filepartx", [], false],
    [".sftp-gateway/uploads/1", [], true],
    ["x/a.jpg", [{ include: false, pattern: "*.jpg" }], true],
    [
      "x/a.jpg",
      [
        { include: false, pattern: "*" },
        { include: true, pattern: "x/*" },
      ],
      false,
    ],
    [
      "x/a.jpg",
      [
        { include: true, pattern: "x/*" },
        { include: false, pattern: "*" },
      ],
      true,
    ],
    ["b1", [{ include: false, pattern: "[a-c][!2]" }], true],
    ["b2", [{ include: false, pattern: "[a-c][!2]" }], false],
    ["a.b", [{ include: false, pattern: "a?b" }], true],
    ["a+b(c", [{ include: false, pattern: "a+b(c" }], true],
    ["[", [{ include: false, pattern: "[" }], true],
  ])("%s with %j: %s", (name, filters, expected) => {
    expect(nameExcluder(filters, false)(name)).toBe(expected);
  });
});

describe("WorkQueue", () => {
  it("halves when stores are overloaded and grows again", async () => {
    const queue = new WorkQueue(8, 9);
    queue.slowDown();
    expect(queue.limit).toBe(4);
    for (let index = 0; index < 200; index++) await queue.add(() => Promise.resolve());
    await queue.idle();
    expect(queue.limit).toBe(9);
  });
});

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { ObjectWriter } from "../../../../src/jobs/object-writer.ts";
import { runSyncArguments } from "../../../../src/jobs/sync/sync-job.ts";
import { parseSyncArguments } from "../../../../src/jobs/sync/sync-options.ts";
import { openStorage } from "../../../../src/objectstore/open-store.ts";
import { type S3Server, startS3Server } from "../../../support/s3-server/s3-server.ts";
import { awsEnvironment, bucketTree, runCommand } from "./sync-fixture.ts";

let server: S3Server;
let folder: string;
const MUTATIONS = ["PutObject", "CopyObject", "DeleteObject", "DeleteObjects", "CreateMultipartUpload", "CreateBucket"] as const;

beforeAll(async () => {
  server = await startS3Server({
    buckets: ["sp-assets-us", "sp-assets-na-snapshots", "sp-assets-ca", "sp-assets-ca-snapshot", "specify-cloud-rds-backups-il"],
    minPartSize: 1024,
    maxPutSize: 64 * 1024,
  });
});
afterAll(() => server.close());
beforeEach(() => {
  server.reset();
  folder = mkdtempSync(join(tmpdir(), "sync-"));
  for (const [name, value] of Object.entries(awsEnvironment(server))) vi.stubEnv(name, value);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

function plant(bucket: string, names: readonly string[], prefix = ""): void {
  for (const name of names) server.contents.put(bucket, prefix + name, name, { lastModifiedMs: 1_000_000 });
}

function writeConfig(more = ""): string {
  const file = join(folder, "gateway.yaml");
  const reach = `endpoint: "${server.endpoint}", pathStyle: true, awsRegion: us-east-1, accessKeyId: ${server.credentials.accessKeyId}, secretAccessKey: ${server.credentials.secretAccessKey}`;
  writeFileSync(
    file,
    `regions:
  us: { bucket: sp-assets-us, backup: "s3://sp-assets-na-snapshots/", ${reach} }
  ca: { bucket: sp-assets-ca, backup: "s3://sp-assets-ca-snaphot", ${reach} }
  il: { bucket: sp-assets-ca, backup: "s3://specify-cloud-rds-backups-il/asset-backups/", ${reach} }
users:
  alice: { region: us, keys: [] }
  bob: { storage: "file://${folder}/bob", keys: [] }
${more}`,
  );
  return file;
}

/** A sync that copies in parts what is over 64 KiB. */
async function syncSmallParts(signal = new AbortController().signal): Promise<{ exitCode: number | undefined; lines: string[] }> {
  const lines: string[] = [];
  const [summary] = await runSyncArguments(parseSyncArguments(["s3://sp-assets-us", "s3://sp-assets-na-snapshots"]), {
    config: undefined,
    terminal: { print: (line) => lines.push(line), printError: (line) => lines.push(line) },
    signal,
    limits: { minPartSize: 1024, maxPartSize: 64 * 1024, maxPutSize: 64 * 1024 },
  });
  return { exitCode: summary?.exitCode, lines };
}

const CRON_LINES = [
  ["s3://sp-assets-us", "s3://sp-assets-na-snapshots"],
  ["s3://sp-assets-ca", "s3://sp-assets-ca-snapshot"],
  ["s3://sp-assets-us/", "s3://specify-cloud-rds-backups-il/asset-backups/"],
];

describe("sync", () => {
  it.each(CRON_LINES)("the old crontab's line: %s %s --size-only --only-show-errors", async (from, to) => {
    plant(from.replaceAll(/s3:|\//g, ""), ["alice/originals/1.jpg", "alice/originals/2.jpg"]);
    server.contents.put(from.replaceAll(/s3:|\//g, ""), "alice/thumbnails/", "");
    const result = await runCommand("sync", from, to, "--size-only", "--only-show-errors");
    expect(result).toEqual({ code: 0, out: [], err: [] });
    const [bucket = "", prefix = ""] = to.slice(5).split("/");
    const below = prefix === "" ? "" : `${prefix}/`;
    expect(Object.keys(bucketTree(server, bucket))).toEqual([`${below}alice/originals/1.jpg`, `${below}alice/originals/2.jpg`]);
    server.requests.clear();
    await runCommand("sync", from, to, "--size-only", "--only-show-errors");
    expect(server.requests.counts()).toEqual({ ListObjectsV2: 2 });
  });

  it("a dry run asks for listings only, even where a folder would have to be made", async () => {
    plant("sp-assets-us", ["a", "b"]);
    plant("sp-assets-na-snapshots", ["b", "c"]);
    const result = await runCommand("sync", "s3://sp-assets-us", "s3://sp-assets-na-snapshots", "--dryrun", "--delete", "--force");
    expect(result.out.slice(0, -1)).toEqual([
      "(dryrun) copy: s3://sp-assets-us/a to s3://sp-assets-na-snapshots/a",
      "(dryrun) delete: s3://sp-assets-na-snapshots/c",
    ]);
    await runCommand("sync", "s3://sp-assets-us", join(folder, "new"), "--dryrun");
    for (const operation of MUTATIONS) expect(server.requests.count(operation)).toBe(0);
    expect(existsSync(join(folder, "new"))).toBe(false);
  });

  it("--delete is refused for an empty source and for more than it may; --force and --max-delete allow it", async () => {
    plant("sp-assets-na-snapshots", ["a", "b", "c"]);
    const empty = await runCommand("sync", "s3://sp-assets-us/mistyped", "s3://sp-assets-na-snapshots", "--delete", "--max-delete", "100%");
    expect(empty.code).toBe(1);
    expect(empty.err[0]).toContain("fatal error: the source is empty: not deleting the 3 objects");
    plant("sp-assets-us", ["a", "new"]);
    const many = await runCommand("sync", "s3://sp-assets-us", "s3://sp-assets-na-snapshots", "--delete");
    expect(many.code).toBe(1);
    expect(many.err[0]).toContain("2 objects would be deleted, more than 10 % of the 3 there");
    expect(Object.keys(bucketTree(server, "sp-assets-na-snapshots"))).toEqual(["a", "b", "c", "new"]);
    const allowed = await runCommand("sync", "s3://sp-assets-us", "s3://sp-assets-na-snapshots", "--delete", "--max-delete", "2");
    expect(allowed.code).toBe(0);
    expect(Object.keys(bucketTree(server, "sp-assets-na-snapshots"))).toEqual(["a", "new"]);
    server.reset();
    plant("sp-assets-na-snapshots", ["a"]);
    expect((await runCommand("sync", "s3://sp-assets-us", "s3://sp-assets-na-snapshots", "--delete", "--force")).code).toBe(0);
    expect(bucketTree(server, "sp-assets-na-snapshots")).toEqual({});
  });

  it("nothing is deleted after a copy has failed", async () => {
    plant("sp-assets-us", ["a", "b"]);
    plant("sp-assets-na-snapshots", ["old"]);
    server.fault({ operation: "CopyObject", times: 100, action: { kind: "status", status: 403, code: "AccessDenied" } });
    const { code } = await runCommand("sync", "s3://sp-assets-us", "s3://sp-assets-na-snapshots", "--delete", "--force");
    expect(code).toBe(1);
    expect(Object.keys(bucketTree(server, "sp-assets-na-snapshots"))).toEqual(["old"]);
  });

  it("an object changed between listing and copy is copied as it is then; one that is gone is a warning", async () => {
    plant("sp-assets-us", ["changed", "gone", "stays"]);
    let changed = false;
    server.fault({
      operation: "CopyObject",
      times: 3,
      when: ({ key }) => {
        if (!changed) {
          changed = true;
          server.contents.put("sp-assets-us", "changed", "new text");
          server.contents.delete("sp-assets-us", "gone");
        }
        return key === "nothing";
      },
      action: { kind: "delay", ms: 0 },
    });
    const { code, err } = await runCommand("sync", "s3://sp-assets-us", "s3://sp-assets-na-snapshots", "--only-show-errors");
    expect(code).toBe(2);
    expect(err[0]).toBe("warning: Skipping file s3://sp-assets-us/gone. It was removed before it could be copied.");
    expect(bucketTree(server, "sp-assets-na-snapshots")).toEqual({ changed: "new text", stays: "stays" });
  });

  it("large objects are copied in parts with their metadata and tags; a failure leaves no upload", async () => {
    const bytes = Buffer.alloc(200 * 1024, "x");
    server.contents.put("sp-assets-us", "big.tif", bytes, { contentType: "image/tiff", metadata: { mtime: "17" } });
    expect((await syncSmallParts()).exitCode).toBe(0);
    const copy = server.contents.object("sp-assets-na-snapshots", "big.tif");
    expect(copy?.size).toBe(bytes.length);
    expect(copy?.metadata).toEqual({ mtime: "17" });
    expect(copy?.system["content-type"]).toBe("image/tiff");
    expect(server.requests.counts()).toMatchObject({ UploadPartCopy: 4, GetObjectTagging: 1, HeadObject: 2, CompleteMultipartUpload: 1 });
    server.contents.delete("sp-assets-na-snapshots", "big.tif");
    server.fault({ operation: "UploadPartCopy", skip: 2, times: 100, action: { kind: "status", status: 403, code: "AccessDenied" } });
    expect((await syncSmallParts()).exitCode).toBe(1);
    expect(server.contents.uploads("sp-assets-na-snapshots")).toEqual([]);
    server.clearFaults();
    server.fault({ operation: "GetObjectTagging", times: 100, action: { kind: "status", status: 403, code: "AccessDenied" } });
    const { exitCode, lines } = await syncSmallParts();
    expect(exitCode).toBe(2);
    expect(lines.join("\n")).toContain("its tags were not copied: grant s3:GetObjectTagging");
  });

  it("200 with an error inside is tried again and not believed", async () => {
    plant("sp-assets-us", ["a"]);
    server.fault({ operation: "CopyObject", times: 2, action: { kind: "error-in-200", code: "InternalError" } });
    expect((await runCommand("sync", "s3://sp-assets-us", "s3://sp-assets-na-snapshots")).code).toBe(0);
    expect(server.requests.count("CopyObject")).toBe(3);
  });

  it("archived objects are skipped with a warning", async () => {
    server.fault({ operation: "ListObjectsV2", times: 0, action: { kind: "delay", ms: 0 } });
    plant("sp-assets-us", ["a"]);
    const archived = server.contents.object("sp-assets-us", "a")?.system as Record<string, string>;
    archived["x-amz-storage-class"] = "DEEP_ARCHIVE";
    const { code, err } = await runCommand("sync", "s3://sp-assets-us", "s3://sp-assets-na-snapshots", "--only-show-errors");
    expect(code).toBe(2);
    expect(err[0]).toMatch(/^warning: Skipping file s3:\/\/sp-assets-us\/a\. Object is of storage class GLACIER\./);
    expect(bucketTree(server, "sp-assets-na-snapshots")).toEqual({});
  });

  it("regions, users and --all; a misspelt backup is named with what was meant and nothing is created", async () => {
    const config = writeConfig();
    plant("sp-assets-us", ["alice/originals/1.jpg"]);
    plant("sp-assets-ca", ["carl/originals/1.jpg"]);
    expect((await runCommand("sync", "us", "--config", config)).code).toBe(0);
    expect(Object.keys(bucketTree(server, "sp-assets-na-snapshots"))).toEqual(["alice/originals/1.jpg"]);
    const all = await runCommand("sync", "--all", "--config", config, "--size-only");
    expect(all.code).toBe(1);
    expect(all.err[0]).toContain("fatal error: An error occurred (NoSuchBucket) when calling the ListObjectsV2 operation");
    expect(all.out.filter((line) => line.startsWith("summary of"))).toHaveLength(3);
    expect(Object.keys(bucketTree(server, "specify-cloud-rds-backups-il"))).toEqual(["asset-backups/carl/originals/1.jpg"]);
    expect(server.requests.count("CreateBucket")).toBe(0);
    mkdirSync(join(folder, "bob"));
    expect((await runCommand("sync", "alice", "bob", "--config", config)).code).toBe(0);
    expect(readFileSync(join(folder, "bob/originals/1.jpg"), "utf8")).toBe("alice/originals/1.jpg");
    const slip = await runCommand("sync", "s3://sp-assets-us", "s3://sp-assets-na-snaphots", "--config", config, "--only-show-errors");
    expect(slip.err.at(-1)).toContain('"sp-assets-na-snaphots" does not exist: the configuration also names "sp-assets-na-snapshots"');
  });

  it("config check finds the misspelt backup and prints both names", async () => {
    const { code, out, err } = await runCommand("config", "check", "--config", writeConfig());
    expect(code).toBe(1);
    expect(out.filter((line) => line.includes("region"))).toEqual([
      expect.stringContaining("3 regions"),
      expect.stringMatching(/^ok +region us /),
      expect.stringContaining(
        "backup s3://sp-assets-ca-snaphot does not exist, but s3://sp-assets-ca-snapshot/ does: is that what was meant?",
      ),
      expect.stringMatching(/^ok +region il /),
    ]);
    expect(err).toEqual(["buckets are missing or cannot be reached: region ca"]);
    expect(server.requests.count("CreateBucket")).toBe(0);
  });

  it.each([
    [["s3://sp-assets-us"], "is no region"],
    [[], "write SOURCE and DESTINATION"],
    [["--all", "us"], "--all takes no source"],
    [["s3://sp-assets-us", "s3://sp-assets-us/inner"], "overlap"],
    [["s3://a", "s3://b/c", "--nonsense"], "--nonsense"],
    [["s3://A_b", "s3://sp-assets-us"], "is not a bucket name"],
    [["s3://sp-assets-us", "alise", "--max-delete", "x"], "--max-delete"],
    [["s3://sp-assets-us", "nobody"], "is no user, region or folder"],
  ])("%j makes no sense: 252", async (args, text) => {
    const { code, err } = await runCommand("sync", ...args);
    expect(err.join("\n")).toContain(text);
    expect(code).toBe(252);
  });

  it("--json and --report tell everything, also after an error", async () => {
    plant("sp-assets-us", ["a", "b"]);
    server.fault({
      operation: "CopyObject",
      when: ({ key }) => key === "b",
      times: 9,
      action: { kind: "status", status: 403, code: "AccessDenied" },
    });
    const report = join(folder, "report.jsonl");
    const { code, out } = await runCommand("sync", "s3://sp-assets-us", "s3://sp-assets-na-snapshots", "--json", "--report", report);
    expect(code).toBe(1);
    const records = out.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(records.find(({ kind }) => kind === "failed")).toMatchObject({ source: "s3://sp-assets-us/b", code: "access-denied" });
    expect(records.at(-1)).toMatchObject({
      kind: "summary",
      scanned: 2,
      copied: 1,
      failed: 1,
      exitCode: 1,
      requests: { ListObjectsV2: 2 },
    });
    expect(readFileSync(report, "utf8").trim().split("\n")).toEqual(out);
  });

  it("Ctrl-C stops submitting, aborts open uploads and ends with 130; the next run goes on", async () => {
    const bytes = Buffer.alloc(200 * 1024, "x");
    for (let index = 0; index < 8; index++) server.contents.put("sp-assets-us", `big-${index}`, bytes);
    const interrupt = new AbortController();
    const reached = server.fault({ operation: "UploadPartCopy", skip: 5, times: 1000, action: { kind: "hang" } }).firstHit;
    const running = syncSmallParts(interrupt.signal);
    await reached;
    interrupt.abort();
    const { exitCode, lines } = await running;
    expect(exitCode).toBe(130);
    expect(lines).toContain("cancelled: ctrl-c received");
    server.clearFaults();
    expect(server.contents.uploads("sp-assets-na-snapshots")).toEqual([]);
    expect((await syncSmallParts()).exitCode).toBe(0);
    expect(Object.keys(bucketTree(server, "sp-assets-na-snapshots"))).toHaveLength(8);
  });

  it("two identities: the bytes are streamed, type and metadata kept", async () => {
    const config = writeConfig();
    // A name for the same server: another provider, as far as anybody can tell.
    const other = server.endpoint.replace("127.0.0.1", "localhost");
    vi.stubEnv("AWS_ENDPOINT_URL", other);
    server.contents.put("sp-assets-us", "alice/a.bin", Buffer.alloc(50_000, 7), { contentType: "image/tiff", metadata: { mtime: "5" } });
    const { code } = await runCommand("sync", "s3://sp-assets-us/alice", "s3://sp-assets-ca-snapshot/x", "--config", config);
    expect(code).toBe(0);
    expect(server.requests.count("CopyObject")).toBe(0);
    const copy = server.contents.object("sp-assets-ca-snapshot", "x/a.bin");
    expect([copy?.size, copy?.metadata, copy?.system["content-type"]]).toEqual([50_000, { mtime: "5" }, "image/tiff"]);
  });

  it("two identities: headers and tags go along, too, in one part and in several; a missing right to the tags is said", async () => {
    const config = writeConfig();
    const other = server.endpoint.replace("127.0.0.1", "localhost");
    const headers = {
      cacheControl: "max-age=60",
      contentDisposition: 'attachment; filename="a.txt"',
      contentEncoding: "gzip",
      contentLanguage: "de",
      expires: "Wed, 21 Oct 2026 07:28:00 GMT",
    };
    const { accessKeyId, secretAccessKey } = server.credentials;
    const connection = { endpoint: server.endpoint, pathStyle: true, accessKeyId, secretAccessKey };
    const { store } = await openStorage("s3://sp-assets-us", { ...connection, limits: { minPartSize: 1024 } });
    for (const key of ["small", "large"]) {
      const properties = { headers, tags: "a=1&b=%2F", metadata: { who: "curator" } };
      const writer = new ObjectWriter(store, { key, properties, partSize: 2048 });
      for (let sent = 0; sent < (key === "small" ? 1024 : 50 * 1024); sent += 1024) await writer.write(Buffer.alloc(1024, sent));
      await writer.commit();
    }
    await store.close();
    vi.stubEnv("AWS_ENDPOINT_URL", other);
    const words = ["sync", "s3://sp-assets-us", "s3://sp-assets-ca-snapshot/x", "--config", config];
    expect((await runCommand(...words)).code).toBe(0);
    for (const key of ["small", "large"]) {
      const copy = server.contents.object("sp-assets-ca-snapshot", `x/${key}`);
      expect(copy?.system).toMatchObject({
        "cache-control": headers.cacheControl,
        "content-disposition": headers.contentDisposition,
        "content-encoding": headers.contentEncoding,
        "content-language": headers.contentLanguage,
        expires: headers.expires,
        "x-amz-tagging": "a=1&b=%2F",
      });
      expect(copy?.metadata).toMatchObject({ who: "curator" });
      expect(copy?.sha256()).toBe(server.contents.object("sp-assets-us", key)?.sha256());
    }
    server.contents.delete("sp-assets-ca-snapshot", "x/small");
    server.fault({ operation: "GetObjectTagging", times: 9, action: { kind: "status", status: 403, code: "AccessDenied", message: "no" } });
    const { code, err } = await runCommand(...words);
    expect([code, err.join("\n")]).toEqual([2, expect.stringContaining("its tags were not copied: grant s3:GetObjectTagging")]);
    expect(server.contents.object("sp-assets-ca-snapshot", "x/small")?.system["x-amz-tagging"]).toBeUndefined();
  });

  it("--etag remembers which ETags of parts belong together, copies what was replaced at the same size, and no more", async () => {
    const { accessKeyId, secretAccessKey } = server.credentials;
    const connection = { endpoint: server.endpoint, pathStyle: true, accessKeyId, secretAccessKey, limits: { minPartSize: 1024 } };
    const { store } = await openStorage("s3://sp-assets-us", connection);
    const plantParts = async (key: string, fill: number): Promise<void> => {
      const writer = new ObjectWriter(store, { key, properties: {}, partSize: 1024 });
      for (let part = 0; part < 3; part++) await writer.write(Buffer.alloc(1024, fill + part));
      await writer.commit();
    };
    for (const key of ["a", "z/～", "z/🦋"]) await plantParts(key, 1);
    plant("sp-assets-us", ["plain"]);
    const journal = join(folder, "state", "journal.jsonl");
    const words = ["sync", "s3://sp-assets-us", "s3://sp-assets-na-snapshots", "--etag", "--journal", journal, "--no-progress"];
    const copied = async (...more: string[]): Promise<string[]> => {
      const { out, err, code } = await runCommand(...words, ...more);
      expect([code, err]).toEqual([0, []]);
      return out.flatMap((line) => /copy: s3:\/\/sp-assets-us\/(\S+)/.exec(line)?.[1] ?? []).sort();
    };
    expect(await copied("--dryrun")).toHaveLength(4);
    expect(existsSync(journal)).toBe(false);
    expect(await copied()).toEqual(["a", "plain", "z/🦋", "z/～"]);
    expect(await copied()).toEqual([]);
    await plantParts("z/🦋", 9);
    // Times say nothing: the copy is newer than what replaced its source.
    server.contents.put("sp-assets-na-snapshots", "z/🦋", server.contents.object("sp-assets-na-snapshots", "z/🦋")?.bytes() ?? "", {
      lastModifiedMs: Date.now() + 60_000,
    });
    expect(await copied("--dryrun")).toEqual(["z/🦋"]);
    expect(await copied()).toEqual(["z/🦋"]);
    expect(await copied()).toEqual([]);
    const lines = readFileSync(journal, "utf8").trim().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { key: string }).key).sort()).toEqual(["a", "z/🦋", "z/～"]);

    // An interrupted run keeps what was known; damaged lines are passed over.
    writeFileSync(journal, `${readFileSync(journal, "utf8")}{"key": "cut o`);
    server.contents.delete("sp-assets-us", "plain");
    server.fault({ operation: "ListObjectsV2", times: 99, action: { kind: "status", status: 403, code: "AccessDenied", message: "no" } });
    expect((await runCommand(...words)).code).toBe(1);
    server.clearFaults();
    expect(await copied()).toEqual([]);
    await store.close();
  });
});

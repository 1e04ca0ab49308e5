/** What `rsync -a` of a large tree asks of S3, counted; without SSH between, which makes no difference to S3. */
import { createHash, randomBytes } from "node:crypto";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, utimesSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ByteBudget } from "../../src/byte-budget.ts";
import { createLogger } from "../../src/log.ts";
import { createS3Store } from "../../src/objectstore/s3/s3-store.ts";
import type { ObjectStore } from "../../src/objectstore/objectstore.ts";
import { requireTool } from "../support/require-tool.ts";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";
import { createStoredFiles, MOUNT, type StoredFiles } from "../support/stored-files.ts";
import { RsyncTestServer, runRsync } from "./rsync-server.ts";

const FOLDERS = 10;
/** Written by rsync itself; `RSYNC_FILES=10000` takes as many as the requirement says. */
const FILES = Number(process.env.RSYNC_FILES ?? 2_500);
/** A listing has a thousand keys, and folders have markers. */
const LISTINGS = Math.ceil((FILES + FOLDERS + 1) / 1000);

/** Length of the blocks that rsync cuts a file of 1 GiB into. Bytes. */
const BLOCK = 32 * 1024;
const BLOCKS = 32 * 1024;
const MIB = 1024 * 1024;

/** A file of 1 GiB, no two blocks of which are alike, in pieces that take little memory. */
function gibibyte(): Buffer[] {
  const body = randomBytes(BLOCK - 16);
  return Array.from({ length: BLOCKS }, (_, block) => [Buffer.from(String(block).padStart(16)), body]).flat();
}

/** Writes pieces to a file, some MiB at a time. */
function writePieces(path: string, pieces: readonly Buffer[]): void {
  const file = openSync(path, "w");
  for (let at = 0; at < pieces.length; at += 128) writeSync(file, Buffer.concat(pieces.slice(at, at + 128)));
  closeSync(file);
}

describe.skipIf(!requireTool("rsync"))(`a tree of ${FILES} files`, () => {
  const work = mkdtempSync(join(tmpdir(), "rsync-requests-"));
  let s3: S3Server;
  let store: ObjectStore;
  let files: StoredFiles;
  let server: RsyncTestServer;

  beforeAll(async () => {
    s3 = await startS3Server({ buckets: ["museum"] });
    store = createS3Store({ bucket: "museum", endpoint: s3.endpoint, pathStyle: true, ...s3.credentials });
    files = await createStoredFiles({ budget: new ByteBudget(64 * 1024 * 1024), log: createLogger({ level: "silent" }), store });
    server = new RsyncTestServer(files.fs);
    await server.start();
    for (let folder = 0; folder < FOLDERS; folder++) mkdirSync(join(work, `src/d${folder}`), { recursive: true });
    for (let index = 0; index < FILES; index++) writeFileSync(join(work, `src/d${index % FOLDERS}/${index}.txt`), `content ${index}`);
  });
  afterAll(async () => {
    await server.stop();
    await files.close();
    await store.close();
    await s3.close();
    rmSync(work, { recursive: true });
  });

  async function rsync(...options: string[]): Promise<{ readonly output: string; readonly requests: Readonly<Record<string, number>> }> {
    s3.requests.clear();
    const { status, stdout, stderr } = await runRsync(server.place, [...options, "src/", `host:.${MOUNT}/tree/`], work);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    return { output: stdout, requests: s3.requests.counts() };
  }

  it("costs a request a file once, then the listings and what is new", async () => {
    const first = await rsync("-a");
    expect(first.requests.PutObject).toBe(FILES + FOLDERS + 1);
    const {
      HeadObject: heads = 0,
      ListObjectsV2: lists = 0,
      PutObject: _puts,
      ListMultipartUploads: uploads = 0,
      ...others
    } = first.requests;
    expect({ heads, lists, uploads, others }).toEqual({
      heads: expect.any(Number),
      lists: expect.any(Number),
      uploads: expect.any(Number),
      others: {},
    });
    // Looking for the folders, once each.
    expect(heads + lists + uploads).toBeLessThanOrEqual(5 + 2 * FOLDERS);
    const second = await rsync("-ai");
    expect(second).toEqual({ output: "", requests: { ListObjectsV2: LISTINGS } });
    writeFileSync(join(work, "src/d7/new.txt"), "new");
    utimesSync(join(work, "src/d7"), 1_500_000_000, 1_500_000_000);
    const third = await rsync("-ai", "-O");
    expect(third).toEqual({ output: "<f+++++++++ d7/new.txt\n", requests: { ListObjectsV2: LISTINGS, PutObject: 1 } });
    rmSync(join(work, "src/d7/new.txt"));
    expect((await rsync("-a", "-O", "--delete")).requests).toEqual({ ListObjectsV2: LISTINGS, DeleteObject: 1 });
  }, 240_000);

  it("copies what stays the same of 1 GiB within S3, but for the MiB that changed", async () => {
    const key = "alice/large/gibibyte.bin";
    const pieces = gibibyte();
    s3.contents.putChunks("museum", key, [...pieces]);
    // Two pieces are a block; the middle one is in the middle of the file.
    pieces.splice(BLOCKS - MIB / BLOCK, (2 * MIB) / BLOCK, randomBytes(MIB));
    mkdirSync(join(work, "large"));
    writePieces(join(work, "large/gibibyte.bin"), pieces);
    utimesSync(join(work, "large/gibibyte.bin"), 1_600_000_000, 1_600_000_000);
    s3.requests.clear();
    const { status, stdout, stderr } = await runRsync(server.place, ["-t", "--stats", "large/gibibyte.bin", `host:.${MOUNT}/large/`], work);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(/Literal data: ([\d,]+)/.exec(stdout)?.[1]).toBe("1,048,576");
    const { GetObject: gets = 0, HeadObject: heads = 0, ...others } = s3.requests.counts();
    const { ListObjectsV2: lists = 0, ListMultipartUploads: uploads = 0, ...changes } = others;
    expect(changes).toEqual({ CreateMultipartUpload: 1, UploadPartCopy: 2, UploadPart: 1, CompleteMultipartUpload: 1 });
    // Read twice, in ranges of at least 8 MiB behind the first 128.
    expect(gets).toBeLessThanOrEqual(2 * (2 + (1024 - 128) / 8));
    expect(heads + lists + uploads).toBeLessThanOrEqual(5);
    const hash = createHash("sha256");
    for (const piece of pieces) hash.update(piece);
    expect(s3.contents.object("museum", key)?.sha256()).toBe(hash.digest("hex"));
    s3.contents.delete("museum", key);
    rmSync(join(work, "large"), { recursive: true });
  }, 240_000);

  it("asks once for 10,000 files that another program put there, then lists them and nothing else", async () => {
    const count = 10_000;
    const time = 1_600_000_000;
    mkdirSync(join(work, "planted"));
    s3.contents.put("museum", "alice/planted/", "");
    for (let index = 0; index < count; index++) {
      const path = join(work, "planted", `${index}.txt`);
      writeFileSync(path, `content ${index}`);
      utimesSync(path, time, time);
      s3.contents.put("museum", `alice/planted/${index}.txt`, `content ${index}`, { lastModifiedMs: time * 1000 });
    }
    const run = async (): Promise<unknown> => {
      s3.requests.clear();
      const { stdout, stderr } = await runRsync(server.place, ["-aiO", "planted/", `host:.${MOUNT}/planted/`], work);
      return { stdout, stderr, requests: s3.requests.counts() };
    };
    // One key more than ten listings hold: the folder's marker.
    const listings = { ListObjectsV2: count / 1000 + 1 };
    expect(await run()).toEqual({ stdout: "", stderr: "", requests: { ...listings, HeadObject: count } });
    expect(await run()).toEqual({ stdout: "", stderr: "", requests: listings });
    writeFileSync(join(work, "planted/new.txt"), "new");
    expect(await run()).toEqual({ stdout: "<f+++++++++ new.txt\n", stderr: "", requests: { ...listings, PutObject: 1 } });
    expect(await run()).toEqual({ stdout: "", stderr: "", requests: listings });
  }, 120_000);
});

/** What `rsync -a` of a large tree asks of S3, counted; without SSH between, which makes no difference to S3. */
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
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

/** What the local store promises beyond the contract: a plain folder tree, no way out of it, and uploads that outlive the process. */
import { execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openLocalStore } from "../../../src/objectstore/local-store.ts";
import type { ObjectStore } from "../../../src/objectstore/objectstore.ts";
import { collect, list, nameOf, pattern } from "../../contract/object-store.contract.ts";

let base: string;
let root: string;
let store: ObjectStore;
const at = (...names: string[]): string => join(root, ...names);

beforeEach(async () => {
  base = mkdtempSync(join(tmpdir(), "local-store-"));
  root = join(base, "root");
  store = await openLocalStore({ root });
});
afterEach(async () => {
  await store.close();
  rmSync(base, { recursive: true });
});

describe("a museum's folder tree", () => {
  it("is read as it is, with true times and modes", async () => {
    mkdirSync(at("originals"));
    writeFileSync(at("originals", "Photo.JPG"), "bytes");
    utimesSync(at("originals", "Photo.JPG"), 1_500_000_000, 1_500_000_000);
    chmodSync(at("originals", "Photo.JPG"), 0o600);
    const info = await store.head("originals/Photo.JPG");
    expect(info).toMatchObject({ size: 5, contentType: "image/jpeg", lastModifiedMs: 1_500_000_000_000 });
    expect(info.metadata).toEqual({ mtime: "1500000000", mode: String(0o100600) });
    expect((await list(store, "", { delimiter: "/" })).map(nameOf)).toEqual(["originals/"]);
    const [marker, file] = await list(store, "originals/", { delimiter: "/" });
    expect(marker).toMatchObject({ kind: "object", key: "originals/", size: 0 });
    expect(file).toMatchObject({ key: "originals/Photo.JPG", size: 5, metadata: info.metadata });
  });

  it("is written as plain files with time and mode", async () => {
    await store.put("a/b/c.txt", [Buffer.from("hello")], { metadata: { mtime: "1400000000.5", mode: String(0o100640) } });
    expect(readFileSync(at("a", "b", "c.txt"), "utf8")).toBe("hello");
    const stats = statSync(at("a", "b", "c.txt"));
    expect(stats.mtimeMs).toBe(1_400_000_000_500);
    expect(stats.mode & 0o7777).toBe(0o640);
    await store.put("suid", [], { metadata: { mode: String(0o104755) } });
    expect(statSync(at("suid")).mode & 0o7777).toBe(0o755);
  });

  it("leaves nothing behind but the files", async () => {
    await store.put("one", [pattern(10)]);
    await store.put("one", [pattern(10)], { ifNoneMatch: "*" }).catch(() => undefined);
    await store.put("two", [pattern(10)], { ifNoneMatch: "*" });
    const upload = await store.createUpload("three", {});
    await upload.complete([await upload.uploadPart({ partNumber: 1, offset: 0 }, [pattern(5)])]);
    await (await store.createUpload("four", {})).abort();
    await store.copy("one", "five");
    expect(readdirSync(root).sort()).toEqual([".sftp-gateway", "five", "one", "three", "two"]);
    expect(readdirSync(at(".sftp-gateway", "staging"))).toEqual([]);
    expect(readdirSync(at(".sftp-gateway", "uploads"))).toEqual([]);
    expect(statSync(at("two")).nlink).toBe(1);
  });

  it("never shows the gateway's own folder", async () => {
    expect(await list(store, "")).toEqual([]);
    expect(await list(store, ".sftp-gateway/")).toEqual([]);
    await expect(store.put(".sftp-gateway/x", [])).rejects.toMatchObject({ code: "invalid-key" });
    await expect(store.head(".sftp-gateway/")).rejects.toMatchObject({ code: "invalid-key" });
    await expect(store.delete([".sftp-gateway/staging/"])).rejects.toMatchObject({ code: "invalid-key" });
  });

  it("refuses keys that clash with the disk, and says why", async () => {
    await store.put("file", [pattern(1)]);
    await store.put("dir/x", [pattern(1)]);
    const refused: [string, RegExp][] = [
      ["file/below", /same name/],
      ["dir", /directory is in the way/],
      ["a//b", /segment ""/],
      ["a/../b", /segment "\.\."/],
      ["./a", /segment "\."/],
      ["/a", /segment ""/],
      ["nul\0", /NUL/],
      [`${"n".repeat(256)}`, /255 bytes/],
      ["ü".repeat(128), /255 bytes/],
    ];
    for (const [key, reason] of refused) {
      await expect(store.put(key, [pattern(1)]), key).rejects.toMatchObject({
        code: "invalid-key",
        message: expect.stringMatching(reason),
      });
    }
    await expect(store.put("dir/", [pattern(1)])).rejects.toMatchObject({ code: "invalid-key" });
    await expect(store.head("file/below")).rejects.toMatchObject({ code: "not-found" });
    await expect(store.head("dir")).rejects.toMatchObject({ code: "not-found" });
    await store.delete(["dir", "file/below"]);
    expect((await list(store, "")).map(nameOf)).toEqual(["dir/", "dir/x", "file"]);
  });

  it("skips names that are no UTF-8, and things that are no files", async () => {
    writeFileSync(Buffer.concat([Buffer.from(`${root}/bad-`), Buffer.from([0xff, 0xfe])]), "x");
    writeFileSync(at("gut-ü"), "x");
    execFileSync("mkfifo", [at("pipe")]);
    expect((await list(store, "")).map(nameOf)).toEqual(["gut-ü"]);
    await expect(store.get("pipe")).rejects.toMatchObject({ code: "not-found" });
    await expect(store.head("pipe")).rejects.toMatchObject({ code: "not-found" });
  });

  it("renames without copying", async () => {
    await store.put("from/big", [pattern(100_000)], { contentType: "x-odd/type", metadata: { mtime: "1000", note: "kept" } });
    const ino = statSync(at("from", "big")).ino;
    const { etag } = await store.head("from/big");
    const move = store.move?.bind(store);
    if (!move) throw new Error("the local store renames");
    await store.put("taken", []);
    await expect(move("from/big", "taken", { ifNoneMatch: "*" })).rejects.toMatchObject({ code: "precondition-failed" });
    await expect(move("from/big", "x", { sourceIfMatch: "other" })).rejects.toMatchObject({ code: "precondition-failed" });
    await expect(move("missing", "x")).rejects.toMatchObject({ code: "not-found" });
    expect((await store.head("from/big")).etag).toBe(etag);
    const moved = await move("from/big", "to/here", { ifNoneMatch: "*", sourceIfMatch: etag });
    expect(await store.head("to/here")).toMatchObject({
      etag: moved.etag,
      contentType: "x-odd/type",
      metadata: { mtime: "1000", note: "kept" },
    });
    expect(statSync(at("to", "here"))).toMatchObject({ ino, nlink: 1 });
    await expect(store.head("from/big")).rejects.toMatchObject({ code: "not-found" });
    await Promise.all([move("to/here", "taken"), store.head("taken")]);
    expect(statSync(at("taken")).ino).toBe(ino);
  });

  it("says how much room there is", async () => {
    const space = await store.space?.();
    expect(space?.totalBytes).toBeGreaterThan(space?.freeBytes ?? Number.POSITIVE_INFINITY);
    expect(space?.freeBytes).toBeGreaterThan(0);
  });
});

describe("no way out of the folder", () => {
  let outside: string;
  beforeEach(() => {
    outside = join(base, "outside");
    mkdirSync(outside);
    writeFileSync(join(outside, "secret"), "secret");
  });
  const untouched = (): void => {
    expect(readdirSync(outside)).toEqual(["secret"]);
    expect(readFileSync(join(outside, "secret"), "utf8")).toBe("secret");
    expect(statSync(join(outside, "secret")).mode & 0o777).toBe(0o644);
  };

  it("follows no link to a file outside", async () => {
    symlinkSync(join(outside, "secret"), at("link"));
    symlinkSync("../outside/secret", at("relative"));
    symlinkSync("/etc/passwd", at("passwd"));
    symlinkSync("loop", at("loop"));
    symlinkSync(".sftp-gateway/staging", at("private"));
    for (const key of ["link", "relative", "passwd", "loop", "private"]) {
      await expect(store.get(key), key).rejects.toMatchObject({ code: "not-found" });
      await expect(store.head(key), key).rejects.toMatchObject({ code: "not-found" });
      await expect(store.copy(key, "copy"), key).rejects.toMatchObject({ code: "not-found" });
      await expect(store.move?.(key, "moved"), key).rejects.toMatchObject({ code: "not-found" });
    }
    expect(await list(store, "")).toEqual([]);
    untouched();
  });

  it("replaces and deletes links, not what they mean", async () => {
    symlinkSync(join(outside, "secret"), at("link"));
    await store.put("link", [Buffer.from("mine")]);
    expect(readFileSync(at("link"), "utf8")).toBe("mine");
    unlinkSync(at("link"));
    symlinkSync(join(outside, "secret"), at("link"));
    await store.delete(["link"]);
    expect(existsSync(at("link"))).toBe(false);
    untouched();
  });

  it("enters no linked directory", async () => {
    symlinkSync(outside, at("dir"));
    for (const operation of [store.get("dir/secret"), store.head("dir/secret"), store.head("dir/")]) {
      await expect(operation).rejects.toMatchObject({ code: "not-found" });
    }
    for (const operation of [() => store.put("dir/new", [pattern(1)]), () => store.put("dir/sub/", []), () => store.put("dir/", [])]) {
      await expect(operation()).rejects.toMatchObject({ code: "invalid-key" });
    }
    await store.delete(["dir/secret", "dir/"]);
    expect(await list(store, "dir/")).toEqual([]);
    expect(await list(store, "")).toEqual([]);
    untouched();
  });

  it("shows linked files that lie inside", async () => {
    await store.put("real/file.txt", [Buffer.from("inside")]);
    symlinkSync("real/file.txt", at("alias.txt"));
    expect((await collect(await store.get("alias.txt"))).toString()).toBe("inside");
    expect((await store.head("alias.txt")).size).toBe(6);
    expect((await list(store, "")).map(nameOf)).toEqual(["alias.txt", "real/", "real/file.txt"]);
    await store.move?.("alias.txt", "moved.txt");
    expect(readFileSync(at("moved.txt"), "utf8")).toBe("inside");
    expect(readFileSync(at("real", "file.txt"), "utf8")).toBe("inside");
  });

  it("changes nothing through a hard link", async () => {
    linkSync(join(outside, "secret"), at("hard"));
    const result = await store.copy("hard", "hard", { replaceProperties: { metadata: { mtime: "5", mode: String(0o100600) } } });
    expect((await store.head("hard")).etag).toBe(result.etag);
    expect((await store.head("hard")).metadata).toEqual({ mtime: "5", mode: String(0o100600) });
    await store.put("hard", [Buffer.from("mine")]);
    expect(statSync(join(outside, "secret")).mtimeMs).toBeGreaterThan(10_000);
    untouched();
  });

  it("is not led out by directories that become links meanwhile", async () => {
    mkdirSync(at("d"));
    writeFileSync(at("d", "secret"), "inner!");
    let running = true;
    const swapping = (async () => {
      for (let round = 0; running; round++) {
        renameSync(at("d"), at("d.real"));
        symlinkSync(outside, at("d"));
        await new Promise((resolve) => setImmediate(resolve));
        unlinkSync(at("d"));
        renameSync(at("d.real"), at("d"));
        for (let turn = 0; turn < round % 7; turn++) await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    const seen = new Set<string>();
    // On a busy machine the folder itself may be met late.
    for (let round = 0; round < 300 || (!seen.has("inner!") && round < 20_000); round++) {
      const text = await store
        .get("d/secret")
        .then(collect)
        .then(String, () => "refused");
      seen.add(text);
      await store.put("d/new", [Buffer.from("x")]).catch(() => undefined);
      await store.delete(["d/new"]).catch(() => undefined);
      await list(store, "d/").then((entries) => expect(entries.every((entry) => nameOf(entry).startsWith("d/"))).toBe(true));
    }
    running = false;
    await swapping;
    expect(seen.has("secret")).toBe(false);
    expect(seen.has("inner!")).toBe(true);
    untouched();
  });

  it("refuses a root whose private folder is a link", async () => {
    const other = join(base, "other");
    mkdirSync(other);
    symlinkSync(outside, join(other, ".sftp-gateway"));
    await expect(openLocalStore({ root: other })).rejects.toMatchObject({ code: "access-denied" });
    untouched();
  });
});

describe("uploads outlive the process", () => {
  it("are taken up by another store on the same folder", async () => {
    const begun = await store.createUpload("film.mp4", { metadata: { mtime: "123" } });
    const first = await begun.uploadPart({ partNumber: 1, offset: 0 }, [pattern(1000, 1)]);
    await begun.uploadPart({ partNumber: 3, offset: 2000 }, [pattern(500, 3)]);

    const later = await openLocalStore({ root });
    const resumed = later.openUpload("film.mp4", begun.uploadId);
    expect((await resumed.listParts()).map(({ partNumber, size }) => [partNumber, size])).toEqual([
      [1, 1000],
      [3, 500],
    ]);
    const second = await resumed.uploadPart({ partNumber: 2, offset: 1000 }, [pattern(1000, 2)]);
    const [, , third] = await resumed.listParts();
    if (!third) throw new Error("part 3 is stored");
    await resumed.complete([first, second, third]);
    expect(readFileSync(at("film.mp4")).equals(Buffer.concat([pattern(1000, 1), pattern(1000, 2), pattern(500, 3)]))).toBe(true);
    expect(statSync(at("film.mp4")).mtimeMs).toBe(123_000);

    // The first process still has the published file's descriptor open, and must not write to it.
    await expect(begun.uploadPart({ partNumber: 1, offset: 0 }, [pattern(1000, 9)])).rejects.toMatchObject({ code: "no-such-upload" });
    expect(readFileSync(at("film.mp4")).subarray(0, 1000).equals(pattern(1000, 1))).toBe(true);
    await later.close();
  });

  it("cut off parts that are not wanted, and refuse gaps", async () => {
    const upload = await store.createUpload("cut", {});
    const one = await upload.uploadPart({ partNumber: 1, offset: 0 }, [pattern(10)]);
    const two = await upload.uploadPart({ partNumber: 2, offset: 20 }, [pattern(10)]);
    await expect(upload.complete([one, two])).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringMatching(/begins at 10/),
    });
    await upload.complete([one]);
    expect(statSync(at("cut")).size).toBe(10);
  });

  it("ignore a journal line cut short", async () => {
    const upload = await store.createUpload("torn", {});
    await upload.uploadPart({ partNumber: 1, offset: 0 }, [pattern(10)]);
    writeFileSync(at(".sftp-gateway", "uploads", upload.uploadId, "journal"), '{"part":{"partNumber":2,"si', { flag: "a" });
    expect(await upload.listParts()).toMatchObject([{ partNumber: 1, size: 10 }]);
  });

  it("forget parts of before a power failure", async () => {
    const upload = await store.createUpload("rebooted", {});
    await upload.uploadPart({ partNumber: 1, offset: 0 }, [pattern(10)]);
    const journal = at(".sftp-gateway", "uploads", upload.uploadId, "journal");
    writeFileSync(journal, readFileSync(journal, "utf8").replace(/"boot":"[^"]*"/, '"boot":"before"'));
    const later = await openLocalStore({ root });
    const resumed = later.openUpload("rebooted", upload.uploadId);
    expect(await resumed.listParts()).toEqual([]);
    const part = await resumed.uploadPart({ partNumber: 1, offset: 0 }, [pattern(20)]);
    expect(await resumed.listParts()).toMatchObject([{ partNumber: 1, size: 20 }]);
    await resumed.complete([part]);
    expect(statSync(at("rebooted")).size).toBe(20);
    await later.close();
  });

  it.each(["../../../outside", "x".repeat(32), "", "0".repeat(31)])("have ids that are no paths: %j", async (uploadId) => {
    const upload = store.openUpload("key", uploadId);
    await expect(upload.listParts()).rejects.toMatchObject({ code: "no-such-upload" });
    await upload.abort();
  });

  it("survive kill -9, and publish nothing by it", async () => {
    const script = `
      import { openLocalStore } from ${JSON.stringify(new URL("../../../src/objectstore/local-store.ts", import.meta.url).href)};
      const store = await openLocalStore({ root: ${JSON.stringify(root)} });
      const upload = await store.createUpload("killed", {});
      for (let n = 1; ; n++) {
        await upload.uploadPart({ partNumber: n, offset: (n - 1) * 65536 }, [Buffer.alloc(65536, n % 251)]);
        await store.put("put", [Buffer.alloc(65536, n % 251)]);
        process.stdout.write(n + "\\n");
      }`;
    const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let acknowledged = 0;
    for await (const text of child.stdout) {
      acknowledged = Number(String(text).trim().split("\n").at(-1));
      if (acknowledged >= 12) child.kill("SIGKILL");
    }
    await expect(store.head("killed")).rejects.toMatchObject({ code: "not-found" });
    const put = readFileSync(at("put"));
    expect(put.length).toBe(65_536);
    expect(put.every((byte) => byte === put[0])).toBe(true);
    const uploads = [];
    for await (const upload of store.listUploads("")) uploads.push(upload);
    expect(uploads).toHaveLength(1);
    const upload = store.openUpload("killed", uploads[0]?.uploadId ?? "");
    const parts = await upload.listParts();
    expect(parts.length).toBeGreaterThanOrEqual(acknowledged);
    await upload.complete(parts);
    const bytes = readFileSync(at("killed"));
    expect(bytes.length).toBe(parts.length * 65_536);
    for (const { partNumber } of parts) {
      const part = bytes.subarray((partNumber - 1) * 65_536, partNumber * 65_536);
      expect(part.every((byte) => byte === partNumber % 251)).toBe(true);
    }
  });
});

describe("descriptors", () => {
  const descriptors = (): number => readdirSync("/proc/self/fd").length;

  it("are not leaked by anything that fails or is given up", async () => {
    await store.put("dir/file", [pattern(600_000)]);
    const { etag } = await store.head("dir/file");
    const before = descriptors();
    for (let round = 0; round < 20; round++) {
      (await store.get("dir/file")).destroy();
      for await (const _chunk of (await store.get("dir/file")).body) break;
      await Promise.allSettled([
        store.get("dir/file", { ifMatch: "other" }),
        store.get("dir/file", { range: { start: 600_000 } }),
        store.get("dir/missing"),
        store.get("dir/file/below"),
        store.put("dir", []),
        store.put("dir/file", [], { ifNoneMatch: "*" }),
        store.put("dir/file/below", []),
        store.copy("dir/file", "dir/file", { sourceIfMatch: "other" }),
        store.copy("dir/file", "dir", {}),
        store.move?.("dir/file", "dir"),
        store.move?.("dir/file", "dir/file2", { sourceIfMatch: "other" }),
        store.openUpload("a", "0".repeat(32)).listParts(),
      ]);
      for await (const _page of store.list("", { pageSize: 1 })) break;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect((await store.head("dir/file")).etag).toBe(etag);
    expect(descriptors()).toBeLessThanOrEqual(before + 1);
  });
});

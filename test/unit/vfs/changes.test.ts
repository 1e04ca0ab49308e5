import { describe, expect, it } from "vitest";
import { StoreError } from "../../../src/errors.ts";
import { makeFixture } from "./fixture.ts";
import { WholeFixture } from "./whole-fixture.ts";

describe("opening for writing", () => {
  it("costs one PUT for a new small file in a known directory", async () => {
    const { store, write, vfs, names } = makeFixture();
    await write("/attachments/originals/a", "x");
    await write("/attachments/b", "x");
    expect(store.take()).toEqual({ put: 2 });
    await vfs.mkdir("/attachments/d");
    store.take();
    await write("/attachments/d/c", "x");
    expect(store.take()).toEqual({ put: 1 });
    await names("/attachments/d");
    expect(store.take()).toEqual({ list: 1 });
  });

  it("asks once for a parent it does not know, and refuses a missing one", async () => {
    const { store, write, put, vfs } = makeFixture();
    await put("alice/d/x", "x");
    for (const name of ["a", "b", "c"]) await write(`/attachments/d/${name}`, "x");
    expect(store.take()).toEqual({ list: 1, put: 3 });
    await expect(vfs.open("/attachments/none/x", { write: true, create: true })).rejects.toMatchObject({ code: "not-found" });
    await put("alice/file", "x");
    await expect(vfs.open("/attachments/file/x", { write: true, create: true })).rejects.toMatchObject({ code: "not-a-directory" });
  });

  it("refuses directories, an existing file with exclusive, and a missing one without create", async () => {
    const { vfs, put } = makeFixture();
    await put("alice/f", "x");
    await vfs.mkdir("/attachments/d");
    const create = { write: true, create: true };
    for (const path of ["/attachments", "/attachments/originals", "/attachments/d", "/attachments/new/"]) {
      await expect(vfs.open(path, create)).rejects.toMatchObject({ code: "is-a-directory" });
    }
    await vfs.stat("/attachments/f");
    await expect(vfs.open("/attachments/f", { ...create, exclusive: true })).rejects.toMatchObject({ code: "exists" });
    await expect(vfs.open("/attachments/none", { write: true })).rejects.toMatchObject({ code: "not-found" });
    await expect(vfs.open("/", create)).rejects.toMatchObject({ code: "permission-denied" });
    await expect(vfs.open("/x", create)).rejects.toMatchObject({
      code: "permission-denied",
      message: expect.stringContaining("/attachments/"),
    });
  });

  it("creates for reading, and exclusively, as POSIX does", async () => {
    const { vfs, put, read, store } = makeFixture();
    await put("alice/f", "content");
    for (const write of [true, false]) {
      await expect(vfs.open("/attachments/f", { write, create: true, exclusive: true })).rejects.toMatchObject({ code: "exists" });
    }
    store.take();
    const handle = await vfs.open("/attachments/originals/g", { create: true, exclusive: true });
    expect(await handle.read(0, 10)).toEqual([]);
    await handle.close();
    expect(store.take()).toMatchObject({ put: 1 });
    expect(await read("/attachments/originals/g")).toBe("");
    await expect(vfs.open("/x", { create: true })).rejects.toMatchObject({ code: "permission-denied" });
  });

  it("tells the uploads what is published where that is known whole", async () => {
    const { vfs, put, uploads, write } = makeFixture();
    await put("alice/f", "12345");
    await vfs.stat("/attachments/f");
    await vfs.open("/attachments/f", { write: true, append: true });
    await expect(vfs.stat("/attachments/g")).rejects.toMatchObject({ code: "not-found" });
    await vfs.open("/attachments/g", { write: true, create: true });
    await vfs.open("/attachments/h", { write: true, create: true });
    await write("/attachments/i", "123");
    await vfs.open("/attachments/i", { write: true });
    expect(uploads.requests.map(({ published }) => (typeof published === "string" ? published : published.size))).toEqual([
      5,
      "absent",
      "unknown",
      "unknown",
      3,
    ]);
  });

  it("refuses names that cannot be stored", async () => {
    const { vfs } = makeFixture();
    const create = { write: true, create: true };
    await expect(vfs.open(`/attachments/${"x".repeat(1025)}`, create)).rejects.toMatchObject({ code: "invalid-argument" });
    const local = makeFixture({ volume: { maxNameBytes: 255 } });
    await expect(local.vfs.open(`/attachments/${"é".repeat(128)}`, create)).rejects.toMatchObject({ code: "invalid-argument" });
    await local.write(`/attachments/${"x".repeat(255)}`, "x");
    const { write, keys } = makeFixture();
    await write(`/attachments/${"k".repeat(1024 - "alice/".length)}`, "x");
    expect((await keys())[0]).toHaveLength(1024);
  });
});

describe("mkdir and rmdir", () => {
  it("writes a marker, refuses what exists and what has no parent", async () => {
    const { vfs, keys, put, store } = makeFixture();
    await vfs.mkdir("/attachments/a");
    expect(store.take()).toEqual({ head: 1, list: 1, put: 1 });
    await vfs.mkdir("/attachments/a/b");
    expect(store.take()).toEqual({ put: 1 });
    expect(await keys()).toEqual(["alice/a/", "alice/a/b/"]);
    await put("alice/file", "x");
    await put("alice/implied/x", "x");
    for (const name of ["a", "file", "implied", "originals"]) {
      await expect(vfs.mkdir(`/attachments/${name}`)).rejects.toMatchObject({ code: "exists" });
    }
    await expect(vfs.mkdir("/")).rejects.toMatchObject({ code: "exists" });
    await expect(vfs.mkdir("/x")).rejects.toMatchObject({ code: "permission-denied" });
    await expect(vfs.mkdir("/attachments/none/x")).rejects.toMatchObject({ code: "not-found" });
    await expect(vfs.mkdir("/attachments/file/x")).rejects.toMatchObject({ code: "not-a-directory" });
  });

  it("removes empty directories only", async () => {
    const { vfs, keys, put, uploads } = makeFixture();
    await vfs.mkdir("/attachments/a");
    await vfs.mkdir("/attachments/a/b");
    await put("alice/file", "x");
    await expect(vfs.rmdir("/attachments/a")).rejects.toMatchObject({ code: "not-empty" });
    await expect(vfs.rmdir("/attachments/file")).rejects.toMatchObject({ code: "not-a-directory" });
    await expect(vfs.rmdir("/attachments/none")).rejects.toMatchObject({ code: "not-found" });
    await expect(vfs.rmdir("/attachments/originals")).rejects.toMatchObject({ code: "permission-denied" });
    await expect(vfs.rmdir("/attachments")).rejects.toMatchObject({ code: "permission-denied" });
    uploads.add("alice/a/b/partial", "dropped", 1);
    await expect(vfs.rmdir("/attachments/a/b")).rejects.toMatchObject({ code: "not-empty" });
    uploads.entries.clear();
    await vfs.rmdir("/attachments/a/b");
    await vfs.rmdir("/attachments/a");
    expect(await keys()).toEqual(["alice/file"]);
    await expect(vfs.stat("/attachments/a")).rejects.toMatchObject({ code: "not-found" });
  });
});

describe("remove", () => {
  it("deletes a file that was just seen by one request", async () => {
    const { vfs, put, store, keys } = makeFixture();
    await put("alice/f", "x");
    await vfs.stat("/attachments/f");
    store.take();
    await vfs.remove("/attachments/f");
    expect(store.take()).toEqual({ delete: 1 });
    expect(await keys()).toEqual([]);
    await expect(vfs.remove("/attachments/f")).rejects.toMatchObject({ code: "not-found" });
  });

  it("refuses directories and missing names", async () => {
    const { vfs, put } = makeFixture();
    await put("alice/d/x", "x");
    await expect(vfs.remove("/attachments/d")).rejects.toMatchObject({ code: "is-a-directory" });
    await expect(vfs.remove("/attachments/originals")).rejects.toMatchObject({ code: "is-a-directory" });
    await expect(vfs.remove("/attachments/none")).rejects.toMatchObject({ code: "not-found" });
  });

  it("keeps an implied directory when its last child goes, and asks about that once", async () => {
    const { vfs, put, store, keys, names } = makeFixture();
    for (let i = 0; i < 50; i++) await put(`alice/d/sub/${i}`, "x");
    const files = await names("/attachments/d/sub");
    store.take();
    for (const name of files) await vfs.remove(`/attachments/d/sub/${name}`);
    expect(await keys()).toEqual(["alice/d/sub/"]);
    expect(store.take()).toEqual({ delete: 50, list: 1, put: 1 });
    await vfs.rmdir("/attachments/d/sub");
    expect(await keys()).toEqual(["alice/d/"]);
  });

  it("discards an unpublished upload, and the published file with it", async () => {
    const { vfs, put, uploads, keys } = makeFixture();
    uploads.add("alice/partial", "dropped", 5);
    await vfs.remove("/attachments/partial");
    await put("alice/both", "x");
    uploads.add("alice/both", "dropped", 5);
    await vfs.remove("/attachments/both");
    expect(uploads.entries.size).toBe(0);
    expect(await keys()).toEqual([]);
  });
});

describe("rename of files", () => {
  it("copies the version it saw, then deletes, keeping times and type", async () => {
    const { vfs, put, store, keys } = makeFixture();
    await put("alice/a.txt", "content", { mtime: "1500000000", custom: "kept" });
    await vfs.stat("/attachments/a.txt");
    await expect(vfs.stat("/attachments/b.txt")).rejects.toMatchObject({ code: "not-found" });
    store.take();
    await vfs.rename("/attachments/a.txt", "/attachments/b.txt", { replace: false });
    expect(store.take()).toEqual({ copy: 1, delete: 1 });
    expect(await keys()).toEqual(["alice/b.txt"]);
    expect(await vfs.stat("/attachments/b.txt")).toMatchObject({ mtime: 1_500_000_000, size: 7 });
    await expect(vfs.stat("/attachments/a.txt")).rejects.toMatchObject({ code: "not-found" });
    expect((await store.head("alice/b.txt")).metadata).toMatchObject({ custom: "kept" });
  });

  it("gives the content type of the new name", async () => {
    const { vfs, write, store } = makeFixture();
    await write("/attachments/scan.tmp", "content", 1_500_000_000);
    await vfs.rename("/attachments/scan.tmp", "/attachments/scan.PDF", { replace: false });
    expect(await store.head("alice/scan.PDF")).toMatchObject({ contentType: "application/pdf", metadata: { mtime: "1500000000" } });
  });

  it("keeps the time of an object that carries none", async () => {
    const { vfs, put, clock } = makeFixture();
    await put("alice/a", "x");
    clock.advance(1_000_000);
    await vfs.rename("/attachments/a", "/attachments/b", { replace: false });
    expect((await vfs.stat("/attachments/b")).mtime).toBe(1_700_000_000);
  });

  it("refuses or replaces what is there, as it is told", async () => {
    const { vfs, put, read } = makeFixture();
    await put("alice/a", "new");
    await put("alice/b", "old");
    await put("alice/d/x", "x");
    await expect(vfs.rename("/attachments/a", "/attachments/b", { replace: false })).rejects.toMatchObject({ code: "exists" });
    await expect(vfs.rename("/attachments/a", "/attachments/d", { replace: true })).rejects.toMatchObject({ code: "is-a-directory" });
    await expect(vfs.rename("/attachments/d", "/attachments/b", { replace: true })).rejects.toMatchObject({ code: "not-a-directory" });
    await vfs.rename("/attachments/a", "/attachments/b", { replace: true });
    expect(await read("/attachments/b")).toBe("new");
    await expect(vfs.rename("/attachments/b", "/attachments/b", { replace: false })).rejects.toMatchObject({ code: "exists" });
    await vfs.rename("/attachments/b", "/attachments/b", { replace: true });
    await expect(vfs.rename("/attachments/none", "/attachments/y", { replace: true })).rejects.toMatchObject({ code: "not-found" });
    await expect(vfs.rename("/attachments/b", "/attachments/none/y", { replace: true })).rejects.toMatchObject({ code: "not-found" });
    await expect(vfs.rename("/attachments/b", "/b", { replace: true })).rejects.toMatchObject({ code: "permission-denied" });
    await expect(vfs.rename("/attachments/originals", "/attachments/o", { replace: true })).rejects.toMatchObject({
      code: "permission-denied",
    });
  });

  it("does not overwrite what appeared since it was found missing", async () => {
    const { vfs, put, read } = makeFixture();
    await put("alice/a", "a");
    await expect(vfs.stat("/attachments/b")).rejects.toMatchObject({ code: "not-found" });
    await put("alice/b", "somebody else's");
    await expect(vfs.rename("/attachments/a", "/attachments/b", { replace: false })).rejects.toMatchObject({ code: "exists" });
    expect(await read("/attachments/b")).toBe("somebody else's");
    expect(await read("/attachments/a")).toBe("a");
  });

  it("takes the newest version of a source that is replaced meanwhile", async () => {
    const { vfs, put, read } = makeFixture();
    await put("alice/a", "old");
    await vfs.stat("/attachments/a");
    await put("alice/a", "newer");
    await vfs.rename("/attachments/a", "/attachments/b", { replace: false });
    expect(await read("/attachments/b")).toBe("newer");
  });

  it("leaves unpublished uploads to those who keep them, without a request", async () => {
    const { vfs, uploads, store } = makeFixture();
    uploads.add("alice/originals/x.tif.filepart", "parked", 5);
    await vfs.rename("/attachments/originals/x.tif.filepart", "/attachments/originals/x.tif", { replace: true });
    expect([...uploads.entries.keys()]).toEqual(["alice/originals/x.tif"]);
    expect(store.take()).toEqual({});
  });
});

describe("rename of directories", () => {
  it("copies all before it deletes, two requests a file at most", async () => {
    const { vfs, put, store, keys } = makeFixture();
    for (let i = 0; i < 300; i++) await put(`alice/old/${i % 3}/${i}`, `content ${i}`, { mtime: String(i) });
    await put("alice/old/empty/");
    await put("alice/oldest", "x");
    let deletesBegan = false;
    store.before = (kind) => {
      if (kind === "delete") deletesBegan = true;
      if (kind !== "copy") return undefined;
      expect(deletesBegan).toBe(false);
      return new Promise((resolve) => setImmediate(resolve));
    };
    await vfs.rename("/attachments/old", "/attachments/new", { replace: false });
    const requests = store.take();
    expect(requests).toMatchObject({ copy: 301, delete: 1 });
    expect(store.mostActive).toBeGreaterThan(30);
    expect(store.mostActive).toBeLessThanOrEqual(64);
    const left = await keys();
    expect(left).toHaveLength(302);
    expect(left.filter((key) => key.startsWith("alice/old/"))).toEqual([]);
    expect(await vfs.stat("/attachments/new/1/1")).toMatchObject({ mtime: 1, size: 9 });
    expect(await vfs.stat("/attachments/new/empty")).toMatchObject({ type: "directory" });
    await expect(vfs.stat("/attachments/old")).rejects.toMatchObject({ code: "not-found" });
  });

  it("leaves nothing behind on a disk", async () => {
    const fixture = await WholeFixture.create("local");
    try {
      await fixture.vfs.mkdir("/attachments/old");
      await fixture.vfs.mkdir("/attachments/old/a");
      await fixture.vfs.mkdir("/attachments/old/a/empty");
      await fixture.write("/attachments/old/a/file", "content", { mtime: 1_500_000_000 });
      await fixture.vfs.rename("/attachments/old", "/attachments/new", { replace: false });
      expect(await fixture.keys()).toEqual(["alice/", "alice/new/", "alice/new/a/", "alice/new/a/empty/", "alice/new/a/file"]);
      expect(await fixture.vfs.stat("/attachments/new/a/file")).toMatchObject({ mtime: 1_500_000_000 });
    } finally {
      await fixture.close();
    }
  });

  it("refuses to move a directory into itself or onto something", async () => {
    const { vfs, put, names } = makeFixture();
    await put("alice/a/x", "x");
    await put("alice/b/x", "x");
    await expect(vfs.rename("/attachments/a", "/attachments/a/b", { replace: true })).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(vfs.rename("/attachments/a", "/attachments/b", { replace: true })).rejects.toMatchObject({ code: "not-empty" });
    expect(await names("/attachments/a")).toEqual(["x"]);
  });

  it("lets a directory take the place of an empty one if it may replace", async () => {
    const { vfs, put, names } = makeFixture();
    await put("alice/a/x", "x");
    await vfs.mkdir("/attachments/b");
    await expect(vfs.rename("/attachments/a", "/attachments/b", { replace: false })).rejects.toMatchObject({ code: "exists" });
    await vfs.rename("/attachments/a", "/attachments/b", { replace: true });
    expect(await names("/attachments/b")).toEqual(["x"]);
    await expect(vfs.stat("/attachments/a")).rejects.toMatchObject({ code: "not-found" });
  });

  it("keeps the mode of a file that is written over, where it is known", async () => {
    const fixture = await WholeFixture.create("memory");
    const { vfs } = fixture;
    const write = async (): Promise<void> => {
      const handle = await vfs.open("/attachments/f", { write: true, create: true, truncate: true }, { mode: 0o644 });
      await handle.write(0, [Buffer.from("x")]);
      await handle.close();
    };
    await write();
    await vfs.setstat("/attachments/f", { mode: 0o600 });
    await write();
    expect((await vfs.stat("/attachments/f")).mode).toBe(0o600);
    await fixture.close();
  });

  it("leaves everything as it was when a copy fails", async () => {
    const { vfs, put, store, keys } = makeFixture();
    for (let i = 0; i < 100; i++) await put(`alice/old/${i}`, "x");
    const before = await keys();
    let copies = 0;
    store.before = (kind) => {
      if (kind === "copy" && ++copies === 90) throw new StoreError("access-denied", "no");
    };
    await expect(vfs.rename("/attachments/old", "/attachments/new", { replace: false })).rejects.toMatchObject({
      code: "permission-denied",
    });
    expect(await keys()).toEqual(before);
  });

  it("leaves every file readable under one of its names when deleting fails", async () => {
    const { vfs, put, store, keys } = makeFixture();
    for (let i = 0; i < 20; i++) await put(`alice/old/${i}`, "x");
    store.before = (kind) => {
      if (kind === "delete") throw new StoreError("unavailable", "gone");
    };
    await expect(vfs.rename("/attachments/old", "/attachments/new", { replace: false })).rejects.toMatchObject({ code: "unavailable" });
    const left = await keys();
    for (let i = 0; i < 20; i++) expect(left.includes(`alice/new/${i}`) || left.includes(`alice/old/${i}`)).toBe(true);
  });

  it("moves unpublished uploads along and keeps the parent", async () => {
    const { vfs, put, uploads, keys } = makeFixture();
    await put("alice/p/old/x", "x");
    uploads.add("alice/p/old/partial", "dropped", 5);
    await vfs.rename("/attachments/p/old", "/attachments/new", { replace: false });
    expect(await keys()).toEqual(["alice/new/x", "alice/p/"]);
    expect([...uploads.entries.keys()]).toEqual(["alice/new/partial"]);
  });
});

describe("setstat", () => {
  it("sets no size through a handle that reads, and no setuid on a new directory", async () => {
    const { put, vfs } = makeFixture();
    await put("alice/f", "12345");
    const reader = await vfs.open("/attachments/f", { read: true });
    await expect(reader.setstat({ size: 2, mtime: 5 })).rejects.toMatchObject({ code: "invalid-argument" });
    await reader.setstat({ mtime: 1_500_000_000 });
    await reader.close();
    expect(await vfs.stat("/attachments/f")).toMatchObject({ size: 5, mtime: 1_500_000_000 });
    await vfs.mkdir("/attachments/d", { mode: 0o7755 });
    expect((await vfs.stat("/attachments/d")).mode).toBe(0o1755);
  });

  it("makes one self-copy for a change and nothing for none", async () => {
    const { vfs, write, store, read } = makeFixture();
    await write("/attachments/f.pdf", "content", 1_500_000_000);
    store.take();
    await vfs.setstat("/attachments/f.pdf", { mtime: 1_500_000_000, atime: 5, mode: 0o644, uid: 7, gid: 8 });
    expect(store.take()).toEqual({});
    await vfs.setstat("/attachments/f.pdf", { mtime: 1_600_000_000, mode: 0o600 });
    expect(store.take()).toEqual({ copy: 1 });
    expect(await vfs.stat("/attachments/f.pdf")).toMatchObject({ mtime: 1_600_000_000, mode: 0o600 });
    expect(store.take()).toEqual({});
    expect(await store.head("alice/f.pdf")).toMatchObject({
      contentType: "application/pdf",
      metadata: { mtime: "1600000000", mode: "33152" },
    });
    expect(await read("/attachments/f.pdf")).toBe("content");
    await vfs.setstat("/attachments/f.pdf", { mode: 0o644 });
    expect((await store.head("alice/f.pdf")).metadata).toEqual({ mtime: "1600000000" });
  });

  it("keeps what others stored, and a time that was only LastModified", async () => {
    const { vfs, put, store, clock } = makeFixture();
    await put("alice/f", "x", { custom: "kept" });
    clock.advance(60_000);
    await vfs.setstat("/attachments/f", { mode: 0o600 });
    expect((await store.head("alice/f")).metadata).toEqual({ custom: "kept", mode: "33152", mtime: "1700000000" });
  });

  it("changes the size through the uploads, unless it is the same", async () => {
    const { vfs, put, store, uploads } = makeFixture();
    await put("alice/f", "12345");
    await vfs.setstat("/attachments/f", { size: 5 });
    expect(uploads.requests).toEqual([]);
    await vfs.setstat("/attachments/f", { size: 2 });
    expect((await store.head("alice/f")).size).toBe(2);
  });

  it("keeps times and modes of directories in their markers", async () => {
    const { vfs, store } = makeFixture();
    await vfs.mkdir("/attachments/d", { mode: 0o750 });
    store.take();
    await vfs.setstat("/attachments/d", { mode: 0o750 });
    expect(store.take()).toEqual({});
    await vfs.setstat("/attachments/d", { mtime: 1_500_000_000 });
    expect(store.take()).toEqual({ put: 1 });
    expect(await vfs.stat("/attachments/d")).toMatchObject({ mtime: 1_500_000_000, mode: 0o750 });
    await vfs.setstat("/attachments", { mode: 0o700 });
    await expect(vfs.setstat("/attachments/d", { size: 5 })).rejects.toMatchObject({ code: "is-a-directory" });
  });

  it("reaches unpublished uploads and refuses missing files", async () => {
    const { vfs, uploads, store } = makeFixture();
    uploads.add("alice/open", "live-here", 5);
    await vfs.setstat("/attachments/open", { mtime: 5 });
    expect(store.take()).toEqual({});
    await expect(vfs.setstat("/attachments/none", { mtime: 5 })).rejects.toMatchObject({ code: "not-found" });
  });
});

describe("copy and checksum", () => {
  it("copies inside the store", async () => {
    const { vfs, put, read, store } = makeFixture();
    await put("alice/a", "content", { mtime: "5" });
    await vfs.copy("/attachments/a", "/attachments/b");
    expect(store.take()).toMatchObject({ copy: 1 });
    expect(await read("/attachments/b")).toBe("content");
    await expect(vfs.copy("/attachments/none", "/attachments/b")).rejects.toMatchObject({ code: "not-found" });
  });

  it("gives an MD5 only where the ETag is one", async () => {
    const { vfs, put, store } = makeFixture({ volume: { etagIsMd5: true } });
    await put("alice/a", "content");
    expect(await vfs.storedChecksum("/attachments/a", "md5")).toBeUndefined();
    await store.put("alice/b", [], { metadata: { md5chksum: "1B2M2Y8AsgTpgAmY7PhCfg==" } });
    expect(await vfs.storedChecksum("/attachments/b", "md5")).toBe("d41d8cd98f00b204e9800998ecf8427e");
    expect(await vfs.storedChecksum("/attachments/a", "sha256")).toBeUndefined();
  });
});

describe("rights", () => {
  it("lets a read-only user change nothing", async () => {
    const { vfs, put, keys } = makeFixture({ vfs: { readOnly: true } });
    await put("alice/f", "x");
    await put("alice/d/");
    const before = await keys();
    const attempts = [
      vfs.open("/attachments/f", { write: true }),
      vfs.open("/attachments/g", { write: true, create: true }),
      vfs.mkdir("/attachments/e"),
      vfs.rmdir("/attachments/d"),
      vfs.remove("/attachments/f"),
      vfs.rename("/attachments/f", "/attachments/g", { replace: true }),
      vfs.setstat("/attachments/f", { mtime: 5 }),
      vfs.copy("/attachments/f", "/attachments/g"),
    ];
    for (const result of await Promise.allSettled(attempts)) {
      expect(result).toMatchObject({ status: "rejected", reason: { code: "permission-denied" } });
    }
    expect(await keys()).toEqual(before);
    expect((await vfs.statvfs("/attachments")).readOnly).toBe(true);
  });

  it("asks the layout's rules before it changes anything", async () => {
    const { FsError } = await import("../../../src/errors.ts");
    const { vfs } = makeFixture({
      volume: {
        rules: {
          checkWrite: (name, path) => {
            if (name.startsWith("thumbnails/")) throw new FsError("permission-denied", `${path}: thumbnails are made by the server`);
          },
        },
      },
    });
    const create = { write: true, create: true };
    await expect(vfs.open("/attachments/thumbnails/x", create)).rejects.toMatchObject({ code: "permission-denied" });
    await vfs.open("/attachments/originals/x", create);
  });

  it("knows no links", async () => {
    const { vfs, put } = makeFixture();
    await put("alice/f", "x");
    await expect(vfs.symlink("/attachments/f", "/attachments/l")).rejects.toMatchObject({ code: "unsupported" });
    await expect(vfs.readlink("/attachments/f")).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(vfs.readlink("/attachments/none")).rejects.toMatchObject({ code: "not-found" });
  });

  it("says how much room there is", async () => {
    const { vfs } = makeFixture({ vfs: { quota: { bytes: 1_000 }, usage: async () => ({ bytes: 400, files: 3 }) } });
    expect(await vfs.statvfs("/attachments")).toMatchObject({ totalBytes: 1_000, freeBytes: 600, maxNameLength: 255, readOnly: false });
  });
});

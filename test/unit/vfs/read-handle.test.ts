import { randomBytes } from "node:crypto";
import fc from "../../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { ByteBudget } from "../../../src/byte-budget.ts";
import { StoreError } from "../../../src/errors.ts";
import type { FileHandle } from "../../../src/vfs/file-system.ts";
import { publishedSourceOf } from "../../../src/vfs/published-source.ts";
import { makeFixture } from "./fixture.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

async function readAt(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  return Buffer.concat(await handle.read(offset, length));
}

describe("reading", () => {
  it("costs one HEAD and one GET for a sequential download, with reads in flight", async () => {
    const { vfs, store, put } = makeFixture();
    const content = randomBytes(3 * MIB + 17);
    await put("alice/file", content);
    const handle = await vfs.open("/attachments/file", { read: true });
    expect(store.take()).toEqual({ head: 1 });
    const reads: Promise<Buffer>[] = [];
    for (let offset = 0; offset < content.length + 4 * 32 * KIB; offset += 32 * KIB) reads.push(readAt(handle, offset, 32 * KIB));
    expect(Buffer.concat(await Promise.all(reads)).equals(content)).toBe(true);
    await handle.close();
    expect(store.take()).toEqual({ get: 1 });
  });

  it("needs no HEAD for files that were just listed, and none for a stat", async () => {
    const { vfs, store, put, names, read } = makeFixture();
    for (let i = 0; i < 20; i++) await put(`alice/d/${i}`, `content ${i}`);
    await names("/attachments/d");
    await names("/attachments/d");
    store.take();
    for (let i = 0; i < 20; i++) {
      await vfs.stat(`/attachments/d/${i}`);
      expect(await read(`/attachments/d/${i}`)).toBe(`content ${i}`);
    }
    expect(store.take()).toEqual({ get: 20 });
  });

  it("fetches nothing before the first read", async () => {
    const { vfs, store, put } = makeFixture();
    await put("alice/big", Buffer.alloc(8 * MIB));
    const handles = await Promise.all(Array.from({ length: 50 }, () => vfs.open("/attachments/big", { read: true })));
    store.take();
    expect(store.bytesRead).toBe(0);
    await Promise.all(handles.map((handle) => handle.read(0, 32 * KIB)));
    expect(store.bytesRead).toBeLessThan(50 * 256 * KIB);
    await Promise.all(handles.map((handle) => handle.close()));
  });

  it("answers past the end without a request", async () => {
    const { vfs, store, put } = makeFixture();
    await put("alice/file", "12345");
    const handle = await vfs.open("/attachments/file", { read: true });
    store.take();
    expect(await handle.read(5, 100)).toEqual([]);
    expect(await handle.read(2 ** 52, 100)).toEqual([]);
    expect(store.take()).toEqual({});
    expect((await readAt(handle, 3, 100)).toString()).toBe("45");
    await handle.close();
  });

  it("needs no GET for an empty file", async () => {
    const { store, put, read } = makeFixture();
    await put("alice/empty");
    expect(await read("/attachments/empty")).toBe("");
    expect(store.take()).toEqual({ head: 1 });
  });

  it("does not believe an old listing that a file is empty", async () => {
    const { put, read, names } = makeFixture();
    await put("alice/d/file");
    await names("/attachments/d");
    await put("alice/d/file", "filled meanwhile");
    expect(await read("/attachments/d/file")).toBe("filled meanwhile");
  });

  it("tolerates reads that overtake each other without another GET", async () => {
    const { vfs, store, put } = makeFixture();
    const content = randomBytes(1 * MIB);
    await put("alice/file", content);
    const handle = await vfs.open("/attachments/file", { read: true });
    store.take();
    const order = [0, 2, 1, 3, 6, 5, 4, 7];
    for (const index of order) {
      const offset = index * 32 * KIB;
      expect((await readAt(handle, offset, 32 * KIB)).equals(content.subarray(offset, offset + 32 * KIB))).toBe(true);
    }
    await handle.close();
    expect(store.take()).toEqual({ get: 1 });
  });

  it("opens again at a seek, with a range that grows while it is read on from there", async () => {
    const { vfs, store, put } = makeFixture();
    const content = randomBytes(12 * MIB);
    await put("alice/file", content);
    const handle = await vfs.open("/attachments/file", { read: true });
    await handle.read(0, 1024);
    store.take();
    for (let offset = 4 * MIB; offset < 12 * MIB; offset += 256 * KIB) {
      expect((await readAt(handle, offset, 256 * KIB)).equals(content.subarray(offset, offset + 256 * KIB))).toBe(true);
    }
    expect((await readAt(handle, 10, 10)).equals(content.subarray(10, 20))).toBe(true);
    await handle.close();
    expect(store.take()).toEqual({ get: 4 });
  });

  it("reads the right bytes whatever the order", async () => {
    const { vfs, put, volume } = makeFixture();
    const content = randomBytes(2 * MIB + 3);
    await put("alice/file", content);
    const reads = fc.array(fc.tuple(fc.nat(2 * MIB + 100), fc.integer({ min: 1, max: 700 * KIB })), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(reads, async (list) => {
        const handle = await vfs.open("/attachments/file", { read: true });
        const results = await Promise.all(list.map(([offset, length]) => readAt(handle, offset, length)));
        await handle.close();
        results.forEach((result, index) => {
          const [offset, length] = list[index] ?? [0, 0];
          expect(result.equals(content.subarray(offset, offset + length))).toBe(true);
        });
      }),
      { numRuns: 60 },
    );
    expect(volume.budget.used).toBe(0);
  });

  it("says stale and never mixes when the file is replaced while it is read", async () => {
    const { vfs, put } = makeFixture();
    await put("alice/file", Buffer.alloc(4 * MIB, 1));
    const handle = await vfs.open("/attachments/file", { read: true });
    await handle.read(0, 1024);
    await put("alice/file", Buffer.alloc(4 * MIB, 2));
    await expect(handle.read(3 * MIB, 1024)).rejects.toMatchObject({
      code: "stale",
      message: expect.stringContaining("/attachments/file"),
    });
    await handle.close();
  });

  it("turns to the new version if the file was replaced after the listing that it was opened by", async () => {
    const { put, names, read, store } = makeFixture();
    await put("alice/d/file", "old");
    await names("/attachments/d");
    store.take();
    await put("alice/d/file", "new and longer");
    expect(await read("/attachments/d/file")).toBe("new and longer");
    expect(store.take()).toEqual({ get: 2, head: 1 });
  });

  it("takes up a GET that breaks where it broke", async () => {
    const { vfs, put, store, clock } = makeFixture();
    const content = randomBytes(1 * MIB);
    await put("alice/file", content);
    const handle = await vfs.open("/attachments/file", { read: true });
    let failures = 2;
    store.before = (kind) => {
      if (kind === "get" && failures-- > 0) throw new StoreError("unavailable", "connection reset");
    };
    const reading = readAt(handle, 0, 64 * KIB);
    for (let i = 0; i < 20; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      clock.advance(1_000);
    }
    expect((await reading).equals(content.subarray(0, 64 * KIB))).toBe(true);
    await handle.close();
  });

  it("gives up after some tries, with a clear text", async () => {
    const { vfs, put, store, clock } = makeFixture();
    await put("alice/file", "x");
    const handle = await vfs.open("/attachments/file", { read: true });
    store.before = () => {
      throw new StoreError("slow-down", "SlowDown from bucket b");
    };
    const reading = readAt(handle, 0, 10);
    const failed = expect(reading).rejects.toMatchObject({ code: "unavailable", message: expect.not.stringContaining("bucket") });
    for (let i = 0; i < 40; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      clock.advance(1_000);
    }
    await failed;
    await handle.close();
  });

  it("gives up an idle GET, sooner when memory is short, and goes on afterwards", async () => {
    const { vfs, put, store, clock, volume } = makeFixture();
    const content = randomBytes(1 * MIB);
    await put("alice/file", content);
    const handle = await vfs.open("/attachments/file", { read: true });
    await handle.read(0, 1024);
    clock.advance(2_000);
    expect(volume.budget.used).toBeGreaterThan(0);
    for (let i = 0; i < 31; i++) clock.advance(1_000);
    expect(volume.budget.used).toBe(0);
    store.take();
    expect((await readAt(handle, 1024, 1024)).equals(content.subarray(1024, 2048))).toBe(true);
    expect(store.take()).toEqual({ get: 1 });
    await handle.close();
    // Only the volume's own.
    expect(clock.waiting).toBe(1);
  });

  it("waits for memory instead of failing, and lets idle readers make room", async () => {
    const { vfs, put, clock, volume } = makeFixture({ volume: { budget: new ByteBudget(1 * MIB) } });
    await put("alice/file", randomBytes(1 * MIB));
    const handles = await Promise.all(Array.from({ length: 8 }, () => vfs.open("/attachments/file", { read: true })));
    const reads = Promise.all(handles.map((handle) => handle.read(0, 1024)));
    for (let i = 0; i < 10; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      clock.advance(1_000);
    }
    expect((await reads).length).toBe(8);
    expect(volume.budget.used).toBeLessThanOrEqual(1 * MIB);
    await Promise.all(handles.map((handle) => handle.close()));
    expect(volume.budget.used).toBe(0);
  });

  it("ends waiting reads when it is closed", async () => {
    const { vfs, put, store } = makeFixture();
    await put("alice/file", "content");
    const handle = await vfs.open("/attachments/file", { read: true });
    let release = (): void => undefined;
    store.before = () =>
      new Promise<void>((resolve) => {
        release = resolve;
      });
    const reading = expect(handle.read(0, 10)).rejects.toMatchObject({ name: "FsError" });
    await new Promise((resolve) => setImmediate(resolve));
    const closing = handle.close();
    release();
    await closing;
    await reading;
    await expect(handle.read(0, 1)).rejects.toMatchObject({ name: "FsError" });
    await handle.close();
  });

  it("refuses to write, tells its source, and stats itself", async () => {
    const { vfs, put, store } = makeFixture();
    const etag = await put("alice/file", "content", { mtime: "1500000000" });
    const handle = await vfs.open("/attachments/file", { read: true });
    await expect(handle.write(0, [Buffer.from("x")])).rejects.toMatchObject({ code: "permission-denied" });
    expect(publishedSourceOf(handle)).toMatchObject({ key: "alice/file", etag, size: 7 });
    store.take();
    expect(await handle.stat()).toMatchObject({ size: 7, mtime: 1_500_000_000 });
    expect(store.take()).toEqual({});
    await handle.abort(new Error("cut"));
  });
});

describe("opening for reading", () => {
  it("refuses directories and missing files", async () => {
    const { vfs, put } = makeFixture();
    await put("alice/d/x", "x");
    await expect(vfs.open("/attachments/d", { read: true })).rejects.toMatchObject({ code: "is-a-directory" });
    await expect(vfs.open("/", { read: true })).rejects.toMatchObject({ code: "is-a-directory" });
    await expect(vfs.open("/attachments/none", { read: true })).rejects.toMatchObject({ code: "not-found" });
    await expect(vfs.open("/attachments/d/x/", { read: true })).rejects.toMatchObject({ code: "not-a-directory" });
  });
});

import { describe, expect, it } from "vitest";
import { StoreError } from "../../../src/errors.ts";
import { makeFixture } from "./fixture.ts";

async function fill(put: (key: string) => Promise<unknown>, prefix: string, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await put(`${prefix}${String(i).padStart(6, "0")}`);
}

describe("opendir", () => {
  it("shows files and directories, the ones that are always there, and no markers", async () => {
    const { put, names } = makeFixture();
    for (const key of ["alice/", "alice/b", "alice/a/", "alice/a/x", "alice/z/deep/file", "bob/secret", "alice2/x"]) await put(key);
    expect(await names("/attachments")).toEqual(["a/", "b", "originals/", "thumbnails/", "z/"]);
    expect(await names("/attachments/a")).toEqual(["x"]);
    expect(await names("/")).toEqual(["attachments/"]);
    expect(await names("/attachments/originals")).toEqual([]);
  });

  it("hides keys that no path can name and reports each once", async () => {
    const { put, names, warnings } = makeFixture();
    for (const key of ["alice/d//x", "alice/d/./x", "alice/d/../x", "alice/d/ok", "alice/d/\0"]) await put(key, "x");
    expect(await names("/attachments/d")).toEqual(["ok"]);
    await names("/attachments/d");
    expect(warnings).toHaveLength(4);
  });

  it("costs ceil(n / 1,000) LIST once the times are known, and no stat after it costs anything", async () => {
    const { put, names, store, vfs } = makeFixture();
    await fill((key) => put(key, "x"), "alice/d/", 1_500);
    await names("/attachments/d");
    expect(store.take()).toEqual({ list: 2, head: 1_500 });
    expect(await names("/attachments/d")).toHaveLength(1_500);
    expect(store.take()).toEqual({ list: 2 });
    await vfs.stat("/attachments/d/000007");
    await vfs.stat("/attachments/d");
    await expect(vfs.stat("/attachments/d/other")).rejects.toMatchObject({ code: "not-found" });
    expect(store.take()).toEqual({});
  });

  it("holds the names of some open directories only, and shows all names of each", async () => {
    const { put, vfs, names, store } = makeFixture();
    await fill((key) => put(key, "x"), "alice/d/", 999);
    const expected = await names("/attachments/d");
    const handles: Awaited<ReturnType<typeof vfs.opendir>>[] = [];
    store.take();
    for (let opened = 0; opened < 30; opened++) handles.push(await vfs.opendir("/attachments/d"));
    expect(store.take()).toEqual({ list: 30 });
    const read = async (handle: (typeof handles)[number]): Promise<string[]> => {
      const found: string[] = [];
      for (let batch = await handle.next(); batch.length > 0; batch = await handle.next()) found.push(...batch.map(({ name }) => name));
      await handle.close();
      return found.toSorted();
    };
    // Seventeen of them have the page they began with; the others ask again, for 128 names at a time.
    for (const handle of handles.slice(0, 17)) expect(await read(handle)).toEqual(expected);
    expect(store.take()).toEqual({});
    for (const handle of handles.slice(17)) expect(await read(handle)).toEqual(expected);
    expect(store.take()).toEqual({ list: 13 * 8 });
    await read(await vfs.opendir("/attachments/d"));
    expect(store.take()).toEqual({ list: 1 });
  });

  it("agrees with stat about times and modes", async () => {
    const { put, vfs, volume } = makeFixture();
    await put("alice/d/timed", "x", { mtime: "1500000000", mode: "33216" });
    await put("alice/d/plain", "x");
    const handle = await vfs.opendir("/attachments/d");
    const entries = await handle.next();
    await handle.close();
    volume.tree.clear();
    for (const { name, attributes } of entries) expect(await vfs.stat(`/attachments/d/${name}`)).toEqual(attributes);
    expect(entries.map(({ attributes }) => attributes.mtime)).toEqual([1_700_000_000, 1_500_000_000]);
  });

  it("shows a long directory nobody has seen at once, and fills the cache behind", async () => {
    const { put, names, store, clock } = makeFixture();
    await fill((key) => put(key, "x"), "alice/d/", 2_050);
    await names("/attachments/d");
    expect(store.take()).toEqual({ list: 3 });
    clock.advance(1_000);
    for (let i = 0; i < 210; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      clock.advance(100);
    }
    expect(store.take()).toEqual({ head: 2_050 });
    await names("/attachments/d");
    expect(store.take()).toEqual({ list: 3 });
  });

  it("asks for the few unknown entries of a long directory", async () => {
    const { put, names, store, volume, vfs } = makeFixture();
    await fill((key) => put(key, "x"), "alice/d/", 2_050);
    for (let i = 0; i < 2_050; i++) if (i % 100 > 0) await vfs.stat(`/attachments/d/${String(i).padStart(6, "0")}`);
    volume.tree.clear();
    store.take();
    await names("/attachments/d");
    expect(store.take()).toEqual({ list: 3, head: 21 });
  });

  it("never asks for times when told so, and always when told so", async () => {
    const never = makeFixture({ volume: { listingTimes: "listing" } });
    await never.put("alice/d/x", "x", { mtime: "1500000000" });
    await never.names("/attachments/d");
    expect(await never.vfs.stat("/attachments/d/x")).toMatchObject({ mtime: 1_700_000_000 });
    expect(never.store.take()).toEqual({ list: 1 });
    const always = makeFixture({ volume: { listingTimes: "exact" } });
    await fill((key) => always.put(key, "x"), "alice/d/", 2_010);
    await always.names("/attachments/d");
    expect(always.store.take()).toEqual({ list: 3, head: 2_010 });
  });

  it("holds at most one page ahead of its reader and stops when closed", async () => {
    const { put, store, vfs } = makeFixture({ volume: { listingTimes: "listing" } });
    await fill((key) => put(key, "x"), "alice/d/", 5_000);
    const handle = await vfs.opendir("/attachments/d");
    expect(store.take()).toEqual({ list: 1 });
    await handle.next();
    await new Promise((resolve) => setImmediate(resolve));
    expect(store.take()).toEqual({ list: 1 });
    await handle.close();
    await expect(handle.next()).rejects.toMatchObject({ code: "invalid-argument" });
    expect(store.take()).toEqual({});
  });

  it("gives the first names before the times of all are known", async () => {
    const { put, store, vfs } = makeFixture();
    await fill((key) => put(key, "x"), "alice/d/", 1_000);
    let heads = 0;
    store.before = (kind) => {
      if (kind === "head") heads++;
    };
    const handle = await vfs.opendir("/attachments/d");
    expect((await handle.next()).length).toBeGreaterThan(0);
    expect(heads).toBeLessThan(300);
    await handle.close();
    expect(store.mostActive).toBeLessThanOrEqual(33);
  });

  it("merges unpublished uploads of the owner in order", async () => {
    const { put, vfs, names, uploads } = makeFixture();
    for (const name of ["b", "d", "f"]) await put(`alice/x/${name}`, "published");
    uploads.add("alice/x/a", "dropped", 1);
    uploads.add("alice/x/d", "dropped", 1);
    uploads.add("alice/x/e", "parked", 1);
    uploads.add("alice/x/f", "live-here", 1);
    uploads.add("alice/x/g/h", "dropped", 1);
    expect(await names("/attachments/x")).toEqual(["a", "b", "d", "e", "f", "g/"]);
    const handle = await vfs.opendir("/attachments/x");
    const entries = [...(await handle.next()), ...(await handle.next())];
    const sizes = entries.map(({ attributes }) => attributes.size);
    expect(sizes).toEqual([1, 9, 9, 1, 1, 0]);
  });

  it("lists names in the store's order: UTF-8 bytes, directories as if with a slash", async () => {
    const { put, names } = makeFixture();
    for (const name of ["\u{1f600}", "\uffee", "é", "a-b", "a/x", "a.b", "Z", "a b"]) await put(`alice/x/${name}`, "x");
    expect(await names("/attachments/x")).toEqual(["Z", "a b", "a-b", "a.b", "a/", "é", "\uffee", "\u{1f600}"]);
  });

  it("refuses what is no directory", async () => {
    const { put, vfs } = makeFixture();
    await put("alice/file", "x");
    await expect(vfs.opendir("/attachments/file")).rejects.toMatchObject({ code: "not-a-directory" });
    await expect(vfs.opendir("/attachments/missing")).rejects.toMatchObject({ code: "not-found" });
    await expect(vfs.opendir("/missing")).rejects.toMatchObject({ code: "not-found" });
  });

  it("passes on a failure of a later page and none of a HEAD", async () => {
    const { put, store, vfs } = makeFixture();
    await fill((key) => put(key, "x"), "alice/d/", 1_001);
    let lists = 0;
    store.before = (kind) => {
      if (kind === "head" || (kind === "list" && ++lists === 2)) throw new StoreError("slow-down", "SlowDown");
    };
    const handle = await vfs.opendir("/attachments/d");
    const readAll = async (): Promise<number> => {
      let count = 0;
      for (let batch = await handle.next(); batch.length > 0; batch = await handle.next()) count += batch.length;
      return count;
    };
    await expect(readAll()).rejects.toMatchObject({ name: "FsError", code: "unavailable" });
    await handle.close();
  });

  it("does not let a listing that was under way hide what was written meanwhile", async () => {
    const { put, store, vfs, write, names } = makeFixture();
    await put("alice/d/a", "x");
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    store.before = (kind) => (kind === "list" ? held : undefined);
    const listing = names("/attachments/d");
    store.before = () => undefined;
    await write("/attachments/d/a", "longer");
    await write("/attachments/d/b", "new");
    release();
    await listing;
    expect(await vfs.stat("/attachments/d/a")).toMatchObject({ size: 6 });
    expect(await vfs.stat("/attachments/d/b")).toMatchObject({ size: 3 });
  });
});

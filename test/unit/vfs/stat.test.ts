import { describe, expect, it } from "vitest";
import { Vfs } from "../../../src/vfs/vfs.ts";
import { makeFixture } from "./fixture.ts";

const absent = { code: "not-found" };

describe("stat", () => {
  it("finds a file, a marked and an implied directory in one round trip", async () => {
    const { vfs, store, put } = makeFixture();
    await put("alice/file", "12345", { mtime: "1600000000" });
    await put("alice/marked/");
    await put("alice/implied/deep/file");
    expect(await vfs.stat("/attachments/file")).toMatchObject({ type: "file", size: 5, mtime: 1_600_000_000, mode: 0o644 });
    expect(store.take()).toEqual({ head: 1, list: 1 });
    expect(store.mostActive).toBe(2);
    expect(await vfs.stat("/attachments/marked")).toMatchObject({ type: "directory", mode: 0o755 });
    expect(store.take()).toEqual({ head: 1, list: 1 });
    expect(await vfs.stat("/attachments/implied/deep")).toMatchObject({ type: "directory" });
    expect(store.take()).toEqual({ head: 1, list: 1 });
  });

  it("asks nothing twice within a moment, and again later", async () => {
    const { vfs, store, put, clock } = makeFixture();
    await put("alice/file", "12345");
    await vfs.stat("/attachments/file");
    store.take();
    await vfs.stat("/home/alice/attachments/file");
    expect(store.take()).toEqual({});
    clock.advance(5_000);
    await vfs.stat("/attachments/file");
    expect(store.take()).toEqual({ head: 1, list: 1 });
  });

  it("knows the home, the root and the directories that are always shown without asking", async () => {
    const { vfs, store } = makeFixture();
    for (const path of ["/", "", "/attachments", "/attachments/originals", "attachments/thumbnails/"]) {
      expect(await vfs.stat(path)).toMatchObject({ type: "directory" });
    }
    expect(store.take()).toEqual({});
    await expect(vfs.stat("/elsewhere")).rejects.toMatchObject(absent);
  });

  it("does not confuse a prefix of a name with the name", async () => {
    const { vfs, put } = makeFixture();
    await put("alice/dir2/file");
    await put("alice2/dir/file");
    await expect(vfs.stat("/attachments/dir")).rejects.toMatchObject(absent);
  });

  it("lets the directory win over a file of the same name and says so once", async () => {
    const { vfs, put, names, warnings } = makeFixture();
    await put("alice/x", "file");
    await put("alice/x/y", "file");
    expect(await vfs.stat("/attachments/x")).toMatchObject({ type: "directory" });
    expect(await names("/attachments")).toEqual(["originals/", "thumbnails/", "x/"]);
    expect(warnings).toHaveLength(1);
  });

  it("understands markers of other tools", async () => {
    const { vfs, store, names, volume } = makeFixture();
    await store.put("alice/old", [], { contentType: "application/x-directory" });
    await store.put("alice/hadoop_$folder$", []);
    expect(await vfs.stat("/attachments/old")).toMatchObject({ type: "directory" });
    await expect(vfs.stat("/attachments/hadoop_$folder$")).rejects.toMatchObject(absent);
    expect(await names("/attachments")).toEqual(["old/", "originals/", "thumbnails/"]);
    volume.tree.clear();
    expect(await vfs.stat("/attachments/old")).toMatchObject({ type: "directory" });
    await vfs.rmdir("/attachments/old");
    await expect(vfs.stat("/attachments/old")).rejects.toMatchObject(absent);
  });

  it("costs nothing for names that do not exist once a client has asked for two of them", async () => {
    const { vfs, store, put, write } = makeFixture();
    await put("alice/dir/known", "x");
    for (const name of ["a", "b"]) await expect(vfs.stat(`/attachments/dir/${name}`)).rejects.toMatchObject(absent);
    expect(store.take()).toEqual({ head: 1, list: 2 });
    for (let i = 0; i < 10; i++) {
      await expect(vfs.stat(`/attachments/dir/new${i}`)).rejects.toMatchObject(absent);
      await write(`/attachments/dir/new${i}`, "content");
      expect(await vfs.stat(`/attachments/dir/new${i}`)).toMatchObject({ size: 7 });
    }
    expect(store.take()).toEqual({ put: 10 });
  });

  it("believes for a second only, and only the session that asked, that a name is missing", async () => {
    const { vfs, store, put, clock, volume } = makeFixture();
    await put("alice/dir/known", "x");
    for (const name of ["a", "b", "c"]) await expect(vfs.stat(`/attachments/dir/${name}`)).rejects.toMatchObject(absent);
    await put("alice/dir/c", "by somebody else");
    await expect(vfs.stat("/attachments/dir/c")).rejects.toMatchObject(absent);
    const other = new Vfs({ user: "alice", session: "s2", mounts: [{ kind: "volume", name: "attachments", volume }] });
    expect(await other.stat("/attachments/dir/c")).toMatchObject({ size: 16 });
    await put("alice/dir/d", "by somebody else");
    clock.advance(1_100);
    store.take();
    expect(await vfs.stat("/attachments/dir/d")).toMatchObject({ size: 16 });
  });

  it("never denies opening or removing what somebody else has just made", async () => {
    const { vfs, put, read } = makeFixture();
    for (const name of ["a", "b", "c"]) await expect(vfs.stat(`/attachments/${name}`)).rejects.toMatchObject(absent);
    await put("alice/c", "by somebody else");
    expect(await read("/attachments/c")).toBe("by somebody else");
    await put("alice/d", "by somebody else");
    await vfs.remove("/attachments/d");
    await put("alice/e", "by somebody else");
    await vfs.open("/attachments/e", { write: true });
  });

  it("does not list a large directory again and again for names that do not exist", async () => {
    const { vfs, store, put } = makeFixture();
    for (let i = 0; i < 1_001; i++) await put(`alice/large/file${String(i).padStart(4, "0")}`);
    for (const name of ["a", "b", "c", "d"]) await expect(vfs.stat(`/attachments/large/${name}`)).rejects.toMatchObject(absent);
    expect(store.take()).toEqual({ head: 4, list: 5 });
  });

  it("shows the owner an unpublished upload where nothing is published, and an own open one always", async () => {
    const { vfs, put, uploads } = makeFixture();
    await put("alice/old", "published");
    uploads.add("alice/old", "dropped", 3);
    uploads.add("alice/new", "dropped", 4);
    expect(await vfs.stat("/attachments/old")).toMatchObject({ size: 9 });
    expect(await vfs.stat("/attachments/new")).toMatchObject({ size: 4 });
    uploads.add("alice/old", "live-here", 5);
    expect(await vfs.stat("/attachments/old")).toMatchObject({ size: 5 });
  });

  it.each([
    ["mtime", "1500000000.25", 1_500_000_000],
    ["file-mtime", "1500000000000000000ns", 1_500_000_000],
    ["file-mtime", "1500000000123", 1_500_000_000],
    ["goog-reserved-file-mtime", "1500000000", 1_500_000_000],
    ["mtime", "nonsense", 1_700_000_000],
  ])("reads the time in %s: %s", async (name, value, mtime) => {
    const { vfs, put } = makeFixture();
    await put("alice/file", "x", { [name]: value });
    expect((await vfs.stat("/attachments/file")).mtime).toBe(mtime);
  });

  it.each([
    ["33152", 0o600],
    ["100600", 0o600],
    ["0100755", 0o755],
    ["x", 0o644],
  ])("reads mode %s", async (value, mode) => {
    const { vfs, put } = makeFixture();
    await put("alice/file", "x", { mode: value });
    expect((await vfs.stat("/attachments/file")).mode).toBe(mode);
  });

  it("names the path and no key when the store fails", async () => {
    const { vfs, store } = makeFixture();
    store.before = () => {
      throw Object.assign(new Error("bucket secret"), { name: "StoreError" });
    };
    const error: unknown = await vfs.stat("/attachments/file").catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: "FsError", message: expect.stringContaining("/attachments/file") });
    expect(String(error)).not.toContain("secret");
  });

  it("says that a file is not a directory", async () => {
    const { vfs, put } = makeFixture();
    await put("alice/file", "x");
    await expect(vfs.stat("/attachments/file/")).rejects.toMatchObject({ code: "not-a-directory" });
  });
});

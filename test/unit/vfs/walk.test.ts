import fc from "../../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { compareKeys } from "../../../src/objectstore/key-order.ts";
import type { WalkEntry } from "../../../src/vfs/file-system.ts";
import type { ReadOnlyMount } from "../../../src/vfs/mount-table.ts";
import type { Vfs } from "../../../src/vfs/vfs.ts";
import { makeFixture } from "./fixture.ts";

async function walkAll(vfs: Vfs, path: string): Promise<WalkEntry[]> {
  const entries: WalkEntry[] = [];
  for await (const batch of vfs.walk(path)) entries.push(...batch);
  return entries;
}

const shown = (entries: readonly WalkEntry[]): string[] =>
  entries.map(({ path, attributes }) => (attributes.type === "directory" ? `${path}/` : path));

describe("walk", () => {
  it("shows everything below, parents first, markers as directories", async () => {
    const { vfs, put } = makeFixture();
    for (const key of ["alice/d/", "alice/d/a/b/c", "alice/d/a/b/d", "alice/d/a/e", "alice/d/empty/", "alice/d/z", "alice/e"])
      await put(key);
    expect(shown(await walkAll(vfs, "/attachments/d"))).toEqual(["a/", "a/b/", "a/b/c", "a/b/d", "a/e", "empty/", "z"]);
    expect(shown(await walkAll(vfs, "/attachments"))).toContain("originals/");
    expect(shown(await walkAll(vfs, "/"))).toEqual(
      expect.arrayContaining(["attachments/", "attachments/d/", "attachments/d/a/b/c", "attachments/thumbnails/"]),
    );
  });

  it("costs ceil(n / 1,000) LIST and nothing else once the times are known", async () => {
    const { vfs, put, store } = makeFixture();
    for (let i = 0; i < 2_500; i++) await put(`alice/t/${i % 7}/${i}`, "x", { mtime: String(1_500_000_000 + i) });
    expect((await walkAll(vfs, "/attachments/t")).filter(({ etag }) => etag)).toHaveLength(2_500);
    expect(store.take()).toEqual({ list: 3, head: 2_500 });
    const entries = await walkAll(vfs, "/attachments/t");
    expect(store.take()).toEqual({ list: 3 });
    for (const { path, attributes } of entries) {
      if (attributes.type === "file") expect(attributes.mtime).toBe(1_500_000_000 + Number(path.slice(2)));
    }
    const file = await vfs.open(`/attachments/t/0/0`, { read: true });
    expect(store.take()).toEqual({});
    await file.close();
  });

  it("knows the times of what was uploaded through the gateway, directories too", async () => {
    const { vfs, write, store } = makeFixture();
    await vfs.mkdir("/attachments/d", { mtime: 1_400_000_000 });
    await write("/attachments/d/f", "x", 1_500_000_000);
    store.take();
    expect((await walkAll(vfs, "/attachments")).map(({ path, attributes }) => [path, attributes.mtime])).toEqual([
      ["d", 1_400_000_000],
      ["d/f", 1_500_000_000],
      ["originals", 0],
      ["thumbnails", 0],
    ]);
    expect(store.take()).toEqual({ list: 1 });
  });

  it("merges unpublished uploads and hides what cannot be named", async () => {
    const { vfs, put, uploads } = makeFixture();
    for (const key of ["alice/d/a", "alice/d//x", "alice/d/c/../y", "alice/d/x", "alice/d/x/y"]) await put(key, "content");
    uploads.add("alice/d/b/partial", "dropped", 3);
    uploads.add("alice/d/a", "dropped", 3);
    const entries = await walkAll(vfs, "/attachments/d");
    expect(shown(entries)).toEqual(["a", "b/", "b/partial", "x/", "x/y"]);
    expect(entries[0]?.attributes.size).toBe(7);
  });

  it("refuses files and missing directories", async () => {
    const { vfs, put } = makeFixture();
    await put("alice/f", "x");
    await expect(walkAll(vfs, "/attachments/f")).rejects.toMatchObject({ code: "not-a-directory" });
    await expect(walkAll(vfs, "/attachments/none")).rejects.toMatchObject({ code: "not-found" });
  });

  it("shows what listing directory by directory shows, in the same order", async () => {
    const name = fc.constantFrom("a", "b", "a-", "a.", "a0", "é", "\u{1f600}", "zz");
    const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join("/"));
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(path, { maxLength: 15 }), async (paths) => {
        const files = paths.filter((one) => !paths.some((other) => other.startsWith(`${one}/`)));
        const { vfs, put, names } = makeFixture();
        for (const file of files) await put(`alice/d/${file}`, "x");
        await put("alice/d/");
        const listed: string[] = [];
        const descend = async (below: string): Promise<void> => {
          for (const entry of await names(`/attachments/d/${below}`)) {
            listed.push(below + entry);
            if (entry.endsWith("/")) await descend(below + entry);
          }
        };
        await descend("");
        expect(shown(await walkAll(vfs, "/attachments/d"))).toEqual(listed);
        expect([...listed].sort(compareKeys)).toEqual(listed);
      }),
      { numRuns: 50 },
    );
  });
});

describe("read-only mounts", () => {
  const file = { type: "file", size: 3, mode: 0o444, uid: 0, gid: 0, mtime: 5, atime: 5 } as const;
  const directory = { ...file, type: "directory", size: 0, mode: 0o555 } as const;
  const backups: ReadOnlyMount = {
    kind: "read-only",
    name: "backups",
    stat: async (names) => (names.length === 0 ? directory : names[0] === "old.tar.xz" ? file : undefined),
    list: async () => [{ name: "old.tar.xz", attributes: file }],
    open: async () => {
      throw new Error("not in this test");
    },
  };
  const hidden: ReadOnlyMount = { ...backups, name: "alice-assets.tar.xz", stat: async () => undefined };

  it("are shown in the home, stat, list and walk, and take nothing", async () => {
    const { volume } = makeFixture();
    const { vfs, names } = makeFixture({ vfs: { mounts: [{ kind: "volume", name: "attachments", volume }, hidden, backups] } });
    expect(await names("/")).toEqual(["attachments/", "backups/"]);
    expect(await names("/backups")).toEqual(["old.tar.xz"]);
    expect(await vfs.stat("/backups/old.tar.xz")).toEqual(file);
    expect(shown(await walkAll(vfs, "/backups"))).toEqual(["old.tar.xz"]);
    await expect(vfs.stat("/alice-assets.tar.xz")).rejects.toMatchObject({ code: "not-found" });
    for (const attempt of [
      vfs.remove("/backups/old.tar.xz"),
      vfs.open("/backups/new", { write: true, create: true }),
      vfs.mkdir("/backups/d"),
      vfs.rename("/backups/old.tar.xz", "/attachments/x", { replace: true }),
    ]) {
      await expect(attempt).rejects.toMatchObject({ code: "permission-denied" });
    }
  });
});

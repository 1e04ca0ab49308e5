import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { ProcessPlace } from "../../../src/state/change-log.ts";
import { InMemoryMetadataCache, type MetadataCache, openMetadataCache } from "../../../src/state/metadata-cache.ts";

const directories: string[] = [];
const caches: MetadataCache[] = [];
const errors: unknown[] = [];

function freshDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "metadata-cache-"));
  directories.push(directory);
  return directory;
}

function openIn(directory: string, options: { place?: ProcessPlace; maxEntries?: number } = {}): MetadataCache {
  const cache = openMetadataCache({ directory, onError: (error) => errors.push(error), ...options });
  caches.push(cache);
  return cache;
}

/** Resolves once what was set before is on disk: announcements are written after it. */
async function settled(): Promise<void> {
  const probe = openIn(freshDirectory(), { place: { number: 0, all: [0] } });
  probe.set("v", "k", "e", { mtime: 1, mode: undefined });
  await probe.close();
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
}

afterEach(async () => {
  for (const cache of caches.splice(0)) await cache.close();
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
  expect(errors.splice(0)).toEqual([]);
});

describe.each([
  ["in memory", () => new InMemoryMetadataCache() as MetadataCache],
  ["on lmdb", () => openIn(freshDirectory())],
])("metadata cache %s", (_name, make) => {
  it("gives back what was set for that version only", async () => {
    const cache = make();
    cache.set("v", "a/b", "etag-1", { mtime: 1_500_000_000, mode: 0o600 });
    expect(cache.get("v", "a/b", "etag-1")).toEqual({ mtime: 1_500_000_000, mode: 0o600 });
    expect(cache.get("v", "a/b", undefined)).toEqual({ mtime: 1_500_000_000, mode: 0o600 });
    expect(cache.get("v", "a/b", "etag-2")).toBeUndefined();
    expect(cache.get("w", "a/b", "etag-1")).toBeUndefined();
    expect(cache.get("v", "a", "etag-1")).toBeUndefined();
  });

  it("keeps knowledge that nothing is set, and stand-ins for directories", async () => {
    const cache = make();
    cache.set("v", "none", "e", { mtime: undefined, mode: undefined });
    cache.set("v", "dir", "e", { mtime: undefined, mode: undefined, isDirectory: true });
    cache.set("v", "zero", "e", { mtime: 0, mode: 0 });
    expect(cache.get("v", "none", "e")).toEqual({ mtime: undefined, mode: undefined });
    expect(cache.get("v", "dir", "e")?.isDirectory).toBe(true);
    expect(cache.get("v", "zero", "e")).toEqual({ mtime: 0, mode: 0 });
  });

  it("takes the longest keys and any character", async () => {
    const cache = make();
    const keys = ["k".repeat(1024), "\u{1f600}".repeat(256), "a\nb\0c", "é"];
    for (const key of keys) cache.set("v", key, "e", { mtime: 7, mode: undefined });
    await settled();
    for (const key of keys) expect(cache.get("v", key, "e")?.mtime).toBe(7);
    cache.delete("v", "é");
    expect(cache.get("v", "é", "e")).toBeUndefined();
    await settled();
    expect(cache.get("v", "é", "e")).toBeUndefined();
  });
});

describe("metadata cache on disk", () => {
  it("survives being closed and opened, and answers nothing when closed", async () => {
    const directory = freshDirectory();
    const first = openIn(directory);
    first.set("v", "k", "e", { mtime: 5, mode: 0o600 });
    await first.close();
    expect(first.get("v", "k", "e")).toBeUndefined();
    first.set("v", "k", "e", { mtime: 6, mode: 0o600 });
    expect(openIn(directory).get("v", "k", "e")).toEqual({ mtime: 5, mode: 0o600 });
  });

  it("stays within its bound", async () => {
    const directory = freshDirectory();
    const cache = openIn(directory, { maxEntries: 9_000 });
    // Sees only what is written: what was set last is not among what goes when its write is counted.
    const reader = openIn(directory);
    for (let i = 0; i < 20_000; i++) {
      cache.set("v", `key-${i}`, "e", { mtime: i, mode: undefined });
      if (i % 5_000 === 4_999) await expect.poll(() => reader.get("v", `key-${i}`, "e"), { timeout: 10_000 }).toBeDefined();
    }
    await settled();
    let kept = 0;
    for (let i = 0; i < 20_000; i++) if (cache.get("v", `key-${i}`, "e")) kept++;
    // Counted every 10,000 writes, of which some were not written yet.
    expect(kept).toBeLessThan(15_000);
    expect(kept).toBeGreaterThan(5_000);
  });

  it("begins anew for who is too far behind, and for what is too much to say", async () => {
    const directory = freshDirectory();
    const [one, two] = [0, 1].map((number) => openIn(directory, { place: { number, all: [0, 1] } }));
    if (!one || !two) throw new Error("two caches were opened");
    const [slow, quick] = [two.follow("v"), two.follow("v")];
    for (let i = 0; i < 700; i++) {
      one.announceChange("v", [{ key: `${i}`.padStart(4_000, "k") }]);
      if (i % 100 === 0) quick.take();
    }
    expect(slow.take()).toBe("unknown");
    expect(slow.take()).toEqual([]);
    expect(quick.take()).toHaveLength(99);
    one.announceChange(
      "v",
      Array.from({ length: 10_000 }, (_, i) => ({ key: `many/${i}` })),
    );
    expect(quick.take()).toBe("unknown");
    for (const key of ["x", "y"]) one.announceChange("v", [{ key }]);
    expect(quick.take()).toEqual([{ key: "x" }, { key: "y" }]);
  });

  it("is shared with another process, which hears of changes", async () => {
    const directory = freshDirectory();
    const mine = openIn(directory, { place: { number: 0, all: [0, 1] } });
    const [followed, unrelated] = [mine.follow("v"), mine.follow("unrelated")];
    mine.announceChange("v", [{ key: "mine" }]);
    expect(followed.take()).toEqual([]);
    const script = join(directory, "other.mts");
    const module = new URL("../../../src/state/metadata-cache.ts", import.meta.url).href;
    writeFileSync(
      script,
      `import { openMetadataCache } from ${JSON.stringify(module)};
       const cache = openMetadataCache({ directory: ${JSON.stringify(directory)}, place: { number: 1, all: [0, 1] }, onError: (e) => { throw e; } });
       cache.set("v", "theirs", "e", { mtime: 9, mode: undefined });
       const object = { key: "theirs", size: 1, etag: "e", lastModifiedMs: 5 };
       cache.announceChange("v", [{ key: "theirs", object }, { key: "gone" }]);
       cache.announceChange("other", [{ key: "other" }]);
       process.send({ seen: cache.follow("v").take() });
       await cache.close();
       process.disconnect();`,
    );
    const child = fork(script, { execArgv: ["--import", "tsx"] });
    const [message] = await once(child, "message");
    expect(message).toEqual({ seen: [] });
    await once(child, "exit");
    const object = { key: "theirs", size: 1, etag: "e", lastModifiedMs: 5 };
    expect(followed.take()).toEqual([{ key: "theirs", object }, { key: "gone" }]);
    expect(followed.take()).toEqual([]);
    expect(unrelated.take()).toEqual([]);
    expect(mine.get("v", "theirs", "e")?.mtime).toBe(9);
  });
});

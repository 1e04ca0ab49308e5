import { describe, expect, it } from "vitest";
import { type SeenObject, TreeCache } from "../../../src/vfs/tree-cache.ts";

function object(key: string, etag = "e"): SeenObject {
  return { kind: "object", key, size: 1, etag, lastModifiedMs: 0 };
}

function make(maxEntries?: number) {
  let nowMs = 0;
  const cache = new TreeCache({ now: () => nowMs, ...(maxEntries === undefined ? {} : { maxEntries }) });
  const advance = (ms: number): void => {
    nowMs += ms;
  };
  return { cache, advance };
}

describe("TreeCache", () => {
  it("trusts what it saw for as long as it is told", () => {
    const { cache, advance } = make();
    cache.learnFile("d/f", object("d/f"), cache.tick());
    advance(1_000);
    expect(cache.lookup("d/f", 1_000)).toMatchObject({ kind: "file" });
    expect(cache.lookup("d/f", 999)).toBeUndefined();
  });

  it("never lets an older answer replace a newer one", () => {
    const { cache } = make();
    const listing = cache.tick();
    cache.learnFile("d/f", object("d/f", "new"), cache.tick());
    cache.learnFile("d/f", object("d/f", "old"), listing);
    cache.learnNoFile("d/f", listing);
    expect(cache.lookup("d/f", 0)).toMatchObject({ kind: "file", object: { etag: "new" } });
  });

  it("follows absence from a directory that was seen whole, lately, and by who asks", () => {
    const { cache, advance } = make();
    const tick = cache.tick();
    cache.learnDirectory("d/", false, tick);
    cache.learnWhole("d/", tick);
    expect(cache.lookup("d/b", 4_000)).toBeUndefined();
    expect(cache.lookup("d/b", 4_000, tick)).toBeUndefined();
    expect(cache.lookup("d/b", 4_000, tick - 1)).toEqual({ kind: "absent" });
    advance(1_001);
    expect(cache.lookup("d/b", 4_000, tick - 1)).toBeUndefined();
  });

  it("follows no absence from a directory that lost names to the bound", () => {
    const { cache } = make(4);
    const tick = cache.tick();
    cache.learnDirectory("d/", false, tick);
    cache.learnFile("d/a", object("d/a"), tick);
    cache.learnWhole("d/", tick);
    expect(cache.lookup("d/b", 0, 0)).toEqual({ kind: "absent" });
    for (const name of ["v", "w", "x", "y", "z"]) cache.learnFile(`e/${name}`, object(`e/${name}`), cache.tick());
    expect(cache.lookup("d/a", 0, 0)).toBeUndefined();
    expect(cache.lookup("d/b", 0, 0)).toBeUndefined();
    expect(cache.size).toBeLessThanOrEqual(4);
  });

  it("remembers a miss for creating, not for stat", () => {
    const { cache, advance } = make();
    cache.learnNoFile("d/f", cache.tick());
    expect(cache.lookup("d/f", 1_000, 0)).toBeUndefined();
    expect(cache.wasMissing("d/f", 0)).toBe(true);
    expect(cache.wasMissing("d/f", 1)).toBe(false);
    advance(1_001);
    expect(cache.wasMissing("d/f", 0)).toBe(false);
  });

  it("keeps what a HEAD said when a listing shows the same version", () => {
    const { cache } = make();
    const whole = { key: "f", size: 1, etag: "e", lastModifiedMs: 0, metadata: { mtime: "5" } };
    cache.learnFile("f", whole, cache.tick());
    cache.learnFile("f", object("f"), cache.tick());
    expect(cache.lookup("f", 0)).toEqual({ kind: "file", object: whole });
    cache.learnFile("f", object("f", "other"), cache.tick());
    expect(cache.lookup("f", 0)).toEqual({ kind: "file", object: object("f", "other") });
  });

  it("knows whether a directory holds something else", () => {
    const { cache } = make();
    cache.learnDirectory("d/", false, cache.tick());
    cache.learnFile("d/a", object("d/a"), cache.tick());
    expect(cache.hasOtherChild("d/", "d/a")).toBe(false);
    cache.learnDirectory("d/sub/", false, cache.tick());
    expect(cache.hasOtherChild("d/", "d/a")).toBe(true);
    cache.learnNoDirectory("d/sub/", cache.tick());
    expect(cache.hasOtherChild("d/", "d/a")).toBe(false);
  });

  it("forgets below a prefix, and everything", () => {
    const { cache } = make();
    const tick = cache.tick();
    cache.learnDirectory("d/", false, tick);
    cache.learnDirectory("d/e/", false, tick);
    cache.learnFile("d/e/f", object("d/e/f"), tick);
    cache.learnFile("d/g", object("d/g"), tick);
    cache.learnWhole("d/", tick);
    cache.forgetBelow("d/e/");
    expect(cache.lookup("d/e/f", 0)).toBeUndefined();
    expect(cache.lookup("d/e", 0)).toBeUndefined();
    expect(cache.lookup("d/g", 0)).toMatchObject({ kind: "file" });
    cache.clear();
    expect(cache.lookup("d/g", 0)).toBeUndefined();
  });
});

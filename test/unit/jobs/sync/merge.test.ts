import fc from "../../../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { decide } from "../../../../src/jobs/sync/decision.ts";
import { mergeEntries, type SyncEntry, syncEntries } from "../../../../src/jobs/sync/merge.ts";
import type { ListedObject } from "../../../../src/objectstore/objectstore.ts";
import { createMemoryStore } from "../../../../src/objectstore/memory-store.ts";

const object = (key: string, over: Partial<ListedObject> = {}): ListedObject => ({
  kind: "object",
  key,
  size: 1,
  etag: "e",
  lastModifiedMs: 0,
  ...over,
});

async function* listed(names: readonly string[]): AsyncGenerator<SyncEntry> {
  const sorted = [...new Set(names)].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  for (const name of sorted) yield { name, object: object(name) };
}

describe("mergeEntries", () => {
  it("pairs any two sets of names as a set model does", async () => {
    const names = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "/", "é", "～", "🦋", "\uffff"), maxLength: 4 }));
    await fc.assert(
      fc.asyncProperty(names, names, async (left, right) => {
        const seen = new Map<string, string>();
        let last: string | undefined;
        for await (const pair of mergeEntries(listed(left), listed(right))) {
          if (last !== undefined) expect(Buffer.compare(Buffer.from(last), Buffer.from(pair.name))).toBeLessThan(0);
          last = pair.name;
          seen.set(pair.name, `${pair.source ? "s" : ""}${pair.destination ? "d" : ""}`);
        }
        const model = new Map<string, string>();
        for (const name of new Set([...left, ...right])) {
          model.set(name, `${left.includes(name) ? "s" : ""}${right.includes(name) ? "d" : ""}`);
        }
        expect(seen).toEqual(model);
      }),
    );
  });
});

describe("syncEntries", () => {
  it("leaves out markers and what the filter excludes, and names entries below the prefix", async () => {
    const store = createMemoryStore();
    for (const key of ["p/originals/", "p/originals/a.jpg", "p/originals/b.filepart", "p2/c"]) await store.put(key, []);
    const names: string[] = [];
    for await (const entry of syncEntries(store, "p/", { markers: false, excluded: (name) => name.endsWith(".filepart") }))
      names.push(entry.name);
    expect(names).toEqual(["originals/a.jpg"]);
  });
});

describe("decide", () => {
  const md5a = "a".repeat(32);
  const md5b = "b".repeat(32);
  it.each([
    [undefined, {}, "size-or-newer", "extra"],
    [{}, undefined, "size-only", "copy"],
    [{ size: 1 }, { size: 2 }, "size-only", "overwrite"],
    [{ lastModifiedMs: 5 }, { lastModifiedMs: 4 }, "size-only", "same"],
    [{ lastModifiedMs: 5 }, { lastModifiedMs: 4 }, "size-or-newer", "overwrite"],
    [{ lastModifiedMs: 4 }, { lastModifiedMs: 4 }, "size-or-newer", "same"],
    [{ lastModifiedMs: 3 }, { lastModifiedMs: 4 }, "size-or-newer", "same"],
    [{ etag: md5a }, { etag: md5b }, "etag", "overwrite"],
    [{ etag: md5a }, { etag: `${md5b}-2` }, "etag", "same"],
    [{ etag: md5a }, { etag: md5a }, "etag", "same"],
  ] as const)("%j against %j by %s is %s", (source, destination, mode, expected) => {
    const pair = { name: "n", source: source && object("n", source), destination: destination && object("n", destination) };
    expect(decide(pair, mode)).toBe(expected);
  });
});

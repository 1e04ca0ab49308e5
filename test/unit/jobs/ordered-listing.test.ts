/** Stores that do not list in UTF-8 byte order: nothing wrong is copied, deleted or reported. */
import fc from "../../support/fast-check.ts";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { describe, expect, it } from "vitest";
import { checkLayout } from "../../../src/jobs/layout/check-layout.ts";
import { orderedObjects, sortedOnDisk, UnorderedListing } from "../../../src/jobs/ordered-listing.ts";
import { runSync } from "../../../src/jobs/sync/run-sync.ts";
import type { SyncEvent } from "../../../src/jobs/sync/sync-events.ts";
import type { SyncSide } from "../../../src/jobs/sync/sync-places.ts";
import { WorkQueue } from "../../../src/jobs/sync/work-queue.ts";
import { createMemoryStore } from "../../../src/objectstore/memory-store.ts";
import type { ListedObject, ListEntry, ObjectStore } from "../../../src/objectstore/objectstore.ts";
import { BackupFixture } from "./backup-fixture.ts";

const listed = (key: string, size = 1): ListedObject => ({ kind: "object", key, size, etag: key, lastModifiedMs: 0 });

async function keysOf(objects: AsyncIterable<ListedObject>): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of objects) keys.push(key);
  return keys;
}

/** `store` that lists by UTF-16 units backwards, pages of three. */
function jumbled(store: ObjectStore): ObjectStore {
  async function* list(prefix: string): AsyncGenerator<ListEntry[]> {
    const all: ListEntry[] = [];
    for await (const page of store.list(prefix)) all.push(...page);
    const name = (entry: ListEntry): string => (entry.kind === "object" ? entry.key : entry.prefix);
    all.sort((a, b) => (name(a) < name(b) ? 1 : -1));
    for (let at = 0; at < all.length; at += 3) yield all.slice(at, at + 3);
  }
  return new Proxy(store, {
    get: (target, property) => {
      if (property === "list") return list;
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

describe("sortedOnDisk", () => {
  it("sorts any listing, in runs of any length, each key once as listed last", async () => {
    const names = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "/", "é", "～", "🦋", "\uffff", "\n", '"'), maxLength: 4 }));
    await fc.assert(
      fc.asyncProperty(names, fc.integer({ min: 1, max: 5 }), async (keys, runLength) => {
        const store = {
          list: async function* () {
            for (const [at, key] of keys.entries()) yield [listed(key, at)];
          },
        };
        const objects: ListedObject[] = [];
        for await (const page of sortedOnDisk(store, runLength).list("")) for (const entry of page) objects.push(entry as ListedObject);
        const model = [...new Map(keys.map((key, at) => [key, at]))].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
        expect(objects.map(({ key, size }) => [key, size])).toEqual(model);
      }),
      { numRuns: 60 },
    );
  });

  it("leaves no file behind, also when it is given up half-way", async () => {
    const before = readdirSync(tmpdir()).filter((name) => name.startsWith("listing-")).length;
    const store = {
      list: async function* () {
        for (let at = 5_000; at > 0; at--) yield [listed(String(at))];
      },
    };
    for await (const page of sortedOnDisk(store, 700).list("")) {
      expect(page[0]).toMatchObject({ key: "1" });
      break;
    }
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith("listing-"))).toHaveLength(before);
  });
});

describe("on a store that lists out of order", () => {
  it("orderedObjects tells", async () => {
    const store = createMemoryStore();
    for (const key of ["a", "b"]) await store.put(key, []);
    await expect(keysOf(orderedObjects(jumbled(store), ""))).rejects.toThrow(UnorderedListing);
    expect(await keysOf(orderedObjects(store, ""))).toEqual(["a", "b"]);
  });

  it.each([true, false])("sync --delete copies and deletes what a set model does (dry run: %s)", async (dryRun) => {
    const from = createMemoryStore();
    const to = createMemoryStore();
    const names = Array.from({ length: 60 }, (_, at) => `${at % 7}/${["～", "🦋", "a"][at % 3]}${at}`);
    for (const [at, name] of names.entries()) {
      if (at % 4 !== 0) await from.put(name, [Buffer.from("x")]);
      if (at % 3 !== 0) await to.put(name, [Buffer.from(at % 5 === 0 ? "xx" : "x")]);
    }
    const side = (store: ObjectStore): SyncSide => {
      const location = { kind: "s3", bucket: "b", prefix: "" } as const;
      return { place: { location, connection: undefined }, store: jumbled(store), prefix: "", label: (key) => key };
    };
    const events: SyncEvent[] = [];
    const summary = await runSync({
      source: side(from),
      destination: side(to),
      compare: "size-only",
      dryRun,
      delete: true,
      force: true,
      maxDelete: { objects: undefined, share: undefined },
      markers: false,
      excluded: () => false,
      forceGlacier: false,
      ignoreGlacierWarnings: false,
      queue: new WorkQueue(4),
      requests: () => ({}),
      signal: new AbortController().signal,
      onEvent: (event) => events.push(event),
    });
    // What was copied before the disorder showed is on the destination when that is listed again.
    expect(summary).toMatchObject({ exitCode: 0, scanned: 45, failed: 0 });
    if (dryRun) expect(summary.destinationScanned).toBe(40);
    const deletions = names.filter((_, at) => at % 4 === 0 && at % 3 !== 0);
    expect(events.flatMap((event) => (event.kind === "deleted" ? [event.destination] : [])).sort()).toEqual(deletions.sort());
    const copied = events.flatMap((event) => (event.kind === "copied" ? [event.destination] : []));
    expect(new Set(copied).size).toBe(copied.length);
    if (dryRun) return;
    expect(await keysOf(orderedObjects(to, ""))).toEqual(await keysOf(orderedObjects(from, "")));
  });

  it("check finds no orphans that are none", async () => {
    const store = createMemoryStore();
    for (let at = 0; at < 20; at++) {
      await store.put(`p/originals/${at}.jpg`, [Buffer.from("x")]);
      await store.put(`p/thumbnails/${at}_123.jpg`, [Buffer.from("x")]);
    }
    const { report, deletable } = await checkLayout({
      store: jumbled(store),
      prefix: "p/",
      layout: "specify",
      deep: false,
      maxExamples: 3,
    });
    expect([report.exitCode, deletable]).toEqual([0, []]);
  });

  it("a backup and the incremental one after it are whole", async () => {
    const inner = createMemoryStore({ now: () => 1_700_000_000_000 });
    const fixture = new BackupFixture({ storage: jumbled(inner) });
    for (const name of ["originals/a", "originals/～", "originals/🦋", "thumbnails/b"]) await fixture.put(name, name);
    expect(await fixture.run({ settings: { fullEvery: 2 } })).toMatchObject({ exitCode: 0, details: { files: 4 } });
    await inner.delete([`${fixture.prefix}originals/～`]);
    await fixture.put("originals/new", "new");
    fixture.nowMs += 86_400_000;
    expect(await fixture.run({ settings: { fullEvery: 2 } })).toMatchObject({ exitCode: 0, details: { kind: "incremental", files: 1 } });
  });
});

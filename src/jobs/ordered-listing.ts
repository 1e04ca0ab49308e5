/**
 * Listings in UTF-8 byte order, which merges of two of them rely on: a wrong order would copy, delete or report the wrong
 * names. Stores that list in another order (some S3 clones) are sorted on disk, with bounded memory. Knows nothing of what
 * listings are for.
 */
import { createReadStream } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { compareKeys } from "../objectstore/key-order.ts";
import type { ListedObject, ObjectStore } from "../objectstore/objectstore.ts";

/** Objects sorted in memory at a time. */
const RUN_LENGTH = 50_000;
/** Lines written at a time. */
const WRITE_LINES = 1_000;

/** Whatever lists: a store, or one that is sorted. */
export type Lister = Pick<ObjectStore, "list">;

/** The store does not list in UTF-8 byte order: `sortedOnDisk` does. */
export class UnorderedListing extends Error {
  override readonly name = "UnorderedListing";

  constructor(key: string, previous: string) {
    super(`the store lists ${JSON.stringify(key)} after ${JSON.stringify(previous)}, which is not UTF-8 byte order`);
  }
}

/** The objects below `prefix`. Rejects as the store does, and with `UnorderedListing` at the first one out of order. */
export async function* orderedObjects(store: Lister, prefix: string, signal?: AbortSignal): AsyncGenerator<ListedObject> {
  let last: string | undefined;
  for await (const page of store.list(prefix, signal ? { signal } : {})) {
    for (const entry of page) {
      if (entry.kind !== "object") continue;
      if (last !== undefined && compareKeys(last, entry.key) >= 0) throw new UnorderedListing(entry.key, last);
      last = entry.key;
      yield entry;
    }
  }
}

/** `store` whose listings of objects are sorted by way of temporary files; a key listed twice comes once, as listed last. */
export function sortedOnDisk(store: Lister, runLength = RUN_LENGTH): Lister {
  return {
    list: async function* (prefix, options) {
      let page: ListedObject[] = [];
      for await (const object of sorted(store.list(prefix, options), runLength)) {
        page.push(object);
        if (page.length < 1_000) continue;
        yield page;
        page = [];
      }
      if (page.length > 0) yield page;
    },
  };
}

async function* sorted(pages: ReturnType<ObjectStore["list"]>, runLength: number): AsyncGenerator<ListedObject> {
  const folder = await mkdtemp(join(tmpdir(), "listing-"));
  try {
    const files: string[] = [];
    let run: ListedObject[] = [];
    for await (const page of pages) {
      for (const entry of page) if (entry.kind === "object") run.push(entry);
      if (run.length < runLength) continue;
      files.push(await writeRun(join(folder, String(files.length)), run));
      run = [];
    }
    files.push(await writeRun(join(folder, String(files.length)), run));
    yield* mergeRuns(files);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Equal keys stay in the order they were listed in. */
async function writeRun(path: string, run: ListedObject[]): Promise<string> {
  run.sort((a, b) => compareKeys(a.key, b.key));
  await using file = await open(path, "wx", 0o600);
  for (let at = 0; at < run.length; at += WRITE_LINES) {
    const lines = run.slice(at, at + WRITE_LINES).map((object) => `${JSON.stringify(object)}\n`);
    await file.write(lines.join(""));
  }
  return path;
}

interface Head {
  object: ListedObject;
  readonly run: number;
  readonly rest: AsyncIterator<ListedObject>;
}

async function* readRun(path: string): AsyncGenerator<ListedObject> {
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
    yield JSON.parse(line) as ListedObject;
  }
}

async function* mergeRuns(files: readonly string[]): AsyncGenerator<ListedObject> {
  const heads: Head[] = [];
  for (const [run, file] of files.entries()) {
    const rest = readRun(file);
    const { value, done } = await rest.next();
    if (!done) insert(heads, { object: value, run, rest });
  }
  try {
    let waiting: ListedObject | undefined;
    for (let head = heads.shift(); head; head = heads.shift()) {
      if (waiting !== undefined && waiting.key !== head.object.key) yield waiting;
      waiting = head.object;
      const { value, done } = await head.rest.next();
      if (done) continue;
      head.object = value;
      insert(heads, head);
    }
    if (waiting !== undefined) yield waiting;
  } finally {
    for (const { rest } of heads) await rest.return?.();
  }
}

/** Keeps the heads in order of their keys, and of their runs where these are equal. */
function insert(heads: Head[], head: Head): void {
  let low = 0;
  for (let high = heads.length; low < high; ) {
    const middle = (low + high) >>> 1;
    const other = heads[middle] as Head;
    const order = compareKeys(other.object.key, head.object.key) || other.run - head.run;
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  heads.splice(low, 0, head);
}

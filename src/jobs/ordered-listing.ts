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
import type { ListedObject, ListOptions, ObjectStore } from "../objectstore/objectstore.ts";

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

/**
 * The objects below `prefix`, page by page: a step of an iteration for each of a million costs seconds. Rejects as the
 * store does, and with `UnorderedListing` before the page with the first one out of order.
 */
export async function* orderedPages(
  store: Lister,
  prefix: string,
  signal?: AbortSignal,
  options: Pick<ListOptions, "sideBySide"> = {},
): AsyncGenerator<ListedObject[]> {
  let last: string | undefined;
  for await (const page of store.list(prefix, { ...options, ...(signal && { signal }) })) {
    const objects = page.filter((entry) => entry.kind === "object");
    for (const { key } of objects) {
      if (last !== undefined && compareKeys(last, key) >= 0) throw new UnorderedListing(key, last);
      last = key;
    }
    yield objects;
  }
}

/** As `orderedPages`, one by one. */
export async function* orderedObjects(store: Lister, prefix: string, signal?: AbortSignal): AsyncGenerator<ListedObject> {
  for await (const page of orderedPages(store, prefix, signal)) yield* page;
}

/** `store` whose listings of objects are sorted by way of temporary files; a key listed twice comes once, as listed last. */
export function sortedOnDisk(store: Lister, runLength = RUN_LENGTH): Lister {
  return {
    list: async function* (prefix, options) {
      let page: ListedObject[] = [];
      for await (const object of sortByKey(objectsOf(store.list(prefix, options)), runLength)) {
        page.push(object);
        if (page.length < 1_000) continue;
        yield page;
        page = [];
      }
      if (page.length > 0) yield page;
    },
  };
}

async function* objectsOf(pages: ReturnType<ObjectStore["list"]>): AsyncGenerator<ListedObject[]> {
  for await (const page of pages) yield page.filter((entry) => entry.kind === "object");
}

/** Something that has a place in the order, and can be written as JSON. */
interface Keyed {
  readonly key: string;
}

/** What comes in `pages` in UTF-8 byte order of its keys, by way of temporary files if it is much; of equal keys the last. */
export async function* sortByKey<Entry extends Keyed>(pages: AsyncIterable<Entry[]>, runLength = RUN_LENGTH): AsyncGenerator<Entry> {
  const files: string[] = [];
  let folder: string | undefined;
  try {
    let run: Entry[] = [];
    for await (const page of pages) {
      run.push(...page);
      if (run.length < runLength) continue;
      folder ??= await mkdtemp(join(tmpdir(), "listing-"));
      files.push(await writeRun(join(folder, String(files.length)), run));
      run = [];
    }
    const runs = [...files.map((file) => readRun<Entry>(file)), fromMemory(inOrder(run))];
    yield* mergeRuns(runs);
  } finally {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  }
}

/** Sorts in place; equal keys stay in the order they came in. */
function inOrder<Entry extends Keyed>(run: Entry[]): Entry[] {
  return run.sort((a, b) => compareKeys(a.key, b.key));
}

async function* fromMemory<Entry>(run: readonly Entry[]): AsyncGenerator<Entry> {
  yield* run;
}

async function writeRun(path: string, run: Keyed[]): Promise<string> {
  inOrder(run);
  await using file = await open(path, "wx", 0o600);
  for (let at = 0; at < run.length; at += WRITE_LINES) {
    const lines = run.slice(at, at + WRITE_LINES).map((entry) => `${JSON.stringify(entry)}\n`);
    await file.write(lines.join(""));
  }
  return path;
}

interface Head<Entry> {
  entry: Entry;
  readonly run: number;
  readonly rest: AsyncIterator<Entry>;
}

async function* readRun<Entry>(path: string): AsyncGenerator<Entry> {
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
    yield JSON.parse(line) as Entry;
  }
}

async function* mergeRuns<Entry extends Keyed>(runs: readonly AsyncIterable<Entry>[]): AsyncGenerator<Entry> {
  const heads: Head<Entry>[] = [];
  for (const [run, entries] of runs.entries()) {
    const rest = entries[Symbol.asyncIterator]();
    const { value, done } = await rest.next();
    if (!done) insert(heads, { entry: value, run, rest });
  }
  try {
    let waiting: Entry | undefined;
    for (let head = heads.shift(); head; head = heads.shift()) {
      if (waiting !== undefined && waiting.key !== head.entry.key) yield waiting;
      waiting = head.entry;
      const { value, done } = await head.rest.next();
      if (done) continue;
      head.entry = value;
      insert(heads, head);
    }
    if (waiting !== undefined) yield waiting;
  } finally {
    for (const { rest } of heads) await rest.return?.();
  }
}

/** Keeps the heads in order of their keys, and of their runs where these are equal. */
function insert<Entry extends Keyed>(heads: Head<Entry>[], head: Head<Entry>): void {
  let low = 0;
  for (let high = heads.length; low < high; ) {
    const middle = (low + high) >>> 1;
    const other = heads[middle] as Head<Entry>;
    const order = compareKeys(other.entry.key, head.entry.key) || other.run - head.run;
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  heads.splice(low, 0, head);
}

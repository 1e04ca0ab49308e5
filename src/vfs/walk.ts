/**
 * Everything below a directory by one listing of the prefix: n files cost ceil(n / 1,000) requests once their times are
 * known. Directories are made out from the keys, parents first. Memory is bounded by a page and the depth of the tree.
 */
import { FsError } from "../errors.ts";
import { compareKeys } from "../objectstore/key-order.ts";
import type { ListEntry, ListedObject } from "../objectstore/objectstore.ts";
import { directoryAttributes, fileAttributes } from "./attributes.ts";
import { isName } from "./entry.ts";
import { EntryTimes } from "./entry-times.ts";
import type { Attributes, WalkEntry } from "./file-system.ts";
import { isStandIn, lookup } from "./lookup.ts";
import { toFsError } from "./store-fault.ts";
import type { SeenObject } from "./tree-cache.ts";
import { directoryKey, notFound, type Target } from "./view.ts";
import { isFolderMark, type Volume } from "./volume.ts";

/** Entries per batch. */
const BATCH_SIZE = 256;

/** Something below the directory; `path` of a directory ends with `/` here, which is also its place in the order. */
type Item =
  | { readonly path: string; readonly object: SeenObject | undefined }
  | { readonly path: string; readonly object: undefined; readonly attributes: Attributes };

/** See `FileSystem.walk`. */
export async function* walk(target: Target): AsyncGenerator<readonly WalkEntry[]> {
  const { volume, pending } = target.view;
  volume.noticeForeignChanges();
  const root = directoryKey(target);
  try {
    const unpublished = await pending.list(root);
    const extras: Item[] = unpublished.map(({ key, attributes }) => ({ path: key.slice(root.length), object: undefined, attributes }));
    if (target.names.length === 0) extras.push(...volume.alwaysShown.map((name) => ({ path: `${name}/`, object: undefined })));
    extras.sort((a, b) => compareKeys(a.path, b.path));
    const tree = new TreeOfKeys(volume, root);
    let isEmpty = extras.length === 0;
    volume.orders.begin(root);
    for await (const { page, tick } of pagesAhead(volume, root)) {
      // What has something below it is a directory: spares whoever writes into it a look.
      if (target.names.length > 0) volume.learnDirectory(root, undefined, tick);
      isEmpty = false;
      const files = page.filter((entry): entry is ListedObject => entry.kind === "object" && !entry.key.endsWith("/"));
      volume.orders.append(root, files);
      yield* tree.batches(mergeItems(itemsOf(volume, root, page), extras), tick);
    }
    if (isEmpty) await requireDirectory(target);
    yield* tree.batches(extras, volume.tree.tick());
  } catch (error) {
    throw toFsError(error, target.path);
  }
}

async function requireDirectory(target: Target): Promise<void> {
  const known = await lookup(target);
  if (known.kind === "absent") throw notFound(target);
  if (known.kind === "file") throw new FsError("not-a-directory", `${target.path}: not a directory`);
}

/** The pages below `root` that are not empty, each with the tick of its request; the next one is fetched meanwhile. */
async function* pagesAhead(volume: Volume, root: string): AsyncGenerator<{ page: ListEntry[]; tick: number }> {
  const stop = new AbortController();
  const pages = volume.store.list(root, { signal: stop.signal })[Symbol.asyncIterator]();
  const ask = (): { tick: number; result: Promise<IteratorResult<ListEntry[]>> } => {
    const tick = volume.tree.tick();
    const result = pages.next();
    // Awaited below; a failure must not count as unhandled until then.
    result.catch(() => undefined);
    return { tick, result };
  };
  try {
    let asked = ask();
    for (;;) {
      const { tick, result } = asked;
      const page = await result;
      if (page.done) return;
      asked = ask();
      if (page.value.length > 0) yield { page: page.value, tick };
    }
  } finally {
    stop.abort();
  }
}

function itemsOf(volume: Volume, root: string, page: readonly ListEntry[]): Item[] {
  const objects = page.filter((entry): entry is ListedObject => entry.kind === "object" && entry.key !== root && !isFolderMark(entry));
  const directories = directoriesOf(objects, root.length);
  const items: Item[] = [];
  for (const object of objects) {
    const path = object.key.slice(root.length);
    const names = (path.endsWith("/") ? path.slice(0, -1) : path).split("/");
    if (!names.every(isName)) volume.reportOnce(object.key, "a stored key cannot be shown as a path; it is hidden");
    else if (isStandIn(volume, object)) items.push({ path: `${path}/`, object });
    else if (!directories.has(`${path}/`)) items.push({ path, object });
    else if (object.size > 0) volume.reportOnce(object.key, "a file and a directory have one name; the file is hidden");
  }
  return items;
}

/** The directories that lie directly or not above the objects, as paths ending with `/`. */
function directoriesOf(objects: readonly ListedObject[], rootLength: number): Set<string> {
  const directories = new Set<string>();
  let last = "";
  for (const { key } of objects) {
    const directory = key.slice(rootLength, key.lastIndexOf("/") + 1);
    if (directory === last) continue;
    last = directory;
    for (let cut = directory.length; cut > 0 && !directories.has(directory.slice(0, cut)); cut = directory.lastIndexOf("/", cut - 2) + 1) {
      directories.add(directory.slice(0, cut));
    }
  }
  return directories;
}

/** Merges `extras` (consumed from the front) that lie before the last of `items` into them; published ones go first. */
function mergeItems(items: readonly Item[], extras: Item[]): Item[] {
  if (extras.length === 0) return [...items];
  const merged: Item[] = [];
  for (const item of items) {
    for (let extra = extras[0]; extra && compareKeys(extra.path, item.path) <= 0; extra = extras[0]) {
      if (extra.path !== item.path) merged.push(extra);
      extras.shift();
    }
    merged.push(item);
  }
  return merged;
}

/** Turns items in the order of keys into entries, with the directories between them. */
class TreeOfKeys {
  readonly #volume: Volume;
  readonly #root: string;
  readonly #times: EntryTimes;
  /** Path of the directory we are in, ending with `/`, or empty. */
  #current = "";

  constructor(volume: Volume, root: string) {
    this.#volume = volume;
    this.#root = root;
    this.#times = new EntryTimes(volume, { isExact: true });
  }

  async *batches(items: readonly Item[], tick: number): AsyncGenerator<readonly WalkEntry[]> {
    for (let start = 0; start < items.length; start += BATCH_SIZE) {
      const batch = items.slice(start, start + BATCH_SIZE);
      const entries = await this.#entries(batch, tick);
      if (entries.length > 0) yield entries;
    }
  }

  async #entries(items: readonly Item[], tick: number): Promise<WalkEntry[]> {
    const times = await this.#times.resolve(items.flatMap(({ object }) => (object ? [object] : [])));
    const entries: WalkEntry[] = [];
    let next = 0;
    for (const item of items) {
      const known = item.object ? times[next++] : undefined;
      this.#enter(item.path.slice(0, item.path.lastIndexOf("/") + 1), entries, tick);
      if (item.path.endsWith("/")) continue;
      if (item.object && known?.isDirectory) this.#enter(`${item.path}/`, entries, tick);
      else if (item.object) {
        this.#volume.tree.learnFile(item.object.key, item.object, tick);
        entries.push({ path: item.path, attributes: fileAttributes(item.object, known), etag: item.object.etag });
      } else if ("attributes" in item) entries.push({ path: item.path, attributes: item.attributes });
    }
    return entries;
  }

  /** Adds the directories on the way to `directory` that have not been shown yet. */
  #enter(directory: string, entries: WalkEntry[], tick: number): void {
    if (directory === this.#current) return;
    let shared = 0;
    for (let at = directory.indexOf("/"); at >= 0 && this.#current.startsWith(directory.slice(0, at + 1)); ) {
      shared = at + 1;
      at = directory.indexOf("/", shared);
    }
    for (let at = directory.indexOf("/", shared); at >= 0; at = directory.indexOf("/", at + 1)) {
      const key = this.#root + directory.slice(0, at + 1);
      this.#volume.learnDirectory(key, undefined, tick);
      entries.push({ path: directory.slice(0, at), attributes: directoryAttributes(this.#volume.directoryTimes(key)) });
    }
    this.#current = directory;
  }
}

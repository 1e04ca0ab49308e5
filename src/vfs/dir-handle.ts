/**
 * An open directory: streams the store's listing page by page, one page ahead of its reader, with bounded memory however
 * many names there are. Unpublished uploads and directories that are always shown are merged in. What passes by is
 * remembered, so that a `stat` after it costs nothing.
 */
import { FsError } from "../errors.ts";
import type { ListedObject, ListEntry } from "../objectstore/objectstore.ts";
import type { CachedTimes } from "../state/metadata-cache.ts";
import { directoryAttributes, fileAttributes } from "./attributes.ts";
import { type Entry, entriesOf, extraEntries, mergeExtras } from "./entry.ts";
import { EntryTimes } from "./entry-times.ts";
import type { Attributes, DirectoryEntry, DirectoryHandle } from "./file-system.ts";
import { learnPage, lookup } from "./lookup.ts";
import type { PendingEntry } from "./pending-uploads.ts";
import { statDirectory } from "./stat.ts";
import { toFsError } from "./store-fault.ts";
import { type SeenObject, STAT_TRUST_MS } from "./tree-cache.ts";
import { directoryKey, notFound, type Target } from "./view.ts";
import type { Volume } from "./volume.ts";

/** Names per `next`: small enough that the first come at once though their times have to be asked for. */
const SLICE_SIZE = 128;

/** A listing of this many entries or more is long: its times are not asked for before it is shown (`listing.times: auto`). */
const LONG = 2 * 1000;
/** A page this full has others behind it; some keys of a full one may not be shown. */
const FULL_PAGE = 950;

/**
 * Names that the open directories of a volume may hold; beyond it new ones hold none between two `next`. A client reads a
 * directory as soon as it has opened it, a hostile one opens thousands and does not.
 */
const MAX_HELD_NAMES = 16 * 1000;

/** Names held now, by volume. */
const heldNames = new WeakMap<Volume, { count: number }>();

function heldOf(volume: Volume): { count: number } {
  const known = heldNames.get(volume) ?? { count: 0 };
  heldNames.set(volume, known);
  return known;
}

/** Opens the directory at `target`. Rejects `not-found` or `not-a-directory`. */
export async function openDirectory(target: Target): Promise<DirectoryHandle> {
  const { volume, pending } = target.view;
  volume.noticeForeignChanges();
  const known = volume.tree.lookup(target.key, STAT_TRUST_MS);
  if (known?.kind === "file") throw new FsError("not-a-directory", `${target.path}: not a directory`);
  const isFull = heldOf(volume).count >= MAX_HELD_NAMES;
  const pages = new ListingPages(volume, directoryKey(target), isFull ? 1 : undefined);
  try {
    if (isFull) {
      // Thousands that each make a list of the unpublished, only to throw it away, are as bad as thousands that hold it.
      const exists = volume.isAlwaysDirectory(target.key) || (await pages.next()) !== undefined;
      if (exists || (await pending.list(directoryKey(target))).length > 0) {
        pages.close();
        return new ListingHandle(target, undefined);
      }
    } else {
      const [first, unpublished] = await Promise.all([pages.next(), pending.list(directoryKey(target))]);
      const exists = first !== undefined || unpublished.length > 0 || volume.isAlwaysDirectory(target.key);
      if (exists) return new ListingHandle(target, { pages, first, unpublished });
    }
  } catch (error) {
    pages.close();
    throw toFsError(error, target.path);
  }
  const found = await lookup(target);
  if (found.kind === "file") throw new FsError("not-a-directory", `${target.path}: not a directory`);
  if (found.kind === "absent") throw notFound(target);
  return new ListingHandle(target, { pages, first: undefined, unpublished: [] });
}

/** The store's pages of one directory, asked for at most one ahead. */
class ListingPages {
  readonly #volume: Volume;
  readonly #key: string;
  readonly #iterator: AsyncIterator<ListEntry[]>;
  readonly #stop = new AbortController();
  readonly #firstTick: number;
  #ahead: Promise<ListEntry[] | undefined> | undefined;
  #hasLearned = false;
  #ended = false;

  /** `pageSize`: names asked for at once; default: the store's. */
  constructor(volume: Volume, key: string, pageSize?: number) {
    this.#volume = volume;
    this.#key = key;
    this.#firstTick = volume.tree.tick();
    volume.orders.begin(key);
    this.#iterator = volume.store
      .list(key, { delimiter: "/", signal: this.#stop.signal, ...(pageSize !== undefined && { pageSize }) })
      [Symbol.asyncIterator]();
  }

  /** The next page that is not empty; undefined at the end. Rejects with the store's error. */
  async next(): Promise<ListEntry[] | undefined> {
    const asked = this.#ahead ?? this.#ask();
    this.#ahead = undefined;
    return asked;
  }

  /** Begins to fetch the page after the last one that was returned. */
  fetchAhead(): void {
    if (this.#ended || this.#ahead) return;
    this.#ahead = this.#ask();
    // Whoever calls `next` gets the failure; until then it must not count as unhandled.
    this.#ahead.catch(() => undefined);
  }

  /** The page after the last one that was returned, which stays the next one. Rejects as `next` will. */
  async peek(): Promise<ListEntry[] | undefined> {
    this.fetchAhead();
    return this.#ahead;
  }

  /** Names that were fetched ahead, or will have been: what a store's page has at most. */
  get aheadSize(): number {
    return this.#ahead ? FULL_PAGE : 0;
  }

  close(): void {
    this.#ended = true;
    this.#stop.abort();
  }

  async #ask(): Promise<ListEntry[] | undefined> {
    while (!this.#ended) {
      const tick = this.#volume.tree.tick();
      const page = await this.#iterator.next();
      if (page.done) {
        this.#ended = true;
        if (this.#hasLearned) this.#volume.tree.learnWhole(this.#key, this.#firstTick);
        return undefined;
      }
      if (page.value.length === 0) continue;
      this.#learn(page.value, tick);
      return page.value;
    }
    return undefined;
  }

  #learn(entries: readonly ListEntry[], tick: number): void {
    // Only the first page can say whether there is a marker; it carries the tick of the whole listing.
    if (!this.#hasLearned) learnPage(this.#volume, { key: this.#key, entries, complete: false, tick: this.#firstTick });
    else learnPage(this.#volume, { key: this.#key, entries, complete: false, tick, isLaterPage: true });
    this.#hasLearned = true;
    const files = entries.filter((entry): entry is ListedObject => entry.kind === "object" && !entry.key.endsWith("/"));
    this.#volume.orders.append(this.#key, files);
  }
}

interface Slice {
  readonly entries: readonly Entry[];
  times: Promise<(CachedTimes | undefined)[]> | undefined;
}

/** The beginning of a listing. */
interface ListingStart {
  readonly pages: ListingPages;
  readonly first: ListEntry[] | undefined;
  readonly unpublished: readonly PendingEntry[];
}

class ListingHandle implements DirectoryHandle {
  readonly #target: Target;
  readonly #volume: Volume;
  readonly #directory: string;
  readonly #heldOfAll: { count: number };
  #held = 0;
  #pages: ListingPages | undefined;
  /** Undefined until the listing has begun. */
  #extras: Entry[] | undefined;
  readonly #times: EntryTimes;
  readonly #slices: Slice[] = [];
  #first: ListEntry[] | undefined;
  #state: "open" | "exhausted" | "closed" = "open";

  /** Without a `start` the listing begins with the first `next`, in small pages, and nothing is held in between. */
  constructor(target: Target, start: ListingStart | undefined) {
    this.#target = target;
    this.#volume = target.view.volume;
    this.#directory = directoryKey(target);
    this.#heldOfAll = heldOf(this.#volume);
    if (start) this.#begun(start);
    const first = this.#first?.length ?? 0;
    let isLong: Promise<boolean> | undefined;
    this.#times = new EntryTimes(this.#volume, {
      isLong: () => {
        if (!start) return Promise.resolve(true);
        isLong ??= first < FULL_PAGE ? Promise.resolve(false) : this.#hasSecondPage(start.pages, first);
        return isLong;
      },
    });
    this.#count();
  }

  async next(): Promise<readonly DirectoryEntry[]> {
    if (this.#state === "closed") throw new FsError("invalid-argument", `${this.#target.path}: the directory is closed`);
    try {
      while (this.#slices.length === 0 && this.#state === "open") this.#cut(await this.#nextPage());
    } catch (error) {
      throw toFsError(error, this.#target.path);
    }
    const slice = this.#slices.shift();
    this.#count();
    if (!slice) return [];
    const following = this.#slices[0];
    // Never rejects; the next call waits for it.
    if (following) void this.#ask(following);
    return this.#finish(slice.entries, await this.#ask(slice));
  }

  async stat(): Promise<Attributes> {
    return statDirectory(this.#target);
  }

  async close(): Promise<void> {
    this.#state = "closed";
    this.#slices.length = 0;
    this.#first = undefined;
    this.#extras = [];
    this.#count();
    this.#pages?.close();
  }

  #begun({ pages, first, unpublished }: ListingStart): void {
    this.#pages = pages;
    this.#first = first;
    this.#extras = extraEntries(this.#volume, this.#directory, unpublished);
  }

  async #begin(): Promise<ListingPages> {
    const pages = new ListingPages(this.#volume, this.#directory, SLICE_SIZE);
    this.#pages = pages;
    this.#begun({ pages, first: undefined, unpublished: await this.#target.view.pending.list(this.#directory) });
    return pages;
  }

  async #nextPage(): Promise<ListEntry[] | undefined> {
    const pages = this.#pages ?? (await this.#begin());
    const page = this.#first ?? (await pages.next());
    this.#first = undefined;
    if (page && this.#heldOfAll.count < MAX_HELD_NAMES) pages.fetchAhead();
    return page;
  }

  /** Counts what is held now. */
  #count(): void {
    const ahead = this.#state === "closed" ? 0 : (this.#pages?.aheadSize ?? 0);
    const held = (this.#first?.length ?? 0) + (this.#extras?.length ?? 0) + this.#slices.length * SLICE_SIZE + ahead;
    this.#heldOfAll.count += held - this.#held;
    this.#held = held;
  }

  /** Whether the listing goes on for another full page. Never rejects: the reader meets the failure itself. */
  async #hasSecondPage(pages: ListingPages, first: number): Promise<boolean> {
    const second = await pages.peek().catch(() => undefined);
    return first + (second?.length ?? 0) >= LONG - 2 * (1000 - FULL_PAGE);
  }

  #cut(page: ListEntry[] | undefined): void {
    if (!page && this.#state === "open") this.#state = "exhausted";
    const shown = page ? entriesOf(this.#volume, this.#directory, page) : [];
    const entries = mergeExtras(shown, this.#extras ?? [], page === undefined);
    for (let start = 0; start < entries.length; start += SLICE_SIZE) {
      this.#slices.push({ entries: entries.slice(start, start + SLICE_SIZE), times: undefined });
    }
  }

  #ask(slice: Slice): Promise<(CachedTimes | undefined)[]> {
    slice.times ??= this.#times.resolve(objectsOf(slice.entries));
    return slice.times;
  }

  #finish(entries: readonly Entry[], times: readonly (CachedTimes | undefined)[]): DirectoryEntry[] {
    let next = 0;
    return entries.map((entry) => {
      const { name } = entry;
      if (entry.kind === "unpublished") return { name, attributes: entry.attributes };
      if (entry.kind === "directory") return { name, attributes: directoryAttributes(this.#volume.directoryTimes(entry.key)) };
      const known = times[next++];
      return { name, attributes: known?.isDirectory ? directoryAttributes(known) : fileAttributes(entry.object, known) };
    });
  }
}

function objectsOf(entries: readonly Entry[]): SeenObject[] {
  return entries.flatMap((entry) => (entry.kind === "file" ? [entry.object] : []));
}

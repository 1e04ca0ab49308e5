/**
 * What this process has lately seen of one volume's tree: files, directories, and which directories were listed whole.
 * Everything in it may be out of date; the age says how far an answer may be trusted, and for what. Bounded. Knows keys
 * and times, makes no requests.
 *
 * Each piece of knowledge carries the tick at which its request began, so that an answer that was under way while this
 * process wrote never replaces what the write left behind.
 */
import type { ListedObject, ObjectInfo } from "../objectstore/objectstore.ts";

/** How long knowledge answers `stat` without a request. */
export const STAT_TRUST_MS = 4_000;
/** How long it answers that a name is missing: too short for a person to notice, long enough for a row of uploads. */
export const ABSENCE_TRUST_MS = 1_000;
/** How long a directory seen to exist counts as the existing parent of something new. */
export const PARENT_TRUST_MS = 60_000;
/** How long a known version is good enough to open: reading verifies it by its ETag. */
export const OPEN_TRUST_MS = 300_000;

/** A file as a listing, a HEAD or an own write showed it; an `ObjectInfo` if it is known whole. */
export type SeenObject = ListedObject | ObjectInfo;

/** True if `object` is known with content type and all of its metadata. */
export function isWhole(object: SeenObject): object is ObjectInfo {
  return !("kind" in object);
}

/** What is known about a name. */
export type Known =
  | { readonly kind: "file"; readonly object: SeenObject }
  | { readonly kind: "directory"; readonly marker: SeenObject | undefined }
  | { readonly kind: "absent" };

interface FileRecord {
  readonly object: SeenObject | undefined;
  readonly tick: number;
  readonly atMs: number;
}

interface DirectoryRecord {
  exists: boolean;
  /** The marker object if it was seen; `false`: there was none; undefined: nobody looked. */
  marker: SeenObject | false | undefined;
  tick: number;
  atMs: number;
  /** When and at which tick all names in it were learned. */
  wholeAtMs: number;
  wholeTick: number;
  /** Keys of some children, to know without asking that the directory is not empty. */
  readonly sample: Set<string>;
}

const NEVER = Number.NEGATIVE_INFINITY;
const MAX_SAMPLE = 100;

/** How a tree cache is made. */
export interface TreeCacheOptions {
  /** Clock in milliseconds. */
  readonly now: () => number;
  /** Most files remembered (default 20,000); directories are bounded by the same number. */
  readonly maxEntries?: number;
}

/** See the head of this file. Keys are full keys; keys of directories end with `/`. */
export class TreeCache {
  readonly #now: () => number;
  readonly #files: Generations<FileRecord>;
  readonly #directories: Generations<DirectoryRecord>;
  #tick = 0;
  /** Listings that began at or before this tick may have lost names to the bound: absence does not follow from them. */
  #evictedTick = 0;

  constructor({ now, maxEntries = 20_000 }: TreeCacheOptions) {
    this.#now = now;
    const onDrop = (latestTick: number): void => {
      this.#evictedTick = Math.max(this.#evictedTick, latestTick);
    };
    this.#files = new Generations(maxEntries, onDrop);
    this.#directories = new Generations(maxEntries, onDrop);
  }

  /** To be called before a request whose answer will be learned. */
  tick(): number {
    return ++this.#tick;
  }

  /**
   * What is known about the name `key` (without trailing `/`), no older than `maxAgeMs`; a directory goes first. That it
   * is missing follows only from a listing of all of its directory that began after `absentSince`.
   */
  lookup(key: string, maxAgeMs: number, absentSince: number = Number.POSITIVE_INFINITY): Known | undefined {
    const oldest = this.#now() - maxAgeMs;
    const directory = this.#directories.get(`${key}/`);
    if (directory?.exists && directory.atMs >= oldest) return { kind: "directory", marker: directory.marker || undefined };
    const file = this.#files.get(key);
    if (file?.object && file.atMs >= oldest) return { kind: "file", object: file.object };
    const parent = this.#directories.get(key.slice(0, key.lastIndexOf("/") + 1));
    if (!parent || parent.wholeTick <= Math.max(absentSince, this.#evictedTick)) return undefined;
    return parent.wholeAtMs >= this.#now() - Math.min(maxAgeMs, ABSENCE_TRUST_MS) ? { kind: "absent" } : undefined;
  }

  /** True if the name was asked for after `since` and found missing: enough to create it, not to deny it to `stat`. */
  wasMissing(key: string, since: number): boolean {
    const file = this.#files.get(key);
    if (!file || file.object || file.tick <= since || file.atMs < this.#now() - ABSENCE_TRUST_MS) return false;
    return this.#directories.get(`${key}/`)?.exists !== true;
  }

  /** The directory at `directoryKey`, if it was seen within `maxAgeMs`. */
  directory(directoryKey: string, maxAgeMs: number): { readonly marker: SeenObject | false | undefined } | undefined {
    const record = this.#directories.get(directoryKey);
    return record?.exists && record.atMs >= this.#now() - maxAgeMs ? { marker: record.marker } : undefined;
  }

  /** True if `directoryKey` is known to hold something besides `childKey`. */
  hasOtherChild(directoryKey: string, childKey: string): boolean {
    const sample = this.#directories.get(directoryKey)?.sample;
    return sample !== undefined && sample.size > (sample.has(childKey) ? 1 : 0);
  }

  learnFile(key: string, object: SeenObject, tick: number): void {
    const known = this.#files.get(key);
    if (known && known.tick > tick) return;
    if (known?.object && isWhole(known.object) && known.object.etag === object.etag && !isWhole(object)) {
      this.#setFile(key, { object: known.object, tick, atMs: this.#now() });
    } else {
      this.#setFile(key, { object, tick, atMs: this.#now() });
    }
    this.#addToSample(key);
  }

  /** No file is at `key`. Says nothing about a directory of that name. */
  learnNoFile(key: string, tick: number): void {
    const known = this.#files.get(key);
    if (known && known.tick > tick) return;
    this.#setFile(key, { object: undefined, tick, atMs: this.#now() });
    this.#directories.get(key.slice(0, key.lastIndexOf("/") + 1))?.sample.delete(key);
  }

  /** `marker`: undefined if nobody looked. */
  learnDirectory(directoryKey: string, marker: SeenObject | false | undefined, tick: number): void {
    const known = this.#directories.get(directoryKey);
    if (known && known.tick > tick) return;
    if (known) {
      const kept = known.exists ? known.marker : undefined;
      Object.assign(known, { exists: true, marker: marker ?? kept, tick, atMs: this.#now() });
    }
    const fresh: DirectoryRecord = {
      exists: true,
      marker,
      tick,
      atMs: this.#now(),
      wholeAtMs: NEVER,
      wholeTick: NEVER,
      sample: new Set(),
    };
    this.#directories.set(directoryKey, known ?? fresh);
    this.#addToSample(directoryKey);
  }

  learnNoDirectory(directoryKey: string, tick: number): void {
    const known = this.#directories.get(directoryKey);
    if (!known || known.tick > tick) return;
    this.#directories.delete(directoryKey);
    const parent = directoryKey.slice(0, directoryKey.lastIndexOf("/", directoryKey.length - 2) + 1);
    this.#directories.get(parent)?.sample.delete(directoryKey);
  }

  /** Every name in the directory has been learned from requests that began at or after `tick`. */
  learnWhole(directoryKey: string, tick: number): void {
    const known = this.#directories.get(directoryKey);
    if (!known?.exists || known.tick > tick) return;
    known.wholeAtMs = this.#now();
    known.wholeTick = tick;
  }

  /** Drops everything whose key begins with `prefix`. */
  forgetBelow(prefix: string): void {
    for (const [key] of this.#files.entries()) if (key.startsWith(prefix)) this.#files.delete(key);
    for (const [key, record] of this.#directories.entries()) {
      if (key.startsWith(prefix)) this.#directories.delete(key);
      else if (prefix.startsWith(key)) record.wholeAtMs = NEVER;
    }
  }

  /** Drops everything: another process has written. */
  clear(): void {
    this.#files.clear();
    this.#directories.clear();
    this.#evictedTick = this.#tick;
  }

  /** Files remembered: for tests and metrics. */
  get size(): number {
    return this.#files.size;
  }

  #setFile(key: string, record: FileRecord): void {
    this.#files.set(key, record);
  }

  #addToSample(key: string): void {
    const cut = key.lastIndexOf("/", key.length - 2) + 1;
    const parent = this.#directories.get(key.slice(0, cut));
    if (parent && parent.sample.size < MAX_SAMPLE) parent.sample.add(key);
  }
}

/**
 * A bounded map in two generations: when the younger is full, the older is dropped whole. (A `Map` whose oldest entries
 * are deleted one by one gets slow: finding the first steps over all that were deleted.)
 */
class Generations<Entry extends { readonly tick: number }> {
  readonly #half: number;
  readonly #onDrop: (latestTick: number) => void;
  #young = new Map<string, Entry>();
  #old = new Map<string, Entry>();
  #youngTick = 0;
  #oldTick = 0;

  constructor(maxEntries: number, onDrop: (latestTick: number) => void) {
    this.#half = Math.ceil(maxEntries / 2);
    this.#onDrop = onDrop;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(key: string): Entry | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }

  set(key: string, entry: Entry): void {
    if (this.#young.size >= this.#half && !this.#young.has(key)) {
      if (this.#old.size > 0) this.#onDrop(this.#oldTick);
      this.#old = this.#young;
      this.#oldTick = this.#youngTick;
      this.#young = new Map();
      this.#youngTick = 0;
    }
    if (this.#old.size > 0) this.#old.delete(key);
    this.#young.set(key, entry);
    this.#youngTick = Math.max(this.#youngTick, entry.tick);
  }

  delete(key: string): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }

  *entries(): Generator<[string, Entry]> {
    yield* this.#old;
    yield* this.#young;
  }

  clear(): void {
    this.#young.clear();
    this.#old.clear();
  }
}

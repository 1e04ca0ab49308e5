/**
 * A volume: one customer's objects (a store and a key prefix) with everything that the sessions of this process share
 * about them: what was lately seen of the tree, times and modes, limits on requests. Knows keys; knows no sessions and
 * no virtual paths but in error texts.
 */
import type { ByteBudget } from "../byte-budget.ts";
import { FsError, StoreError } from "../errors.ts";
import type { ObjectInfo, ObjectStore } from "../objectstore/objectstore.ts";
import type { ChangeFollower, TreeChange, WrittenObject } from "../state/change-log.ts";
import type { CachedTimes, MetadataCache } from "../state/metadata-cache.ts";
import { Lanes } from "./bounded.ts";
import { FilesAhead } from "./files-ahead.ts";
import { ListingOrders } from "./listing-order.ts";
import { readTimes } from "./object-metadata.ts";
import type { PendingUploads, PublishedChange } from "./pending-uploads.ts";
import { ParallelTrials } from "./ranges-ahead.ts";
import { isWhole, OPEN_TRUST_MS, type SeenObject, TreeCache } from "./tree-cache.ts";
import type { Clock } from "./uploads/clock.ts";
import { WriteOrder } from "./write-order.ts";

/** Where the tree writes what an operator may want to know; pino's loggers fit. */
export interface VfsLog {
  debug(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/**
 * Where listings take times from: `exact` asks the store for every entry it does not know; `auto` does so for the
 * entries of a directory of less than 2,000 and the few unknown ones of a longer one, else fills the cache behind; `listing` never asks.
 */
export type ListingTimes = "auto" | "exact" | "listing";

/**
 * What a client wants to do to a name: give a file (new) content, make a directory, set times and modes, take the name
 * away (also by renaming it).
 */
export type Intent = "write" | "make-directory" | "set-attributes" | "remove";

/** Rules and reactions that belong to a customer's layout, not to files as such. Every member is optional. */
export interface VolumeRules {
  /** Throws an `FsError` if that may not be done to `name` (relative to the volume's root; empty for the root). */
  checkWrite?(name: string, path: string, intent: Intent): void;
  /** Whether it matters that an upload to `key` replaces a file; if not, nobody finds out. */
  isTracked?(key: string): boolean;
  /** `key` was published; `replaced`: a file was there before (undefined: nobody knows). Waited for; must not reject. */
  published?(key: string, replaced: boolean | undefined): Promise<void>;
  /** Another process of this node published an object of so many bytes, or removed one. Must not throw. */
  changedElsewhere?(publishedBytes: number | undefined): void;
  /** These keys are gone. Waited for; must not reject. */
  removed?(keys: readonly string[]): Promise<void>;
}

/** How a volume is made. */
export interface VolumeOptions {
  /** Names the volume for good, also in other processes: part of the keys of the metadata cache. */
  readonly id: string;
  readonly store: ObjectStore;
  /** Empty, or ends with `/`. */
  readonly prefix: string;
  readonly metadata: MetadataCache;
  readonly budget: ByteBudget;
  readonly clock: Clock;
  readonly log: VfsLog;
  /** The session's view of unpublished uploads. */
  readonly pendingUploads: (session: string) => PendingUploads;
  readonly listingTimes?: ListingTimes;
  /** Directories at the root that are always shown (default `originals` and `thumbnails`). */
  readonly alwaysShown?: readonly string[];
  /** Longest name in UTF-8 bytes: 255 on a local disk, else (default) what fits a key. */
  readonly maxNameBytes?: number;
  /** Requests cost nothing (a local disk): a new file's name is checked against directories before it is opened. */
  readonly cheapRequests?: boolean;
  /** ETags of 32 hex digits are MD5 sums (not so with SSE-KMS). */
  readonly etagIsMd5?: boolean;
  readonly rules?: VolumeRules;
  /** The one that uploads have (default: one of its own). */
  readonly order?: WriteOrder;
}

/** Longest key in UTF-8 bytes: S3's limit, which every store keeps. */
export const MAX_KEY_BYTES = 1024;
/** HEADs and LISTs of one volume's listings at once. */
const METADATA_LANES = 32;
/** What was seen of a volume that nobody uses any more is forgotten after this time. */
const IDLE_FORGET_MS = 120_000;
/** Oddities remembered so that each is logged once. */
const MAX_REPORTED = 1_000;

/** See the head of this file. */
export class Volume {
  readonly id: string;
  readonly store: ObjectStore;
  readonly prefix: string;
  readonly metadata: MetadataCache;
  readonly budget: ByteBudget;
  readonly clock: Clock;
  readonly log: VfsLog;
  readonly pendingUploads: (session: string) => PendingUploads;
  readonly listingTimes: ListingTimes;
  readonly alwaysShown: readonly string[];
  readonly maxNameBytes: number;
  readonly cheapRequests: boolean;
  readonly etagIsMd5: boolean;
  readonly rules: VolumeRules;
  readonly order: WriteOrder;
  readonly tree: TreeCache;
  readonly orders = new ListingOrders();
  readonly ahead = new FilesAhead(this);
  readonly lanes = new Lanes(METADATA_LANES);
  readonly trials = new ParallelTrials();
  readonly #reported = new Set<string>();
  readonly #foreign: ChangeFollower;
  #lastUsedMs = 0;
  #cancelIdleCheck: (() => void) | undefined;

  constructor(options: VolumeOptions) {
    if (options.prefix !== "" && !options.prefix.endsWith("/")) throw new RangeError(`prefix ${options.prefix} does not end with /`);
    this.id = options.id;
    this.store = options.store;
    this.prefix = options.prefix;
    this.metadata = options.metadata;
    this.budget = options.budget;
    this.clock = options.clock;
    this.log = options.log;
    this.pendingUploads = options.pendingUploads;
    this.listingTimes = options.listingTimes ?? "auto";
    this.alwaysShown = options.alwaysShown ?? ["originals", "thumbnails"];
    this.maxNameBytes = options.maxNameBytes ?? MAX_KEY_BYTES;
    this.cheapRequests = options.cheapRequests ?? false;
    this.etagIsMd5 = options.etagIsMd5 ?? false;
    this.rules = options.rules ?? {};
    this.order = options.order ?? new WriteOrder({ clock: options.clock });
    this.#foreign = options.metadata.follow(options.id);
    this.tree = new TreeCache({ now: () => options.clock.now() });
  }

  /**
   * The key of the file with these names; the root's is the prefix itself. Throws `invalid-argument` for names that
   * cannot be stored. The only place where keys are made from what clients say.
   */
  key(names: readonly string[], path: string): string {
    const key = this.prefix + names.join("/");
    for (const name of names) {
      if (name === "" || name === "." || name === ".." || name.includes("/") || name.includes("\0")) {
        throw new FsError("invalid-argument", `${path}: the name cannot be stored`);
      }
      if (Buffer.byteLength(name) > this.maxNameBytes) {
        throw new FsError("invalid-argument", `${path}: the name is longer than ${this.maxNameBytes} bytes`);
      }
    }
    if (Buffer.byteLength(key) > MAX_KEY_BYTES) {
      throw new FsError("invalid-argument", `${path}: the path is longer than the storage allows (${MAX_KEY_BYTES} bytes)`);
    }
    if (!key.startsWith(this.prefix)) throw new FsError("permission-denied", `${path}: outside of your storage`);
    return key;
  }

  /** True for the root and the directories that are always shown. */
  isAlwaysDirectory(key: string): boolean {
    return key === this.prefix || this.alwaysShown.some((name) => key === this.prefix + name);
  }

  /** To be called before the tree cache is asked: learns what other processes of this node have written. */
  noticeForeignChanges(): void {
    const changes = this.#foreign.take();
    if (changes === "unknown") this.tree.clear();
    else for (const change of changes) this.#learnChange(change);
    this.#lastUsedMs = this.clock.now();
    this.#forgetWhenIdle();
  }

  #learnChange({ key, object }: TreeChange): void {
    this.order.noticed(key);
    const tick = this.tree.tick();
    if (!object && key.endsWith("/")) {
      this.tree.forgetBelow(key);
      this.tree.learnNoDirectory(key, tick);
    } else if (!object) this.tree.learnNoFile(key, tick);
    else {
      const seen: SeenObject = object.metadata ? { ...object, metadata: object.metadata } : { kind: "object", ...object };
      if (key.endsWith("/")) this.tree.learnDirectory(key, seen, tick);
      else this.tree.learnFile(key, seen, tick);
      for (let end = key.lastIndexOf("/", key.length - 2) + 1; end > this.prefix.length; end = key.lastIndexOf("/", end - 2) + 1) {
        const parent = key.slice(0, end);
        if (!this.tree.directory(parent, Number.POSITIVE_INFINITY)) this.tree.learnDirectory(parent, undefined, tick);
      }
    }
    this.rules.changedElsewhere?.(object?.size);
  }

  /** Hears of other processes no more. */
  close(): void {
    this.#foreign.end();
  }

  /** Many customers come and go: what was seen of their files is not kept for long. */
  #forgetWhenIdle(): void {
    this.#cancelIdleCheck ??= this.clock.after(IDLE_FORGET_MS, () => {
      this.#cancelIdleCheck = undefined;
      if (this.clock.now() - this.#lastUsedMs < IDLE_FORGET_MS) return this.#forgetWhenIdle();
      this.tree.clear();
      this.orders.clear();
    });
  }

  /** Times and mode of that version, if they are known without asking. */
  times(object: SeenObject): CachedTimes | undefined {
    if (object.metadata) return readTimes(object.metadata);
    const cached = this.metadata.get(this.id, object.key, object.etag);
    if (cached) return cached;
    // Another process may have told of the object before its times are in the cache that we share.
    const seen = this.tree.lookup(object.key, OPEN_TRUST_MS);
    const isSame = seen?.kind === "file" && seen.object.etag === object.etag;
    return isSame && isWhole(seen.object) ? readTimes(seen.object.metadata) : undefined;
  }

  /** Times and mode last seen of the directory `key` (ends with `/`), whatever version its marker has. */
  directoryTimes(key: string): CachedTimes | undefined {
    return this.metadata.get(this.id, key, undefined);
  }

  /** Remembers an object that the store described whole. */
  learn(info: ObjectInfo, tick: number): void {
    const isDirectory = isDirectoryStandIn(info);
    this.metadata.set(this.id, info.key, info.etag, { ...readTimes(info.metadata), ...(isDirectory ? { isDirectory } : {}) });
    if (isDirectory) this.learnDirectory(`${info.key}/`, info, tick);
    else if (info.key.endsWith("/")) this.learnDirectory(info.key, info, tick);
    else this.tree.learnFile(info.key, info, tick);
  }

  /**
   * Remembers a directory (`key` ends with `/`), also for the time after a restart: that there was one makes the gateway
   * look again before it stores a file of that name. `marker`: undefined if nobody looked.
   */
  learnDirectory(key: string, marker: SeenObject | false | undefined, tick: number): void {
    this.tree.learnDirectory(key, marker, tick);
    if (key !== this.prefix && !this.directoryTimes(key)) this.metadata.set(this.id, key, "", { mtime: undefined, mode: undefined });
  }

  /** True if there is, or once was, a directory `key`. */
  mayBeDirectory(key: string): boolean {
    return this.tree.directory(key, Number.POSITIVE_INFINITY) !== undefined || this.directoryTimes(key) !== undefined;
  }

  /**
   * Whether an upload to `key` replaces a file: `unknown` if only the publishing can tell without a request of its own;
   * undefined if it does not matter. Rejects with the store's error.
   */
  async replaces(key: string): Promise<boolean | "unknown" | undefined> {
    if (!this.rules.isTracked?.(key)) return undefined;
    if (this.tree.lookup(key, OPEN_TRUST_MS)?.kind === "file") return true;
    if (!this.cheapRequests) return "unknown";
    try {
      await this.store.head(key);
      return true;
    } catch (error) {
      if (error instanceof StoreError && error.code === "not-found") return false;
      throw error;
    }
  }

  /**
   * An object of this volume was written by this process. Resolves once all processes of the node know; to be awaited
   * before the client is told.
   */
  async published(change: PublishedChange): Promise<void> {
    const { key, size, etag, lastModifiedMs, mtime, mode, contentType, metadata } = change;
    this.order.noticed(key);
    const seen = { key, size, etag, lastModifiedMs };
    const object: SeenObject =
      metadata === undefined ? { kind: "object", ...seen } : { ...seen, metadata, ...(contentType === undefined ? {} : { contentType }) };
    this.metadata.set(this.id, key, etag, { mtime, mode });
    if (key.endsWith("/")) this.learnDirectory(key, object, this.tree.tick());
    else this.tree.learnFile(key, object, this.tree.tick());
    this.metadata.announceChange(this.id, [{ key, object: written(object) }]);
    await this.rules.published?.(key, change.replaced);
  }

  /** Objects of this volume were deleted by this process; as `published`. */
  async removed(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      this.metadata.delete(this.id, key);
      if (key.endsWith("/")) this.tree.learnNoDirectory(key, this.tree.tick());
      else this.tree.learnNoFile(key, this.tree.tick());
    }
    this.metadata.announceChange(
      this.id,
      keys.map((key) => ({ key })),
    );
    await this.rules.removed?.(keys);
  }

  /** Logs an oddity of the stored keys, each once. */
  reportOnce(key: string, message: string): void {
    if (this.#reported.has(key) || this.#reported.size >= MAX_REPORTED) return;
    this.#reported.add(key);
    this.log.warn({ volume: this.id, key }, message);
  }
}

function written(object: SeenObject): WrittenObject {
  const { key, size, etag, lastModifiedMs } = object;
  const listed = { key, size, etag, lastModifiedMs };
  if (!isWhole(object)) return listed;
  const { contentType, metadata } = object;
  return { ...listed, metadata, ...(contentType === undefined ? {} : { contentType }) };
}

/** Old s3fs and others: an empty object with a directory's content type and no trailing slash. */
export function isDirectoryStandIn({ key, size, contentType }: ObjectInfo): boolean {
  return size === 0 && !key.endsWith("/") && contentType?.startsWith("application/x-directory") === true;
}

/** Hadoop's and old tools' `name_$folder$`: an empty object that is nobody's file. */
export function isFolderMark(object: { readonly key: string; readonly size: number }): boolean {
  return object.size === 0 && object.key.endsWith("_$folder$");
}

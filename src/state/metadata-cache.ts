/**
 * The persistent cache of what a listing does not say about an object: times and mode by (volume, key, ETag). It only
 * saves requests: throwing it away at any moment loses nothing. Several processes of a node may have one open at once.
 * Knows no store and no tree.
 */
import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import { open, type RootDatabase } from "lmdb";
import { type ChangeFollower, ChangeLog, type ProcessPlace, type TreeChange } from "./change-log.ts";
import { DiskRoom } from "./disk-room.ts";
import { putBrokenStoreAside } from "./store-file.ts";

/** What is known about one version of an object; `undefined` is knowledge too: the object does not say. */
export interface CachedTimes {
  /** Whole seconds since the epoch. */
  readonly mtime: number | undefined;
  /** Permission bits. */
  readonly mode: number | undefined;
  /** The object stands for a directory though its key does not end with `/` (written by old s3fs). */
  readonly isDirectory?: boolean;
}

/** See the head of this file. No method throws or rejects; what cannot be stored is forgotten. */
export interface MetadataCache {
  /** What is known about that very version. `etag` undefined: about whichever version was seen last. */
  get(volume: string, key: string, etag: string | undefined): CachedTimes | undefined;
  set(volume: string, key: string, etag: string, times: CachedTimes): void;
  delete(volume: string, key: string): void;
  /** Hears what other processes of this node write to the volume from now on. */
  follow(volume: string): ChangeFollower;
  /** Tells the other processes what this one wrote; when it returns they see it. */
  announceChange(volume: string, changes: readonly TreeChange[]): void;
  close(): Promise<void>;
}

const NOBODY_WRITES: ChangeFollower = { take: () => [], end: () => undefined };

/** A cache that lives as long as the process; the oldest entries go at `maxEntries`. */
export class InMemoryMetadataCache implements MetadataCache {
  readonly #maxEntries: number;
  readonly #entries = new Map<string, { readonly etag: string; readonly times: CachedTimes }>();

  constructor(options: { readonly maxEntries?: number } = {}) {
    this.#maxEntries = options.maxEntries ?? 100_000;
  }

  get(volume: string, key: string, etag: string | undefined): CachedTimes | undefined {
    const entry = this.#entries.get(`${volume}\0${key}`);
    return entry && (etag === undefined || entry.etag === etag) ? entry.times : undefined;
  }

  set(volume: string, key: string, etag: string, times: CachedTimes): void {
    const name = `${volume}\0${key}`;
    this.#entries.delete(name);
    this.#entries.set(name, { etag, times });
    if (this.#entries.size <= this.#maxEntries) return;
    const oldest = this.#entries.keys().next();
    if (!oldest.done) this.#entries.delete(oldest.value);
  }

  delete(volume: string, key: string): void {
    this.#entries.delete(`${volume}\0${key}`);
  }

  follow(): ChangeFollower {
    return NOBODY_WRITES;
  }

  announceChange(): void {}

  async close(): Promise<void> {
    this.#entries.clear();
  }
}

/** How `openMetadataCache` opens one. */
export interface MetadataCacheOptions {
  /** Directory for its files; made if missing. */
  readonly directory: string;
  /** Which of the node's processes this is; undefined: it is the only one, and nothing is announced. */
  readonly place?: ProcessPlace;
  /** Most entries kept (default 5,000,000, about 1 GiB); beyond it a tenth is dropped. */
  readonly maxEntries?: number;
  /** Called with what went wrong; the cache goes on without what it could not do. */
  readonly onError: (error: unknown) => void;
}

/** Opens the cache of this node. Throws if the directory cannot be used; the caller may then go on in memory. */
export function openMetadataCache(options: MetadataCacheOptions): MetadataCache {
  return new LmdbMetadataCache(options);
}

const NO_VALUE = 0xffff_ffff_ffff;
const NO_MODE = 0xffff;
/** Set in the mode field for a directory without trailing slash; permission bits need 12 of the 16. */
const DIRECTORY_FLAG = 0x4000;
/** mtime (6 bytes), mode (2 bytes), then the ETag. */
const HEADER_BYTES = 8;
/** What is set waits this long for more: a commit costs as much as writing thirty entries. */
const WRITE_DELAY_MS = 50;
/** So many do not wait. */
const MAX_WAITING = 1_000;
/** Entry counts are looked at after this many writes. */
const WRITES_PER_COUNT = 10_000;

class LmdbMetadataCache implements MetadataCache {
  readonly #entries: RootDatabase<Buffer, Buffer>;
  readonly #changes: ChangeLog | undefined;
  readonly #room: DiskRoom;
  readonly #maxEntries: number;
  readonly #onError: (error: unknown) => void;
  readonly #volumePrefixes = new Map<string, Buffer>();
  readonly #unwritten = new Map<string, { readonly value: Buffer | undefined }>();
  /** Not handed to lmdb yet; also in `#unwritten`. */
  #waiting = new Map<string, { readonly name: Buffer; readonly value: Buffer | undefined }>();
  #timer: NodeJS.Timeout | undefined;
  #writes = 0;
  #closed = false;

  constructor({ directory, place, maxEntries = 5_000_000, onError }: MetadataCacheOptions) {
    // noSync: a cache need not survive a power cut whole; lmdb then starts it anew or with older entries.
    const shared = { keyEncoding: "binary", encoding: "binary", noSync: true, noMemInit: true } as const;
    const aside = putBrokenStoreAside(`${directory}/metadata.mdb`);
    if (aside) rmSync(aside);
    this.#entries = open<Buffer, Buffer>({ path: `${directory}/metadata.mdb`, ...shared });
    this.#changes = place && new ChangeLog(`${directory}/changes`, place);
    this.#room = new DiskRoom(directory);
    this.#maxEntries = maxEntries;
    this.#onError = onError;
  }

  get(volume: string, key: string, etag: string | undefined): CachedTimes | undefined {
    if (this.#closed) return undefined;
    const unwritten = this.#unwritten.get(`${volume}\0${key}`);
    if (unwritten) return unwritten.value ? decode(unwritten.value, etag) : undefined;
    try {
      const value = this.#entries.get(this.#name(volume, key));
      return value ? decode(value, etag) : undefined;
    } catch (error) {
      this.#onError(error);
      return undefined;
    }
  }

  set(volume: string, key: string, etag: string, times: CachedTimes): void {
    this.#write(volume, key, encode(etag, times));
    if (++this.#writes % WRITES_PER_COUNT === 0) this.#bound();
  }

  delete(volume: string, key: string): void {
    this.#write(volume, key, undefined);
  }

  follow(volume: string): ChangeFollower {
    if (this.#closed || !this.#changes) return NOBODY_WRITES;
    const follower = this.#changes.follow(volume);
    return {
      take: () => {
        if (this.#closed) return [];
        try {
          return follower.take();
        } catch (error) {
          this.#onError(error);
          return "unknown";
        }
      },
      end: () => follower.end(),
    };
  }

  announceChange(volume: string, changes: readonly TreeChange[]): void {
    if (this.#closed) return;
    try {
      this.#changes?.announce(volume, changes);
    } catch (error) {
      this.#onError(error);
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#handOver();
    try {
      await this.#entries.close();
      this.#changes?.close();
    } catch (error) {
      this.#onError(error);
    }
  }

  /** Writes behind: lmdb's readers see a value only after its batch was committed. */
  #write(volume: string, key: string, value: Buffer | undefined): void {
    if (this.#closed) return;
    const label = `${volume}\0${key}`;
    const write = { name: this.#name(volume, key), value };
    this.#unwritten.set(label, write);
    this.#waiting.set(label, write);
    if (this.#waiting.size >= MAX_WAITING) this.#handOver();
    else this.#timer ??= setTimeout(() => this.#handOver(), WRITE_DELAY_MS).unref();
  }

  /** Gives lmdb what waits, which makes one batch of it. */
  #handOver(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const waiting = this.#waiting;
    this.#waiting = new Map();
    try {
      this.#room.require();
    } catch (error) {
      for (const label of waiting.keys()) this.#unwritten.delete(label);
      if (waiting.size > 0) this.#onError(error);
      return;
    }
    for (const [label, write] of waiting) {
      const written = (): void => {
        if (this.#unwritten.get(label) === write) this.#unwritten.delete(label);
      };
      try {
        const done = write.value ? this.#entries.put(write.name, write.value) : this.#entries.remove(write.name);
        done.catch(this.#onError).finally(written);
      } catch (error) {
        written();
        this.#onError(error);
      }
    }
  }

  /** Makes room for a tenth, beginning at a place nobody chose: entries carry no age, and all can be had again. */
  #bound(): void {
    try {
      this.#room.require();
      const count = entryCount(this.#entries.getStats());
      if (count <= this.#maxEntries) return;
      const start = createHash("sha256").update(String(count)).digest().subarray(0, 8);
      let left = Math.ceil(count - this.#maxEntries * 0.9);
      for (const from of [start, Buffer.alloc(1)]) {
        for (const key of this.#entries.getKeys({ start: from, limit: left })) {
          left--;
          this.#entries.remove(key).catch(this.#onError);
        }
      }
    } catch (error) {
      this.#onError(error);
    }
  }

  /** Volumes stand as 8 bytes before the key, so that the longest key (1,024 bytes) fits lmdb's 1,978. */
  #prefix(volume: string): Buffer {
    let prefix = this.#volumePrefixes.get(volume);
    if (!prefix) {
      prefix = createHash("sha256").update(volume).digest().subarray(0, 8);
      this.#volumePrefixes.set(volume, prefix);
    }
    return prefix;
  }

  #name(volume: string, key: string): Buffer {
    const prefix = this.#prefix(volume);
    const name = Buffer.allocUnsafe(prefix.length + Buffer.byteLength(key));
    prefix.copy(name);
    name.write(key, prefix.length);
    return name;
  }
}

function encode(etag: string, { mtime, mode, isDirectory }: CachedTimes): Buffer {
  const value = Buffer.allocUnsafe(HEADER_BYTES + Buffer.byteLength(etag));
  value.writeUIntBE(mtime ?? NO_VALUE, 0, 6);
  if (isDirectory) value.writeUInt16BE((mode ?? 0o755) | DIRECTORY_FLAG, 6);
  else value.writeUInt16BE(mode ?? NO_MODE, 6);
  value.write(etag, HEADER_BYTES);
  return value;
}

function decode(value: Buffer, etag: string | undefined): CachedTimes | undefined {
  if (value.length < HEADER_BYTES || (etag !== undefined && value.toString("utf8", HEADER_BYTES) !== etag)) return undefined;
  const mtime = value.readUIntBE(0, 6);
  const mode = value.readUInt16BE(6);
  return {
    mtime: mtime === NO_VALUE ? undefined : mtime,
    mode: mode === NO_MODE ? undefined : mode & 0o7777,
    ...(mode !== NO_MODE && (mode & DIRECTORY_FLAG) !== 0 ? { isDirectory: true } : {}),
  };
}

/** lmdb types its statistics as `{}`. */
function entryCount(stats: object): number {
  return "entryCount" in stats && typeof stats.entryCount === "number" ? stats.entryCount : 0;
}

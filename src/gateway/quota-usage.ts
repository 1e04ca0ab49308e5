/**
 * What a user with a quota stores: counted by one listing when it is first asked for, kept up to date by what goes
 * through the gateway, and counted again before anybody is refused. Knows no sessions.
 */
import { FsError, StoreError } from "../errors.ts";
import type { ObjectInfo, ObjectStore } from "../objectstore/objectstore.ts";
import { formatSize } from "../config/quantities.ts";
import type { Quota, Usage } from "../vfs/statvfs.ts";

/** A count this old is made anew when it is asked for: other writers of the bucket are not seen otherwise. */
const MAX_AGE_MS = 3_600_000;
/** Before somebody is refused, the count is made anew if it is at least this old. */
const RECOUNT_AGE_MS = 30_000;

/** See the head of this file. One instance serves all sessions of a user. */
export class QuotaUsage {
  readonly #store: ObjectStore;
  readonly #prefix: string;
  readonly #quota: Quota;
  readonly #now: () => number;
  #usage: { bytes: number; files: number } | undefined;
  #countedMs = Number.NEGATIVE_INFINITY;
  #counting: Promise<Usage> | undefined;
  /** Something went that the count does not know the size of. */
  #isStale = false;

  constructor(options: { readonly store: ObjectStore; readonly prefix: string; readonly quota: Quota; readonly now: () => number }) {
    this.#store = options.store;
    this.#prefix = options.prefix;
    this.#quota = options.quota;
    this.#now = options.now;
  }

  /** Bytes and files stored. Rejects with a StoreError if they cannot be counted. */
  async current(): Promise<Usage> {
    return this.#usage && this.#now() - this.#countedMs < MAX_AGE_MS ? { ...this.#usage } : this.#count();
  }

  /**
   * Makes room for `bytes` more (negative: less) in `files` more files. Rejects with an FsError `quota` if there is none,
   * and `unavailable` if nobody can tell.
   */
  async reserve(bytes: number, files = 0): Promise<void> {
    let usage: Usage;
    try {
      usage = await this.current();
      const mayHaveChanged = this.#isStale || this.#now() - this.#countedMs >= RECOUNT_AGE_MS;
      if (this.#exceeded(usage, bytes, files) && mayHaveChanged) usage = await this.#count();
    } catch (error) {
      if (error instanceof FsError) throw error;
      throw new FsError("unavailable", "your quota cannot be checked now, try again later", { cause: error });
    }
    const exceeded = this.#exceeded(usage, bytes, files);
    if (exceeded) throw new FsError("quota", exceeded);
    if (!this.#usage) return;
    this.#usage.bytes = Math.max(0, this.#usage.bytes + bytes);
    this.#usage.files = Math.max(0, this.#usage.files + files);
  }

  /** Makes room for an object of `size` under `key`, which may replace one; costs one request. As `reserve`. */
  async reserveFor({ key, size }: { readonly key: string; readonly size: number }): Promise<void> {
    let replaced: ObjectInfo | undefined;
    try {
      replaced = await this.#store.head(key);
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== "not-found") {
        throw new FsError("unavailable", "your quota cannot be checked now, try again later", { cause: error });
      }
    }
    await this.reserve(size - (replaced?.size ?? 0), replaced ? 0 : 1);
  }

  /** Something was removed: there may be more room than was counted. */
  somethingRemoved(): void {
    this.#isStale = true;
  }

  /** Another process of this node wrote or removed something; what it replaced is not known here. */
  changedElsewhere(publishedBytes: number | undefined): void {
    this.#isStale = true;
    if (!this.#usage || publishedBytes === undefined) return;
    this.#usage.bytes += publishedBytes;
    this.#usage.files++;
  }

  #exceeded(usage: Usage, bytes: number, files: number): string | undefined {
    const { bytes: maxBytes, files: maxFiles } = this.#quota;
    if (maxBytes !== undefined && bytes > 0 && usage.bytes + bytes > maxBytes) {
      return `your quota of ${formatSize(maxBytes)} is used up: ${formatSize(usage.bytes)} are stored, this needs ${formatSize(bytes)} more`;
    }
    if (maxFiles !== undefined && files > 0 && usage.files + files > maxFiles) return `your quota of ${maxFiles} files is used up`;
    return undefined;
  }

  /** One listing at a time, however many ask. */
  #count(): Promise<Usage> {
    this.#counting ??= this.#list().finally(() => {
      this.#counting = undefined;
    });
    return this.#counting;
  }

  async #list(): Promise<Usage> {
    const counted = { bytes: 0, files: 0 };
    this.#isStale = false;
    for await (const page of this.#store.list(this.#prefix)) {
      for (const entry of page) {
        if (entry.kind !== "object" || entry.key.endsWith("/")) continue;
        counted.bytes += entry.size;
        counted.files++;
      }
    }
    this.#usage = counted;
    this.#countedMs = this.#now();
    return { ...counted };
  }
}

/**
 * In which order the files of lately listed directories were shown, to guess which one a client will open next. Bounded.
 * Knows keys and versions, makes no requests.
 */
import { compareKeys } from "../objectstore/key-order.ts";
import type { SeenObject } from "./tree-cache.ts";

/** Files remembered of all listings of a volume together. */
const MAX_FILES = 20_000;

/** The files of one listing, in key order, ascending. */
export type FileOrder = readonly SeenObject[];

/** See the head of this file. */
export class ListingOrders {
  /** By the key that was listed (ends with `/`, or empty); the oldest listing first. */
  readonly #orders = new Map<string, SeenObject[]>();
  #files = 0;

  /** A listing of `prefix` begins: what was remembered of it is forgotten. */
  begin(prefix: string): void {
    this.#drop(prefix);
    this.#orders.set(prefix, []);
  }

  /** The next page of that listing shows these files. */
  append(prefix: string, files: readonly SeenObject[]): void {
    const order = this.#orders.get(prefix);
    if (!order || order.length + files.length > MAX_FILES) return;
    const last = order.at(-1);
    const first = files[0];
    // Two listings of one directory at once: what was begun last is what counts, and it must stay in order.
    if (last && first && compareKeys(last.key, first.key) >= 0) return;
    order.push(...files);
    this.#files += files.length;
    for (const oldest of this.#orders.keys()) {
      if (this.#files <= MAX_FILES) break;
      if (oldest !== prefix) this.#drop(oldest);
    }
  }

  /** The listing that showed `key`, and its place in it: that of its own directory, or of one that was walked whole. */
  find(key: string): { readonly order: FileOrder; readonly index: number } | undefined {
    for (let cut = key.lastIndexOf("/") + 1; ; cut = key.lastIndexOf("/", cut - 2) + 1) {
      const order = this.#orders.get(key.slice(0, cut));
      const index = order ? indexOf(order, key) : -1;
      if (order && index >= 0) return { order, index };
      if (cut === 0) return undefined;
    }
  }

  /** Forgets all listings. */
  clear(): void {
    this.#orders.clear();
    this.#files = 0;
  }

  #drop(prefix: string): void {
    this.#files -= this.#orders.get(prefix)?.length ?? 0;
    this.#orders.delete(prefix);
  }
}

function indexOf(order: FileOrder, key: string): number {
  let low = 0;
  let high = order.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(order[middle]?.key ?? "", key) < 0) low = middle + 1;
    else high = middle;
  }
  return order[low]?.key === key ? low : -1;
}

/**
 * Walks two listings side by side in UTF-8 byte order with memory for one entry each. Knows nothing of what is to be
 * done with the pairs.
 */
import { compareKeys } from "../../objectstore/key-order.ts";
import type { ListedObject } from "../../objectstore/objectstore.ts";
import { type Lister, orderedPages } from "../ordered-listing.ts";

/** An object below a prefix; `name` is its key without that prefix. */
export interface SyncEntry {
  readonly name: string;
  readonly object: ListedObject;
}

/** The same name on both sides, or on one only. */
export interface SyncPair {
  readonly name: string;
  readonly source: ListedObject | undefined;
  readonly destination: ListedObject | undefined;
}

/** What is left out of a listing. */
export interface EntryFilter {
  /** Include zero-byte `…/` keys (directory markers). aws-cli never does. */
  readonly markers: boolean;
  /** Lists with several requests at once, and a few more of them. */
  readonly sideBySide?: boolean;
  /** True for names that are not part of the data, such as unfinished uploads. */
  readonly excluded: (name: string) => boolean;
}

/** The objects below `prefix` in order. Rejects with `StoreError` as the store does, and with `UnorderedListing`. */
export async function* syncEntries(store: Lister, prefix: string, filter: EntryFilter, signal?: AbortSignal): AsyncGenerator<SyncEntry> {
  for await (const page of orderedPages(store, prefix, signal, filter.sideBySide ? { sideBySide: true } : {})) {
    for (const object of page) {
      const name = object.key.slice(prefix.length);
      if (name === "" || (object.size === 0 && name.endsWith("/") && !filter.markers) || filter.excluded(name)) continue;
      yield { name, object };
    }
  }
}

/** Joins two ordered listings by name. Rejects as either of them does. */
export async function* mergeEntries(source: AsyncIterable<SyncEntry>, destination: AsyncIterable<SyncEntry>): AsyncGenerator<SyncPair> {
  const left = source[Symbol.asyncIterator]();
  const right = destination[Symbol.asyncIterator]();
  try {
    let [a, b] = await Promise.all([left.next(), right.next()]);
    while (!a.done || !b.done) {
      const order = a.done ? 1 : b.done ? -1 : compareKeys(a.value.name, b.value.name);
      const name = (order <= 0 ? a : b).value.name as string;
      yield {
        name,
        source: order <= 0 ? (a.value as SyncEntry).object : undefined,
        destination: order >= 0 ? (b.value as SyncEntry).object : undefined,
      };
      [a, b] = await Promise.all([order <= 0 ? left.next() : a, order >= 0 ? right.next() : b]);
    }
  } finally {
    await Promise.all([left.return?.(), right.return?.()]);
  }
}

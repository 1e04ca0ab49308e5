/** Counts what a storage holds, by one listing. */
import type { ObjectStore } from "../../objectstore/objectstore.ts";

/** Files and bytes. */
export interface UsageCount {
  files: number;
  bytes: number;
}

/** What a storage holds: all of it, and of that the originals and thumbnails. */
export interface StorageUsage {
  readonly total: UsageCount;
  readonly originals: UsageCount;
  readonly thumbnails: UsageCount;
}

/** Counts below `prefix`; directory markers do not count. Rejects with a StoreError. */
export async function countUsage(store: ObjectStore, prefix: string): Promise<StorageUsage> {
  const usage = { total: { files: 0, bytes: 0 }, originals: { files: 0, bytes: 0 }, thumbnails: { files: 0, bytes: 0 } };
  const originals = `${prefix}originals/`;
  const thumbnails = `${prefix}thumbnails/`;
  for await (const page of store.list(prefix)) {
    for (const entry of page) {
      if (entry.kind !== "object" || entry.key.endsWith("/")) continue;
      add(usage.total, entry.size);
      if (entry.key.startsWith(originals)) add(usage.originals, entry.size);
      else if (entry.key.startsWith(thumbnails)) add(usage.thumbnails, entry.size);
    }
  }
  return usage;
}

function add(count: UsageCount, bytes: number): void {
  count.files++;
  count.bytes += bytes;
}

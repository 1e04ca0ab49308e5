/** Room and usage for `df`: from the user's quota, else from the store's medium where it has an end, else generous. */
import type { StoreSpace } from "../objectstore/objectstore.ts";
import type { FileSystemStatistics } from "./file-system.ts";

/** What a user may store. Absent members are not limited. */
export interface Quota {
  readonly bytes?: number;
  readonly files?: number;
}

/** What a user stores. */
export interface Usage {
  readonly bytes: number;
  readonly files: number;
}

/** Shown where nothing limits: 8 PiB and a thousand million files. */
const UNLIMITED_BYTES = 2 ** 53 - 2 ** 20;
const UNLIMITED_FILES = 1_000_000_000;

/** What `statvfs` says; without `usage` and `space` everything counts as free. */
export function statistics(options: {
  readonly quota: Quota;
  readonly usage: Usage | undefined;
  readonly space: StoreSpace | undefined;
  readonly readOnly: boolean;
  readonly maxNameBytes: number;
}): FileSystemStatistics {
  const { quota, usage, space, readOnly, maxNameBytes } = options;
  const bytesLeft = quota.bytes === undefined ? Number.POSITIVE_INFINITY : Math.max(0, quota.bytes - (usage?.bytes ?? 0));
  const filesLeft = quota.files === undefined ? Number.POSITIVE_INFINITY : Math.max(0, quota.files - (usage?.files ?? 0));
  return {
    totalBytes: quota.bytes ?? space?.totalBytes ?? UNLIMITED_BYTES,
    freeBytes: Math.min(bytesLeft, space?.freeBytes ?? UNLIMITED_BYTES),
    totalFiles: quota.files ?? space?.totalObjects ?? UNLIMITED_FILES,
    freeFiles: Math.min(filesLeft, space?.freeObjects ?? UNLIMITED_FILES),
    readOnly,
    maxNameLength: Math.min(255, maxNameBytes),
  };
}

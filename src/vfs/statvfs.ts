/** Room and usage for `df`: from the user's quota where there is one, else generous constants. */
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

/** What `statvfs` says; without `usage` everything counts as free. */
export function statistics(options: {
  readonly quota: Quota;
  readonly usage: Usage | undefined;
  readonly readOnly: boolean;
  readonly maxNameBytes: number;
}): FileSystemStatistics {
  const { quota, usage, readOnly, maxNameBytes } = options;
  const totalBytes = quota.bytes ?? UNLIMITED_BYTES;
  const totalFiles = quota.files ?? UNLIMITED_FILES;
  return {
    totalBytes,
    freeBytes: Math.max(0, totalBytes - (usage?.bytes ?? 0)),
    totalFiles,
    freeFiles: Math.max(0, totalFiles - (usage?.files ?? 0)),
    readOnly,
    maxNameLength: Math.min(255, maxNameBytes),
  };
}

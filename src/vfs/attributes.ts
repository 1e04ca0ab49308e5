/**
 * What `stat` and listings say about files and directories of a volume. Knows no store and no cache.
 */
import type { SeenObject } from "./tree-cache.ts";
import type { Attributes } from "./file-system.ts";
import { DEFAULT_DIRECTORY_MODE, DEFAULT_FILE_MODE, type StoredTimes } from "./object-metadata.ts";

/** Owner and group of everything: there are no Unix users here, and clients only show the numbers. */
export const OWNER_ID = 1000;

/** When directories were changed whose time nobody set: the same for everybody, so that `ls` and `stat` agree. */
export const UNKNOWN_DIRECTORY_TIME = 0;

/** Of a published object; its LastModified where it carries no time of its own. */
export function fileAttributes(object: SeenObject, times: StoredTimes | undefined): Attributes {
  const mtime = times?.mtime ?? Math.max(0, Math.floor(object.lastModifiedMs / 1000));
  return { type: "file", size: object.size, mode: times?.mode ?? DEFAULT_FILE_MODE, uid: OWNER_ID, gid: OWNER_ID, mtime, atime: mtime };
}

/** Of a directory, whether it has a marker or is implied by what lies below it. */
export function directoryAttributes(times: StoredTimes | undefined): Attributes {
  const mtime = times?.mtime ?? UNKNOWN_DIRECTORY_TIME;
  return { type: "directory", size: 0, mode: times?.mode ?? DEFAULT_DIRECTORY_MODE, uid: OWNER_ID, gid: OWNER_ID, mtime, atime: mtime };
}

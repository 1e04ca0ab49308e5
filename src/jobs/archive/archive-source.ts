/**
 * What goes into a customer's archive: the storage's listing as members in UTF-8 byte order, with the directories that
 * are always there, without markers and unfinished uploads. Reads no contents.
 */
import { compareKeys } from "../../objectstore/key-order.ts";
import type { ListedObject } from "../../objectstore/objectstore.ts";
import { type Lister, orderedObjects } from "../ordered-listing.ts";
import { type ManifestEntry, isArchived } from "./manifest.ts";

/** An object to be archived, as it was listed. */
export interface SourceFile {
  readonly kind: "file";
  /** Its path in the archive. */
  readonly path: string;
  readonly key: string;
  readonly size: number;
  readonly etag: string;
}

/** Something listed: a file, a directory, a name that cannot be archived, or (incremental archives) one that is gone. */
export type SourceItem =
  | SourceFile
  | { readonly kind: "directory"; readonly path: string; readonly mtime: number }
  | { readonly kind: "skipped"; readonly path: string; readonly reason: string }
  | { readonly kind: "deleted"; readonly path: string };

/** What is listed, and how. */
export interface SourceOptions {
  readonly store: Lister;
  /** Empty, or ends with `/`. */
  readonly prefix: string;
  /** Name of the archive's top directory. */
  readonly user: string;
  /** Whether `thumbnails/` goes in; the directory itself always does. */
  readonly thumbnails: boolean;
  /** True for names of uploads that other programs have not finished. */
  readonly isPartial: (key: string) => boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Classes whose objects cannot be read without a restore that takes hours. */
const ARCHIVE_CLASSES: ReadonlySet<string> = new Set(["GLACIER", "DEEP_ARCHIVE"]);
/** Name in the top directory under which an incremental archive says what is gone. */
export const DELETED_NAME = ".deleted";
const ALWAYS_THERE = ["originals/", "thumbnails/"];
const FOLDER_MARK = "_$folder$";

/** Why a member of this name would be refused or misread by programs that unpack; undefined for good names. */
function unsafeName(name: string): string | undefined {
  if (name === DELETED_NAME) return "incremental archives use this name themselves";
  if (name.includes("\0")) return "the name holds a NUL byte";
  const segments = (name.endsWith("/") ? name.slice(0, -1) : name).split("/");
  if (segments.includes("")) return "the name has an empty segment";
  return segments.includes(".") || segments.includes("..") ? "the name has a . or .. segment" : undefined;
}

function itemOf(entry: ListedObject, { prefix, user, isPartial, thumbnails }: SourceOptions): SourceItem | undefined {
  const name = entry.key.slice(prefix.length);
  const path = `${user}/${name}`;
  if (name === "" || isPartial(entry.key) || (!thumbnails && name.startsWith("thumbnails/") && name !== "thumbnails/")) return undefined;
  const reason = unsafeName(name);
  if (reason !== undefined) return { kind: "skipped", path, reason };
  if (name.endsWith("/")) return { kind: "directory", path, mtime: 0 };
  if (entry.size === 0 && name.endsWith(FOLDER_MARK)) return undefined;
  if (entry.storageClass !== undefined && ARCHIVE_CLASSES.has(entry.storageClass)) {
    return { kind: "skipped", path, reason: `is in the storage class ${entry.storageClass} and cannot be read` };
  }
  return { kind: "file", path, key: entry.key, size: entry.size, etag: entry.etag };
}

/**
 * The members of a whole archive. Directories carry the time 0: stores do not keep one for them, and two archives of the
 * same data must be the same bytes. Rejects as the store does, and with `UnorderedListing`.
 */
export async function* listSource(options: SourceOptions): AsyncGenerator<SourceItem> {
  const top = `${options.user}/`;
  const pending = ALWAYS_THERE.map((name) => top + name);
  yield { kind: "directory", path: top, mtime: 0 };
  // Order is checked: manifests are merged by it.
  for await (const entry of orderedObjects(options.store, options.prefix, options.signal)) {
    const item = itemOf(entry, options);
    if (!item) continue;
    for (let next = pending[0]; next !== undefined && compareKeys(next, item.path) <= 0; next = pending[0]) {
      pending.shift();
      if (next !== item.path) yield { kind: "directory", path: next, mtime: 0 };
    }
    yield item;
  }
  for (const path of pending) yield { kind: "directory", path, mtime: 0 };
}

function isUnchanged(file: SourceFile, known: ManifestEntry): boolean {
  return known.status !== "damaged" && known.etag === file.etag && known.size === file.size;
}

/**
 * The members of an incremental archive: what is new or changed compared with `known` (entries in order of paths), and
 * what is gone. Directories are left out but for the top one; a name that cannot be archived is told each time.
 */
export async function* listChanges(source: AsyncIterable<SourceItem>, known: AsyncIterable<ManifestEntry>): AsyncGenerator<SourceItem> {
  const entries = known[Symbol.asyncIterator]();
  let entry = await entries.next();
  let isFirst = true;
  try {
    for await (const item of source) {
      if (item.kind === "directory") {
        if (isFirst) yield item;
        isFirst = false;
        continue;
      }
      for (; !entry.done && compareKeys(entry.value.path, item.path) < 0; entry = await entries.next()) {
        if (isArchived(entry.value)) yield { kind: "deleted", path: entry.value.path };
      }
      const match = !entry.done && entry.value.path === item.path ? entry.value : undefined;
      if (match) entry = await entries.next();
      if (item.kind !== "file" || !match || !isUnchanged(item, match)) yield item;
    }
    for (; !entry.done; entry = await entries.next()) if (isArchived(entry.value)) yield { kind: "deleted", path: entry.value.path };
  } finally {
    await entries.return?.(undefined);
  }
}

/**
 * The list of a customer's originals: names, sizes, times, checksums, for those who load a database from it or want proof
 * that everything has arrived. Streams; memory does not grow with the number of files.
 */
import { createHash } from "node:crypto";
import type { ListedObject, ObjectStore } from "../../objectstore/objectstore.ts";

/** One file. */
export interface ManifestLine {
  /** Below the storage, such as `originals/a.jpg`. */
  readonly path: string;
  /** What Specify has as attachmentLocation. */
  readonly name: string;
  readonly size: number;
  /** ISO 8601, UTC: the file's own time where it is asked for and known, else when it was stored. */
  readonly modified: string;
  /** MD5 in hex where the store's ETag is one; empty otherwise. */
  readonly md5: string;
  /** SHA-256 in hex; empty unless it was asked for. */
  readonly sha256: string;
}

/** What is listed, and how. */
export interface ManifestOptions {
  readonly store: ObjectStore;
  readonly prefix: string;
  /** Below the prefix: `originals/`, or empty for all. */
  readonly folder: string;
  /** Reads every file to compute its SHA-256: as slow as a download. */
  readonly sha256: boolean;
  /** Asks for each file's own time: one request a file. */
  readonly times: boolean;
  readonly signal?: AbortSignal | undefined;
}

const AHEAD = 16;

/** The files in UTF-8 byte order. Rejects with a StoreError. */
export async function* manifestLines(options: ManifestOptions): AsyncGenerator<ManifestLine> {
  const { store, prefix, folder, signal } = options;
  const window: Promise<ManifestLine>[] = [];
  for await (const page of store.list(prefix + folder, signal ? { signal } : {})) {
    for (const entry of page) {
      if (entry.kind !== "object" || entry.key.endsWith("/")) continue;
      const line = lineOf(entry, options);
      // Its failure shows when its turn comes.
      line.catch(() => undefined);
      window.push(line);
      if (window.length < AHEAD) continue;
      const first = window.shift();
      if (first) yield await first;
    }
  }
  for (const line of window) yield await line;
}

async function lineOf(object: ListedObject, options: ManifestOptions): Promise<ManifestLine> {
  const { store, prefix, sha256, times, signal } = options;
  const { key, size, etag, lastModifiedMs } = object;
  const path = key.slice(prefix.length);
  let { metadata } = object;
  let digest = "";
  if (sha256) {
    const read = await store.get(key, { ifMatch: etag, ...(signal ? { signal } : {}) });
    const hash = createHash("sha256");
    for await (const chunk of read.body) hash.update(chunk);
    digest = hash.digest("hex");
    metadata = read.info.metadata;
  } else if (times && metadata === undefined) metadata = (await store.head(key, signal)).metadata;
  const own = Number(metadata?.mtime);
  const modifiedMs = Number.isFinite(own) && own > 0 && own < 2 ** 33 ? own * 1000 : lastModifiedMs;
  return {
    path,
    name: path.slice(path.lastIndexOf("/") + 1),
    size,
    modified: new Date(modifiedMs).toISOString(),
    md5: /^[0-9a-f]{32}$/.test(etag) ? etag : "",
    sha256: digest,
  };
}

/** The first line of the CSV form. */
export const MANIFEST_HEADER = "path,name,size,modified,md5,sha256";

/** A line as CSV (RFC 4180). */
export function manifestCsv({ path, name, size, modified, md5, sha256 }: ManifestLine): string {
  return [path, name, String(size), modified, md5, sha256].map(csvField).join(",");
}

/** A field, quoted where it must be. */
export function csvField(text: string): string {
  return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * Which archives of a user there are: one small JSON object beside them, replaced whole, so that a new archive counts from
 * one moment on. Pure but for reading and writing that object.
 */
import { buffer } from "node:stream/consumers";
import { StoreError } from "../errors.ts";
import type { ObjectBody, ObjectStore } from "../objectstore/objectstore.ts";

/** One file of an archive; most have one. */
export interface VolumeRecord {
  /** Name of the file, in the user's folder at the destination and in the user's home. */
  readonly name: string;
  readonly size: number;
  /** In lower-case hex. */
  readonly sha256: string;
}

/** One published archive. */
export interface ArchiveRecord {
  /** Names the archive: that of its first volume without the number. */
  readonly name: string;
  readonly kind: "full" | "incremental";
  /** When it was begun and published, in milliseconds since the epoch. */
  readonly startedMs: number;
  readonly publishedMs: number;
  readonly volumes: readonly VolumeRecord[];
  readonly manifest: { readonly name: string; readonly size: number };
  /** Members with content, and the bytes of their contents. */
  readonly files: number;
  readonly bytes: number;
  /** Entries that are not simply `ok`, by status. */
  readonly warnings: Readonly<Record<string, number>>;
}

/** All archives of a user, oldest first. */
export interface Catalog {
  readonly archives: readonly ArchiveRecord[];
}

/**
 * Opens a file of an archive as the catalog knows it. Its size tells whether it is that file; its ETag is not kept, because
 * an operator may move a folder of archives to another disk. Rejects with a StoreError: `precondition-failed` for another
 * file. Whoever opened it reads it to its end or destroys it.
 */
export async function openArchiveFile(
  { store, prefix }: { readonly store: ObjectStore; readonly prefix: string },
  { name, size }: { readonly name: string; readonly size: number },
  signal?: AbortSignal,
): Promise<ObjectBody> {
  const found = await store.get(prefix + name, signal ? { signal } : {});
  if (found.info.size === size) return found;
  found.destroy();
  throw new StoreError("precondition-failed", `${prefix}${name} has ${found.info.size} bytes, the catalog says ${size}`);
}

/** Name of the catalog's object in a user's folder. */
export const CATALOG_NAME = "catalog.json";
const MAX_CATALOG_BYTES = 4 * 1024 * 1024;

function isCatalog(value: unknown): value is Catalog {
  if (typeof value !== "object" || value === null || !("archives" in value) || !Array.isArray(value.archives)) return false;
  return value.archives.every(
    (archive: unknown) =>
      typeof archive === "object" &&
      archive !== null &&
      "name" in archive &&
      typeof archive.name === "string" &&
      "kind" in archive &&
      "volumes" in archive &&
      Array.isArray(archive.volumes) &&
      archive.volumes.every((volume: { name?: unknown }) => typeof volume?.name === "string" && !volume.name.includes("/")),
  );
}

/** The catalog in the folder `prefix` (ends with `/`); an empty one if there is none. Rejects with a StoreError, or if it is damaged. */
export async function readCatalog(store: ObjectStore, prefix: string, signal?: AbortSignal): Promise<Catalog> {
  const key = `${prefix}${CATALOG_NAME}`;
  try {
    const found = await store.get(key, signal ? { signal } : {});
    if (found.info.size > MAX_CATALOG_BYTES) {
      found.destroy();
      throw new Error(`${key} is too large to be a catalog`);
    }
    const value: unknown = JSON.parse((await buffer(found.body)).toString("utf8"));
    if (!isCatalog(value)) throw new Error(`${key} is not a catalog of archives`);
    return value;
  } catch (error) {
    if (error instanceof StoreError && error.code === "not-found") return { archives: [] };
    throw error;
  }
}

/** Replaces the catalog: the archives in it count from then on. */
export async function writeCatalog(store: ObjectStore, prefix: string, catalog: Catalog, signal?: AbortSignal): Promise<void> {
  const bytes = Buffer.from(`${JSON.stringify(catalog, null, 1)}\n`);
  await store.put(`${prefix}${CATALOG_NAME}`, [bytes], { contentType: "application/json", ...(signal ? { signal } : {}) });
}

/** The newest whole archive; undefined if there is none. */
export function latestFull({ archives }: Catalog): ArchiveRecord | undefined {
  return archives.findLast(({ kind }) => kind === "full");
}

/** What has to be unpacked, in order, to get the state of `name` (default: the newest archive): a whole archive and those after it. */
export function chainOf({ archives }: Catalog, name?: string): readonly ArchiveRecord[] {
  const end = name === undefined ? archives.length - 1 : archives.findIndex((archive) => archive.name === name);
  const upTo = archives.slice(0, end + 1);
  const start = upTo.findLastIndex(({ kind }) => kind === "full");
  return start < 0 ? [] : upTo.slice(start);
}

/**
 * Splits the archives into those that stay and those that go: the newest `keep` whole ones with the incremental ones after
 * each stay, and those that were replaced less than `graceMs` ago.
 */
export function retention(
  { archives }: Catalog,
  options: { readonly keep: number; readonly graceMs: number; readonly nowMs: number },
): { readonly stay: readonly ArchiveRecord[]; readonly go: readonly ArchiveRecord[] } {
  const fulls = archives.flatMap((archive, index) => (archive.kind === "full" ? [index] : []));
  const firstKept = fulls.at(-options.keep) ?? 0;
  const stay: ArchiveRecord[] = [];
  const go: ArchiveRecord[] = [];
  for (const [index, archive] of archives.entries()) {
    const nextFull = fulls.find((at) => at > index);
    const replacedMs = nextFull === undefined ? undefined : archives[nextFull]?.publishedMs;
    const isFresh = replacedMs === undefined || options.nowMs - replacedMs < options.graceMs;
    (index >= firstKept || isFresh ? stay : go).push(archive);
  }
  return { stay, go };
}

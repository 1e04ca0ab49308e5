/**
 * Listings of a folder as S3 lists keys: in UTF-8 byte order, which is not the order of a tree walk (`a.txt` comes
 * before `a/b`), directories as empty objects `dir/`. Holds the names of the directories on the way, nothing else.
 */
import { opendir } from "node:fs/promises";
import type { Dirent, Stats } from "node:fs";
import { StoreError } from "../errors.ts";
import { compareKeys, lowerBound } from "./key-order.ts";
import { isAbsent, localError } from "./local-errors.ts";
import { readLink, statPath } from "./local-files.ts";
import { PRIVATE_FOLDER } from "./local-paths.ts";
import type { Directory, RootDirectory } from "./local-paths.ts";
import { directoryEtag, localEtag, statMetadata } from "./local-properties.ts";
import type { ListedObject, ListEntry, ListOptions } from "./objectstore.ts";
import { checkNotAborted, checkPageSize, MAX_KEY_BYTES } from "./request-checks.ts";

/** Entries read from a directory at once. */
const READ_BATCH = 512;

/** Files looked at at once. */
const STAT_BATCH = 128;

/** Finds the regular file a symbolic link means, if it is one inside the root. */
export type ResolveLink = (key: string) => Promise<Stats | undefined>;

/** What a listing works on. */
export interface ListingContext {
  readonly root: RootDirectory;
  readonly resolveLink: ResolveLink;
}

/** Names of one directory, sorted; those of directories and of links that must be looked at are marked by their end. */
const DIRECTORY_MARK = "/";
const LINK_MARK = "\0";

/** See `ObjectStore.list`. */
export async function* listFolder(context: ListingContext, prefix: string, options: ListOptions): AsyncGenerator<ListEntry[]> {
  const pageSize = checkPageSize(options.pageSize);
  checkNotAborted(options.signal);
  const cut = prefix.lastIndexOf("/") + 1;
  const base = prefix.slice(0, cut);
  const { after, signal } = options;
  const walk = new Walk(context, { prefix, after, fold: options.delimiter === "/", signal, batchSize: Math.min(pageSize, STAT_BATCH) });
  let page: ListEntry[] = [];
  try {
    for await (const batch of walk.directory(base)) {
      for (const entry of batch) {
        page.push(entry);
        if (page.length < pageSize) continue;
        yield page;
        page = [];
      }
    }
  } catch (error) {
    throw localError(error, `listing ${JSON.stringify(prefix)}`);
  }
  yield page;
}

/** The entries that still exist. */
async function settle(found: readonly Promise<ListEntry | undefined>[]): Promise<ListEntry[]> {
  const entries = await Promise.all(found);
  return entries.filter((entry) => entry !== undefined);
}

interface WalkOptions {
  readonly prefix: string;
  readonly after: string | undefined;
  readonly fold: boolean;
  readonly signal: AbortSignal | undefined;
  readonly batchSize: number;
}

class Walk {
  readonly #context: ListingContext;
  readonly #options: WalkOptions;

  constructor(context: ListingContext, options: WalkOptions) {
    this.#context = context;
    this.#options = options;
  }

  /** Entries of the directory `base` (empty or ending in `/`) and, unless folded, of all below, in batches. */
  async *directory(base: string): AsyncGenerator<ListEntry[]> {
    const { prefix, fold, signal, batchSize } = this.#options;
    checkNotAborted(signal);
    const directory = this.#open(base);
    if (!directory) return;
    try {
      let batch: Promise<ListEntry | undefined>[] = [];
      if (base !== "" && base.startsWith(prefix) && this.#isWanted(base)) batch.push(this.#describeDirectory(base, directory));
      const names = await readNames(directory, base, prefix);
      for (let index = this.#firstIndex(names, base); index < names.length; index++) {
        const name = names[index] ?? "";
        const descend = !fold && name.endsWith(DIRECTORY_MARK);
        if (!descend) batch.push(this.#describe(base, name, directory));
        if (batch.length >= batchSize || (descend && batch.length > 0)) {
          yield await settle(batch);
          checkNotAborted(signal);
          batch = [];
        }
        if (descend) yield* this.directory(base + name);
      }
      yield await settle(batch);
    } finally {
      directory.close();
    }
  }

  #isWanted(name: string): boolean {
    const { after } = this.#options;
    return after === undefined || compareKeys(name, after) > 0;
  }

  /** Index of the first name that is, or has something below it, after `after`. */
  #firstIndex(names: readonly string[], base: string): number {
    const { after, fold } = this.#options;
    if (after === undefined) return 0;
    return lowerBound(names, (name) => {
      const key = base + withoutMark(name);
      return compareKeys(key, after) > 0 || (!fold && name.endsWith(DIRECTORY_MARK) && after.startsWith(key));
    });
  }

  #open(base: string): Directory | undefined {
    const segments = base === "" ? [] : base.slice(0, -1).split("/");
    if (segments[0] === PRIVATE_FOLDER || segments.some((segment) => segment === "" || segment === "." || segment === ".."))
      return undefined;
    try {
      return this.#context.root.openIfThere(segments);
    } catch (error) {
      if (error instanceof StoreError && (error.code === "not-found" || error.code === "invalid-key")) return undefined;
      throw error;
    }
  }

  async #describeDirectory(key: string, directory: Directory): Promise<ListEntry | undefined> {
    const stats = await statPath(directory.path("."));
    return {
      kind: "object",
      key,
      size: 0,
      etag: directoryEtag(stats),
      lastModifiedMs: Math.trunc(stats.mtimeMs),
      metadata: statMetadata(stats),
    };
  }

  async #describe(base: string, name: string, directory: Directory): Promise<ListEntry | undefined> {
    if (name.endsWith(DIRECTORY_MARK)) return { kind: "prefix", prefix: base + name };
    const isLink = name.endsWith(LINK_MARK);
    const key = base + withoutMark(name);
    if (isLink) {
      const target = await this.#context.resolveLink(key);
      return target && describe(key, target);
    }
    try {
      const stats = await statPath(directory.path(name));
      return stats.isFile() ? describe(key, stats) : undefined;
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }
}

function describe(key: string, stats: Stats): ListedObject {
  return {
    kind: "object",
    key,
    size: stats.size,
    etag: localEtag(stats),
    lastModifiedMs: Math.trunc(stats.mtimeMs),
    metadata: statMetadata(stats),
  };
}

function withoutMark(name: string): string {
  return name.endsWith(LINK_MARK) ? name.slice(0, -1) : name;
}

/** The names in a directory that can begin or continue `prefix`, in key order. */
async function readNames(directory: Directory, base: string, prefix: string): Promise<string[]> {
  const wanted = prefix.length > base.length ? prefix.slice(base.length) : "";
  const names: string[] = [];
  const room = MAX_KEY_BYTES - Buffer.byteLength(base);
  // Names come as bytes and are read as Latin-1: what is no UTF-8 must not become some other, valid name.
  for await (const entry of await opendir(directory.path("."), { encoding: "latin1" as BufferEncoding, bufferSize: READ_BATCH })) {
    const name = decodeName(entry.name);
    if (name === undefined || !name.startsWith(wanted) || (base === "" && name === PRIVATE_FOLDER)) continue;
    if (Buffer.byteLength(name) > room) continue;
    const mark = await markOf(entry, directory, name);
    if (mark !== undefined) names.push(name + mark);
  }
  return names.sort((a, b) => compareKeys(withoutMark(a), withoutMark(b)));
}

function decodeName(latin1: string): string | undefined {
  if (!/[\u0080-\u00ff]/.test(latin1)) return latin1;
  const bytes = Buffer.from(latin1, "latin1");
  const name = bytes.toString();
  return Buffer.byteLength(name) === bytes.length && Buffer.from(name).equals(bytes) ? name : undefined;
}

async function markOf(entry: Dirent, directory: Directory, name: string): Promise<string | undefined> {
  if (entry.isFile()) return "";
  if (entry.isDirectory()) return DIRECTORY_MARK;
  if (entry.isSymbolicLink()) return LINK_MARK;
  if (entry.isFIFO() || entry.isSocket() || entry.isBlockDevice() || entry.isCharacterDevice()) return undefined;
  // Some file systems do not say in the directory what an entry is.
  const stats = await statPath(directory.path(name)).catch(() => undefined);
  if (stats?.isSymbolicLink()) return LINK_MARK;
  if (stats?.isDirectory()) return DIRECTORY_MARK;
  return stats?.isFile() ? "" : undefined;
}

/** Where a symbolic link points, as a path; undefined if it is none. */
export async function linkTarget(path: string): Promise<string | undefined> {
  try {
    return await readLink(path);
  } catch (error) {
    if (isAbsent(error) || (error instanceof Error && "code" in error && error.code === "EINVAL")) return undefined;
    throw error;
  }
}

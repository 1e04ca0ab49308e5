/**
 * The tar stream of an archive: headers written only once an object's real size is known, contents, padding, and what
 * becomes of objects that change while they are read (facts/seed-system.md §4.2, 6). Tells each member's line of the
 * manifest. Knows no compression and no destination.
 */
import { createHash } from "node:crypto";
import type { ObjectInfo } from "../../objectstore/objectstore.ts";
import { readTimes } from "../../vfs/object-metadata.ts";
import { DELETED_NAME, type SourceFile, type SourceItem } from "./archive-source.ts";
import type { ManifestEntry } from "./manifest.ts";
import { type FetchOptions, isVersionGone, openCurrent, readVersion, type Spooled } from "./object-fetch.ts";
import type { Prefetch } from "./prefetch.ts";
import { encodeHeader, endOfArchive, paddingLength } from "./tar-writer.ts";

/** Of all files and directories. */
const FILE_MODE = 0o644;
const DIRECTORY_MODE = 0o755;
const ZEROS = new Uint8Array(64 * 1024);
/** A content type by which s3fs and others mark an empty object as a directory. */
const DIRECTORY_TYPE = "application/x-directory";

/** What came of writing an object: its entry, or nothing because it is not there. */
type Written = { readonly torn: boolean; readonly entry: ManifestEntry } | "gone";

/** How a volume is written. */
export interface VolumeOptions {
  readonly user: string;
  readonly feed: Prefetch;
  readonly fetch: FetchOptions;
  /** Told each member as soon as it is written, in order of paths. */
  readonly onEntry: (entry: ManifestEntry) => void | Promise<void>;
  /** Told of the file content that has passed, in bytes. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
  /** Its number from 1, where the archive has several. */
  readonly volume?: number | undefined;
  /** The volume ends before a member that would make its tar longer than this, in bytes; it holds at least one file. */
  readonly limit?: number | undefined;
  /** Of an incremental archive: collects the paths that are gone; the last volume ends with them as `<user>/.deleted`. */
  readonly deleted?: string[] | undefined;
}

/** Time of an object: what its uploader said, else when the store got it. */
function mtimeOf(info: ObjectInfo): number {
  return readTimes(info.metadata).mtime ?? Math.max(0, Math.floor(info.lastModifiedMs / 1000));
}

function isDirectoryStandIn({ size, contentType }: ObjectInfo): boolean {
  return size === 0 && contentType?.startsWith(DIRECTORY_TYPE) === true;
}

function* zeros(length: number): Generator<Uint8Array> {
  for (let rest = length; rest > 0; rest -= ZEROS.length) yield rest >= ZEROS.length ? ZEROS : ZEROS.subarray(0, rest);
}

/** Bytes of tar that a member of `size` bytes of content takes, roughly: pax headers are not counted. */
function tarSize(size: number): number {
  return 512 + size + paddingLength(size);
}

/** One line of `.deleted`: names may hold anything, a line break too. */
function deletedLine(path: string): string {
  return `${path.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n`;
}

/** The path on one line of `.deleted`. */
export function parseDeletedLine(line: string): string {
  return line.replaceAll(/\\(\\|n)/g, (_, escaped: string) => (escaped === "n" ? "\n" : "\\"));
}

/** What an incremental archive says is gone; its time is 0 so that equal changes make equal bytes. */
function deletedMember(user: string, paths: readonly string[]): Uint8Array[] {
  const content = Buffer.from(paths.map(deletedLine).join(""));
  const header = encodeHeader({ path: `${user}/${DELETED_NAME}`, type: "file", size: content.length, mode: FILE_MODE, mtime: 0 });
  return [header, content, ...zeros(paddingLength(content.length))];
}

/** One volume being written: see `volumeStream`. */
class VolumeWriter {
  readonly #options: VolumeOptions;
  #length = 0;
  #files = 0;

  constructor(options: VolumeOptions) {
    this.#options = options;
  }

  async *write(): AsyncGenerator<Uint8Array> {
    const { feed, limit = Number.POSITIVE_INFINITY, user } = this.#options;
    if (!(await this.#beginsWithTop())) yield* this.#count(this.#directory(`${user}/`, 0));
    for (let ready = await feed.peek(); ready; ready = await feed.peek()) {
      const { item } = ready;
      if (item.kind === "file" && this.#files > 0 && this.#length + tarSize(item.size) > limit) break;
      yield* this.#count(this.#item(item, await ready.content));
      feed.drop();
    }
    const { deleted } = this.#options;
    if (deleted && !(await feed.peek())) yield* this.#count(deletedMember(user, deleted));
    yield endOfArchive(this.#length);
  }

  async #beginsWithTop(): Promise<boolean> {
    const first = await this.#options.feed.peek();
    return first?.item.kind === "directory" && first.item.path === `${this.#options.user}/`;
  }

  async *#count(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      this.#length += chunk.length;
      yield chunk;
    }
  }

  async *#item(
    item: SourceItem,
    content: Awaited<NonNullable<Awaited<ReturnType<Prefetch["peek"]>>>["content"]>,
  ): AsyncGenerator<Uint8Array> {
    if (item.kind === "directory") yield* this.#directory(item.path, item.mtime);
    else if (item.kind === "skipped") await this.#tell({ path: item.path, status: "skipped", reason: item.reason });
    else if (item.kind === "deleted") {
      this.#options.deleted?.push(item.path);
      await this.#tell({ path: item.path, status: "deleted" });
    } else if (content?.kind === "vanished") await this.#tellVanished(item.path);
    else if (content?.kind === "spooled") yield* this.#spooled(item, content);
    else yield* this.#streamed(item);
  }

  *#directory(path: string, mtime: number): Generator<Uint8Array> {
    yield encodeHeader({ path, type: "directory", size: 0, mode: DIRECTORY_MODE, mtime });
  }

  async *#spooled(file: SourceFile, { info, chunks, changed }: Spooled): AsyncGenerator<Uint8Array> {
    if (isDirectoryStandIn(info)) {
      yield* this.#directory(`${file.path}/`, mtimeOf(info));
      return;
    }
    this.#files++;
    const offset = this.#length;
    const hash = createHash("sha256");
    for (const chunk of chunks) hash.update(chunk);
    yield this.#header(file, info);
    yield* chunks;
    yield* zeros(paddingLength(info.size));
    this.#options.onBytes?.(info.size);
    await this.#tell(this.#entry(file, info, { offset, status: changed ? "changed" : "ok", sha256: hash.digest("hex") }));
  }

  /** An object that is too large to hold: what cannot be read to its end is filled up with zeros and written once more. */
  async *#streamed(file: SourceFile): AsyncGenerator<Uint8Array> {
    this.#files++;
    const first: Written = yield* this.#attempt(file);
    const again: Written = first === "gone" || !first.torn ? first : yield* this.#attempt(file);
    if (first === "gone") return this.#tellVanished(file.path);
    if (again === "gone") return this.#tell({ ...first.entry, status: "damaged" });
    await this.#tell({ ...again.entry, status: again.torn ? "damaged" : first.torn ? "retried" : again.entry.status });
  }

  /** Writes the object as it is now; with zeros in place of what was gone before it could be read. */
  async *#attempt(file: SourceFile): AsyncGenerator<Uint8Array, Written> {
    const { fetch, onBytes } = this.#options;
    const opened = await openCurrent(fetch, file);
    if (!opened) return "gone";
    const { info } = opened.body;
    const offset = this.#length;
    const hash = createHash("sha256");
    yield this.#header(file, info);
    let done = 0;
    let torn = false;
    try {
      for await (const chunk of readVersion(fetch, opened.body)) {
        hash.update(chunk);
        done += chunk.length;
        onBytes?.(chunk.length);
        yield chunk;
      }
    } catch (error) {
      if (!isVersionGone(error)) throw error;
      torn = true;
    }
    for (const chunk of zeros(info.size - done)) {
      hash.update(chunk);
      yield chunk;
    }
    yield* zeros(paddingLength(info.size));
    return { torn, entry: this.#entry(file, info, { offset, status: opened.changed ? "changed" : "ok", sha256: hash.digest("hex") }) };
  }

  #header({ path }: SourceFile, info: ObjectInfo): Uint8Array {
    return encodeHeader({ path, type: "file", size: info.size, mode: FILE_MODE, mtime: mtimeOf(info) });
  }

  #entry({ path }: SourceFile, info: ObjectInfo, rest: Pick<ManifestEntry, "offset" | "status" | "sha256">): ManifestEntry {
    const { volume } = this.#options;
    const place = volume === undefined ? {} : { volume };
    const version = info.versionId === undefined ? {} : { versionId: info.versionId };
    return { path, size: info.size, etag: info.etag, ...version, mtime: mtimeOf(info), ...rest, ...place };
  }

  /** An older version of it may be in the archive before this one. */
  #tellVanished(path: string): Promise<void> {
    this.#options.deleted?.push(path);
    return this.#tell({ path, status: "vanished" });
  }

  async #tell(entry: ManifestEntry): Promise<void> {
    await this.#options.onEntry(entry);
  }
}

/**
 * The tar of one volume: what `feed` has next, up to the end or to `limit`. Each volume is a whole archive. Rejects as the
 * store does for an object that is there and cannot be read.
 */
export function volumeStream(options: VolumeOptions): AsyncGenerator<Uint8Array> {
  return new VolumeWriter(options).write();
}

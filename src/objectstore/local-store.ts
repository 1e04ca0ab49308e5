/**
 * The object store port on a folder of a local disk. A museum's plain folder tree is what it stores: the key `a/b.jpg`
 * is the file `a/b.jpg`, the key `a/` the directory `a`. Objects appear and change in one step, durably; nothing leads out
 * of the folder. Several processes may use one folder; `ifMatch` is exact within a process and nearly so between them.
 * Knows nothing of users or handles.
 */
import { closeSync, constants, fstatSync } from "node:fs";
import type { Stats } from "node:fs";
import { rmdir, statfs } from "node:fs/promises";
import { makeFolder } from "../make-folder.ts";
import { StoreError } from "../errors.ts";
import { LocalBody } from "./local-body.ts";
import { LocalLookup } from "./local-lookup.ts";
import { isAbsent, localError, systemCode } from "./local-errors.ts";
import { copyContent, openFile, openRegular, StagedFile, statPath, unlinkPath, writeChunks } from "./local-files.ts";
import { listFolder } from "./local-listing.ts";
import { RootDirectory, splitKey } from "./local-paths.ts";
import type { KeyPath } from "./local-paths.ts";
import { applyTimes, directoryEtag, directoryInfo, fileInfo, localEtag, sortProperties } from "./local-properties.ts";
import { checkCondition, Publisher } from "./local-publish.ts";
import { LocalUploads } from "./local-upload.ts";
import type { OpenSource } from "./local-upload.ts";
import type {
  CopyOptions,
  GetOptions,
  ListEntry,
  ListOptions,
  MultipartUpload,
  ObjectBody,
  ObjectInfo,
  ObjectProperties,
  ObjectStore,
  PutOptions,
  PutResult,
  StoreLimits,
  StoreSpace,
  UnfinishedUpload,
} from "./objectstore.ts";
import { checkNotAborted, checkProperties, checkPutSize, checkRange, resolveRange, totalLength } from "./request-checks.ts";

const MIB = 1024 ** 2;
const TIB = 1024 ** 4;

/** Bytes that are written and made durable in one call. */
const MAX_SYNCHRONOUS = MIB;

/** What a disk can hold, and how much is best written at once. */
const LOCAL_LIMITS: StoreLimits = {
  minPartSize: 1,
  maxPartSize: 1024 * MIB,
  maxParts: 16 * MIB,
  maxPutSize: 1024 * MIB,
  maxObjectSize: 16 * TIB - MIB,
  preferredPartSize: MIB,
  steadyPartSize: 8 * MIB,
};

/** How `openLocalStore` is to work. */
export interface LocalStoreOptions {
  /** The folder; created if it is missing. */
  readonly root: string;
  /** Clock in milliseconds (default `Date.now`). */
  readonly now?: () => number;
}

/** Opens a folder as a store. Rejects with a `StoreError` if it cannot be used. */
export async function openLocalStore({ root, now = Date.now }: LocalStoreOptions): Promise<ObjectStore> {
  try {
    await makeFolder(root);
    const directory = new RootDirectory(root);
    const publisher = new Publisher(directory);
    await publisher.sweep(now());
    return new LocalStore(directory, publisher, now);
  } catch (error) {
    throw localError(error, `opening the folder ${JSON.stringify(root)}`);
  }
}

class LocalStore implements ObjectStore {
  readonly limits = LOCAL_LIMITS;
  readonly #root: RootDirectory;
  readonly #publisher: Publisher;
  readonly #lookup: LocalLookup;
  readonly #uploads: LocalUploads;

  constructor(root: RootDirectory, publisher: Publisher, now: () => number) {
    this.#root = root;
    this.#publisher = publisher;
    this.#lookup = new LocalLookup(root);
    const openSource = (key: string, etag: string): Promise<OpenSource> => this.#openSource(key, etag);
    this.#uploads = new LocalUploads({ publisher, limits: this.limits, now, openSource });
  }

  async head(key: string, signal?: AbortSignal): Promise<ObjectInfo> {
    const place = splitKey(key);
    checkNotAborted(signal);
    try {
      const stats = await this.#lookup.stat(key, place);
      return await this.#info(key, stats);
    } catch (error) {
      throw localError(error, `looking at ${JSON.stringify(key)}`);
    }
  }

  async get(key: string, { range, ifMatch, signal }: GetOptions = {}): Promise<ObjectBody> {
    const place = splitKey(key);
    if (range) checkRange(range);
    checkNotAborted(signal);
    try {
      const found = await this.#lookup.open(key, place);
      if (found.kind === "directory") return emptyBody(directoryInfo(key, found.stats));
      try {
        if (ifMatch !== undefined) checkCondition(key, found.stats, { ifMatch });
        const { start, end } = resolveRange(range, found.stats.size);
        const info = await this.#info(key, found.stats);
        return new LocalBody({ info, fd: found.fd, start, end, signal });
      } catch (error) {
        closeSync(found.fd);
        throw error;
      }
    } catch (error) {
      throw localError(error, `opening ${JSON.stringify(key)}`);
    }
  }

  async put(key: string, chunks: readonly Uint8Array[], options: PutOptions = {}): Promise<PutResult> {
    const place = splitKey(key);
    checkProperties(options);
    const size = totalLength(chunks);
    checkPutSize(size, this.limits);
    checkNotAborted(options.signal);
    if (place.isDirectory) return this.#putDirectory(key, place, { size, options });
    const isSynchronous = size > 0 && size <= MAX_SYNCHRONOUS && options.metadata?.mtime === undefined;
    const stage = isSynchronous ? () => this.#publisher.stageSynchronous(place.name, options) : undefined;
    const fill = (staged: StagedFile): Promise<ObjectProperties> => writeChunks(staged.fd, chunks, 0).then(() => options);
    return this.#stageAndPublish(key, place, options, fill, stage);
  }

  async createUpload(key: string, properties: ObjectProperties, signal?: AbortSignal): Promise<MultipartUpload> {
    const { isDirectory } = splitKey(key);
    if (isDirectory) throw new StoreError("invalid-key", `${JSON.stringify(key)} is a directory on a disk`);
    checkProperties(properties);
    checkNotAborted(signal);
    try {
      return await this.#uploads.create(key, properties);
    } catch (error) {
      throw localError(error, `beginning the upload of ${JSON.stringify(key)}`);
    }
  }

  openUpload(key: string, uploadId: string): MultipartUpload {
    splitKey(key);
    return this.#uploads.handle(key, uploadId);
  }

  listUploads(prefix: string, signal?: AbortSignal): AsyncIterable<UnfinishedUpload> {
    return this.#uploads.list(prefix, signal);
  }

  async copy(from: string, to: string, options: CopyOptions = {}): Promise<PutResult> {
    const source = splitKey(from);
    const target = splitKey(to);
    checkProperties(options.replaceProperties);
    checkNotAborted(options.signal);
    if (source.isDirectory !== target.isDirectory) throw new StoreError("invalid-key", "a file cannot become a directory on a disk");
    try {
      const found = await this.#lookup.open(from, source);
      if (found.kind === "directory") {
        const properties = options.replaceProperties ?? { metadata: directoryInfo(from, found.stats).metadata };
        return await this.#putDirectory(to, target, { size: 0, options: { ...options, ...properties } });
      }
      try {
        if (options.sourceIfMatch !== undefined) checkCondition(from, found.stats, { ifMatch: options.sourceIfMatch });
        if (from === to && found.stats.nlink === 1) return await this.#changeInPlace(from, source, found, options);
        return await this.#copyFile(found, { from, to, target }, options);
      } finally {
        closeSync(found.fd);
      }
    } catch (error) {
      throw localError(error, `copying ${JSON.stringify(from)} to ${JSON.stringify(to)}`);
    }
  }

  async delete(keys: readonly string[], signal?: AbortSignal): Promise<void> {
    const places = keys.map(splitKey);
    checkNotAborted(signal);
    const failures: StoreError[] = [];
    for (const [index, place] of places.entries()) {
      const key = keys[index] ?? "";
      try {
        await this.#publisher.inTurn(key, () => this.#deleteOne(place));
      } catch (error) {
        failures.push(localError(error, `deleting ${JSON.stringify(key)}`));
      }
    }
    const [first] = failures;
    if (!first) return;
    throw new StoreError(first.code, `${failures.length} of ${keys.length} objects were not deleted: ${first.message}`, {
      cause: new AggregateError(failures),
    });
  }

  list(prefix: string, options: ListOptions = {}): AsyncIterable<ListEntry[]> {
    return listFolder({ root: this.#root, resolveLink: (key) => this.#lookup.statLink(key) }, prefix, options);
  }

  async move(from: string, to: string, options: Omit<CopyOptions, "sourceSize"> = {}): Promise<PutResult> {
    const source = splitKey(from);
    const target = splitKey(to);
    checkProperties(options.replaceProperties);
    checkNotAborted(options.signal);
    try {
      if (from === to) return await this.copy(from, to, options);
      const result = await this.#rename({ from, source, to, target }, options);
      if (result) return result;
      const copied = await this.copy(from, to, options);
      await this.delete([from]);
      return copied;
    } catch (error) {
      throw localError(error, `renaming ${JSON.stringify(from)} to ${JSON.stringify(to)}`);
    }
  }

  async space(): Promise<StoreSpace> {
    try {
      const { bsize, blocks, bavail, files, ffree } = await statfs(this.#root.realPath);
      return { totalBytes: blocks * bsize, freeBytes: bavail * bsize, totalObjects: files, freeObjects: ffree };
    } catch (error) {
      throw localError(error, "asking for free space");
    }
  }

  async close(): Promise<void> {
    await this.#uploads.close();
    this.#root.close();
  }

  async #info(key: string, stats: Stats): Promise<ObjectInfo> {
    if (stats.isDirectory()) return directoryInfo(key, stats);
    return fileInfo(key, stats, await this.#publisher.extra.read(stats));
  }

  async #openSource(key: string, etag: string): Promise<OpenSource> {
    const found = await this.#lookup.open(key, splitKey(key));
    if (found.kind === "directory") throw new StoreError("not-found", `there is no object ${JSON.stringify(key)}`);
    try {
      checkCondition(key, found.stats, { ifMatch: etag });
    } catch (error) {
      closeSync(found.fd);
      throw error;
    }
    return { fd: found.fd, size: found.stats.size };
  }

  async #stageAndPublish(
    key: string,
    place: KeyPath,
    options: Pick<PutOptions, "ifMatch" | "ifNoneMatch">,
    fill: (staged: StagedFile) => Promise<ObjectProperties>,
    stage = (): StagedFile => this.#publisher.stage(),
  ): Promise<PutResult> {
    try {
      const staged = stage();
      try {
        const properties = await fill(staged);
        return await this.#publisher.publish(staged, { key, place, properties }, options);
      } catch (error) {
        await this.#publisher.discard(staged);
        throw error;
      }
    } catch (error) {
      throw localError(error, `writing ${JSON.stringify(key)}`);
    }
  }

  async #copyFile(
    { fd, stats }: { readonly fd: number; readonly stats: Stats },
    { from, to, target }: { readonly from: string; readonly to: string; readonly target: KeyPath },
    options: CopyOptions,
  ): Promise<PutResult> {
    return this.#stageAndPublish(to, target, options, async (staged) => {
      await copyContent({ fd, size: stats.size }, staged);
      return options.replaceProperties ?? (await this.#info(from, stats));
    });
  }

  /** Undefined for what cannot be renamed as a file: directories, symbolic links, files with more than one name. */
  async #rename(
    { from, source, to, target }: { readonly from: string; readonly source: KeyPath; readonly to: string; readonly target: KeyPath },
    options: Omit<CopyOptions, "sourceSize">,
  ): Promise<PutResult | undefined> {
    if (source.isDirectory || target.isDirectory) return undefined;
    const directory = this.#root.open(source.directories);
    let staged: StagedFile | undefined;
    try {
      const path = directory.path(source.name);
      const file = await openRegular(path).catch(linkAsNothing);
      if (file === "link") return undefined;
      if (!file) throw new StoreError("not-found", `there is no object ${JSON.stringify(from)}`);
      staged = new StagedFile(file.fd, path);
      if (options.sourceIfMatch !== undefined) checkCondition(from, file.stats, { ifMatch: options.sourceIfMatch });
      if (options.replaceProperties && file.stats.nlink > 1) return undefined;
      const properties = options.replaceProperties ?? {};
      const result = await this.#publisher.publish(staged, { key: to, place: target, properties }, options);
      await this.#root.sync(source.directories);
      return result;
    } finally {
      staged?.close();
      directory.close();
    }
  }

  /** A copy onto itself changes properties only, unless the file has another name that must keep them. */
  async #changeInPlace(
    key: string,
    place: KeyPath,
    { fd, stats }: { readonly fd: number; readonly stats: Stats },
    options: CopyOptions,
  ): Promise<PutResult> {
    return this.#publisher.inTurn(key, async () => {
      checkCondition(key, stats, options);
      const { replaceProperties } = options;
      if (replaceProperties) {
        const sorted = sortProperties(place.name, replaceProperties);
        applyTimes(fd, sorted, { resetMode: true });
        if (sorted.extra) await this.#publisher.extra.write(fstatSync(fd), sorted.extra);
        else await this.#publisher.extra.remove(stats);
      }
      const changed = fstatSync(fd);
      return { etag: localEtag(changed), size: changed.size, lastModifiedMs: Math.trunc(changed.mtimeMs) };
    });
  }

  async #putDirectory(
    key: string,
    place: KeyPath,
    { size, options }: { readonly size: number; readonly options: ObjectProperties & Pick<PutOptions, "ifMatch" | "ifNoneMatch"> },
  ): Promise<PutResult> {
    if (size > 0) throw new StoreError("invalid-key", `${JSON.stringify(key)} is a directory on a disk and holds no bytes`);
    try {
      const changed: (readonly string[])[] = [];
      const segments = [...place.directories, place.name];
      const directory = this.#root.open(segments, (parent) => changed.push(parent));
      try {
        const before = await statPath(directory.path("."));
        const isNew = changed.some((parent) => parent.length === place.directories.length);
        if (options.ifNoneMatch === "*" && !isNew) throw new StoreError("precondition-failed", `directory ${JSON.stringify(key)} exists`);
        if (options.ifMatch !== undefined && (isNew || directoryEtag(before) !== options.ifMatch)) {
          throw new StoreError("precondition-failed", `directory ${JSON.stringify(key)} is not version ${options.ifMatch}`);
        }
        const fd = await openFile(directory.path("."), constants.O_RDONLY | constants.O_DIRECTORY);
        try {
          applyTimes(fd, sortProperties(place.name, options), { resetMode: false });
        } finally {
          closeSync(fd);
        }
        const stats = await statPath(directory.path("."));
        await Promise.all(changed.map((parent) => this.#root.sync(parent)));
        return { etag: directoryEtag(stats), size: 0, lastModifiedMs: Math.trunc(stats.mtimeMs) };
      } finally {
        directory.close();
      }
    } catch (error) {
      throw localError(error, `making ${JSON.stringify(key)}`);
    }
  }

  /** A directory with something in it stays, as a prefix with objects below it does. */
  async #deleteOne({ directories, name, isDirectory }: KeyPath): Promise<void> {
    try {
      const directory = this.#root.open(directories);
      try {
        const path = directory.path(name);
        if (isDirectory) return await rmdir(path);
        const stats = await statPath(path);
        if (stats.isDirectory()) return;
        await unlinkPath(path);
        if (stats.nlink <= 1) await this.#publisher.extra.remove(stats);
      } finally {
        directory.close();
      }
    } catch (error) {
      const code = systemCode(error);
      const nothingToDelete = isAbsent(error) || code === "ENOTEMPTY" || code === "EEXIST" || code === "EBUSY";
      if (!nothingToDelete && !(error instanceof StoreError && error.code === "not-found")) throw error;
    }
  }
}

function emptyBody(info: ObjectInfo): ObjectBody {
  return { info, body: noChunks(), destroy: () => undefined };
}

async function* noChunks(): AsyncGenerator<Uint8Array> {}

/** A name that O_NOFOLLOW does not open is a symbolic link. */
function linkAsNothing(error: unknown): "link" {
  if (systemCode(error) === "ELOOP") return "link";
  throw error;
}

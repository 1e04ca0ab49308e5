/**
 * Multipart uploads on a disk: the parts are written to their place in one staged file, and a journal beside it knows
 * which have arrived, so that an upload outlives the process. Publishing costs no copy. Knows nothing of listings.
 */
import { closeSync, constants, fdatasync, fstatSync } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { StoreError } from "../errors.ts";
import { compareKeys } from "./key-order.ts";
import { isAbsent, localError } from "./local-errors.ts";
import { StagedFile, copyRange, openFile, readChunk, statPath, truncateFile, writeChunks } from "./local-files.ts";
import { adoptJournal, beginJournal, forgetPart, matchParts, notePart, readJournal } from "./local-journal.ts";
import type { JournalState } from "./local-journal.ts";
import { splitKey } from "./local-paths.ts";
import type { Publisher } from "./local-publish.ts";
import type {
  MultipartUpload,
  PartBody,
  ObjectProperties,
  PartPosition,
  PartSource,
  PutResult,
  StoredPart,
  StoreLimits,
  UnfinishedUpload,
  WriteCondition,
} from "./objectstore.ts";
import { checkNotAborted, checkPart, checkPartList, checkPartSource, partLength } from "./request-checks.ts";

const syncData = promisify(fdatasync);

/** Our ids, and nothing that could be a path. */
const UPLOAD_ID = /^[0-9a-f]{32}$/;

/** Written bytes after which the disk is told to begin, so that little is left to do at the end. */
const SYNC_EVERY = 32 * 1024 * 1024;
/** How long a descriptor that nobody uses stays open. */
const IDLE_MS = 5_000;

/** An opened source of copies; whoever asked for it closes `fd`. */
export interface OpenSource {
  readonly fd: number;
  readonly size: number;
}

/** What uploads share with their store. */
export interface LocalUploadContext {
  readonly publisher: Publisher;
  readonly limits: StoreLimits;
  readonly now: () => number;
  readonly openSource: (key: string, etag: string) => Promise<OpenSource>;
}

/** All unfinished uploads of a store. */
export class LocalUploads {
  readonly #context: LocalUploadContext;
  readonly #folder: string;
  /** Descriptors of uploads this process works on. */
  readonly #open = new Map<string, Promise<OpenUpload>>();

  constructor(context: LocalUploadContext) {
    this.#context = context;
    this.#folder = join(context.publisher.privateFolder, "uploads");
  }

  async create(key: string, properties: ObjectProperties): Promise<MultipartUpload> {
    const uploadId = randomBytes(16).toString("hex");
    const paths = this.#paths(uploadId);
    await mkdir(paths.folder, { mode: 0o700 });
    closeSync(await openFile(paths.data, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o644));
    await beginJournal(paths.journal, { key, properties, initiatedMs: this.#context.now() });
    return this.handle(key, uploadId);
  }

  handle(key: string, uploadId: string): MultipartUpload {
    const run = async <T>(what: string, signal: AbortSignal | undefined, action: () => Promise<T>): Promise<T> => {
      checkNotAborted(signal);
      try {
        return await action();
      } catch (error) {
        throw localError(error, `${what} of the upload of ${JSON.stringify(key)}`);
      }
    };
    return {
      key,
      uploadId,
      uploadPart: (position, body, signal) => run("writing a part", signal, () => this.#writePart(key, uploadId, position, body)),
      copyPart: (position, source, signal) => run("copying a part", signal, () => this.#copyPart(key, uploadId, position, source)),
      readBack: (offset, length, signal) => run("reading a part", signal, () => this.#readBack(key, uploadId, offset, length)),
      listParts: (signal) => run("listing the parts", signal, () => this.#listParts(key, uploadId)),
      complete: (parts, condition, signal) => run("completion", signal, () => this.#complete(key, uploadId, parts, condition)),
      abort: (signal) => run("discarding", signal, () => this.#abort(key, uploadId)),
    };
  }

  async *list(prefix: string, signal: AbortSignal | undefined): AsyncGenerator<UnfinishedUpload> {
    const found: UnfinishedUpload[] = [];
    for (const uploadId of await readdir(this.#folder)) {
      checkNotAborted(signal);
      if (!UPLOAD_ID.test(uploadId)) continue;
      const { journal, data } = this.#paths(uploadId);
      const state = (await readJournal(journal))?.state;
      if (state?.key.startsWith(prefix) === true && (await exists(data)))
        found.push({ key: state.key, uploadId, initiatedMs: state.initiatedMs });
    }
    yield* found.sort((a, b) => compareKeys(a.key, b.key) || a.initiatedMs - b.initiatedMs);
  }

  async close(): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const upload of await Promise.allSettled(open)) if (upload.status === "fulfilled") await upload.value.close();
  }

  #paths(uploadId: string): { folder: string; journal: string; data: string } {
    if (!UPLOAD_ID.test(uploadId)) throw new StoreError("no-such-upload", `${JSON.stringify(uploadId)} is no upload of this store`);
    const folder = join(this.#folder, uploadId);
    return { folder, journal: join(folder, "journal"), data: join(folder, "data") };
  }

  async #state(key: string, uploadId: string): Promise<JournalState> {
    const found = await readJournal(this.#paths(uploadId).journal);
    if (found?.state.key !== key)
      throw new StoreError("no-such-upload", `there is no unfinished upload ${uploadId} of ${JSON.stringify(key)}`);
    return found.state;
  }

  /** The upload with its descriptor open. */
  async #take(key: string, uploadId: string): Promise<OpenUpload> {
    let opening = this.#open.get(uploadId);
    if (!opening) {
      opening = this.#openUpload(key, uploadId);
      this.#open.set(uploadId, opening);
      opening.catch(() => this.#open.delete(uploadId));
    }
    const upload = await opening;
    if (upload.key !== key) throw new StoreError("no-such-upload", `upload ${uploadId} is not one of ${JSON.stringify(key)}`);
    // Another process may have published the file: then its descriptor must not be written to any more.
    if (await upload.isUnpublished()) return upload;
    await this.#drop(uploadId);
    throw new StoreError("no-such-upload", `the upload ${uploadId} of ${JSON.stringify(key)} has ended`);
  }

  async #openUpload(key: string, uploadId: string): Promise<OpenUpload> {
    const paths = this.#paths(uploadId);
    const found = await readJournal(paths.journal);
    if (found?.state.key !== key)
      throw new StoreError("no-such-upload", `there is no unfinished upload ${uploadId} of ${JSON.stringify(key)}`);
    if (!found.current) await adoptJournal(paths.journal);
    try {
      const staged = new StagedFile(await openFile(paths.data, constants.O_RDWR | constants.O_NOFOLLOW), paths.data);
      const journal = new StagedFile(await openFile(paths.journal, constants.O_WRONLY | constants.O_APPEND), paths.journal);
      // A descriptor that closes badly has nothing unsaved: parts are noted after they were written.
      const onIdle = (): void => void this.#drop(uploadId).catch(() => undefined);
      return new OpenUpload(key, { staged, journal }, new Set(found.state.parts.keys()), onIdle);
    } catch (error) {
      if (!isAbsent(error)) throw error;
      throw new StoreError("no-such-upload", `the upload ${uploadId} of ${JSON.stringify(key)} has ended`, { cause: error });
    }
  }

  async #drop(uploadId: string): Promise<void> {
    const opening = this.#open.get(uploadId);
    this.#open.delete(uploadId);
    await (await opening)?.close();
  }

  async #writePart(key: string, uploadId: string, position: PartPosition, body: PartBody): Promise<StoredPart> {
    const size = partLength(body);
    checkPart(position, size, this.#context.limits);
    const upload = await this.#take(key, uploadId);
    if (!("read" in body)) return upload.writePart(position, size, (fd) => writeChunks(fd, body, position.offset));
    return upload.writePart(position, size, async (fd) => {
      let at = position.offset;
      for await (const piece of body.read()) {
        await writeChunks(fd, [piece], at);
        at += piece.length;
      }
    });
  }

  async #copyPart(key: string, uploadId: string, position: PartPosition, source: PartSource): Promise<StoredPart> {
    checkPartSource(source);
    checkPart(position, source.length, this.#context.limits);
    const upload = await this.#take(key, uploadId);
    const { fd: from, size } = await this.#context.openSource(source.key, source.ifMatch);
    try {
      const { start, length } = source;
      if (start + length > size)
        throw new StoreError("invalid-argument", `source range ends at ${start + length}, the object has ${size} bytes`);
      return await upload.writePart(position, length, (fd) => copyRange({ fd: from, start, length }, { fd, offset: position.offset }));
    } finally {
      closeSync(from);
    }
  }

  async #readBack(key: string, uploadId: string, offset: number, length: number): Promise<Uint8Array> {
    const upload = await this.#take(key, uploadId);
    return upload.read(offset, length);
  }

  async #listParts(key: string, uploadId: string): Promise<StoredPart[]> {
    const { parts } = await this.#state(key, uploadId);
    return [...parts.values()]
      .map(({ partNumber, size, etag }) => ({ partNumber, size, etag }))
      .sort((a, b) => a.partNumber - b.partNumber);
  }

  async #complete(key: string, uploadId: string, parts: readonly StoredPart[], condition: WriteCondition = {}): Promise<PutResult> {
    const upload = await this.#take(key, uploadId);
    const size = checkPartList(parts, this.#context.limits);
    return upload.alone(async (staged) => {
      const state = await this.#state(key, uploadId);
      matchParts(state, parts);
      await truncateFile(staged.fd, size);
      const result = await this.#context.publisher.publish(staged, { key, place: splitKey(key), properties: state.properties }, condition);
      await this.#drop(uploadId);
      await rm(this.#paths(uploadId).folder, { recursive: true, force: true });
      return result;
    });
  }

  async #abort(key: string, uploadId: string): Promise<void> {
    if (!UPLOAD_ID.test(uploadId)) return;
    const found = await readJournal(this.#paths(uploadId).journal);
    if (found !== undefined && found.state.key !== key) return;
    await this.#drop(uploadId).catch(() => undefined);
    await rm(this.#paths(uploadId).folder, { recursive: true, force: true });
  }
}

interface UploadPlaces {
  readonly staged: StagedFile;
  readonly journal: StagedFile;
}

/** One upload that this process writes to: its descriptor, closed when nobody has used it for a while. */
class OpenUpload {
  readonly key: string;
  readonly #places: UploadPlaces;
  readonly #ino: number;
  readonly #seen: Set<number>;
  readonly #onIdle: () => void;
  readonly #writing = new Set<Promise<unknown>>();
  #lastWrite: Promise<void> = Promise.resolve();
  #unsynced = 0;
  #syncing: Promise<void> | undefined;
  #syncFailure: unknown;
  #timer: NodeJS.Timeout | undefined;

  constructor(key: string, places: UploadPlaces, seen: Set<number>, onIdle: () => void) {
    this.key = key;
    this.#places = places;
    this.#seen = seen;
    this.#onIdle = onIdle;
    this.#ino = fstatSync(places.staged.fd).ino;
  }

  async isUnpublished(): Promise<boolean> {
    clearTimeout(this.#timer);
    try {
      return !this.#places.staged.isClosed && (await statPath(this.#places.staged.path)).ino === this.#ino;
    } catch (error) {
      if (isAbsent(error)) return false;
      throw error;
    }
  }

  /** Exactly `length` bytes; rejects `io` where nothing was written yet. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const reading = this.#readAll(offset, length);
    this.#writing.add(reading);
    try {
      return await reading;
    } finally {
      this.#writing.delete(reading);
      this.#whenIdle();
    }
  }

  async writePart(position: PartPosition, size: number, write: (fd: number) => Promise<void>): Promise<StoredPart> {
    const { staged, journal } = this.#places;
    const { partNumber, offset } = position;
    const work = async (): Promise<StoredPart> => {
      if (this.#seen.has(partNumber)) await forgetPart(journal.fd, partNumber);
      this.#seen.add(partNumber);
      await this.#inTurn(() => write(staged.fd));
      const part = { partNumber, size, etag: randomBytes(8).toString("hex"), offset };
      await notePart(journal.fd, part);
      this.#startSync(size);
      return { partNumber, size, etag: part.etag };
    };
    const writing = work();
    this.#writing.add(writing);
    try {
      return await writing;
    } finally {
      this.#writing.delete(writing);
      this.#whenIdle();
    }
  }

  async #readAll(offset: number, length: number): Promise<Uint8Array> {
    const bytes = await readChunk(this.#places.staged.fd, offset, length);
    if (bytes.length < length) throw new StoreError("io", `the upload of ${JSON.stringify(this.key)} ends at ${offset + bytes.length}`);
    return bytes;
  }

  /** Threads that write one file at the same time burn the processor waiting for its lock: one after the other is faster. */
  #inTurn(write: () => Promise<void>): Promise<void> {
    const turn = this.#lastWrite.then(write, write);
    this.#lastWrite = turn;
    return turn;
  }

  /** Runs `action` when no part is being written. */
  async alone<T>(action: (staged: StagedFile) => Promise<T>): Promise<T> {
    await Promise.allSettled([...this.#writing]);
    await this.#syncing;
    if (this.#syncFailure !== undefined)
      throw localError(this.#syncFailure, `writing the upload of ${JSON.stringify(this.key)} to the disk`);
    try {
      return await action(this.#places.staged);
    } finally {
      this.#whenIdle();
    }
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await Promise.allSettled([...this.#writing]);
    await this.#syncing;
    this.#places.staged.close();
    this.#places.journal.close();
  }

  #whenIdle(): void {
    clearTimeout(this.#timer);
    if (this.#places.staged.isClosed || this.#writing.size > 0) return;
    this.#timer = setTimeout(this.#onIdle, IDLE_MS);
    this.#timer.unref();
  }

  /** A failure to write back is told once per descriptor: it is kept for the completion. */
  #startSync(written: number): void {
    this.#unsynced += written;
    if (this.#unsynced < SYNC_EVERY || this.#syncing || this.#places.staged.isClosed) return;
    this.#unsynced = 0;
    this.#syncing = syncData(this.#places.staged.fd)
      .catch((error: unknown) => {
        this.#syncFailure ??= error;
      })
      .finally(() => {
        this.#syncing = undefined;
      });
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await statPath(path);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}

/**
 * A published file open for reading. Sequential reads ride one GET that follows the reader; nothing is fetched before the
 * first read. All bytes are of one version (`If-Match` on its ETag): if it is replaced meanwhile, reads fail with `stale`
 * and never mix. A file opened by what a listing said is verified by the first GET; if it was replaced since the listing,
 * the handle turns to the new version as long as it has not handed out a byte. Knows no writers.
 */
import { FsError, StoreError } from "../errors.ts";
import { fileAttributes } from "./attributes.ts";
import type { AttributeChange, Attributes, FileHandle } from "./file-system.ts";
import type { FetchedFile } from "./files-ahead.ts";
import { head } from "./lookup.ts";
import { ObjectStream } from "./object-stream.ts";
import { ownCopy } from "../slab-pool.ts";
import { type ByteSource, RANGE_BYTES, RangesAhead, StreamPace } from "./ranges-ahead.ts";
import type { PublishedSource, PublishedSourceHandle } from "./published-source.ts";
import { SkippedBytes } from "./skipped-bytes.ts";
import { toFsError } from "./store-fault.ts";
import type { SeenObject } from "./tree-cache.ts";
import type { Target } from "./view.ts";
import type { Volume } from "./volume.ts";

/** A read this far ahead of the stream lets the stream run on; further away it is a seek. */
const MAX_RUN_ON = 512 * 1024;
/** After a seek the next GET asks for so much, then for four times as much each time the reader gets to its end. */
const FIRST_SEEK_WINDOW = 1024 * 1024;
const WINDOW_GROWTH = 4;
/** A GET nobody has read from for so long is given up; the next read opens it again. */
const IDLE_MS = 30_000;
/** The same while memory is short. */
const IDLE_UNDER_PRESSURE_MS = 1_000;
const IDLE_CHECK_MS = 1_000;
/** Broken GETs taken up again without a byte of progress between them. */
const MAX_RETRIES = 4;
/** No retry begins later than this after the READ: the store tries again by itself, and a client waits about a minute. */
const RETRY_WINDOW_MS = 20_000;
const RETRY_BASE_MS = 100;

/** How a read handle is opened. */
export interface ReadHandleOptions {
  readonly target: Target;
  readonly object: SeenObject;
  /** The store confirmed this version when the file was opened. */
  readonly isVerified: boolean;
  /** The file's content as it was fetched ahead of the open. */
  readonly ahead?: Promise<FetchedFile | undefined>;
  /** Applies an FSETSTAT to the path. */
  readonly setstat: (change: AttributeChange) => Promise<void>;
}

/** See the head of this file. */
export class ReadHandle implements FileHandle, PublishedSourceHandle {
  readonly #target: Target;
  readonly #volume: Volume;
  readonly #setstat: (change: AttributeChange) => Promise<void>;
  readonly #skipped: SkippedBytes;
  readonly #stop = new AbortController();
  #ahead: Promise<FetchedFile | undefined> | undefined;
  #fetched: FetchedFile | undefined;
  #object: SeenObject;
  #isVerified: boolean;
  #stream: ByteSource | undefined;
  /** What is fetched beside `#stream`, for a reader faster than one GET. */
  #ranges: RangesAhead | undefined;
  readonly #pace = new StreamPace();
  /** Bytes the next GET asks for; undefined: up to the end of the file. */
  #window: number | undefined;
  /** Where the last read ended: a GET that begins elsewhere is a seek. */
  #expected: number | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #readsWaiting = 0;
  #lastReadMs = 0;
  #cancelIdleCheck: (() => void) | undefined;

  constructor({ target, object, isVerified, ahead, setstat }: ReadHandleOptions) {
    this.#target = target;
    this.#volume = target.view.volume;
    this.#object = object;
    this.#isVerified = isVerified;
    this.#ahead = ahead;
    this.#setstat = setstat;
    this.#skipped = new SkippedBytes(this.#volume.budget);
  }

  get knownSize(): number {
    return this.#object.size;
  }

  get publishedSource(): PublishedSource {
    const { key, etag, size } = this.#object;
    return { store: this.#volume.store, key, etag, size };
  }

  read(offset: number, length: number): Promise<readonly Uint8Array[]> {
    return this.#inTurn(() => this.#read(offset, length));
  }

  async write(): Promise<void> {
    throw this.#notWritable();
  }

  async copyFrom(): Promise<number> {
    throw this.#notWritable();
  }

  async sync(): Promise<void> {
    this.#requireOpen();
  }

  stat(): Promise<Attributes> {
    return this.#inTurn(async () => {
      const known = this.#volume.times(this.#object);
      if (known || this.#volume.listingTimes === "listing") return fileAttributes(this.#object, known);
      const info = await head(this.#volume, this.#object.key);
      if (info.etag === this.#object.etag || !this.#isVerified) this.#object = info;
      return fileAttributes(this.#object, this.#volume.times(this.#object));
    });
  }

  setstat(change: AttributeChange): Promise<void> {
    return this.#inTurn(async () => {
      if (change.size !== undefined) throw this.#notCut();
      await this.#setstat(change);
    });
  }

  async close(): Promise<void> {
    this.#stop.abort(new FsError("io", `${this.#target.path}: the file is closed`));
    this.#closeStream();
    await this.#tail;
    this.#closeStream();
    this.#skipped.clear();
    await this.#takeAhead();
    this.#fetched?.release();
    this.#fetched = undefined;
  }

  abort(): Promise<void> {
    return this.close();
  }

  async #inTurn<T>(task: () => Promise<T>): Promise<T> {
    this.#requireOpen();
    this.#readsWaiting++;
    const before = this.#tail;
    const run = (async () => {
      await before;
      this.#requireOpen();
      return task();
    })();
    this.#tail = run.catch(() => undefined);
    try {
      return await run;
    } catch (error) {
      throw this.#translate(error);
    } finally {
      this.#readsWaiting--;
      this.#lastReadMs = this.#volume.clock.now();
    }
  }

  async #read(offset: number, length: number): Promise<readonly Uint8Array[]> {
    await this.#takeAhead();
    if (this.#object.size === 0 && !this.#isVerified) await this.#verifyEmpty();
    const giveUpMs = this.#volume.clock.now() + RETRY_WINDOW_MS;
    for (let retries = 0; ; retries++) {
      const chunks: Uint8Array[] = [];
      try {
        await this.#collect(chunks, offset, Math.min(offset + length, this.#object.size));
        this.#expected = offset + length;
        return chunks;
      } catch (error) {
        this.#closeStream();
        if (await this.#canTurnToNewVersion(error)) continue;
        if (!isTransient(error) || retries >= MAX_RETRIES || this.#volume.clock.now() > giveUpMs) throw error;
        await this.#pause(RETRY_BASE_MS * 2 ** retries);
      }
    }
  }

  /** Makes use of what was fetched ahead, once. */
  async #takeAhead(): Promise<void> {
    const ahead = this.#ahead;
    if (!ahead) return;
    this.#ahead = undefined;
    this.#fetched = await ahead;
    if (!this.#fetched) return;
    this.#object = this.#fetched.info;
    this.#isVerified = true;
  }

  /** Gathers the bytes from `start` to `end` from what was skipped and from the stream. */
  async #collect(chunks: Uint8Array[], start: number, end: number): Promise<void> {
    if (this.#fetched) {
      chunks.push(...slice(this.#fetched.chunks, start, end));
      return;
    }
    let offset = start;
    while (offset < end) {
      const kept = this.#skipped.take(offset, end - offset);
      if (kept) {
        chunks.push(kept);
        offset += kept.length;
        continue;
      }
      const stream = await this.#streamAt(offset);
      const taken = await this.#takeFrom(stream, Math.min(end, this.#skipped.nextAfter(offset)) - offset);
      if (taken.length === 0) throw new StoreError("io", `the body of ${this.#object.key} ended at ${offset} before ${stream.end}`);
      for (const chunk of taken) {
        chunks.push(chunk);
        offset += chunk.length;
      }
    }
  }

  /** Takes bytes and looks how long they took: a GET that is slow for its reader gets others beside it. */
  async #takeFrom(stream: ByteSource, length: number): Promise<Uint8Array[]> {
    if (this.#ranges || !(stream instanceof ObjectStream) || this.#window !== undefined) return stream.take(length);
    const { clock, budget, trials } = this.#volume;
    const fromMs = clock.now();
    const taken = await stream.take(length);
    const bytes = taken.reduce((sum, chunk) => sum + chunk.length, 0);
    const rate = this.#pace.add(bytes, fromMs, clock.now());
    if (rate === undefined || stream !== this.#stream) return taken;
    const start = stream.position + RANGE_BYTES;
    const open = (from: number, end: number): Promise<ObjectStream> => this.#get(from, end);
    this.#ranges = RangesAhead.begin({ start, size: stream.end, rate, budget, trials, nowMs: () => clock.now(), open });
    if (this.#ranges) stream.cutAt(start);
    return taken;
  }

  /** A stream whose next byte is at `offset`: the one there is, or a new GET. */
  async #streamAt(offset: number): Promise<ByteSource> {
    const current = this.#stream;
    if (current && offset >= current.position && offset < current.end) {
      if (offset === current.position) return current;
      if (offset - current.position <= MAX_RUN_ON) {
        let at = current.position;
        for (const chunk of await current.take(offset - at)) {
          this.#skipped.keep(at, ownCopy(chunk));
          at += chunk.length;
        }
        if (current.position === offset) return current;
      }
    }
    const ranOut = current !== undefined && current.position === current.end && offset === current.end;
    const next = ranOut ? this.#ranges?.takeOver(offset) : undefined;
    if (next) {
      current?.close();
      this.#stream = next;
      return next;
    }
    this.#closeStream();
    if (ranOut) this.#window = this.#window === undefined ? undefined : this.#window * WINDOW_GROWTH;
    else if (this.#expected !== undefined && this.#expected !== offset) this.#window = FIRST_SEEK_WINDOW;
    return this.#openStream(offset);
  }

  #get(start: number, end: number): Promise<ObjectStream> {
    const { key, etag, size } = this.#object;
    return ObjectStream.open(this.#volume.store, { key, etag, start, end, size }, this.#volume.budget, this.#stop.signal);
  }

  async #openStream(start: number): Promise<ByteSource> {
    const { size } = this.#object;
    const tick = this.#volume.tree.tick();
    const stream = await this.#get(start, this.#window === undefined ? size : Math.min(size, start + this.#window));
    this.#stream = stream;
    if (!this.#isVerified) this.#volume.learn(stream.info, tick);
    this.#isVerified = true;
    this.#watchIdle();
    return stream;
  }

  /** A listing said the file is empty: whether that still holds only the store can say. */
  async #verifyEmpty(): Promise<void> {
    this.#object = await head(this.#volume, this.#object.key);
    this.#isVerified = true;
  }

  /** True if the file was replaced since the listing that it was opened by, and no byte of it has been handed out. */
  async #canTurnToNewVersion(error: unknown): Promise<boolean> {
    const isReplaced = error instanceof StoreError && (error.code === "precondition-failed" || error.code === "invalid-argument");
    if (!isReplaced || this.#isVerified) return false;
    this.#object = await head(this.#volume, this.#object.key);
    this.#isVerified = true;
    return true;
  }

  #watchIdle(): void {
    this.#cancelIdleCheck ??= this.#volume.clock.after(IDLE_CHECK_MS, () => {
      this.#cancelIdleCheck = undefined;
      if (!this.#stream) return;
      const idleMs = this.#volume.clock.now() - this.#lastReadMs;
      const limitMs = this.#volume.budget.underPressure ? IDLE_UNDER_PRESSURE_MS : IDLE_MS;
      if (this.#readsWaiting === 0 && idleMs >= limitMs) {
        this.#closeStream();
        this.#skipped.clear();
      } else this.#watchIdle();
    });
  }

  #closeStream(): void {
    this.#stream?.close();
    this.#stream = undefined;
    this.#ranges?.close();
    this.#ranges = undefined;
    this.#pace.reset();
    this.#cancelIdleCheck?.();
    this.#cancelIdleCheck = undefined;
  }

  async #pause(ms: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const signal = this.#stop.signal;
      const cancel = this.#volume.clock.after(ms, () => {
        signal.removeEventListener("abort", stop);
        resolve();
      });
      const stop = (): void => {
        cancel();
        reject(signal.reason);
      };
      signal.addEventListener("abort", stop, { once: true });
    });
  }

  #requireOpen(): void {
    this.#stop.signal.throwIfAborted();
  }

  #notWritable(): FsError {
    return new FsError("permission-denied", `${this.#target.path}: the file is open for reading only`);
  }

  /** As ftruncate(2) on a descriptor that is open for reading. */
  #notCut(): FsError {
    return new FsError("invalid-argument", `${this.#target.path}: the file is open for reading only, its size cannot be set`);
  }

  #translate(error: unknown): FsError {
    if (this.#stop.signal.aborted) return toFsError(this.#stop.signal.reason, this.#target.path);
    if (error instanceof StoreError && error.code === "precondition-failed") {
      return new FsError("stale", `${this.#target.path}: the file was replaced while it was being read; open it again`, { cause: error });
    }
    if (error instanceof StoreError && error.code === "not-found") {
      return new FsError("not-found", `${this.#target.path}: the file was removed while it was being read`, { cause: error });
    }
    return toFsError(error, this.#target.path);
  }
}

/** The bytes from `start` to `end` of what `chunks` hold one after the other. */
function slice(chunks: readonly Uint8Array[], start: number, end: number): Uint8Array[] {
  const slices: Uint8Array[] = [];
  let offset = 0;
  for (const chunk of chunks) {
    const piece = chunk.subarray(Math.max(0, start - offset), Math.max(0, end - offset));
    if (piece.length > 0) slices.push(piece);
    offset += chunk.length;
  }
  return slices;
}

/** True for failures after which the same GET may succeed. */
function isTransient(error: unknown): boolean {
  return error instanceof StoreError && (error.code === "io" || error.code === "unavailable" || error.code === "slow-down");
}

/**
 * The bytes of one part before the store has them: in memory, or, when memory is short, a first stretch in a file of
 * the state directory and the rest in memory. The same file is what a dropped upload leaves as its tail, and what a
 * resumed one begins with. A part that grows too large for memory is in its file altogether. Accounts for every byte it holds. Knows nothing of part numbers and stores.
 */
import type { PartBody } from "../../objectstore/objectstore.ts";
import { releaseSlab } from "../../slab-pool.ts";
import type { TailFile, TailStore } from "../../state/tail-store.ts";
import { ChunkList, slabLength, sliceChunks } from "./chunk-list.ts";
import type { Clock } from "./clock.ts";
import type { Piece } from "./peek.ts";
import type { UploadMemory } from "./upload-memory.ts";

const KIB = 1024;

/** What memory is asked for at a time while there is plenty. */
const plentifulStep = 1024 * KIB;

/** Nobody takes more than this at a time, lest it waits until nobody else holds anything. */
const largestStep = 8 * 1024 * KIB;

/** A part that has more than this asks for all the rest at once when memory is short, so that it surely gets done. */
const smallHolding = 256 * KIB;

/** How long an upload waits for memory before it goes through a file. */
const patienceMs = 1_000;

/** How long it waits when it cannot go through a file either. */
const lastPatienceMs = 60_000;

/** Where bytes may be kept. */
export interface ContentKeeper {
  readonly memory: UploadMemory;
  readonly tails: TailStore;
  readonly clock: Clock;
  /** A name for a new file, never used before. */
  nextFileName(): string;
}

/** See the head of this file. Calls must not overlap; whoever made it owes `discard` or `intoFile`. */
export class PartContent {
  readonly #keeper: ContentKeeper;
  readonly #list: ChunkList;
  #granted = 0;
  #file: TailFile | undefined;
  #fileLength: number;

  /** `file` with `fileLength` bytes is what the part begins with. */
  constructor(keeper: ContentKeeper, file?: TailFile, fileLength = 0) {
    this.#keeper = keeper;
    this.#list = new ChunkList(keeper.memory.slabs);
    this.#file = file;
    this.#fileLength = fileLength;
  }

  /** Bytes of the part so far. */
  get length(): number {
    return this.#fileLength + this.#list.length;
  }

  /** Bytes it holds in memory. */
  get inMemory(): number {
    return this.#granted;
  }

  /**
   * Adds chunks of `bytes` together, for which the part has room; `room` is what it can still take in all. Resolves
   * when they are held. Rejects when `stop` aborts, or when there is neither memory nor room on disk.
   */
  async append(chunks: readonly Uint8Array[], bytes: number, room: number, stop: AbortSignal): Promise<void> {
    if (this.length + room > this.#keeper.memory.largestPart) {
      if (this.#granted > 0) await this.spill();
      await (await this.#openFile()).write(this.#fileLength, chunks);
      this.#fileLength += bytes;
    } else if (this.#granted - this.#list.length >= bytes || (await this.#grow(bytes, room, stop))) {
      for (const chunk of chunks) this.#list.push(chunk);
    } else {
      await (await this.#openFile()).write(this.#fileLength, chunks);
      this.#fileLength += bytes;
    }
  }

  /** Moves what is in memory to the file and gives the memory back. */
  async spill(): Promise<void> {
    if (this.#list.length > 0) {
      await (await this.#openFile()).write(this.#fileLength, this.#list.chunks);
      this.#fileLength += this.#list.length;
      this.#list.recycle();
    }
    this.#keeper.memory.release(this.#granted);
    this.#granted = 0;
  }

  /** Everything is in the file and on the disk; undefined if there is nothing. */
  async sync(): Promise<{ readonly file: string; readonly length: number } | undefined> {
    if (this.length === 0) return undefined;
    await this.spill();
    const file = await this.#openFile();
    await file.sync();
    return { file: file.name, length: this.#fileLength };
  }

  /** Lets `use` have all bytes as chunks, which are in memory, and counted, until it is done. */
  async load<Result>(use: (chunks: readonly Uint8Array[]) => Promise<Result>, stop: AbortSignal): Promise<Result> {
    const file = this.#file;
    const bytes = this.#fileLength;
    if (!file || bytes === 0) return use(this.#list.chunks);
    return loadFile(this.#keeper, { file, position: 0, length: bytes }, (chunks) => use([...chunks, ...this.#list.chunks]), stop);
  }

  /** Lets `use` have all bytes as a part to send: as `load`, or streaming if they are too many to be in memory. */
  async lend<Result>(use: (body: PartBody) => Promise<Result>, stop: AbortSignal): Promise<Result> {
    const size = this.length;
    if (this.#fileLength === 0 || size <= this.#keeper.memory.largestPart) return this.load(use, stop);
    return use({ size, read: () => this.pieces() });
  }

  /** Writes over bytes of the part. */
  async overwrite(offset: number, chunks: readonly Uint8Array[]): Promise<void> {
    await this.spill();
    await (await this.#openFile()).write(offset, chunks);
  }

  /** Copies of all bytes, piece by piece, in order. */
  async *pieces(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < this.#fileLength; at += plentifulStep) {
      if (this.#file) yield await this.#file.read(at, Math.min(plentifulStep, this.#fileLength - at));
    }
    yield* this.#list.chunks;
  }

  /** The bytes from `start` to `end`, as they are now: see peek.ts. */
  peek(start: number, end: number): Piece[] {
    const file = this.#file;
    const inFile = Math.min(end, this.#fileLength);
    const pieces: Piece[] = file && start < inFile ? [() => file.read(start, inFile - start)] : [];
    const from = Math.max(start, this.#fileLength);
    // Slabs are used again while a reply is under way.
    const inMemory = from < end ? sliceChunks(this.#list.chunks, from - this.#fileLength, end - from) : [];
    return [...pieces, ...inMemory.map((chunk) => Uint8Array.from(chunk))];
  }

  /** Cuts the part to its first `length` bytes. */
  async truncate(length: number): Promise<void> {
    this.#list.truncate(Math.max(0, length - this.#fileLength));
    if (length < this.#fileLength) {
      await this.#file?.truncate(length);
      this.#fileLength = length;
    }
  }

  /** Moves all bytes to the file, closes it and hands over its name; undefined if there are none. */
  async intoFile(): Promise<{ readonly file: string; readonly length: number } | undefined> {
    if (this.length === 0) {
      await this.discard();
      return undefined;
    }
    await this.spill();
    const file = await this.#openFile();
    const length = this.#fileLength;
    await file.sync();
    await file.close();
    this.#file = undefined;
    this.#fileLength = 0;
    return { file: file.name, length };
  }

  /**
   * Forgets all bytes and gives back memory and disk; nothing happens after `intoFile`. `isUnread`: whoever was lent the
   * bytes by `load` has done with them for sure, so that others may write where they were.
   */
  async discard(isUnread = false): Promise<void> {
    if (isUnread) this.#list.recycle();
    else this.#list.clear();
    this.#keeper.memory.release(this.#granted);
    this.#granted = 0;
    this.#fileLength = 0;
    const file = this.#file;
    this.#file = undefined;
    await file?.discard();
  }

  /** Gets memory for `bytes` more; false: there is none, what was in memory is in the file now, and so should they be. */
  async #grow(bytes: number, room: number, stop: AbortSignal): Promise<boolean> {
    const { memory } = this.#keeper;
    const wanted = this.#step(bytes, room);
    if (memory.tryTake(wanted)) {
      this.#granted += wanted;
      return true;
    }
    if (this.#file && this.#list.length === 0) return false;
    if (await memory.takeWithin(wanted, patienceMs, this.#keeper.clock, stop)) {
      this.#granted += wanted;
      return true;
    }
    try {
      await this.spill();
      return false;
    } catch (error) {
      if (!(await memory.takeWithin(wanted, lastPatienceMs, this.#keeper.clock, stop))) throw error;
      this.#granted += wanted;
      return true;
    }
  }

  #step(bytes: number, room: number): number {
    const spare = this.#granted - this.#list.length;
    const needed = bytes - spare;
    if (this.#keeper.memory.plentiful) return Math.max(needed, Math.min(plentifulStep, room - spare));
    return this.#list.length >= smallHolding ? Math.max(needed, Math.min(largestStep, room - spare)) : needed;
  }

  async #openFile(): Promise<TailFile> {
    this.#file ??= await this.#keeper.tails.create(this.#keeper.nextFileName());
    return this.#file;
  }
}

/** Lets `use` have a stretch of a file as chunks, which are in memory, and counted, until it is done. */
export async function loadFile<Result>(
  { memory, clock }: ContentKeeper,
  { file, position, length }: { readonly file: TailFile; readonly position: number; readonly length: number },
  use: (chunks: readonly Uint8Array[]) => Promise<Result>,
  stop: AbortSignal,
): Promise<Result> {
  const work = async (): Promise<Result> => {
    try {
      const slabs = Array.from({ length: Math.ceil(length / slabLength) }, () => memory.slabs.take());
      const chunks = sliceChunks(slabs, 0, length);
      await file.readInto(position, chunks);
      const result = await use(chunks);
      for (const slab of slabs) releaseSlab(slab);
      return result;
    } finally {
      memory.release(length);
    }
  };
  if (await memory.takeWithin(length, patienceMs, clock, stop)) return work();
  return memory.urgently(async () => {
    stop.throwIfAborted();
    memory.force(length);
    return work();
  });
}

/**
 * Received bytes of one part, always copies: whoever writes uses the memory again. Little goes into buffers that grow,
 * more into slabs that are used again and again. Stores get few large chunks.
 */
import { releaseSlab, type SlabPool } from "../../slab-pool.ts";

const firstPack = 4 * 1024;
/** What a list holds before it takes slabs; also the largest buffer before that. */
const largestPack = 64 * 1024;

/** Bytes of a slab. */
export const slabLength = 128 * 1024;

/** An append-only list of chunks. */
export class ChunkList {
  readonly #pool: SlabPool;
  #chunks: Uint8Array[] = [];
  #length = 0;
  /** Where the next bytes go; what is in it is the last chunk. */
  #room: Uint8Array | undefined;
  #used = 0;
  #slabs: Uint8Array[] = [];

  /** `pool` has slabs of `slabLength`. */
  constructor(pool: SlabPool) {
    this.#pool = pool;
  }

  /** Bytes in the list. */
  get length(): number {
    return this.#length;
  }

  /** The chunks in order; they do not change before `clear` or `recycle`. */
  get chunks(): readonly Uint8Array[] {
    return this.#chunks;
  }

  /** Adds a copy of `chunk` at the end. */
  push(chunk: Uint8Array): void {
    for (let start = 0; start < chunk.length; ) {
      const room = this.#roomFor(chunk.length - start);
      const end = Math.min(chunk.length, start + room.length - this.#used);
      room.set(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end), this.#used);
      if (this.#used > 0) this.#chunks.pop();
      this.#used += end - start;
      this.#chunks.push(room.subarray(0, this.#used));
      this.#length += end - start;
      start = end;
    }
  }

  /** Cuts the list to its first `length` bytes. */
  truncate(length: number): void {
    if (length >= this.#length) return;
    this.#chunks = sliceChunks(this.#chunks, 0, length);
    this.#length = length;
    this.#room = undefined;
  }

  /** Empties the list. */
  clear(): void {
    this.#chunks = [];
    this.#length = 0;
    this.#room = undefined;
    this.#slabs = [];
  }

  /** Empties the list and gives its slabs to others: nobody reads the chunks any more. */
  recycle(): void {
    for (const slab of this.#slabs) releaseSlab(slab);
    this.clear();
  }

  /** A buffer that is not full, for some of `bytes` to come. */
  #roomFor(bytes: number): Uint8Array {
    const current = this.#room;
    if (current && this.#used < current.length) return current;
    this.#used = 0;
    if (this.#length + bytes > largestPack) {
      const slab = this.#pool.take();
      this.#slabs.push(slab);
      this.#room = slab;
      return slab;
    }
    const room = Buffer.allocUnsafeSlow(Math.max(bytes, Math.min(largestPack, Math.max(firstPack, this.#length))));
    this.#room = room;
    return room;
  }
}

/** `length` bytes from `start` of a list of chunks, as views. */
export function sliceChunks(chunks: readonly Uint8Array[], start: number, length: number): Uint8Array[] {
  const slices: Uint8Array[] = [];
  let skip = start;
  let wanted = length;
  for (const chunk of chunks) {
    if (wanted === 0) break;
    if (skip >= chunk.length) {
      skip -= chunk.length;
      continue;
    }
    const slice = chunk.subarray(skip, Math.min(chunk.length, skip + wanted));
    slices.push(slice);
    wanted -= slice.length;
    skip = 0;
  }
  return slices;
}

/** Bytes in a list of chunks. */
export function chunksLength(chunks: readonly Uint8Array[]): number {
  let length = 0;
  for (const chunk of chunks) length += chunk.length;
  return length;
}

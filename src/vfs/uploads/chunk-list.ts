/**
 * Received bytes of one part. The first stretch is kept as the chunks it came in (small ones packed together, because a
 * slice of a few bytes would keep a whole network buffer alive); what follows is copied into slabs that are used again
 * and again. The copy costs less than it saves: network buffers die young, and stores get few large chunks.
 */

/** Chunks below this are never kept themselves. */
const smallChunk = 8 * 1024;
const firstPack = 4 * 1024;
const largestPack = 64 * 1024;

/** Bytes of a slab. */
export const slabLength = 128 * 1024;

/** What a list keeps as it came before it begins to copy. */
const keptLength = 256 * 1024;

/** Bytes of slabs that wait for their next use at most; more are left to the garbage collector. */
const maxSpare = 48 * 1024 * 1024;

/** Slabs of the process. */
export class SlabPool {
  readonly #spare: Uint8Array[] = [];

  /** A slab with anything in it. */
  take(): Uint8Array {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(slabLength);
  }

  /** Gives slabs back that nobody reads any more. */
  give(slabs: readonly Uint8Array[]): void {
    for (const slab of slabs) if (this.#spare.length * slabLength < maxSpare) this.#spare.push(slab);
  }
}

/** An append-only list of chunks. */
export class ChunkList {
  readonly #pool: SlabPool;
  #chunks: Uint8Array[] = [];
  #length = 0;
  /** Where small chunks and copies go; the view of what is in it since `#start` is the last chunk. */
  #slab: Uint8Array | undefined;
  #start = 0;
  #used = 0;
  #pooled: Uint8Array[] = [];

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

  /** Adds bytes at the end. */
  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    const copies = this.#length >= keptLength;
    this.#length += chunk.length;
    if (copies) {
      this.#copy(chunk);
    } else if (chunk.length < smallChunk) {
      this.#pack(chunk);
    } else {
      this.#chunks.push(chunk);
      this.#start = this.#used;
    }
  }

  /** Cuts the list to its first `length` bytes. */
  truncate(length: number): void {
    if (length >= this.#length) return;
    this.#chunks = sliceChunks(this.#chunks, 0, length);
    this.#length = length;
    this.#slab = undefined;
  }

  /** Empties the list. */
  clear(): void {
    this.#chunks = [];
    this.#length = 0;
    this.#slab = undefined;
    this.#pooled = [];
  }

  /** Empties the list and gives its slabs to others: nobody reads the chunks any more. */
  recycle(): void {
    this.#pool.give(this.#pooled);
    this.clear();
  }

  #pack(chunk: Uint8Array): void {
    if (!this.#slab || this.#slab.length - this.#used < chunk.length) {
      const size = Math.max(chunk.length, Math.min(largestPack, (this.#slab?.length ?? firstPack / 2) * 2));
      this.#begin(Buffer.allocUnsafeSlow(size));
    }
    this.#fill(chunk);
  }

  #copy(chunk: Uint8Array): void {
    for (let rest = chunk; rest.length > 0; ) {
      if (!this.#slab || this.#slab.length !== slabLength || this.#used === slabLength) {
        const slab = this.#pool.take();
        this.#pooled.push(slab);
        this.#begin(slab);
      }
      const piece = rest.subarray(0, slabLength - this.#used);
      this.#fill(piece);
      rest = rest.subarray(piece.length);
    }
  }

  #begin(slab: Uint8Array): void {
    this.#slab = slab;
    this.#start = 0;
    this.#used = 0;
  }

  /** Puts bytes into the slab, which has room for them. */
  #fill(bytes: Uint8Array): void {
    if (!this.#slab) return;
    if (this.#used > this.#start) this.#chunks.pop();
    this.#slab.set(bytes, this.#used);
    this.#used += bytes.length;
    this.#chunks.push(this.#slab.subarray(this.#start, this.#used));
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

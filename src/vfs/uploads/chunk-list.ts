/**
 * Received bytes of one part, kept as the chunks they came in. Small chunks are copied together, because a slice of a
 * few bytes would keep a whole network buffer alive.
 */

/** Chunks below this are copied. */
const smallChunk = 8 * 1024;
const firstSlab = 4 * 1024;
const largestSlab = 64 * 1024;

/** An append-only list of chunks. */
export class ChunkList {
  #chunks: Uint8Array[] = [];
  #length = 0;
  #slab: Uint8Array | undefined;
  #slabStart = 0;
  #slabUsed = 0;

  /** Bytes in the list. */
  get length(): number {
    return this.#length;
  }

  /** The chunks in order; they must not be changed. */
  get chunks(): readonly Uint8Array[] {
    return this.#chunks;
  }

  /** Adds bytes at the end. Keeps `chunk` itself unless it is small. */
  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#length += chunk.length;
    if (chunk.length >= smallChunk) {
      this.#chunks.push(chunk);
      this.#slabStart = this.#slabUsed;
    } else {
      this.#pack(chunk);
    }
  }

  /** `length` bytes from `start` as views. */
  slice(start: number, length: number): Uint8Array[] {
    return sliceChunks(this.#chunks, start, length);
  }

  /** Cuts the list to its first `length` bytes. */
  truncate(length: number): void {
    this.#chunks = sliceChunks(this.#chunks, 0, length);
    this.#length = length;
    this.#slab = undefined;
  }

  /** Appends to the slab; the view of its bytes is the last chunk as long as no large chunk came between. */
  #pack(chunk: Uint8Array): void {
    if (!this.#slab || this.#slab.length - this.#slabUsed < chunk.length) {
      const size = Math.max(chunk.length, Math.min(largestSlab, (this.#slab?.length ?? firstSlab / 2) * 2));
      this.#slab = Buffer.allocUnsafeSlow(size);
      this.#slabStart = 0;
      this.#slabUsed = 0;
    }
    if (this.#slabUsed > this.#slabStart) this.#chunks.pop();
    this.#slab.set(chunk, this.#slabUsed);
    this.#slabUsed += chunk.length;
    this.#chunks.push(this.#slab.subarray(this.#slabStart, this.#slabUsed));
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

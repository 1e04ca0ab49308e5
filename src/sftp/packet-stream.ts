/**
 * Cuts the bytes of a channel into packets (a 32-bit length and that many bytes) without putting them together: a
 * packet is a list of slices of the chunks it came in. Knows nothing of what packets mean.
 */
import { ProtocolError } from "../errors.ts";
import type { Packet } from "./wire/requests.ts";
import { MAX_PACKET_BYTES } from "./wire/constants.ts";

const LENGTH_BYTES = 4;
const SLAB_BYTES = 32 * 1024;
const SMALL_CHUNK_BYTES = 1024;
/** A slice of less than this share of the memory it keeps alive is copied, so that small slices cannot hold large buffers. */
const SHARE = 8;

/** True if holding `chunk` for long would keep much more memory alive than its own length. */
export function isSparse(chunk: Uint8Array): boolean {
  return chunk.length < SMALL_CHUNK_BYTES || chunk.length * SHARE < chunk.buffer.byteLength;
}

/** Received and not yet taken. Memory held is what was pushed and not taken, times a small constant. */
export class PacketStream {
  #chunks: Uint8Array[] = [];
  /** Index of the first chunk not wholly taken, and how much of it was. */
  #head = 0;
  #offset = 0;
  #buffered = 0;
  /** Length of the packet whose length field was taken, or -1. */
  #need = -1;
  /** Where small chunks are put together, the fill level, and where in it the last chunk of the list begins (-1: it is no part of the slab). */
  #slab: Buffer = Buffer.alloc(0);
  #slabEnd = 0;
  #slabStart = -1;

  /** Bytes pushed and not taken. */
  get buffered(): number {
    return this.#buffered;
  }

  /** Adds what was received; `chunk` is not changed by anybody from now on. */
  push(chunk: Uint8Array): void {
    if (this.#buffered > 0 && isSparse(chunk)) this.#pushCopy(chunk);
    else {
      this.#chunks.push(chunk);
      this.#slabStart = -1;
    }
    this.#buffered += chunk.length;
  }

  /**
   * Takes the next whole packet, or undefined until more is pushed. Throws `ProtocolError` for a length of 0 or above
   * the maximum: nothing behind it can be understood.
   */
  next(): Packet | undefined {
    if (this.#need < 0) {
      if (this.#buffered < LENGTH_BYTES) return undefined;
      this.#need = this.#takeLength();
      if (this.#need === 0 || this.#need > MAX_PACKET_BYTES) throw new ProtocolError(`packet of ${this.#need} bytes`);
    }
    if (this.#buffered < this.#need) return undefined;
    const bytes = this.#need;
    this.#need = -1;
    return { bytes, chunks: this.#take(bytes) };
  }

  #takeLength(): number {
    const chunk = this.#chunks[this.#head];
    const at = this.#offset;
    if (chunk && chunk.length - at > LENGTH_BYTES) {
      this.#offset = at + LENGTH_BYTES;
      this.#buffered -= LENGTH_BYTES;
      return new DataView(chunk.buffer, chunk.byteOffset).getUint32(at);
    }
    let length = 0;
    for (const slice of this.#take(LENGTH_BYTES)) for (const byte of slice) length = length * 256 + byte;
    return length;
  }

  #take(bytes: number): Uint8Array[] {
    const slices: Uint8Array[] = [];
    let left = bytes;
    while (left > 0) {
      const chunk = this.#chunks[this.#head];
      if (!chunk) throw new ProtocolError("packet stream is out of step");
      const slice = this.#offset === 0 && chunk.length <= left ? chunk : chunk.subarray(this.#offset, this.#offset + left);
      slices.push(slice);
      left -= slice.length;
      this.#offset += slice.length;
      if (this.#offset === chunk.length) {
        this.#head++;
        this.#offset = 0;
      }
    }
    this.#buffered -= bytes;
    this.#dropTaken();
    return slices;
  }

  #dropTaken(): void {
    if (this.#head === this.#chunks.length) {
      this.#chunks = [];
      this.#head = 0;
      this.#slabStart = -1;
    } else if (this.#head > 256) {
      this.#chunks.splice(0, this.#head);
      this.#head = 0;
    }
  }

  #pushCopy(chunk: Uint8Array): void {
    if (this.#slabEnd + chunk.length > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, chunk.length));
      this.#slabEnd = 0;
      this.#slabStart = -1;
    }
    this.#slab.set(chunk, this.#slabEnd);
    const start = this.#slabStart < 0 ? this.#slabEnd : this.#slabStart;
    const isNew = this.#slabStart < 0;
    this.#slabEnd += chunk.length;
    this.#slabStart = start;
    const view = this.#slab.subarray(start, this.#slabEnd);
    if (isNew) this.#chunks.push(view);
    else this.#chunks[this.#chunks.length - 1] = view;
  }
}

/**
 * Cuts the bytes of a channel into packets (a 32-bit length and that many bytes). What is pushed is lent: packets that
 * lie in it whole are views of it, the rest is copied. A WRITE is always copied, once, into a slab of its own, where its
 * data can stay until the file has them. Knows nothing of what else packets mean.
 */
import { ProtocolError } from "../errors.ts";
import { releaseSlab, SlabPool } from "../slab-pool.ts";
import type { Packet } from "./wire/requests.ts";
import { MAX_PACKET_BYTES, PacketType } from "./wire/constants.ts";

const LENGTH_BYTES = 4;
/** WRITEs up to this have buffers that the garbage collector takes. */
const SLAB_WORTHY = 4 * 1024;
/** A packet gets its slab once this share of it is there: parked halves must not hold much more memory than they count. */
const SHARE = 8;
/** Room for a WRITE of 32 KiB, which most clients send, and of the largest. */
const SLABS = [new SlabPool(34 * 1024, 4 * 1024 * 1024), new SlabPool(MAX_PACKET_BYTES, 8 * 1024 * 1024)];
/** Kept chunks below this are put together. */
const SMALL_CHUNK_BYTES = 8 * 1024;
const KEPT_BYTES = 32 * 1024;

/** Received and not yet taken. Memory held is what was pushed and not taken, times a small constant. */
export class PacketStream {
  /** Not taken yet, from `#offset` of the first on. */
  #chunks: Uint8Array[] = [];
  #offset = 0;
  /** True while the last chunk is lent. */
  #isLent = false;
  #buffered = 0;
  /** Length of the packet whose length field was taken, or -1. */
  #need = -1;
  /** The packet under way, and how much of it is there. */
  #packet: Buffer | undefined;
  #filled = 0;
  /** Where small kept chunks are put together, and how far it is used; the last chunk ends there. */
  #room: Buffer | undefined;
  #roomUsed = 0;

  /** Bytes pushed and not taken. */
  get buffered(): number {
    return this.#buffered;
  }

  /** Adds what was received; `chunk` is lent until `settle`. */
  push(chunk: Uint8Array): void {
    this.settle();
    this.#chunks.push(chunk);
    this.#isLent = true;
    this.#buffered += chunk.length;
  }

  /** Copies what is left of the chunk that was lent: its bytes will be overwritten. */
  settle(): void {
    if (!this.#isLent) return;
    this.#isLent = false;
    const chunk = this.#chunks.pop();
    if (!chunk) return;
    const isFirst = this.#chunks.length === 0;
    const rest = isFirst ? chunk.subarray(this.#offset) : chunk;
    if (isFirst) this.#offset = 0;
    if (rest.length > 0) this.#keep(rest);
  }

  /**
   * Takes the next whole packet, or undefined until more is pushed. Its bytes are a view of what is lent or kept here,
   * good until the next call of any method; those of a WRITE are the caller's. Throws `ProtocolError` for a length of 0 or
   * above the maximum: nothing behind it can be understood.
   */
  next(): Packet | undefined {
    if (this.#need < 0) {
      if (this.#buffered < LENGTH_BYTES) return undefined;
      const length = this.#takeLength();
      if (length === 0 || length > MAX_PACKET_BYTES) throw new ProtocolError(`packet of ${length} bytes`);
      this.#need = length;
    }
    const need = this.#need;
    const first = this.#chunks[0];
    if (!this.#packet && first && first.length - this.#offset >= need && first[this.#offset] !== PacketType.WRITE) {
      const view = first.subarray(this.#offset, this.#offset + need);
      this.#advance(first, need);
      this.#need = -1;
      return { bytes: need, chunks: [view] };
    }
    this.#assemble(need);
    const packet = this.#packet;
    if (!packet || this.#filled < need) return undefined;
    this.#packet = undefined;
    this.#filled = 0;
    this.#need = -1;
    this.#buffered -= need;
    return { bytes: need, chunks: [packet.subarray(0, need)] };
  }

  /** Moves what is there of the packet under way to one place. */
  #assemble(need: number): void {
    for (let chunk = this.#chunks[0]; chunk && this.#filled < need; chunk = this.#chunks[0]) {
      const end = Math.min(chunk.length, this.#offset + need - this.#filled);
      const piece = chunk.subarray(this.#offset, end);
      const room = this.#roomFor(need, this.#filled + piece.length, this.#packet?.[0] ?? piece[0]);
      room.set(piece, this.#filled);
      this.#filled += piece.length;
      // still counted as buffered: it is not taken
      this.#buffered += piece.length;
      this.#advance(chunk, piece.length);
    }
  }

  /** A buffer with room for `bytes` of a packet of `need` bytes, which holds what is there of it. */
  #roomFor(need: number, bytes: number, type: number | undefined): Buffer {
    const current = this.#packet;
    if (current && current.length >= bytes) return current;
    const isFilling = bytes * SHARE >= need;
    const slab = isFilling && type === PacketType.WRITE && need > SLAB_WORTHY ? takeSlab(need) : undefined;
    const larger = slab ?? Buffer.allocUnsafe(isFilling ? need : Math.min(need, bytes * 2));
    if (current) larger.set(current.subarray(0, this.#filled));
    this.#packet = larger;
    return larger;
  }

  #takeLength(): number {
    let length = 0;
    for (let left = LENGTH_BYTES; left > 0; left--) {
      const chunk = this.#chunks[0];
      if (!chunk) throw new ProtocolError("packet stream is out of step");
      length = length * 256 + (chunk[this.#offset] as number);
      this.#advance(chunk, 1);
    }
    return length;
  }

  #advance(first: Uint8Array, bytes: number): void {
    this.#offset += bytes;
    this.#buffered -= bytes;
    if (this.#offset < first.length) return;
    this.#chunks.shift();
    this.#offset = 0;
    if (this.#chunks.length > 0) return;
    this.#isLent = false;
    this.#room = undefined;
  }

  #keep(chunk: Uint8Array): void {
    if (chunk.length >= SMALL_CHUNK_BYTES) {
      this.#chunks.push(Buffer.from(chunk));
      this.#room = undefined;
      return;
    }
    const last = this.#chunks.at(-1);
    if (this.#room && last && this.#roomUsed + chunk.length <= this.#room.length) {
      this.#room.set(chunk, this.#roomUsed);
      this.#roomUsed += chunk.length;
      const start = last.byteOffset - this.#room.byteOffset;
      this.#chunks[this.#chunks.length - 1] = this.#room.subarray(start, this.#roomUsed);
      return;
    }
    const isOnly = this.#chunks.length === 0;
    this.#room = Buffer.allocUnsafeSlow(isOnly ? chunk.length * 2 : KEPT_BYTES);
    this.#room.set(chunk);
    this.#roomUsed = chunk.length;
    this.#chunks.push(this.#room.subarray(0, chunk.length));
  }
}

function takeSlab(bytes: number): Buffer | undefined {
  return SLABS.find((pool) => pool.slabBytes >= bytes)?.take();
}

/** Says that nobody reads the data of a WRITE any more. */
export function releaseData(chunks: readonly Uint8Array[]): void {
  for (const chunk of chunks) releaseSlab(chunk);
}

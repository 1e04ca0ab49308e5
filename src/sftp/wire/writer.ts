/**
 * Writes packets of primitive values (RFC 4251 §5) one behind the other into buffers that are never written twice, so
 * that what was taken can be sent without a copy. Knows no packet.
 */

/** The first buffer is small, for a session at rest; each one after it is twice as large, up to the largest. */
const FIRST_SLAB_BYTES = 1024;
const LARGEST_SLAB_BYTES = 16 * 1024;
const TWO_POW_32 = 2 ** 32;

/** Collects packets until `take`. Values must be in range: they come from this server. */
export class WireWriter {
  #buffer: Buffer = Buffer.alloc(0);
  #slabBytes = FIRST_SLAB_BYTES;
  /** Where what was not taken begins, where the next byte goes, where the open packet's length stands. */
  #start = 0;
  #position = 0;
  #packetStart = 0;

  /** Bytes written and not taken. */
  get length(): number {
    return this.#position - this.#start;
  }

  /** Bytes of the open packet so far, with its length field. */
  get packetLength(): number {
    return this.#position - this.#packetStart;
  }

  /** Begins a packet of the given type; `end` closes it. */
  begin(type: number): void {
    this.#reserve(5);
    this.#packetStart = this.#position;
    this.#buffer[this.#position + 4] = type;
    this.#position += 5;
  }

  /** Closes the packet begun last. `following` bytes of it are sent by the caller right behind. */
  end(following = 0): void {
    this.#buffer.writeUInt32BE(this.packetLength - 4 + following, this.#packetStart);
  }

  uint32(value: number): void {
    this.#reserve(4);
    this.#position = this.#buffer.writeUInt32BE(value, this.#position);
  }

  /** 0 to 2⁵³−1. */
  uint64(value: number): void {
    this.#reserve(8);
    this.#position = this.#buffer.writeUInt32BE(Math.floor(value / TWO_POW_32), this.#position);
    this.#position = this.#buffer.writeUInt32BE(value % TWO_POW_32, this.#position);
  }

  /** A counted string. */
  string(bytes: Uint8Array): void {
    this.uint32(bytes.length);
    this.bytes(bytes);
  }

  /** Bytes as they are. */
  bytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#position);
    this.#position += bytes.length;
  }

  /** A counted string of UTF-8. */
  text(value: string): void {
    this.#reserve(4 + value.length * 3);
    const length = this.#buffer.write(value, this.#position + 4, "utf8");
    this.#buffer.writeUInt32BE(length, this.#position);
    this.#position += 4 + length;
  }

  /** Overwrites the 32-bit value that stands `offset` bytes behind the open packet's beginning. */
  patch(offset: number, value: number): void {
    this.#buffer.writeUInt32BE(value, this.#packetStart + offset);
  }

  /** The packets written since the last `take`; may be empty. They will not change any more. */
  take(): Uint8Array {
    const taken = this.#buffer.subarray(this.#start, this.#position);
    this.#start = this.#position;
    return taken;
  }

  #reserve(bytes: number): void {
    if (this.#position + bytes <= this.#buffer.length) return;
    const kept = this.length;
    // node's pool would be kept whole for the little that a session at rest holds of it
    const grown = Buffer.allocUnsafeSlow(Math.max(this.#slabBytes, 2 * (kept + bytes)));
    this.#slabBytes = Math.min(LARGEST_SLAB_BYTES, 2 * this.#slabBytes);
    this.#buffer.copy(grown, 0, this.#start, this.#position);
    this.#buffer = grown;
    this.#packetStart -= this.#start;
    this.#start = 0;
    this.#position = kept;
  }
}

/**
 * Reads rsync's integers and strings from a contiguous piece of the logical stream. Pure: knows no channel and no
 * frames. All integers are little-endian. Running out of bytes throws `INCOMPLETE`: the caller rewinds and tries again
 * with more; so a parser must change no state before it has read its last byte.
 */
import { ProtocolError } from "../errors.ts";

/** Thrown (always this one object) when a parser needs more bytes than are there. Never leaves `src/rsync`. */
export const INCOMPLETE = new ProtocolError("the stream ends inside a value");

/** Extra bytes announced by the first byte of a variable-length integer: rsync io.c `int_byte_extra`. */
function extraBytes(first: number): number {
  if (first < 0x80) return 0;
  if (first < 0xc0) return 1;
  if (first < 0xe0) return 2;
  if (first < 0xf0) return 3;
  if (first < 0xf8) return 4;
  if (first < 0xfc) return 5;
  return 6;
}

/** A position in a byte array. Sizes in bytes. */
export class ByteCursor {
  #bytes: Uint8Array;
  #view: DataView;
  #end: number;
  position: number;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#end = bytes.length;
    this.position = 0;
  }

  /** Bytes not read yet. */
  get remaining(): number {
    return this.#end - this.position;
  }

  #advance(count: number): number {
    const at = this.position;
    if (count > this.#end - at) throw INCOMPLETE;
    this.position = at + count;
    return at;
  }

  /** One byte. */
  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  /** Two bytes, unsigned. */
  u16(): number {
    return this.#view.getUint16(this.#advance(2), true);
  }

  /** Four bytes, signed. */
  i32(): number {
    return this.#view.getInt32(this.#advance(4), true);
  }

  /** Four bytes, unsigned. */
  u32(): number {
    return this.#view.getUint32(this.#advance(4), true);
  }

  /** The next `length` bytes, not copied. */
  bytes(length: number): Uint8Array {
    const at = this.#advance(length);
    return this.#bytes.subarray(at, at + length);
  }

  /** The next `length` bytes as a string of characters 0–255. */
  latin1(length: number): string {
    const at = this.#advance(length);
    return Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + at, length).toString("latin1");
  }

  /** Copies the next `length` bytes into `target` at `offset`. */
  copyTo(target: Uint8Array, offset: number, length: number): void {
    const at = this.#advance(length);
    target.set(this.#bytes.subarray(at, at + length), offset);
  }

  /** Variable-length signed 32-bit integer, protocol ≥ 30 (rsync io.c `read_varint`). */
  varint(): number {
    const first = this.u8();
    const extra = extraBytes(first);
    if (extra === 0) return first;
    if (extra > 4) throw new ProtocolError("overlong varint");
    let value = 0;
    for (let index = 0; index < extra; index++) value |= this.u8() << (8 * index);
    if (extra < 4) value |= (first & ((1 << (8 - extra)) - 1)) << (8 * extra);
    return value;
  }

  /** Variable-length 64-bit integer of at least `floor` bytes, protocol ≥ 30 (rsync io.c `read_varlong`). Safe integers only. */
  varlong(floor: number): number {
    const first = this.u8();
    const extra = extraBytes(first);
    const count = floor - 1 + extra;
    if (count > 8) throw new ProtocolError("overlong varlong");
    let low = 0;
    let high = 0;
    for (let index = 0; index < count; index++) {
      if (index < 4) low += this.u8() * 2 ** (8 * index);
      else high += this.u8() * 2 ** (8 * (index - 4));
    }
    const head = extra === 0 ? first : first & ((1 << (8 - extra)) - 1);
    if (count < 4) low += head * 2 ** (8 * count);
    else if (count < 8) high += head * 2 ** (8 * (count - 4));
    return join64(low, high);
  }

  /** Integer of protocol < 30: four bytes, or -1 and eight bytes (rsync io.c `read_longint`). Safe integers only. */
  longint(): number {
    const short = this.i32();
    if (short !== -1) return short;
    const low = this.u32();
    return join64(low, this.u32());
  }

  /** As `longint`, of any size, as a string that no other number has: inode numbers may have all 64 bits. */
  longintText(): string {
    const short = this.i32();
    return short === -1 ? this.latin1(8) : `${short}`;
  }

  /** Length-prefixed string of at most 0x7fff bytes (rsync io.c `read_vstring`). */
  vstring(): string {
    let length = this.u8();
    if (length & 0x80) length = ((length & 0x7f) << 8) | this.u8();
    return this.latin1(length);
  }
}

/** A signed 64-bit value from its halves; only safe integers pass. */
function join64(low: number, high: number): number {
  const signed = high >= 0x80000000 ? high - 0x100000000 : high;
  const value = signed * 0x100000000 + low;
  if (!Number.isSafeInteger(value)) throw new ProtocolError("64-bit value out of range");
  return value;
}

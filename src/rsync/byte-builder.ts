/**
 * Writes rsync's integers and strings into a growing buffer: the counterpart of `byte-cursor.ts`. Pure.
 */

const INITIAL_SIZE = 4096;

/** A growing byte buffer. All integers are little-endian. */
export class ByteBuilder {
  #buffer = Buffer.allocUnsafe(INITIAL_SIZE);
  #length = 0;

  /** Bytes written and not taken. */
  get length(): number {
    return this.#length;
  }

  #reserve(count: number): number {
    const at = this.#length;
    const needed = at + count;
    if (needed > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
      this.#buffer.copy(grown, 0, 0, at);
      this.#buffer = grown;
    }
    this.#length = needed;
    return at;
  }

  /** One byte. */
  u8(value: number): void {
    const at = this.#reserve(1);
    this.#buffer[at] = value;
  }

  /** Two bytes. */
  u16(value: number): void {
    const at = this.#reserve(2);
    this.#buffer[at] = value;
    this.#buffer[at + 1] = value >>> 8;
  }

  /** Four bytes, signed or unsigned. */
  i32(value: number): void {
    const at = this.#reserve(4);
    this.#buffer.writeInt32LE(value | 0, at);
  }

  /** Raw bytes. */
  bytes(value: Uint8Array): void {
    const at = this.#reserve(value.length);
    this.#buffer.set(value, at);
  }

  /** A string of characters 0–255. */
  latin1(value: string): void {
    const at = this.#reserve(value.length);
    this.#buffer.write(value, at, "latin1");
  }

  /** See `ByteCursor.varint`. */
  varint(value: number): void {
    const bytes = [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, (value >>> 24) & 0xff];
    this.#variable(bytes, 4, 1);
  }

  /** See `ByteCursor.varlong`; `value` is a safe integer. */
  varlong(value: number, floor: number): void {
    const low = value >>> 0;
    const high = Math.floor(value / 0x100000000) >>> 0;
    const bytes: number[] = [];
    for (let index = 0; index < 4; index++) bytes.push((low >>> (8 * index)) & 0xff);
    for (let index = 0; index < 4; index++) bytes.push((high >>> (8 * index)) & 0xff);
    this.#variable(bytes, 8, floor);
  }

  #variable(bytes: readonly number[], size: number, floor: number): void {
    let count = size;
    while (count > floor && bytes[count - 1] === 0) count--;
    const top = bytes[count - 1] ?? 0;
    const bit = 1 << (7 - count + floor);
    if (top >= bit) {
      this.u8(~(bit - 1) & 0xff);
      for (let index = 0; index < count; index++) this.u8(bytes[index] ?? 0);
      return;
    }
    this.u8(count > floor ? top | (~(bit * 2 - 1) & 0xff) : top);
    for (let index = 0; index < count - 1; index++) this.u8(bytes[index] ?? 0);
  }

  /** See `ByteCursor.longint`. */
  longint(value: number): void {
    if (value >= 0 && value <= 0x7fffffff) {
      this.i32(value);
      return;
    }
    this.i32(-1);
    this.i32(value >>> 0);
    this.i32(Math.floor(value / 0x100000000));
  }

  /** See `ByteCursor.vstring`; at most 0x7fff characters 0–255. */
  vstring(value: string): void {
    if (value.length > 0x7fff) throw new RangeError("string too long for a vstring");
    if (value.length >= 0x80) this.u8((value.length >> 8) | 0x80);
    this.u8(value.length & 0xff);
    this.latin1(value);
  }

  /** Hands out what was written and starts anew. */
  take(): Uint8Array {
    const full = this.#buffer.subarray(0, this.#length);
    this.#length = 0;
    if (full.length * 2 < this.#buffer.length) return Uint8Array.prototype.slice.call(full);
    this.#buffer = Buffer.allocUnsafe(INITIAL_SIZE);
    return full;
  }
}

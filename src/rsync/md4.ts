/**
 * MD4 (RFC 1320), which rsync before protocol 30 uses and OpenSSL 3 no longer offers. Pure.
 */

const BLOCK = 64;

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

/** An MD4 computation in progress; the interface of `node:crypto`'s `Hash`, and `save`. */
export class Md4 {
  #a = 0x67452301;
  #b = 0xefcdab89 | 0;
  #c = 0x98badcfe | 0;
  #d = 0x10325476;
  readonly #block = new Uint8Array(BLOCK);
  readonly #blockView = new DataView(this.#block.buffer);
  #filled = 0;
  #length = 0;

  /** Goes on with what `save` gave after `length` bytes. Throws `RangeError` if that cannot have been. */
  static restore(saved: Uint8Array, length: number): Md4 {
    if (saved.length !== 16 + (length % BLOCK)) throw new RangeError("not a saved MD4");
    const digest = new Md4();
    const words = new DataView(saved.buffer, saved.byteOffset, 16);
    digest.#a = words.getInt32(0, true);
    digest.#b = words.getInt32(4, true);
    digest.#c = words.getInt32(8, true);
    digest.#d = words.getInt32(12, true);
    digest.#block.set(saved.subarray(16));
    digest.#filled = saved.length - 16;
    digest.#length = length;
    return digest;
  }

  /** The computation so far: 16 bytes, and those of a block that is not full. */
  save(): Uint8Array {
    return Buffer.concat([this.#words(), this.#block.subarray(0, this.#filled)]);
  }

  /** Adds `data`. */
  update(data: Uint8Array): this {
    this.#length += data.length;
    let offset = 0;
    if (this.#filled > 0) {
      offset = Math.min(BLOCK - this.#filled, data.length);
      this.#block.set(data.subarray(0, offset), this.#filled);
      this.#filled += offset;
      if (this.#filled < BLOCK) return this;
      this.#compress(this.#blockView, 0);
      this.#filled = 0;
    }
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    for (; offset + BLOCK <= data.length; offset += BLOCK) this.#compress(view, offset);
    if (offset < data.length) {
      this.#block.set(data.subarray(offset));
      this.#filled = data.length - offset;
    }
    return this;
  }

  /** The 16 bytes of the sum; nothing may be added afterwards. */
  digest(): Uint8Array {
    const padding = new Uint8Array((this.#filled < 56 ? 56 : 120) - this.#filled + 8);
    padding[0] = 0x80;
    const view = new DataView(padding.buffer);
    view.setUint32(padding.length - 8, (this.#length * 8) >>> 0, true);
    view.setUint32(padding.length - 4, Math.floor(this.#length / 0x20000000), true);
    this.update(padding);
    return this.#words();
  }

  #words(): Uint8Array {
    const result = new Uint8Array(16);
    const words = new DataView(result.buffer);
    words.setInt32(0, this.#a, true);
    words.setInt32(4, this.#b, true);
    words.setInt32(8, this.#c, true);
    words.setInt32(12, this.#d, true);
    return result;
  }

  /** RFC 1320 §3.4: three rounds of sixteen steps over one block. */
  #compress(view: DataView, offset: number): void {
    let a = this.#a;
    let b = this.#b;
    let c = this.#c;
    let d = this.#d;
    for (let step = 0; step < 16; step += 4) {
      const at = offset + step * 4;
      a = rotate((a + ((b & c) | (~b & d)) + view.getInt32(at, true)) | 0, 3);
      d = rotate((d + ((a & b) | (~a & c)) + view.getInt32(at + 4, true)) | 0, 7);
      c = rotate((c + ((d & a) | (~d & b)) + view.getInt32(at + 8, true)) | 0, 11);
      b = rotate((b + ((c & d) | (~c & a)) + view.getInt32(at + 12, true)) | 0, 19);
    }
    for (let step = 0; step < 4; step++) {
      const at = offset + step * 4;
      a = rotate((a + ((b & c) | (b & d) | (c & d)) + view.getInt32(at, true) + 0x5a827999) | 0, 3);
      d = rotate((d + ((a & b) | (a & c) | (b & c)) + view.getInt32(at + 16, true) + 0x5a827999) | 0, 5);
      c = rotate((c + ((d & a) | (d & b) | (a & b)) + view.getInt32(at + 32, true) + 0x5a827999) | 0, 9);
      b = rotate((b + ((c & d) | (c & a) | (d & a)) + view.getInt32(at + 48, true) + 0x5a827999) | 0, 13);
    }
    for (let step = 0; step < 4; step++) {
      const at = offset + (((step & 1) << 1) | (step >> 1)) * 4;
      a = rotate((a + (b ^ c ^ d) + view.getInt32(at, true) + 0x6ed9eba1) | 0, 3);
      d = rotate((d + (a ^ b ^ c) + view.getInt32(at + 32, true) + 0x6ed9eba1) | 0, 9);
      c = rotate((c + (d ^ a ^ b) + view.getInt32(at + 16, true) + 0x6ed9eba1) | 0, 11);
      b = rotate((b + (c ^ d ^ a) + view.getInt32(at + 48, true) + 0x6ed9eba1) | 0, 15);
    }
    this.#a = (this.#a + a) | 0;
    this.#b = (this.#b + b) | 0;
    this.#c = (this.#c + c) | 0;
    this.#d = (this.#d + d) | 0;
  }
}

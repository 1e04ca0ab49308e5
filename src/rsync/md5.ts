/**
 * MD5 (RFC 1321) whose state can be kept and taken up again, for uploads that go on in another run. Somewhat slower than
 * `node:crypto`'s, which gives no state away. Pure.
 */
import { DATA_AT, DATA_SIZE, STATE_AT, sumModule } from "./sum-module.ts";

const BLOCK = 64;
const STATE = 16;
const INITIAL = Uint8Array.of(0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10);

/** An MD5 computation in progress; the interface of `node:crypto`'s `Hash`, and `save`. */
export class Md5 {
  readonly #state = Uint8Array.from(INITIAL);
  readonly #rest = new Uint8Array(BLOCK);
  #filled = 0;
  #length = 0;

  /** Goes on with what `save` gave after `length` bytes. Throws `RangeError` if that cannot have been. */
  static restore(saved: Uint8Array, length: number): Md5 {
    if (saved.length !== STATE + (length % BLOCK)) throw new RangeError("not a saved MD5");
    const digest = new Md5();
    digest.#state.set(saved.subarray(0, STATE));
    digest.#rest.set(saved.subarray(STATE));
    digest.#filled = saved.length - STATE;
    digest.#length = length;
    return digest;
  }

  /** The computation so far: 16 bytes, and those of a block that is not full. */
  save(): Uint8Array {
    return Buffer.concat([this.#state, this.#rest.subarray(0, this.#filled)]);
  }

  /** Adds `data`. */
  update(data: Uint8Array): this {
    this.#length += data.length;
    let offset = 0;
    if (this.#filled > 0) {
      offset = Math.min(BLOCK - this.#filled, data.length);
      this.#rest.set(data.subarray(0, offset), this.#filled);
      this.#filled += offset;
      if (this.#filled < BLOCK) return this;
      this.#compress(this.#rest);
      this.#filled = 0;
    }
    const whole = offset + Math.floor((data.length - offset) / BLOCK) * BLOCK;
    for (; offset < whole; offset += DATA_SIZE) this.#compress(data.subarray(offset, Math.min(whole, offset + DATA_SIZE)));
    this.#rest.set(data.subarray(whole));
    this.#filled = data.length - whole;
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
    return Uint8Array.from(this.#state);
  }

  #compress(blocks: Uint8Array): void {
    const sums = sumModule();
    sums.memory.set(this.#state, STATE_AT);
    sums.memory.set(blocks, DATA_AT);
    sums.md5(blocks.length);
    this.#state.set(sums.memory.subarray(STATE_AT, STATE_AT + STATE));
  }
}

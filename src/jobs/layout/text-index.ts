/**
 * Remembers a million texts in little memory: a 64-bit hash of each, with a number beside it. Two different texts are
 * taken for one with a probability of 10⁻⁷ at a million. Knows nothing of what the texts are.
 */
import { randomBytes } from "node:crypto";

const FIRST_SLOTS = 1024;

/** Texts with a number each: a whole one from 0 to 2³²-1. */
export class TextIndex {
  readonly #seed = randomBytes(8);
  #low = new Uint32Array(FIRST_SLOTS);
  #high = new Uint32Array(FIRST_SLOTS);
  #values: Uint32Array | undefined;
  #size = 0;

  /** `withValues: false` saves the room for numbers; all are 0 then. */
  constructor({ withValues = true }: { readonly withValues?: boolean } = {}) {
    if (withValues) this.#values = new Uint32Array(FIRST_SLOTS);
  }

  /** How many texts there are. */
  get size(): number {
    return this.#size;
  }

  /** The text's number; undefined if it was never added. */
  get(text: string): number | undefined {
    const [low, high] = this.#hash(text);
    const slot = this.#find(low, high);
    return this.#isFree(slot) ? undefined : (this.#values?.[slot] ?? 0);
  }

  /** Adds a text, or raises its number if it has a smaller one. True if it is new. */
  add(text: string, value = 0): boolean {
    if (this.#size * 2 >= this.#low.length) this.#grow();
    const [low, high] = this.#hash(text);
    const slot = this.#find(low, high);
    const isNew = this.#isFree(slot);
    if (isNew) {
      this.#low[slot] = low;
      this.#high[slot] = high;
      this.#size++;
    }
    if (this.#values) this.#values[slot] = isNew ? value : Math.max(value, this.#values[slot] ?? value);
    return isNew;
  }

  #isFree(slot: number): boolean {
    return this.#high[slot] === 0;
  }

  #find(low: number, high: number): number {
    const mask = this.#low.length - 1;
    let slot = low & mask;
    while (!this.#isFree(slot) && (this.#low[slot] !== low || this.#high[slot] !== high)) slot = (slot + 1) & mask;
    return slot;
  }

  #grow(): void {
    const [low, high, values] = [this.#low, this.#high, this.#values];
    this.#low = new Uint32Array(low.length * 2);
    this.#high = new Uint32Array(low.length * 2);
    if (values) this.#values = new Uint32Array(low.length * 2);
    for (const [index, one] of high.entries()) {
      if (one === 0) continue;
      const slot = this.#find(low[index] ?? 0, one);
      this.#low[slot] = low[index] ?? 0;
      this.#high[slot] = one;
      if (this.#values) this.#values[slot] = values?.[index] ?? 0;
    }
  }

  /** Two rounds of 32 bits with secret beginnings, so that nobody can make names that collide. The second is never 0. */
  #hash(text: string): [number, number] {
    let low = this.#seed.readUInt32LE(0);
    let high = this.#seed.readUInt32LE(4);
    for (let index = 0; index < text.length; index++) {
      const unit = text.charCodeAt(index);
      low = Math.imul(low ^ unit, 0x01000193);
      high = Math.imul(high ^ (unit + 0x9e37), 0x85ebca6b);
      high ^= high >>> 13;
    }
    low ^= low >>> 15;
    low = Math.imul(low, 0xc2b2ae35);
    return [(low ^ (low >>> 13)) >>> 0, (high ^ low) >>> 0 || 1];
  }
}

/**
 * Buffers that are used again and again for bytes on their way through the process: a fresh buffer costs page faults and
 * garbage collections, which together cost more than all copies and ciphers. Who reads a slab counts as its holder; the
 * last one to release it gives it back. Knows nothing of what the bytes are, and counts no budget.
 *
 * Never releasing is safe: the garbage collector takes the slab, and only its next use is lost. Releasing too early is
 * not: with GATEWAY_POISON_SLABS=1 in the environment, slabs are overwritten when they come back, so that tests see it.
 */

/** How long slabs beyond those kept for good wait for their next use. */
const TRIM_AFTER_MS = 5_000;
const POISON_BYTE = 0xdb;
const POISONS = process.env.GATEWAY_POISON_SLABS === "1";

interface Slab {
  readonly bytes: Buffer;
  readonly pool: SlabPool;
  holders: number;
}

const slabs = new WeakMap<ArrayBufferLike, Slab>();

/** Slabs of one size. */
export class SlabPool {
  /** Bytes of each slab. */
  readonly slabBytes: number;
  readonly #maxSpare: number;
  readonly #spare: Slab[] = [];
  #trimming = false;

  /**
   * `maxSpareBytes` at most wait for their next use for good. What a burst leaves beyond them is kept for some seconds: the
   * next burst would make it anew, and the collector is slow to take slabs away, so that both together were in memory.
   */
  constructor(slabBytes: number, maxSpareBytes: number) {
    this.slabBytes = slabBytes;
    this.#maxSpare = Math.floor(maxSpareBytes / slabBytes);
  }

  /** A slab with anything in it; the caller is its one holder and owes `release`. */
  take(): Buffer {
    const spare = this.#spare.pop();
    if (spare) {
      spare.holders = 1;
      return spare.bytes;
    }
    const bytes = Buffer.allocUnsafeSlow(this.slabBytes);
    slabs.set(bytes.buffer, { bytes, pool: this, holders: 1 });
    return bytes;
  }

  /** Takes a slab back that nobody holds. Called by `release`. */
  recycle(slab: Slab): void {
    poison(slab.bytes);
    this.#spare.push(slab);
    if (this.#spare.length > this.#maxSpare) this.#trimSoon();
  }

  #trimSoon(): void {
    if (this.#trimming) return;
    this.#trimming = true;
    setTimeout(() => {
      this.#trimming = false;
      this.#spare.length = Math.min(this.#spare.length, this.#maxSpare);
    }, TRIM_AFTER_MS).unref();
  }
}

/** One more holder of the slab that `view` lies in; nothing for bytes that lie in none. */
export function holdSlab(view: Uint8Array): void {
  const slab = slabs.get(view.buffer);
  if (slab) slab.holders++;
}

/** One holder less, who must not look at the bytes again; nothing for bytes that lie in no slab. Throws if there is none left. */
export function releaseSlab(view: Uint8Array): void {
  const slab = slabs.get(view.buffer);
  if (!slab) return;
  if (slab.holders === 0) throw new Error("a slab was released more often than it was held");
  slab.holders--;
  if (slab.holders === 0) slab.pool.recycle(slab);
}

/** `view` itself if it lies in no slab; else a copy of it, and the slab has one holder less. */
export function ownCopy(view: Uint8Array): Uint8Array {
  if (!slabs.has(view.buffer)) return view;
  const copy = Buffer.from(view);
  releaseSlab(view);
  return copy;
}

/** Overwrites bytes that nobody may read any more, in tests that look for those who do. */
export function poison(bytes: Uint8Array): void {
  if (POISONS) bytes.fill(POISON_BYTE);
}

/**
 * Bytes that a sequential stream passed over because a later read came first, kept for a moment for the reads that were
 * overtaken. Bounded. Knows offsets and bytes only.
 */
import type { ByteBudget } from "../byte-budget.ts";

/** Most bytes kept for one handle; the oldest go first. */
export const MAX_SKIPPED = 1024 * 1024;

interface Piece {
  readonly start: number;
  readonly bytes: Uint8Array;
}

/** See the head of this file. What it holds is taken from the budget if it is free, else not held at all. */
export class SkippedBytes {
  readonly #budget: ByteBudget;
  #pieces: Piece[] = [];
  #held = 0;

  constructor(budget: ByteBudget) {
    this.#budget = budget;
  }

  keep(start: number, bytes: Uint8Array): void {
    if (!this.#budget.tryTake(bytes.length)) return;
    this.#pieces.push({ start, bytes });
    this.#held += bytes.length;
    while (this.#held > MAX_SKIPPED) this.#drop(0);
  }

  /** Hands out up to `length` bytes from `offset` on, if they are kept, and forgets them. */
  take(offset: number, length: number): Uint8Array | undefined {
    const index = this.#pieces.findIndex(({ start, bytes }) => start <= offset && offset < start + bytes.length);
    const piece = this.#pieces[index];
    if (!piece) return undefined;
    const from = offset - piece.start;
    const taken = piece.bytes.subarray(from, from + length);
    this.#drop(index);
    if (from > 0) this.keep(piece.start, piece.bytes.subarray(0, from));
    if (from + taken.length < piece.bytes.length) this.keep(offset + taken.length, piece.bytes.subarray(from + taken.length));
    return taken;
  }

  /** Offset of the first kept byte after `offset`, or Infinity. */
  nextAfter(offset: number): number {
    return this.#pieces.reduce((next, { start }) => (start > offset ? Math.min(next, start) : next), Number.POSITIVE_INFINITY);
  }

  clear(): void {
    while (this.#pieces.length > 0) this.#drop(0);
  }

  #drop(index: number): void {
    const [piece] = this.#pieces.splice(index, 1);
    if (!piece) return;
    this.#held -= piece.bytes.length;
    this.#budget.release(piece.bytes.length);
  }
}

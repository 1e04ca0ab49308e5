/** A rate in bytes per second that many share. Knows no channels and no users. */

/** What may go at once after a pause, in milliseconds of the rate. */
const BURST_MS = 250;

/** Hands out a rate to all who share it. */
export class RateLimit {
  readonly #bytesPerMs: number;
  readonly #now: () => number;
  /** Until when the rate is spent. */
  #spentUntilMs = 0;
  #unreported = 0;

  /** `bytesPerSecond` is at least 1; `now` in ms, monotonic. */
  constructor(bytesPerSecond: number, now: () => number = () => performance.now()) {
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#now = now;
  }

  get bytesPerSecond(): number {
    return this.#bytesPerMs * 1000;
  }

  /** Spends `bytes`; returns after how many ms they may have gone. */
  spend(bytes: number): number {
    const now = this.#now();
    this.#unreported += bytes;
    this.#spentUntilMs = Math.max(this.#spentUntilMs, now - BURST_MS) + bytes / this.#bytesPerMs;
    return Math.max(0, this.#spentUntilMs - now);
  }

  /** Bytes spent since the last call. */
  takeSpent(): number {
    const bytes = this.#unreported;
    this.#unreported = 0;
    return bytes;
  }

  /** Others spend of the same rate: it is spent for at least `aheadMs` from now. */
  waitFor(aheadMs: number): void {
    this.#spentUntilMs = Math.max(this.#spentUntilMs, this.#now() + aheadMs);
  }

  /** Bytes that were spent ahead of time. */
  get debt(): number {
    return Math.max(0, Math.ceil((this.#spentUntilMs - this.#now()) * this.#bytesPerMs));
  }

  /** Milliseconds until `debt` is at most `bytes`. */
  untilDebt(bytes: number): number {
    return Math.max(0, this.#spentUntilMs - this.#now() - bytes / this.#bytesPerMs);
  }
}

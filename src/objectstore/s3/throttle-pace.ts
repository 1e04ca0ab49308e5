/**
 * The pace of requests to a store that throttles: after a 503 they leave one by one at a rate a little below what the
 * store has just taken, which then grows until it is refused again. So those that were refused do not compete with ever
 * new ones, and none has to be given up. While the store does not throttle, nothing is held back. Pure: is told the time.
 */

/** Share of the rate that the store took, at which requests go on after it refused one. */
const CUT = 0.85;
/** Refusals within this time are one: the requests were under way together. */
const CUT_INTERVAL_MS = 500;
/** Requests a second that the rate grows by each second. */
const GROWTH_PER_SECOND = 15;
/** The rate never falls below this many requests a second. */
const MIN_RATE = 50;
/** Without a refusal for so long the pace ends. */
const CALM_MS = 15_000;
/** What the store takes is counted over this time. */
const WINDOW_MS = 1000;

/** See the head of this file. Times in milliseconds of any monotonic clock. */
export class ThrottlePace {
  /** Requests a second; undefined: as they come. */
  #rate: number | undefined;
  #nextMs = 0;
  #cutMs = Number.NEGATIVE_INFINITY;
  #windowMs = 0;
  #taken = 0;
  #takenBefore = 0;

  /** Milliseconds until the next request may leave; its place is taken. */
  reserve(nowMs: number): number {
    if (this.#rate === undefined) return 0;
    if (nowMs - this.#cutMs > CALM_MS) {
      this.#rate = undefined;
      return 0;
    }
    const atMs = Math.max(nowMs, this.#nextMs);
    this.#nextMs = atMs + 1000 / this.#rate;
    return atMs - nowMs;
  }

  /** The store took a request. */
  taken(nowMs: number): void {
    this.#roll(nowMs);
    this.#taken++;
    if (this.#rate !== undefined) this.#rate += GROWTH_PER_SECOND / this.#rate;
  }

  /** The store refused a request because there are too many. */
  refused(nowMs: number): void {
    this.#roll(nowMs);
    if (nowMs - this.#cutMs < CUT_INTERVAL_MS) return;
    const seen = Math.max(this.#taken, this.#takenBefore);
    this.#rate = Math.max(MIN_RATE, CUT * (this.#rate === undefined ? seen : Math.min(this.#rate, Math.max(seen, MIN_RATE))));
    this.#cutMs = nowMs;
    this.#nextMs = Math.max(this.#nextMs, nowMs);
  }

  #roll(nowMs: number): void {
    const passedMs = nowMs - this.#windowMs;
    if (passedMs < WINDOW_MS) return;
    this.#takenBefore = passedMs < 2 * WINDOW_MS ? this.#taken : 0;
    this.#taken = 0;
    this.#windowMs = nowMs;
  }
}

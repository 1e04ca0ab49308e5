/** Runs a bounded number of asynchronous tasks at once; the bound gives way when the stores are overloaded. Knows nothing of what they do. */

const LOWEST_LIMIT = 2;

/** At most `limit` tasks run at the same time; `add` waits for a free place. */
export class WorkQueue {
  readonly #cap: number;
  #limit: number;
  #succeeded = 0;
  readonly #running = new Set<Promise<void>>();

  /** `start` ≥ 1; `cap` (default: `start`) is what the limit may grow to. */
  constructor(start: number, cap = start) {
    this.#limit = start;
    this.#cap = Math.max(start, cap);
  }

  /** Tasks that may run at once now. */
  get limit(): number {
    return this.#limit;
  }

  /** Starts `task` as soon as there is a place, and resolves then. The task handles its own errors. */
  async add(task: () => Promise<void>): Promise<void> {
    while (this.#running.size >= this.#limit) await Promise.race(this.#running);
    const running: Promise<void> = task().finally(() => {
      this.#running.delete(running);
      this.#grow();
    });
    this.#running.add(running);
  }

  /** Halves the limit: a store asked for fewer requests. */
  slowDown(): void {
    this.#limit = Math.min(this.#limit, Math.max(LOWEST_LIMIT, Math.floor(this.#limit / 2)));
    this.#succeeded = 0;
  }

  /** Resolves when everything that was added is done. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.race(this.#running);
  }

  /** One more place after as many tasks as there are places went through without a complaint. */
  #grow(): void {
    if (++this.#succeeded < this.#limit || this.#limit >= this.#cap) return;
    this.#succeeded = 0;
    this.#limit++;
  }
}

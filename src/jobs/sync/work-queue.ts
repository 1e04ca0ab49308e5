/** Runs a bounded number of asynchronous tasks at once. Knows nothing of what they do. */

/** At most `limit` tasks run at the same time; `add` waits for a free place. */
export class WorkQueue {
  readonly #limit: number;
  readonly #running = new Set<Promise<void>>();

  /** `limit` ≥ 1. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Starts `task` as soon as there is a place, and resolves then. The task handles its own errors. */
  async add(task: () => Promise<void>): Promise<void> {
    while (this.#running.size >= this.#limit) await Promise.race(this.#running);
    const running: Promise<void> = task().finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Resolves when everything that was added is done. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.race(this.#running);
  }
}

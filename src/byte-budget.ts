/**
 * The one memory budget of the process: everything that a client can make the gateway hold (received and unsent bytes,
 * parts being filled or sent, read-ahead, queued replies) is taken from it and given back. When it is spent, takers
 * wait in the order they came; nothing is refused. Knows nothing of what the bytes are.
 */

/** A waiting `take`. */
interface Waiter {
  readonly bytes: number;
  readonly grant: () => void;
}

/** Counts bytes held against a limit. All sizes in bytes, integers ≥ 0. */
export class ByteBudget {
  #limit: number;
  #used = 0;
  readonly #waiters: Waiter[] = [];
  readonly #pressureListeners = new Set<() => void>();
  readonly #resizeListeners = new Set<() => void>();

  /** `limit` must be at least 1 MiB. */
  constructor(limit: number) {
    if (!Number.isSafeInteger(limit) || limit < 1024 * 1024) throw new RangeError(`byte budget of ${limit} bytes is too small`);
    this.#limit = limit;
  }

  /** Bytes that may be held. */
  get limit(): number {
    return this.#limit;
  }

  /** Changes the limit, to at least 1 MiB; what is held above a lower one stays until it is given back. */
  resize(limit: number): void {
    this.#limit = Math.max(1024 * 1024, limit);
    for (const listener of [...this.#resizeListeners]) listener();
    this.#grantWaiters();
  }

  /** Calls `listener` after each change of the limit. Returns the function that ends that. */
  onResize(listener: () => void): () => void {
    this.#resizeListeners.add(listener);
    return () => this.#resizeListeners.delete(listener);
  }

  /** Bytes taken and not given back; may exceed `limit` through `force`. */
  get used(): number {
    return this.#used;
  }

  /** True while somebody waits or nothing is left: holders should give back what they can (flush, spill). */
  get underPressure(): boolean {
    return this.#waiters.length > 0 || this.#used >= this.#limit;
  }

  /** Takes `bytes` if they are free and nobody waits; says whether it did. */
  tryTake(bytes: number): boolean {
    if (this.#waiters.length > 0 || (this.#used + bytes > this.#limit && this.#used > 0)) return false;
    this.#used += bytes;
    return true;
  }

  /** Takes `bytes` at once, over the limit if need be: for what has already arrived. */
  force(bytes: number): void {
    this.#used += bytes;
  }

  /**
   * Takes `bytes`, waiting in line while they are not free. A request larger than the limit is granted when nothing
   * else is held. Rejects with the signal's reason when it aborts first; nothing is taken then.
   */
  take(bytes: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.tryTake(bytes)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(signal?.reason);
        this.#grantWaiters();
      };
      const waiter: Waiter = {
        bytes,
        grant: () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiters.push(waiter);
      for (const listener of [...this.#pressureListeners]) listener();
    });
  }

  /** Gives `bytes` back. Throws if more is given back than was taken: that is a bug in a holder. */
  release(bytes: number): void {
    if (bytes > this.#used) throw new Error(`byte budget: ${bytes} bytes released, only ${this.#used} held`);
    this.#used -= bytes;
    this.#grantWaiters();
  }

  /** Calls `listener` each time somebody has to start waiting. Returns the function that ends that. */
  onPressure(listener: () => void): () => void {
    this.#pressureListeners.add(listener);
    return () => this.#pressureListeners.delete(listener);
  }

  #grantWaiters(): void {
    for (;;) {
      const first = this.#waiters[0];
      if (!first || (this.#used + first.bytes > this.#limit && this.#used > 0)) return;
      this.#waiters.shift();
      this.#used += first.bytes;
      first.grant();
    }
  }
}

/**
 * What goes on with one open upload: its calls, one after the other in the order they were made, and, for those who have
 * to decide whether to wait for it, how many run, when it was last used, and when it begins to close. Knows nothing of files.
 */
import type { Clock } from "./clock.ts";

/** An upload that was used this long ago may be about to be closed. */
const recentMs = 2_000;

/** See the head of this file. */
export class Activity {
  readonly #clock: Clock;
  readonly #waiting = new Set<() => void>();
  #queue: Promise<unknown> = Promise.resolve();
  #running = 0;
  #lastUsedMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#lastUsedMs = clock.now();
  }

  /** Runs `call` after all that were made before, and passes its outcome on. */
  enqueue<Result>(call: () => Promise<Result>): Promise<Result> {
    this.#running++;
    const result = this.#queue.then(call);
    const done = (): void => void this.#running--;
    this.#queue = result.then(done, done);
    return result;
  }

  /** Resolves once the calls made so far have ended, however they did. */
  async caughtUp(): Promise<void> {
    await this.#queue;
  }

  /** The upload was used. */
  used(): void {
    this.#lastUsedMs = this.#clock.now();
  }

  /** True if it was not used for `ms`. */
  isIdle(ms: number): boolean {
    return this.#clock.now() - this.#lastUsedMs >= ms;
  }

  /** It begins to close. */
  closing(): void {
    for (const begun of this.#waiting) begun();
  }

  /** If it looks finished (nothing runs, used a moment ago): resolves when it begins to close, or after `ms`. Undefined: it does not. */
  finishing(ms: number): Promise<void> | undefined {
    if (this.#running > 0 || this.isIdle(recentMs)) return undefined;
    let begun = (): void => undefined;
    const closing = new Promise<void>((resolve) => {
      begun = resolve;
    });
    this.#waiting.add(begun);
    return atMost(ms, closing).finally(() => this.#waiting.delete(begun));
  }
}

/** Resolves with `event`, which must not reject, or after `ms` of real time. */
export function atMost(ms: number, event: Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    void event.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

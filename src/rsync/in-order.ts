/**
 * Runs work ahead with bounded concurrency and hands out the results in order. Knows nothing of the work.
 */

/** Results taken without waiting before other work gets a turn. */
const TURN_EVERY = 2048;

/**
 * Calls `produce(i)` for i = 0…count-1, at most `window` of them unfinished, and `emit(i, result)` in order, one at a
 * time. Rejects with the first error in order; what is still running then is awaited and its outcome ignored.
 */
export async function inOrder<T>(
  count: number,
  window: number,
  produce: (index: number) => T | Promise<T>,
  emit: (index: number, result: T) => void | Promise<void>,
): Promise<void> {
  const pending: { readonly index: number; readonly result: Promise<T> }[] = [];
  const emitFirst = async (): Promise<void> => {
    const first = pending.shift();
    if (first) await emit(first.index, await first.result);
  };
  try {
    for (let index = 0; index < count; index++) {
      const result = produce(index);
      if (!(result instanceof Promise) && pending.length === 0) {
        const done = emit(index, result);
        if (done) await done;
        else if (index % TURN_EVERY === TURN_EVERY - 1) await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      const promise = Promise.resolve(result);
      // Awaited by emitFirst; until then a rejection must not count as unhandled.
      promise.catch(() => undefined);
      pending.push({ index, result: promise });
      if (pending.length >= window) await emitFirst();
    }
    while (pending.length > 0) await emitFirst();
  } finally {
    await Promise.allSettled(pending.map(({ result }) => result));
  }
}

/** Runs tasks with bounded concurrency; `add` waits while too many run. The first error of a task rejects later calls. */
export class TaskPool {
  readonly #limit: number;
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Starts `task` once fewer than the limit run. */
  async add(task: () => Promise<void>): Promise<void> {
    while (this.#running.size >= this.#limit) await Promise.race(this.#running);
    if (this.#failure) throw this.#failure.error;
    const running: Promise<void> = task()
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Resolves when nothing runs. */
  async idle(): Promise<void> {
    await this.settled();
    if (this.#failure) throw this.#failure.error;
  }

  /** As `idle`, whatever the tasks came to. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }
}

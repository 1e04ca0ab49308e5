/** Lets long computations give way to other work. Knows nothing of what they compute. */

/** Milliseconds after which other work gets a turn. */
const SLICE = 15;

/** One computation's sense of time. */
export class Turns {
  #since = performance.now();

  /** A promise to await when other work is due a turn, else undefined. */
  due(): Promise<void> | undefined {
    if (performance.now() - this.#since < SLICE) return undefined;
    return new Promise((resolve) => {
      setImmediate(() => {
        this.#since = performance.now();
        resolve();
      });
    });
  }
}

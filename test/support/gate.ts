/**
 * Holds calls of a model until a test lets them go, and counts them. Knows nothing of what is called.
 */

/** Calls named by `holds` wait for `release`; all are noted in `calls` as `operation path`. */
export class Gate {
  readonly calls: string[] = [];
  readonly #holds: (call: string) => boolean;
  #held: { readonly call: string; readonly go: () => void; readonly fail: (error: Error) => void }[] = [];
  #arrivals: { readonly count: number; readonly resolve: () => void }[] = [];

  constructor(holds: (call: string) => boolean) {
    this.#holds = holds;
  }

  /** For `ModelOptions.before`. */
  readonly before = (operation: string, path: string): Promise<void> | void => {
    const call = `${operation} ${path}`;
    this.calls.push(call);
    if (!this.#holds(call)) return undefined;
    const released = new Promise<void>((go, fail) => this.#held.push({ call, go, fail }));
    for (const { count, resolve } of this.#arrivals) if (this.#held.length >= count) resolve();
    return released;
  };

  /** What is held now. */
  get held(): readonly string[] {
    return this.#held.map(({ call }) => call);
  }

  /** Resolves when at least `count` calls are held. */
  arrived(count: number): Promise<void> {
    if (this.#held.length >= count) return Promise.resolve();
    return new Promise((resolve) => this.#arrivals.push({ count, resolve }));
  }

  /** Lets the held calls go that `matches` (default: all), or fails them. */
  release(matches: (call: string) => boolean = () => true, error?: Error): void {
    const due = this.#held.filter(({ call }) => matches(call));
    this.#held = this.#held.filter((held) => !due.includes(held));
    for (const { go, fail } of due) {
      if (error) fail(error);
      else go();
    }
  }
}

/** Resolves after `turns` turns of the event loop: time for everything to happen that can. */
export async function turns(count = 20): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

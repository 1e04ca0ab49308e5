/** What `npm run fuzz` asks of a target. */

/** A target that is ready. Whoever opened it owes `close`. */
export interface FuzzRunner {
  /**
   * Runs the case of one seed, always the same for the same seed. Resolves to how much was sent, in packets, messages or
   * texts. Rejects with a finding: an error of the wrong kind, a hang, something leaked.
   */
  run(seed: number): Promise<number>;
  close(): Promise<void>;
}

/** Something to fuzz. */
export interface FuzzTarget {
  readonly name: string;
  /** What one unit of its count is. */
  readonly unit: string;
  open(): Promise<FuzzRunner>;
}

/** Throws a finding unless `condition` holds. */
export function demand(condition: boolean, finding: string): asserts condition {
  if (!condition) throw new Error(finding);
}

/** Rejects if `work` takes longer than `ms`. */
export async function within<Value>(ms: number, what: string, work: Promise<Value>): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} hangs`)), ms);
  });
  try {
    return await Promise.race([work, hang]);
  } finally {
    clearTimeout(timer);
  }
}

/** Names under which clients upload before they rename to the final one (WinSCP's `x.filepart`). Knows keys only. */

/** A set of patterns such as `*.filepart`: one `*`, which stands for the final name. */
export class TemporaryNames {
  readonly #patterns: readonly { readonly before: string; readonly after: string }[];

  /** Throws `RangeError` for a pattern that has not exactly one `*` and something besides it. */
  constructor(patterns: readonly string[]) {
    this.#patterns = patterns.map((pattern) => {
      const [before = "", after = "", ...more] = pattern.split("*");
      if (!pattern.includes("*") || more.length > 0 || before + after === "" || pattern.includes("/")) {
        throw new RangeError(`"${pattern}" is no pattern for temporary names: write one * for the final name, for example *.filepart`);
      }
      return { before, after };
    });
  }

  /** The key that `key` will be renamed to; undefined if it is no temporary name. */
  finalKey(key: string): string | undefined {
    const slash = key.lastIndexOf("/") + 1;
    const name = key.slice(slash);
    for (const { before, after } of this.#patterns) {
      const isMatch = name.length > before.length + after.length && name.startsWith(before) && name.endsWith(after);
      if (isMatch) return key.slice(0, slash) + name.slice(before.length, name.length - after.length);
    }
    return undefined;
  }
}

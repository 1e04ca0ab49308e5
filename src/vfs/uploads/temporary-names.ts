/**
 * Names under which clients upload before they rename to the final one (WinSCP's `x.filepart`, rclone's
 * `x.pugixik4.partial`). Knows keys only.
 */

/** The patterns that are understood unless configured otherwise. */
export const DEFAULT_TEMPORARY_NAMES: readonly string[] = ["*.filepart", "*.????????.partial"];

/** A set of patterns such as `*.filepart`: one `*`, which stands for the final name; each `?` for one letter or digit. */
export class TemporaryNames {
  readonly #patterns: readonly RegExp[];

  /** Throws `RangeError` for a pattern that has not exactly one `*` and something besides it. */
  constructor(patterns: readonly string[]) {
    this.#patterns = patterns.map((pattern) => {
      if (!/^(?=..)[^*/]*\*[^*/]*$/s.test(pattern)) {
        throw new RangeError(`"${pattern}" is no pattern for temporary names: write one * for the final name, for example *.filepart`);
      }
      const [before = "", after = ""] = pattern.split("*").map(expressionOf);
      return new RegExp(`^${before}(.+)${after}$`, "su");
    });
  }

  /** The key that `key` will be renamed to; undefined if it is no temporary name. */
  finalKey(key: string): string | undefined {
    const slash = key.lastIndexOf("/") + 1;
    const name = key.slice(slash);
    for (const pattern of this.#patterns) {
      const final = pattern.exec(name)?.[1];
      if (final !== undefined) return key.slice(0, slash) + final;
    }
    return undefined;
  }
}

/**
 * Patterns that nobody gives to a file for good. One with a `?` may be a date or the like: what is published under such a
 * name is somebody's file.
 */
export function unmistakable(patterns: readonly string[]): string[] {
  return patterns.filter((pattern) => !pattern.includes("?"));
}

function expressionOf(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&").replaceAll("\\?", "[0-9A-Za-z]");
}

/**
 * Names under which clients upload before they rename to the final one (WinSCP's `x.filepart`, rclone's
 * `x.pugixik4.partial`). Knows keys only.
 */

/** The patterns that are understood unless configured otherwise. */
export const DEFAULT_TEMPORARY_NAMES: readonly string[] = ["*.filepart", "*.????????.partial"];

/** A set of patterns such as `*.filepart`: one `*`, which stands for the final name; each `?` for one letter or digit. */
export class TemporaryNames {
  readonly #patterns: readonly { readonly expression: RegExp; readonly isSure: boolean }[];

  /** Throws `RangeError` for a pattern that has not exactly one `*` and something besides it. */
  constructor(patterns: readonly string[]) {
    this.#patterns = patterns.map((pattern) => {
      if (!/^(?=..)[^*/]*\*[^*/]*$/s.test(pattern)) {
        throw new RangeError(`"${pattern}" is no pattern for temporary names: write one * for the final name, for example *.filepart`);
      }
      const [before = "", after = ""] = pattern.split("*").map(expressionOf);
      return { expression: new RegExp(`^${before}(.+)${after}$`, "su"), isSure: !pattern.includes("?") };
    });
  }

  /** The key that `key` will be renamed to; undefined if it is no temporary name. */
  finalKey(key: string): string | undefined {
    const slash = key.lastIndexOf("/") + 1;
    const name = key.slice(slash);
    for (const { expression } of this.#patterns) {
      const final = expression.exec(name)?.[1];
      if (final !== undefined) return key.slice(0, slash) + final;
    }
    return undefined;
  }

  /**
   * How an upload under `key` waits for its rename: `always` under a name that is surely temporary, `if-small` where the
   * name may be meant, and who wrote it may want to read it first (rclone does): only what fits this node's disk then.
   */
  parking(key: string): "always" | "if-small" | "never" {
    const name = key.slice(key.lastIndexOf("/") + 1);
    const known = this.#patterns.find(({ expression }) => expression.test(name));
    if (!known) return "never";
    return known.isSure ? "always" : "if-small";
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

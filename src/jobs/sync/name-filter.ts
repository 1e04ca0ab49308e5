/**
 * Which names a sync leaves out: `--exclude` and `--include` as aws-cli reads them (shell patterns whose `*` crosses
 * slashes; the last that matches decides), and what other programs have not finished writing. Pure.
 */
import type { NameFilter } from "./sync-options.ts";

/** WinSCP's unfinished uploads, and the gateway's own waiting room on disks. */
const PARTIAL = /(?:\.filepart$)|^\.sftp-gateway\//;

/** True for names to leave out. */
export function nameExcluder(filters: readonly NameFilter[], includePartial: boolean): (name: string) => boolean {
  const rules = filters.map(({ include, pattern }) => ({ include, matches: patternOf(pattern) }));
  return (name) => {
    if (!includePartial && PARTIAL.test(name)) return true;
    let excluded = false;
    for (const { include, matches } of rules) if (matches.test(name)) excluded = !include;
    return excluded;
  };
}

/** A shell pattern as Python's fnmatch reads it: `*`, `?`, `[a-z]`, `[!a-z]`. */
function patternOf(pattern: string): RegExp {
  let source = "";
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern[index] ?? "";
    const close = character === "[" ? pattern.indexOf("]", pattern[index + 1] === "!" ? index + 3 : index + 2) : -1;
    if (character === "*") source += ".*";
    else if (character === "?") source += ".";
    else if (close > 0) {
      const set = pattern.slice(index + 1, close).replaceAll(/[\\\]^]/g, "\\$&");
      source += set.startsWith("!") ? `[^${set.slice(1)}]` : `[${set}]`;
      index = close;
    } else source += character.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
  }
  try {
    return new RegExp(`^${source}$`, "su");
  } catch (error) {
    if (error instanceof SyntaxError) return new RegExp(`^${pattern.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&")}$`, "s");
    throw error;
  }
}

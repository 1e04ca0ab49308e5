/**
 * Remote wildcards as scp and rsync users type them: `*`, `?` and `[…]` within one path segment, names in byte order,
 * dot files only where the pattern begins with a dot. Knows no command and no protocol.
 */
import { FsError } from "../errors.ts";
import type { FileSystem } from "../vfs/file-system.ts";

/** More matches than any command line means; beyond it the pattern is refused rather than the process filled. */
const MAX_MATCHES = 100_000;

/** Reads the bracket expression at `pattern[at]` (`[`). Undefined if it is not closed: then `[` is literal. */
function bracket(pattern: string, at: number, character: string): { readonly next: number; readonly matches: boolean } | undefined {
  let i = at + 1;
  const negated = pattern[i] === "!" || pattern[i] === "^";
  if (negated) i++;
  let matches = false;
  for (let first = true; first || pattern[i] !== "]"; first = false) {
    if (pattern[i] === "\\") i++;
    const low = pattern[i];
    if (low === undefined) return undefined;
    i++;
    let high = low;
    if (pattern[i] === "-" && pattern[i + 1] !== undefined && pattern[i + 1] !== "]") {
      i++;
      if (pattern[i] === "\\") i++;
      high = pattern[i] ?? low;
      i++;
    }
    if (character >= low && character <= high) matches = true;
  }
  return { next: i + 1, matches: matches !== negated };
}

/** Matches one pattern element at `at` against `character`; returns where the pattern goes on, or -1. */
function matchOne(pattern: string, at: number, character: string): number {
  const p = pattern[at];
  if (p === "?") return at + 1;
  if (p === "[") {
    const set = bracket(pattern, at, character);
    if (set) return set.matches ? set.next : -1;
  }
  if (p === "\\" && at + 1 < pattern.length) return pattern[at + 1] === character ? at + 2 : -1;
  return p === character ? at + 1 : -1;
}

/** True if `name` (one path segment) matches `pattern`. Time is at most the product of both lengths. */
export function matchSegment(pattern: string, name: string): boolean {
  if (name.startsWith(".") && !/^\\?\./.test(pattern)) return false;
  let p = 0;
  let n = 0;
  let starPattern = -1;
  let starName = 0;
  while (n < name.length) {
    if (pattern[p] === "*") {
      starPattern = ++p;
      starName = n;
      continue;
    }
    const next = p < pattern.length ? matchOne(pattern, p, name.charAt(n)) : -1;
    if (next >= 0) {
      p = next;
      n++;
    } else if (starPattern >= 0) {
      p = starPattern;
      n = ++starName;
    } else return false;
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}

/** Removes the escapes of a pattern segment without wildcards; undefined if it has wildcards. */
function literal(segment: string): string | undefined {
  const plain = segment.replace(/\\(.)/gs, "");
  return /[*?[]/.test(plain) ? undefined : segment.replace(/\\(.)/gs, "$1");
}

/**
 * The existing paths that `pattern` (see `Word.pattern`) stands for, in byte order; empty if nothing matches.
 * Rejects with `FsError` when a directory cannot be read, and `invalid-argument` over 100,000 matches.
 */
export async function expandGlob(fileSystem: FileSystem, pattern: string): Promise<string[]> {
  const absolute = pattern.startsWith("/");
  let found: string[] = [absolute ? "/" : ""];
  const segments = pattern.split("/").filter((s) => s !== "");
  for (const [index, segment] of segments.entries()) {
    const next: string[] = [];
    for (const base of found) {
      const join = (name: string): string => (base === "" ? name : base.endsWith("/") ? base + name : `${base}/${name}`);
      const name = literal(segment);
      if (name !== undefined) next.push(join(name));
      else next.push(...(await matchesIn(fileSystem, base === "" ? "." : base, segment)).map(join));
      if (next.length > MAX_MATCHES) throw new FsError("invalid-argument", `more than ${MAX_MATCHES} names match the pattern`);
    }
    found = next;
    if (literal(segment) !== undefined && index > 0) found = await existing(fileSystem, found);
  }
  return found;
}

async function matchesIn(fileSystem: FileSystem, directory: string, segment: string): Promise<string[]> {
  const names: string[] = [];
  let handle: Awaited<ReturnType<FileSystem["opendir"]>>;
  try {
    handle = await fileSystem.opendir(directory);
  } catch (error) {
    // A shell's wildcard over something that is no directory matches nothing.
    if (error instanceof FsError && (error.code === "not-found" || error.code === "not-a-directory")) return names;
    throw error;
  }
  try {
    for (let batch = await handle.next(); batch.length > 0; batch = await handle.next()) {
      for (const entry of batch) if (matchSegment(segment, entry.name)) names.push(entry.name);
      if (names.length > MAX_MATCHES) throw new FsError("invalid-argument", `more than ${MAX_MATCHES} names match the pattern`);
    }
  } finally {
    await handle.close();
  }
  return names;
}

async function existing(fileSystem: FileSystem, paths: readonly string[]): Promise<string[]> {
  const kept: string[] = [];
  for (const path of paths) {
    try {
      await fileSystem.lstat(path);
      kept.push(path);
    } catch (error) {
      if (!(error instanceof FsError && (error.code === "not-found" || error.code === "not-a-directory"))) throw error;
    }
  }
  return kept;
}

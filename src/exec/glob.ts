/**
 * Remote wildcards as scp and rsync users type them: `*`, `?` and `[…]` within one path segment, names in byte order,
 * dot files only where the pattern begins with a dot. Knows no command and no protocol.
 */
import { setImmediate as othersFirst } from "node:timers/promises";
import { FsError } from "../errors.ts";
import type { FileSystem } from "../vfs/file-system.ts";

/** More matches than any command line means; beyond it the pattern is refused rather than the process filled. */
const MAX_MATCHES = 100_000;
/** No name is as long; a pattern beyond it costs time and means nothing. */
const MAX_SEGMENT = 4096;
/** Milliseconds of matching after which others have a turn. */
const SLICE_MS = 5;

/** One element of a pattern: `*`, or what one character has to be. */
type Element = "star" | ((character: string) => boolean);

/** A set of characters: ranges, or all but these. */
interface CharacterSet {
  readonly ranges: readonly (readonly [low: string, high: string])[];
  readonly negated: boolean;
  /** Where the pattern goes on. */
  readonly next: number;
}

/** Reads the bracket expression at `pattern[at]` (`[`). Undefined if it is not closed: then `[` is literal. */
function readSet(pattern: string, at: number): CharacterSet | undefined {
  let i = at + 1;
  const negated = pattern[i] === "!" || pattern[i] === "^";
  if (negated) i++;
  const ranges: [string, string][] = [];
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
    ranges.push([low, high]);
  }
  return { ranges, negated, next: i + 1 };
}

/** Whether a set has a character; looks through the ranges once for each character. */
function setMatcher({ ranges, negated }: CharacterSet): (character: string) => boolean {
  const known = new Map<string, boolean>();
  return (character) => {
    const before = known.get(character);
    if (before !== undefined) return before;
    const matches = ranges.some(([low, high]) => character >= low && character <= high) !== negated;
    known.set(character, matches);
    return matches;
  };
}

function readPattern(pattern: string): Element[] {
  const elements: Element[] = [];
  let isOpen = true;
  for (let at = 0; at < pattern.length; ) {
    const p = pattern.charAt(at);
    // After one `[` that is not closed no later one can be.
    const set = p === "[" && isOpen ? readSet(pattern, at) : undefined;
    if (p === "[" && !set) isOpen = false;
    const isEscape = p === "\\" && at + 1 < pattern.length;
    const literal = isEscape ? pattern.charAt(at + 1) : p;
    if (p === "*") {
      if (elements.at(-1) !== "star") elements.push("star");
    } else if (set) elements.push(setMatcher(set));
    else elements.push(p === "?" ? () => true : (character) => character === literal);
    at = set?.next ?? at + (isEscape ? 2 : 1);
  }
  return elements;
}

/** Whether names (one path segment each) match `pattern`. Time for a name is at most the product of both lengths. */
export function segmentMatcher(pattern: string): (name: string) => boolean {
  const elements = readPattern(pattern);
  const showsHidden = /^\\?\./.test(pattern);
  return (name) => (showsHidden || !name.startsWith(".")) && matchesAll(elements, name);
}

function matchesAll(elements: readonly Element[], name: string): boolean {
  let p = 0;
  let n = 0;
  let starElement = -1;
  let starName = 0;
  while (n < name.length) {
    const element = elements[p];
    if (element === "star") {
      starElement = ++p;
      starName = n;
    } else if (element?.(name.charAt(n))) {
      p++;
      n++;
    } else if (starElement >= 0) {
      p = starElement;
      n = ++starName;
    } else return false;
  }
  while (elements[p] === "star") p++;
  return p === elements.length;
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
  if (segment.length > MAX_SEGMENT) throw new FsError("invalid-argument", `a pattern of ${segment.length} characters for one name`);
  const names: string[] = [];
  const matches = segmentMatcher(segment);
  let handle: Awaited<ReturnType<FileSystem["opendir"]>>;
  try {
    handle = await fileSystem.opendir(directory);
  } catch (error) {
    // A shell's wildcard over something that is no directory matches nothing.
    if (error instanceof FsError && (error.code === "not-found" || error.code === "not-a-directory")) return names;
    throw error;
  }
  try {
    let since = performance.now();
    for (let batch = await handle.next(); batch.length > 0; batch = await handle.next()) {
      for (const { name } of batch) {
        if (performance.now() - since > SLICE_MS) {
          await othersFirst();
          since = performance.now();
        }
        if (matches(name)) names.push(name);
      }
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

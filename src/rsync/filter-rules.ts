/**
 * Include and exclude rules as they come over the wire (rsync exclude.c, protocol ≥ 29): parsing and matching. Rules
 * that read files on the server (merge files) are refused: ignoring one would delete or send what it protects.
 * Names are strings of characters 0–255. Knows no files.
 */
import { ProtocolError } from "../errors.ts";
import { ExitStatus, RsyncExit } from "./exit-codes.ts";
import type { MultiplexReader } from "./multiplex-reader.ts";
import { wildmatch } from "./wildmatch.ts";

const MAX_RULE = 8191;
const MAX_RULES = 10_000;

/** Which side of the transfer we are: rules may count for one of them only. */
export type Side = "sender" | "receiver";

/** One rule, ready to match. */
export interface FilterRule {
  readonly include: boolean;
  readonly side: Side | undefined;
  readonly negated: boolean;
  readonly perishable: boolean;
  /** The subject is the absolute virtual path. */
  readonly absolutePath: boolean;
  readonly directoryOnly: boolean;
  readonly anchored: boolean;
  readonly pattern: string;
}

const ACTIONS: ReadonlyMap<string, { readonly include: boolean; readonly side?: Side }> = new Map([
  ["+", { include: true }],
  ["-", { include: false }],
  ["P", { include: false, side: "receiver" }],
  ["R", { include: true, side: "receiver" }],
  ["H", { include: false, side: "sender" }],
  ["S", { include: true, side: "sender" }],
]);

function refused(text: string): RsyncExit {
  return new RsyncExit(ExitStatus.unsupported, `rsync: the filter rule "${text.slice(0, 100)}" is not supported on this server`);
}

/**
 * Parses one rule; undefined for one that has no effect here; `clear` empties the list. Throws `RsyncExit` for kinds that
 * cannot be honoured and `ProtocolError` for what is no rule.
 */
export function parseRule(text: string, deleteExcluded: boolean): FilterRule | "clear" | undefined {
  if (text === "!") return "clear";
  const action = ACTIONS.get(text.charAt(0));
  if (!action) {
    if (/^[:.]/.test(text)) throw refused(text);
    throw new ProtocolError(`Unknown filter rule: ${text.slice(0, 100)}`);
  }
  const match = /^.[,]?([/!srpxCenw]*)[ _]([^]*)$/.exec(text);
  if (!match) throw new ProtocolError(`Unknown filter rule: ${text.slice(0, 100)}`);
  const modifiers = match[1] ?? "";
  if (modifiers.includes("C")) throw refused(text);
  if (modifiers.includes("x")) return undefined;
  let side = action.side;
  if (modifiers.includes("s") !== modifiers.includes("r")) side = modifiers.includes("s") ? "sender" : "receiver";
  else if (deleteExcluded && side === undefined) side = "sender";
  let pattern = match[2] ?? "";
  if (pattern === "") throw new ProtocolError("empty filter rule");
  const directoryOnly = pattern.length > 1 && pattern.endsWith("/");
  if (directoryOnly) pattern = pattern.slice(0, -1);
  return {
    include: action.include,
    side,
    negated: modifiers.includes("!"),
    perishable: modifiers.includes("p"),
    absolutePath: modifiers.includes("/"),
    directoryOnly,
    anchored: pattern.startsWith("/"),
    pattern: pattern.startsWith("/") ? pattern.slice(1) : pattern,
  };
}

/** The rules of one run for one side, in order. */
export class FilterList {
  readonly #rules: readonly FilterRule[];
  readonly #root: string;

  /** `root`: the virtual path of the transfer root as characters 0–255, without trailing `/`. */
  constructor(rules: readonly FilterRule[], side: Side, root: string) {
    this.#rules = rules.filter((rule) => rule.side === undefined || rule.side === side);
    this.#root = root;
  }

  /** True if there is no rule at all. */
  get empty(): boolean {
    return this.#rules.length === 0;
  }

  /**
   * True if the first rule that matches `name` (relative to the transfer root) excludes it. `ignorePerishable`: within
   * a directory that is being deleted.
   */
  excludes(name: string, isDirectory: boolean, ignorePerishable = false): boolean {
    for (const rule of this.#rules) {
      if (ignorePerishable && rule.perishable) continue;
      const subject = rule.absolutePath ? `${this.#root}/${name}`.replace(/^\/+/, "") : name;
      if (matches(rule, subject, isDirectory)) return !rule.include;
    }
    return false;
  }
}

function matches(rule: FilterRule, name: string, isDirectory: boolean): boolean {
  if (rule.directoryOnly && !isDirectory) return rule.negated;
  return matchesPattern(rule, name, isDirectory) !== rule.negated;
}

/** rsync exclude.c `rule_matches`. */
function matchesPattern(rule: FilterRule, name: string, isDirectory: boolean): boolean {
  const { pattern, anchored } = rule;
  const slashes = pattern.split("/").length - 1 + (anchored ? 1 : 0);
  const wild = /[*?[]/.test(pattern);
  const doubleStar = pattern.includes("**");
  let subject = name;
  if (slashes === 0 && !doubleStar) subject = name.slice(name.lastIndexOf("/") + 1);
  else if (!anchored && pattern.startsWith("**")) subject = `/${name}`;
  if (isDirectory && pattern.endsWith("***")) subject += "/";
  if (!wild) {
    if (anchored) return subject === pattern;
    return subject === pattern || (slashes > 0 && subject.endsWith(`/${pattern}`));
  }
  if (anchored || slashes === 0 || pattern.startsWith("**")) {
    if (slashes > 0 || !doubleStar || anchored || pattern.startsWith("**")) return wildmatch(pattern, subject);
  }
  if (!doubleStar) return wildmatch(pattern, lastComponents(subject, slashes + 1));
  for (let at = 0; at >= 0; ) {
    if (wildmatch(pattern, subject.slice(at))) return true;
    const slash = subject.indexOf("/", at);
    at = slash < 0 ? -1 : slash + 1;
  }
  return false;
}

/** The last `count` components of `name`, or all of it. A trailing `/` does not count as a border. */
function lastComponents(name: string, count: number): string {
  let at = name.endsWith("/") ? name.length - 1 : name.length;
  for (let found = 0; found < count; found++) {
    at = name.lastIndexOf("/", at - 1);
    if (at < 0) return name;
  }
  return name.slice(at + 1);
}

/** Reads the rule list at the start of the client's stream. */
export async function receiveFilterRules(reader: MultiplexReader, deleteExcluded: boolean): Promise<FilterRule[]> {
  let rules: FilterRule[] = [];
  for (let count = 0; count < MAX_RULES; count++) {
    const text = await reader.decode((cursor) => {
      const length = cursor.i32();
      if (length < 0 || length > MAX_RULE) throw new ProtocolError(`filter rule of ${length} bytes`);
      return length === 0 ? undefined : cursor.latin1(length);
    });
    if (text === undefined) return rules;
    const rule = parseRule(text, deleteExcluded);
    if (rule === "clear") rules = [];
    else if (rule) rules.push(rule);
  }
  throw new ProtocolError("too many filter rules");
}

/**
 * Include and exclude rules as they come over the wire (rsync exclude.c, protocol ≥ 29): parsing and matching, with
 * rules that every directory brings along in a merge file. Names are strings of characters 0–255. Reads no files
 * itself.
 */
import { ProtocolError } from "../errors.ts";
import { ExitStatus, RsyncExit } from "./exit-codes.ts";
import type { MultiplexReader } from "./multiplex-reader.ts";
import { countStep, type StepCount, wildmatch } from "./wildmatch.ts";

const MAX_RULE = 8191;
const MAX_RULES = 10_000;

/** Which side of the transfer we are: rules may count for one of them only. */
export type Side = "sender" | "receiver";

/** What a pattern consists of, found out once: patterns are long, and names many. */
interface PatternShape {
  readonly slashes: number;
  readonly wild: boolean;
  readonly doubleStar: boolean;
}

function shapeOf(pattern: string, anchored: boolean): PatternShape {
  return {
    slashes: pattern.split("/").length - 1 + (anchored ? 1 : 0),
    wild: /[*?[]/.test(pattern),
    doubleStar: pattern.includes("**"),
  };
}

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
  readonly shape: PatternShape;
  /** The directory whose merge file it came from: what anchored patterns are relative to. */
  readonly base?: string;
}

/** A merge file that any directory may have. */
export interface MergeRule {
  readonly file: string;
  readonly side: Side | undefined;
  /** Its rules count below the directory, too. */
  readonly inherits: boolean;
  /** Lines are patterns without an action: all of them exclude, or include. */
  readonly plain: "-" | "+" | undefined;
  /** Patterns end at any blank, not only at the end of the line. */
  readonly words: boolean;
  readonly perishable: boolean;
  /** Its rules take the place of this one: it is read where it is named and nowhere else (`. file`). */
  readonly once: boolean;
  /** The directory whose merge file named it; undefined: the client did. */
  readonly base?: string;
  /**
   * Where the search begins, as the client says it (`: /etc/name` begins in `/etc`): also in the directories from there down to
   * the one that is transferred, if it is one of those above.
   */
  readonly searchFrom?: string;
}

/** One rule of the list. */
export type Rule = FilterRule | MergeRule;

const ACTIONS: ReadonlyMap<string, { readonly include: boolean; readonly side?: Side }> = new Map([
  ["+", { include: true }],
  ["-", { include: false }],
  ["P", { include: false, side: "receiver" }],
  ["R", { include: true, side: "receiver" }],
  ["H", { include: false, side: "sender" }],
  ["S", { include: true, side: "sender" }],
]);

const NAMED_ACTIONS: ReadonlyMap<string, string> = new Map([
  ["exclude", "-"],
  ["include", "+"],
  ["hide", "H"],
  ["show", "S"],
  ["protect", "P"],
  ["risk", "R"],
  ["clear", "!"],
  ["merge", "."],
  ["dir-merge", ":"],
]);

/** What `-C` excludes everywhere: rsync(1), "--cvs-exclude". */
const CVS_PATTERNS =
  "RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state .nse_depinfo *~ #* .#* ,* _$* *$ *.old *.bak *.BAK *.orig *.rej .del-* " +
  "*.a *.olb *.o *.obj *.so *.exe *.Z *.elc *.ln core .svn/ .git/ .hg/ .bzr/";

function refused(text: string): RsyncExit {
  return new RsyncExit(ExitStatus.unsupported, `rsync: the filter rule "${text.slice(0, 100)}" is not supported on this server`);
}

function sideOf(modifiers: string, otherwise: Side | undefined): Side | undefined {
  if (modifiers.includes("s") === modifiers.includes("r")) return otherwise;
  return modifiers.includes("s") ? "sender" : "receiver";
}

function filterRule(include: boolean, side: Side | undefined, modifiers: string, text: string, base?: string): FilterRule {
  const directoryOnly = text.length > 1 && text.endsWith("/");
  const whole = directoryOnly ? text.slice(0, -1) : text;
  const anchored = whole.startsWith("/");
  const pattern = anchored ? whole.slice(1) : whole;
  return {
    include,
    side,
    negated: modifiers.includes("!"),
    perishable: modifiers.includes("p"),
    absolutePath: modifiers.includes("/"),
    directoryOnly,
    anchored,
    pattern,
    shape: shapeOf(pattern, anchored),
    ...(base !== undefined && { base }),
  };
}

/** Rules for a merge file: `: name`, or `. name` within another, with its modifiers. */
function mergeRules(modifiers: string, name: string, text: string, base: string | undefined): Rule[] {
  const cvs = modifiers.includes("C");
  const [, searchFrom = "", file = ""] = /^(.*\/)?([^/]*)$/s.exec(cvs && name === "" ? ".cvsignore" : name) ?? [];
  const isPath = searchFrom !== "" && (base === undefined || searchFrom !== "/");
  if (/^\.{0,2}$/.test(file) || (isPath && base !== undefined)) throw refused(text);
  const side = sideOf(modifiers, undefined);
  const plain = cvs || modifiers.includes("-") ? "-" : modifiers.includes("+") ? "+" : undefined;
  const merge: MergeRule = {
    file,
    side,
    inherits: !cvs && !modifiers.includes("n"),
    plain,
    words: cvs || modifiers.includes("w"),
    perishable: modifiers.includes("p"),
    once: text.startsWith("."),
    ...(base !== undefined && { base }),
    ...(isPath && { searchFrom }),
  };
  return modifiers.includes("e") ? [merge, filterRule(false, side, "", file, base)] : [merge];
}

/**
 * Parses one rule, which may stand for several; `clear` empties the list. Throws `RsyncExit` for kinds that cannot be
 * honoured (ignoring one would delete or send what it protects) and `ProtocolError` for what is no rule.
 */
export function parseRule(text: string, deleteExcluded: boolean, base?: string): readonly Rule[] | "clear" {
  if (text === "!") return "clear";
  if (text === "-C" || text === "-C ") return CVS_PATTERNS.split(" ").map((pattern) => filterRule(false, undefined, "p", pattern, base));
  const kind = text.charAt(0);
  const match = /^.[,]?([/!srpxCenw+-]*)(?:[ _](.*))?$/s.exec(text);
  const modifiers = match?.[1] ?? "";
  const pattern = match?.[2] ?? "";
  // A file named by the client is one of its own: it sends what is in it.
  if (match && (kind === ":" || (kind === "." && base !== undefined))) return mergeRules(modifiers, pattern, text, base);
  if (kind === ":" || kind === ".") throw refused(text);
  const action = ACTIONS.get(kind);
  if (!action || !match || pattern === "") throw new ProtocolError(`Unknown filter rule: ${text.slice(0, 100)}`);
  if (modifiers.includes("C")) throw refused(text);
  if (modifiers.includes("x")) return [];
  const side = sideOf(modifiers, action.side) ?? (deleteExcluded ? "sender" : undefined);
  return [filterRule(action.include, side, modifiers, pattern, base)];
}

/** The rules of a merge file found in the directory `base`; they may name further ones. */
export function parseMergeFile(merge: MergeRule, content: string, deleteExcluded: boolean, base: string): Rule[] {
  let rules: Rule[] = [];
  const lines = merge.words ? content.split(/\s+/) : content.split(/[\r\n\0]+/);
  for (const line of lines) {
    if (line === "" || (!merge.words && /^[#;]/.test(line))) continue;
    if (line === "!") rules = [];
    else if (merge.plain) {
      const side = merge.side ?? (deleteExcluded ? "sender" : undefined);
      rules.push(filterRule(merge.plain === "+", side, merge.perishable ? "p" : "", line, base));
    } else {
      const parsed = parseRule(shortForm(line), deleteExcluded, base);
      if (parsed === "clear") rules = [];
      else for (const rule of parsed) rules.push(merge.side ? { ...rule, side: rule.side ?? merge.side } : rule);
    }
    if (rules.length > MAX_RULES) throw new ProtocolError("too many rules in a merge file");
  }
  return rules;
}

/** A rule of a merge file in a directory above the transfer, whose absolute path `base` is, as it counts within the transfer. */
export function fromAbove(rule: Rule, base: string): Rule {
  if ("file" in rule) {
    const { base: _above, ...merge } = rule;
    return { ...merge, searchFrom: `${base}/` };
  }
  const { base: _above, ...plain } = rule;
  if (!rule.anchored) return plain;
  // What looks like a wildcard in the name of a directory is none.
  const prefix = rule.shape.wild ? base.replaceAll(/[*?[\\]/g, "\\$&") : base;
  const pattern = `${prefix}/${rule.pattern}`.replace(/^\/+/, "");
  return { ...plain, absolutePath: true, pattern, shape: shapeOf(pattern, true) };
}

/** `exclude,/ name` as `-/ name`; what is short already stays as it is. */
function shortForm(line: string): string {
  const [, word = "", modifiers = "", rest = ""] = /^([a-z-]+)(?:,([^ _]*))?(?:[ _](.*))?$/s.exec(line) ?? [];
  const action = NAMED_ACTIONS.get(word);
  if (action === undefined) return line;
  return action === "!" ? "!" : `${action}${modifiers} ${rest}`;
}

/** True if `rule` is about `name`, relative to what the rule's pattern is relative to. `count`: see `wildmatch`. */
export function matches(rule: FilterRule, name: string, isDirectory: boolean, count: StepCount): boolean {
  if (rule.directoryOnly && !isDirectory) return rule.negated;
  return matchesPattern(rule, name, isDirectory, count) !== rule.negated;
}

/** rsync exclude.c `rule_matches`. */
function matchesPattern(rule: FilterRule, name: string, isDirectory: boolean, count: StepCount): boolean {
  const { pattern, anchored } = rule;
  const { slashes, wild, doubleStar } = rule.shape;
  countStep(count);
  let subject = name;
  if (slashes === 0 && !doubleStar) subject = name.slice(name.lastIndexOf("/") + 1);
  else if (!anchored && pattern.startsWith("**")) subject = `/${name}`;
  if (isDirectory && pattern.endsWith("***")) subject += "/";
  if (!wild) {
    if (anchored) return subject === pattern;
    return subject === pattern || (slashes > 0 && subject.endsWith(`/${pattern}`));
  }
  if (anchored || slashes === 0 || pattern.startsWith("**")) {
    if (slashes > 0 || !doubleStar || anchored || pattern.startsWith("**")) return wildmatch(pattern, subject, count);
  }
  if (!doubleStar) return wildmatch(pattern, lastComponents(subject, slashes + 1, count), count);
  for (let at = 0; at >= 0; ) {
    if (wildmatch(pattern, subject.slice(at), count)) return true;
    const slash = subject.indexOf("/", at);
    at = slash < 0 ? -1 : slash + 1;
  }
  return false;
}

/** The last `wanted` components of `name`, or all of it. A trailing `/` does not count as a border. */
function lastComponents(name: string, wanted: number, count: StepCount): string {
  let at = name.endsWith("/") ? name.length - 1 : name.length;
  for (let found = 0; found < wanted; found++) {
    countStep(count);
    at = name.lastIndexOf("/", at - 1);
    if (at < 0) return name;
  }
  return name.slice(at + 1);
}

/** Reads the rule list at the start of the client's stream. `hold` is called with the bytes of each rule and may throw. */
export async function receiveFilterRules(
  reader: MultiplexReader,
  deleteExcluded: boolean,
  hold: (textBytes: number) => void,
): Promise<Rule[]> {
  let rules: Rule[] = [];
  for (let count = 0; count < MAX_RULES; count++) {
    const text = await reader.decode((cursor) => {
      const length = cursor.i32();
      if (length < 0 || length > MAX_RULE) throw new ProtocolError(`filter rule of ${length} bytes`);
      return length === 0 ? undefined : cursor.latin1(length);
    });
    if (text === undefined) return rules;
    hold(text.length);
    const parsed = parseRule(text, deleteExcluded);
    if (parsed === "clear") rules = [];
    else rules.push(...parsed);
  }
  throw new ProtocolError("too many filter rules");
}

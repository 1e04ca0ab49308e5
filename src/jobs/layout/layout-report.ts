/** What a layout check has found: counts, bytes and first examples by rule, extensions, name classes. Prints for people too. */
import { formatSize } from "../../config/quantities.ts";
import type { NameClass } from "./name-rules.ts";

/** How bad a finding is: an error stops the asset server from working, a warning may. */
export type Severity = "error" | "warning" | "info";

/** The rules and what they are about. */
export const RULES = {
  L01: "the location is one that other tools read the same way",
  L02: "the storage can be reached and listed",
  L03: "originals/ exists",
  L04: "thumbnails/ exists",
  L05: "nothing lies beside originals/ and thumbnails/",
  L06: "no key begins with a slash",
  L07: "no folders below originals/ and thumbnails/",
  N01: "names fit into the database",
  N02: "names work on other systems",
  T01: "no junk and no unfinished transfers",
  T02: "originals have content and an extension",
  T03: "originals that no thumbnail can be made of",
  T04: "no two originals share a thumbnail",
  H01: "thumbnails are named as the asset server names them",
  H02: "thumbnails have an original",
  H03: "thumbnails are newer than their original",
  C01: "objects can be read without a restore",
  D01: "content types fit the extension",
  D02: "contents fit the extension and can be read",
} as const;

/** A rule's name. */
export type RuleId = keyof typeof RULES;

/** One finding. */
export interface Finding {
  readonly rule: RuleId;
  readonly severity: Severity;
  readonly key: string;
  readonly size?: number;
  readonly detail?: string;
}

/** A rule that was broken. */
export interface RuleResult {
  readonly rule: RuleId;
  readonly severity: Severity;
  readonly title: string;
  count: number;
  bytes: number;
  readonly examples: { readonly key: string; readonly detail?: string }[];
}

/** Number and bytes of something. */
export interface Tally {
  count: number;
  bytes: number;
}

/** See the head of this file. */
export class LayoutReport {
  readonly originals: Tally = { count: 0, bytes: 0 };
  readonly thumbnails: Tally = { count: 0, bytes: 0 };
  readonly classes: Record<NameClass, number> = { sp7: 0, sp6: 0, foreign: 0 };
  readonly #extensions = new Map<string, Tally>();
  readonly #results = new Map<string, RuleResult>();
  readonly #maxExamples: number;

  /** Keeps the first `maxExamples` of each rule. */
  constructor(maxExamples: number) {
    this.#maxExamples = maxExamples;
  }

  /** Takes a finding. */
  add({ rule, severity, key, size = 0, detail }: Finding): void {
    const id = `${rule} ${severity}`;
    let result = this.#results.get(id);
    if (!result) {
      result = { rule, severity, title: RULES[rule], count: 0, bytes: 0, examples: [] };
      this.#results.set(id, result);
    }
    result.count++;
    result.bytes += size;
    if (result.examples.length < this.#maxExamples) result.examples.push({ key, ...(detail === undefined ? {} : { detail }) });
  }

  /** Counts an original. Extensions beyond the first ten thousand are counted together. */
  countOriginal(extension: string, size: number): void {
    this.originals.count++;
    this.originals.bytes += size;
    const known = extension.toLowerCase() || "(none)";
    const name = this.#extensions.has(known) || this.#extensions.size < 10_000 ? known : "(others)";
    const tally = this.#extensions.get(name) ?? { count: 0, bytes: 0 };
    tally.count++;
    tally.bytes += size;
    this.#extensions.set(name, tally);
  }

  /** Broken rules: errors first, then in the order of their names. */
  get results(): readonly RuleResult[] {
    const rank = { error: 0, warning: 1, info: 2 };
    return [...this.#results.values()].sort((a, b) => rank[a.severity] - rank[b.severity] || (a.rule < b.rule ? -1 : 1));
  }

  /** By number of files, then by name. */
  get extensions(): { readonly extension: string; readonly count: number; readonly bytes: number }[] {
    return [...this.#extensions]
      .map(([extension, tally]) => ({ extension, ...tally }))
      .sort((a, b) => b.count - a.count || (a.extension < b.extension ? -1 : 1));
  }

  /** 0 clean, 2 warnings only, 1 errors. */
  get exitCode(): 0 | 1 | 2 {
    const { results } = this;
    if (results.some(({ severity }) => severity === "error")) return 1;
    return results.some(({ severity }) => severity === "warning") ? 2 : 0;
  }

  /** For machines. */
  toJSON(): object {
    const { originals, thumbnails, classes, extensions, results, exitCode } = this;
    return { originals, thumbnails, classes, extensions, rules: results, exitCode };
  }
}

const MARKS: Readonly<Record<Severity, string>> = { error: "ERROR", warning: "warning", info: "info" };
const SHOWN_EXTENSIONS = 20;

/** The report for people. */
export function layoutLines(report: LayoutReport, uri: string): string[] {
  const { originals, thumbnails, classes, extensions, results } = report;
  const tally = ({ count, bytes }: Tally): string => `${count} (${formatSize(bytes)})`;
  const lines = [
    uri,
    `  originals ${tally(originals)}, thumbnails ${tally(thumbnails)}`,
    `  names: Specify 7 ${classes.sp7}, Specify 6 ${classes.sp6}, others ${classes.foreign}`,
  ];
  for (const { extension, count, bytes } of extensions.slice(0, SHOWN_EXTENSIONS)) {
    lines.push(`  ${extension.padEnd(12)} ${String(count).padStart(9)}  ${formatSize(bytes)}`);
  }
  if (extensions.length > SHOWN_EXTENSIONS) lines.push(`  and ${extensions.length - SHOWN_EXTENSIONS} more extensions`);
  for (const { rule, severity, title, count, examples } of results) {
    lines.push(`${MARKS[severity]} ${rule} ${count} × not so: ${title}`.replace("not so: originals that", "originals that"));
    for (const { key, detail } of examples) lines.push(`    ${printable(key)}${detail === undefined ? "" : `: ${detail}`}`);
    if (count > examples.length && examples.length > 0) lines.push(`    and ${count - examples.length} more`);
  }
  const words = { 0: "clean", 1: "errors", 2: "warnings only" } as const;
  lines.push(`result: ${words[report.exitCode]}`);
  return lines;
}

/** A key on one line of a terminal, whatever is in it. */
function printable(key: string): string {
  return /[\p{Cc}\p{Surrogate}\p{Cf}]/u.test(key) ? JSON.stringify(key) : key;
}

/**
 * The filter rules of one run, asked name by name (rsync exclude.c `check_filter`): those the client sent, and those that
 * directories bring along in merge files, which may name further merge files. Reads files through a port.
 */
import { ExitStatus, RsyncExit } from "./exit-codes.ts";
import { type FilterRule, fromAbove, matches, type MergeRule, parseMergeFile, type Rule, type Side } from "./filter-rules.ts";
import { parentName } from "./names.ts";
import type { StepCount } from "./wildmatch.ts";

/** Merge files named by merge files, in one run. */
const MAX_NESTED = 100;
/** How deep `. file` may lead. */
const MAX_DEPTH = 8;

/**
 * Reads the merge file `file` of the directory `directory` (a name; with `/` at its beginning, or empty, an absolute path);
 * undefined if it has none.
 */
export type MergeFileReader = (directory: string, file: string) => Promise<string | undefined>;

/** What is needed for merge files. */
export interface Merging {
  readonly read: MergeFileReader;
  readonly deleteExcluded: boolean;
  /** False for directories above those that are transferred: their merge files do not count by themselves. */
  counts(directory: string): boolean;
}

/** `path` as segments, counted from `from`; `..` never leads above the root. */
function resolved(from: readonly string[], path: string): string[] {
  const segments = [...from];
  for (const segment of path.split("/")) {
    if (segment === "..") segments.pop();
    else if (segment !== "" && segment !== ".") segments.push(segment);
  }
  return segments;
}

/** The rules of one run for one side, in order. */
export class FilterList {
  readonly #rules: readonly Rule[];
  readonly #side: Side;
  readonly #root: string;
  readonly #deleteExcluded: boolean;
  readonly #merging: Merging | undefined;
  readonly #merges: boolean;
  /** The first directory that was transferred: what is above it counts for it and for no other, as with rsync. */
  #first: string | undefined;
  /** Rules of merge files above it, those of the nearest directory first. */
  readonly #above = new Map<MergeRule, readonly Rule[]>();
  /** Of the name that is being asked for. */
  #count: StepCount = { steps: 0 };
  /** Rules of merge files by merge rule and directory. */
  readonly #merged = new Map<MergeRule, Map<string, readonly Rule[]>>();
  /** Merge rules found in merge files. */
  readonly #nested: MergeRule[] = [];

  /** `root`: the virtual path of the transfer root as characters 0–255, without trailing `/`. */
  constructor(rules: readonly Rule[], side: Side, root: string, merging?: Merging) {
    this.#rules = rules.filter((rule) => rule.side === undefined || rule.side === side);
    this.#side = side;
    this.#root = root;
    this.#merging = merging;
    this.#deleteExcluded = merging?.deleteExcluded ?? false;
    this.#merges = this.#rules.some((rule) => "file" in rule);
  }

  /** True if there is no rule at all. */
  get empty(): boolean {
    return this.#rules.length === 0;
  }

  /** To be awaited before names in `directory` are asked for: reads its merge files and its parents'. */
  enter(directory: string): Promise<void> | undefined {
    return this.#merges ? this.#load(directory) : undefined;
  }

  async #load(directory: string): Promise<void> {
    if (!this.#counts(directory)) return;
    if (directory !== "." && this.#counts(parentName(directory))) await this.#load(parentName(directory));
    else if (this.#first === undefined) {
      this.#first = directory;
      for (const rule of this.#rules) if ("file" in rule) await this.#search(rule, directory);
    }
    for (const rule of this.#rules) if ("file" in rule) await this.#loadMerge(rule, directory);
  }

  #counts(directory: string): boolean {
    return this.#merging?.counts(directory) ?? true;
  }

  /** Reads the merge files above `top` (rsync exclude.c `setup_merge_file`). */
  async #search(merge: MergeRule, top: string): Promise<void> {
    if (merge.searchFrom === undefined || !merge.inherits) return;
    const segments = resolved([], `${this.#root}/${top}`);
    const from = resolved(merge.searchFrom.startsWith("/") ? [] : segments, merge.searchFrom);
    if (from.some((segment, at) => segment !== segments[at])) return;
    const rules: Rule[] = [];
    for (let depth = segments.length - 1; depth >= from.length; depth--) {
      const directory = segments
        .slice(0, depth)
        .map((segment) => `/${segment}`)
        .join("");
      for (const rule of await this.#read(merge, directory, 0)) {
        const counting = fromAbove(rule, directory);
        if ("file" in counting) {
          this.#nest(counting);
          await this.#search(counting, top);
        }
        rules.push(counting);
      }
    }
    this.#above.set(merge, rules);
  }

  /** Reads the file `merge` names in `directory`, and those named by merge files that count there. */
  async #loadMerge(merge: MergeRule, directory: string): Promise<void> {
    const known = this.#merged.get(merge) ?? new Map<string, readonly Rule[]>();
    this.#merged.set(merge, known);
    if (!known.has(directory)) known.set(directory, this.#withoutKnown(await this.#read(merge, directory, 0), directory));
    if (this.#nested.length === 0) return;
    for (const rule of this.#above.get(merge) ?? []) if ("file" in rule) await this.#loadMerge(rule, directory);
    for (let above = directory; ; above = parentName(above)) {
      for (const rule of known.get(above) ?? []) if ("file" in rule) await this.#loadMerge(rule, directory);
      if (above === "." || !merge.inherits) return;
    }
  }

  /** The rules for our side in one merge file, with those of the files it includes. */
  async #read(merge: MergeRule, directory: string, depth: number): Promise<Rule[]> {
    if (depth > MAX_DEPTH) throw new RsyncExit(ExitStatus.unsupported, "rsync: merge files include each other too deep");
    const content = await this.#merging?.read(directory, merge.file);
    if (content === undefined) return [];
    const rules: Rule[] = [];
    // What one merge file takes from another counts for both sides with --delete-excluded, too: rsync has it so.
    for (const rule of parseMergeFile(merge, content, this.#deleteExcluded && depth === 0, directory)) {
      if (rule.side !== undefined && rule.side !== this.#side) continue;
      if ("file" in rule && rule.once) rules.push(...(await this.#read(rule, directory, depth + 1)));
      else rules.push(rule);
    }
    return rules;
  }

  /** Leaves out merge files that are read in `directory` anyway: rsync takes the first mention. */
  #withoutKnown(rules: readonly Rule[], directory: string): readonly Rule[] {
    return rules.filter((rule) => {
      if (!("file" in rule)) return true;
      const counts = ({ base }: MergeRule): boolean => base === undefined || base === "." || `${directory}/`.startsWith(`${base}/`);
      const active = [...this.#rules.filter((known) => "file" in known), ...this.#nested.filter(counts)];
      if (active.some(({ file }) => file === rule.file)) return false;
      this.#nest(rule);
      return true;
    });
  }

  #nest(rule: MergeRule): void {
    this.#nested.push(rule);
    if (this.#nested.length > MAX_NESTED) throw new RsyncExit(ExitStatus.unsupported, "rsync: too many merge files name others");
  }

  /**
   * True if the first rule that matches `name` (relative to the transfer root) excludes it. `ignorePerishable`: within
   * a directory that is being deleted.
   */
  excludes(name: string, isDirectory: boolean, ignorePerishable = false): boolean {
    this.#count = { steps: 0 };
    const found = this.#find(this.#rules, name, isDirectory, ignorePerishable);
    return found !== undefined && !found.include;
  }

  #find(rules: readonly Rule[], name: string, isDirectory: boolean, ignorePerishable: boolean): FilterRule | undefined {
    for (const rule of rules) {
      if ("file" in rule) {
        const found = this.#findMerged(rule, name, isDirectory, ignorePerishable);
        if (found) return found;
      } else if (this.#decides(rule, name, isDirectory, ignorePerishable)) return rule;
    }
    return undefined;
  }

  /** The first rule that matches in the merge files on the way from the name's directory upwards. */
  #findMerged(merge: MergeRule, name: string, isDirectory: boolean, ignorePerishable: boolean): FilterRule | undefined {
    const byDirectory = this.#merged.get(merge);
    for (let directory = parentName(name); this.#counts(directory); directory = parentName(directory)) {
      const rules = byDirectory?.get(directory);
      const found = rules && this.#find(rules, name, isDirectory, ignorePerishable);
      if (found || !merge.inherits) return found;
      const above = directory === this.#first ? this.#above.get(merge) : undefined;
      if (above) return this.#find(above, name, isDirectory, ignorePerishable);
      if (directory === ".") return undefined;
    }
    return undefined;
  }

  #decides(rule: FilterRule, name: string, isDirectory: boolean, ignorePerishable: boolean): boolean {
    if (ignorePerishable && rule.perishable) return false;
    const below = rule.base !== undefined && rule.base !== "." && rule.anchored ? name.slice(rule.base.length + 1) : name;
    return matches(rule, rule.absolutePath ? `${this.#root}/${name}`.replace(/^\/+/, "") : below, isDirectory, this.#count);
  }
}

/**
 * The filter rules of one run, asked name by name (rsync exclude.c `check_filter`): those the client sent, and those that
 * directories bring along in merge files, which may name further merge files. Reads files through a port.
 */
import { ExitStatus, RsyncExit } from "./exit-codes.ts";
import { type FilterRule, matches, type MergeRule, parseMergeFile, type Rule, type Side } from "./filter-rules.ts";
import { parentName } from "./names.ts";
import type { StepCount } from "./wildmatch.ts";

/** Merge files named by merge files, in one run. */
const MAX_NESTED = 100;
/** How deep `. file` may lead. */
const MAX_DEPTH = 8;

/** Reads the merge file `file` of the directory `directory` (a name); undefined if it has none. */
export type MergeFileReader = (directory: string, file: string) => Promise<string | undefined>;

/** The rules of one run for one side, in order. */
export class FilterList {
  readonly #rules: readonly Rule[];
  readonly #side: Side;
  readonly #root: string;
  readonly #deleteExcluded: boolean;
  readonly #readMergeFile: MergeFileReader | undefined;
  readonly #merges: boolean;
  /** Of the name that is being asked for. */
  #count: StepCount = { steps: 0 };
  /** Rules of merge files by merge rule and directory. */
  readonly #merged = new Map<MergeRule, Map<string, readonly Rule[]>>();
  /** Merge rules found in merge files. */
  readonly #nested: MergeRule[] = [];

  /** `root`: the virtual path of the transfer root as characters 0–255, without trailing `/`. */
  constructor(
    rules: readonly Rule[],
    side: Side,
    root: string,
    merging?: { readonly read: MergeFileReader; readonly deleteExcluded: boolean },
  ) {
    this.#rules = rules.filter((rule) => rule.side === undefined || rule.side === side);
    this.#side = side;
    this.#root = root;
    this.#readMergeFile = merging?.read;
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
    if (directory !== ".") await this.#load(parentName(directory));
    for (const rule of this.#rules) if ("file" in rule) await this.#loadMerge(rule, directory);
  }

  /** Reads the file `merge` names in `directory`, and those named by merge files that count there. */
  async #loadMerge(merge: MergeRule, directory: string): Promise<void> {
    const known = this.#merged.get(merge) ?? new Map<string, readonly Rule[]>();
    this.#merged.set(merge, known);
    if (!known.has(directory)) known.set(directory, this.#withoutKnown(await this.#read(merge, directory, 0), directory));
    if (this.#nested.length === 0) return;
    for (let above = directory; ; above = parentName(above)) {
      for (const rule of known.get(above) ?? []) if ("file" in rule) await this.#loadMerge(rule, directory);
      if (above === "." || !merge.inherits) return;
    }
  }

  /** The rules for our side in one merge file, with those of the files it includes. */
  async #read(merge: MergeRule, directory: string, depth: number): Promise<Rule[]> {
    if (depth > MAX_DEPTH) throw new RsyncExit(ExitStatus.unsupported, "rsync: merge files include each other too deep");
    const content = await this.#readMergeFile?.(directory, merge.file);
    if (content === undefined) return [];
    const rules: Rule[] = [];
    for (const rule of parseMergeFile(merge, content, this.#deleteExcluded, directory)) {
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
      this.#nested.push(rule);
      if (this.#nested.length > MAX_NESTED) throw new RsyncExit(ExitStatus.unsupported, "rsync: too many merge files name others");
      return true;
    });
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
    for (let directory = parentName(name); ; directory = parentName(directory)) {
      const rules = byDirectory?.get(directory);
      const found = rules && this.#find(rules, name, isDirectory, ignorePerishable);
      if (found || directory === "." || !merge.inherits) return found;
    }
  }

  #decides(rule: FilterRule, name: string, isDirectory: boolean, ignorePerishable: boolean): boolean {
    if (ignorePerishable && rule.perishable) return false;
    const below = rule.base !== undefined && rule.base !== "." && rule.anchored ? name.slice(rule.base.length + 1) : name;
    return matches(rule, rule.absolutePath ? `${this.#root}/${name}`.replace(/^\/+/, "") : below, isDirectory, this.#count);
  }
}

/**
 * Finds what is at the destination and not in the list, and has it deleted (rsync generator.c `delete_in_dir`): only below
 * directories whose contents were sent, nothing that a rule protects, never after an I/O error.
 * Knows no wire format.
 */
import { destinationPath } from "./destination.ts";
import type { Extraneous } from "./destination-index.ts";
import { IoError } from "./exit-codes.ts";
import { EntryFlag } from "./file-list.ts";
import { sortedOrder, sortKey } from "./file-list-sort.ts";
import type { FilterList } from "./filter-list.ts";
import { parentName, shownName, toWire } from "./names.ts";
import type { Removals } from "./removals.ts";
import type { Run } from "./run.ts";
import { Turns } from "./turns.ts";
import type { Upload } from "./upload.ts";

/** What becomes of an extraneous name. */
type Fate = "doomed" | "kept" | "protected";

/** See the head of this file. */
export class Deletion {
  readonly #upload: Upload;
  readonly #run: Run;
  readonly #filters: FilterList;
  readonly #removals: Removals;
  /** Doomed names by the position of the directory in the list that holds them, contents before directories. */
  #groups = new Map<number, Extraneous[]>();
  #announced = false;

  constructor(upload: Upload, filters: FilterList, removals: Removals) {
    this.#upload = upload;
    this.#run = upload.run;
    this.#filters = filters;
    this.#removals = removals;
  }

  /** Sorts out what is extraneous. To be called once after the destination was listed. */
  async prepare(): Promise<void> {
    if (this.#upload.destination.single !== undefined) return;
    if (!this.#run.options.recurse) await this.#listBelow();
    const names = this.#upload.index.extraneous;
    const order = await sortedOrder(names.map(({ name, isDirectory }) => sortKey(name, isDirectory)));
    const fates = new Map<string, Fate>();
    const owners = new Map<string, number>();
    const ordered: Extraneous[] = [];
    const turns = new Turns();
    for (const at of order) {
      await turns.due();
      const extraneous = names[at];
      if (!extraneous) continue;
      const parent = parentName(extraneous.name);
      await this.#filters.enter(parent);
      const owner = owners.get(parent) ?? this.#upload.byName.get(parent) ?? -1;
      const fate = this.#fate(extraneous, fates.get(parent), owner);
      if (extraneous.isDirectory) {
        fates.set(extraneous.name, fate);
        owners.set(extraneous.name, owner);
      }
      if (fate === "doomed") ordered.push(extraneous);
      else this.#keepParents(extraneous.name, fates);
    }
    for (const extraneous of ordered.reverse()) this.#assign(extraneous, fates, owners);
    this.#upload.index.extraneous.length = 0;
  }

  /** Without -r only one level was listed: what is below a doomed directory goes with it. */
  async #listBelow(): Promise<void> {
    const { extraneous } = this.#upload.index;
    for (const { name, isDirectory } of [...extraneous]) {
      const path = isDirectory ? destinationPath(this.#upload.destination, name) : undefined;
      if (path === undefined) continue;
      for await (const batch of this.#run.fileSystem.walk(path)) {
        for (const entry of batch) {
          extraneous.push({ name: `${name}/${toWire(entry.path)}`, isDirectory: entry.attributes.type === "directory" });
        }
      }
    }
  }

  #fate(extraneous: Extraneous, parentFate: Fate | undefined, owner: number): Fate {
    const { list } = this.#upload;
    const { name, isDirectory } = extraneous;
    if (parentFate === "protected") return "protected";
    if (parentFate !== undefined) return this.#filters.excludes(name, isDirectory, true) ? "protected" : "doomed";
    const inContent = owner >= 0 && list.isDirectory(owner) && list.has(owner, EntryFlag.content);
    if (!inContent) return "protected";
    return this.#filters.excludes(name, isDirectory) ? "protected" : "doomed";
  }

  #keepParents(name: string, fates: Map<string, Fate>): void {
    for (let parent = parentName(name); fates.get(parent) === "doomed"; parent = parentName(parent)) fates.set(parent, "kept");
  }

  #assign(extraneous: Extraneous, fates: ReadonlyMap<string, Fate>, owners: ReadonlyMap<string, number>): void {
    const { name } = extraneous;
    const parent = parentName(name);
    const owner = owners.get(parent) ?? this.#upload.byName.get(parent) ?? -1;
    const group = this.#groups.get(owner) ?? [];
    if (group.length === 0) this.#groups.set(owner, group);
    if (extraneous.isDirectory && fates.get(name) === "kept") {
      this.#run.info(`cannot delete non-empty directory: ${shownName(name)}`);
      return;
    }
    group.push(extraneous);
  }

  /** True if deletions are forbidden by an error; says so once. */
  #forbidden(): boolean {
    if (!(this.#run.ioError & IoError.general) || this.#run.options.ignoreErrors) return false;
    if (!this.#announced) this.#run.info("IO error encountered -- skipping file deletion");
    this.#announced = true;
    return true;
  }

  /** Deletes what is extraneous in the directory at `position`. */
  async deleteIn(position: number): Promise<void> {
    if (!this.#upload.list.has(position, EntryFlag.content) || this.#forbidden()) return;
    const group = this.#groups.get(position);
    if (!group) return;
    this.#groups.delete(position);
    await this.#removals.deleteGroup(group);
  }

  /** Deletes everything extraneous that is left. */
  async deleteAll(): Promise<void> {
    if (this.#groups.size === 0 || this.#forbidden()) return;
    const positions = [...this.#groups.keys()].sort((left, right) => left - right);
    for (const position of positions) await this.deleteIn(position);
  }
}

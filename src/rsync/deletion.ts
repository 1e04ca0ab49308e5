/**
 * Deletes what is at the destination and not in the list (rsync generator.c `delete_in_dir`): only below directories
 * whose contents were sent, nothing that a rule protects, never after an I/O error, within `--max-delete`.
 * Knows no wire format.
 */
import { FsError } from "../errors.ts";
import type { FileSystem } from "../vfs/file-system.ts";
import type { Backups } from "./backups.ts";
import { destinationPath } from "./destination.ts";
import type { Extraneous } from "./destination-index.ts";
import { isMissing } from "./error-text.ts";
import { IoError } from "./exit-codes.ts";
import { EntryFlag } from "./file-list.ts";
import { sortedOrder, sortKey } from "./file-list-sort.ts";
import type { FilterList } from "./filter-list.ts";
import { TaskPool } from "./in-order.ts";
import { Tag } from "./multiplex.ts";
import { joinPath, parentName, shownName, toWire } from "./names.ts";
import type { Run } from "./run.ts";
import { Turns } from "./turns.ts";
import type { Upload } from "./upload.ts";

/** Removals under way at the same time. */
const PARALLEL = 32;
/** Files deleted in one request. */
const BATCH = 1000;

/** Takes away whatever is at `path`; a directory with all below it only if `recursive`. Rejects with `FsError`. */
export async function makeWay(fileSystem: FileSystem, path: string, recursive: boolean): Promise<void> {
  if ((await fileSystem.lstat(path)).type !== "directory") {
    await fileSystem.remove(path);
    return;
  }
  if (recursive) {
    const directories: string[] = [];
    for await (const batch of fileSystem.walk(path)) {
      for (const entry of batch) {
        if (entry.attributes.type === "directory") directories.push(entry.path);
        else await fileSystem.remove(joinPath(path, entry.path));
      }
    }
    for (const directory of directories.sort((left, right) => right.length - left.length)) {
      await fileSystem.rmdir(joinPath(path, directory)).catch(ignoreMissing);
    }
  }
  await fileSystem.rmdir(path).catch(ignoreMissing);
}

/** Parents may vanish with their last child. */
function ignoreMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}

/** What becomes of an extraneous name. */
type Fate = "doomed" | "kept" | "protected";

/** See the head of this file. */
export class Deletion {
  readonly #upload: Upload;
  readonly #run: Run;
  readonly #filters: FilterList;
  readonly #backups: Backups | undefined;
  /** Doomed names by the position of the directory in the list that holds them, contents before directories. */
  #groups = new Map<number, Extraneous[]>();
  #deleted = 0;
  #skipped = 0;
  #files = 0;
  #directories = 0;
  #announced = false;

  constructor(upload: Upload, filters: FilterList, backups: Backups | undefined) {
    this.#upload = upload;
    this.#run = upload.run;
    this.#filters = filters;
    this.#backups = backups;
  }

  /** Files and directories deleted, for the statistics. */
  get counts(): { readonly files: number; readonly directories: number } {
    return { files: this.#files, directories: this.#directories };
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
    if (!this.#announced && this.#groups.size > 0) this.#run.info("IO error encountered -- skipping file deletion");
    this.#announced = true;
    return true;
  }

  /** Deletes what is extraneous in the directory at `position`. */
  async deleteIn(position: number): Promise<void> {
    const group = this.#groups.get(position);
    if (!group || this.#forbidden()) return;
    this.#groups.delete(position);
    await this.#deleteGroup(group);
  }

  /** Deletes everything extraneous that is left. */
  async deleteAll(): Promise<void> {
    if (this.#forbidden()) return;
    const positions = [...this.#groups.keys()].sort((left, right) => left - right);
    for (const position of positions) await this.deleteIn(position);
  }

  /** Says at the end how many deletions the limit stopped. */
  finish(): void {
    if (this.#skipped === 0) return;
    this.#run.warning(`Deletions stopped due to --max-delete limit (${this.#skipped} skipped)`);
    this.#run.ioError |= IoError.deleteLimit;
  }

  async #deleteGroup(group: readonly Extraneous[]): Promise<void> {
    const files: string[] = [];
    const notEmpty = new Set<string>();
    for (const extraneous of group) {
      const { maxDelete } = this.#run.options;
      if (notEmpty.has(extraneous.name)) {
        this.#run.info(`cannot delete non-empty directory: ${shownName(extraneous.name)}`);
        notEmpty.add(parentName(extraneous.name));
        continue;
      }
      if (maxDelete !== undefined && this.#deleted >= maxDelete) {
        this.#skipped++;
        notEmpty.add(parentName(extraneous.name));
        continue;
      }
      this.#deleted++;
      if (!extraneous.isDirectory) files.push(extraneous.name);
      if (extraneous.isDirectory || files.length >= BATCH) await this.#deleteFiles(files.splice(0));
      if (extraneous.isDirectory) await this.#deleteOne(extraneous);
      await this.#run.writer.ready();
    }
    await this.#deleteFiles(files);
  }

  /** Deletes files, all in one request where that is possible. */
  async #deleteFiles(names: readonly string[]): Promise<void> {
    const { fileSystem, options } = this.#run;
    if (names.length < 2 || options.dryRun || this.#backups || !fileSystem.removeFiles) {
      const pool = new TaskPool(PARALLEL);
      for (const name of names) await pool.add(() => this.#deleteOne({ name, isDirectory: false }));
      await pool.idle();
      return;
    }
    const known = names.flatMap((name) => {
      const path = destinationPath(this.#upload.destination, name);
      return path === undefined ? [] : [{ name, path }];
    });
    const failures = await fileSystem.removeFiles(known.map(({ path }) => path));
    for (const [index, { name, path }] of known.entries()) this.#report(name, path, false, failures[index]);
  }

  async #deleteOne({ name, isDirectory }: Extraneous): Promise<void> {
    const path = destinationPath(this.#upload.destination, name);
    if (path === undefined) return;
    try {
      if (!this.#run.options.dryRun) await this.#remove(path, name, isDirectory);
      this.#report(name, path, isDirectory, undefined);
    } catch (error) {
      this.#report(name, path, isDirectory, error);
    }
  }

  /** Tells the client of one deletion, or why it failed. */
  #report(name: string, path: string, isDirectory: boolean, error: unknown): void {
    if (error !== undefined) {
      if (!(error instanceof FsError)) this.#run.log.warn({ err: error, path }, "rsync deletion failed");
      if (error instanceof FsError && error.code === "not-empty") this.#run.info(`cannot delete non-empty directory: ${shownName(name)}`);
      else this.#run.failure("generator", `delete_file: ${isDirectory ? "rmdir" : "unlink"}`, path, error);
      return;
    }
    if (isDirectory) this.#directories++;
    else this.#files++;
    this.#run.writer.message(Tag.deleted, Buffer.from(isDirectory ? `${name}\0` : name, "latin1"));
  }

  async #remove(path: string, name: string, isDirectory: boolean): Promise<void> {
    const { fileSystem } = this.#run;
    if (isDirectory) await fileSystem.rmdir(path).catch(ignoreMissing);
    else if (!(await this.#backups?.move(path, name))) await fileSystem.remove(path).catch(ignoreMissing);
  }
}

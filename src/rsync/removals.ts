/**
 * Removes things at the destination (rsync delete.c): tells the client of each, counts them, keeps within `--max-delete`,
 * and moves away as backups what `--backup` wants kept. Also makes way for what is to have the name of something of another
 * kind. Knows no wire format and not what is extraneous.
 */
import { FsError } from "../errors.ts";
import type { FileSystem } from "../vfs/file-system.ts";
import type { Backups } from "./backups.ts";
import { type Destination, destinationPath } from "./destination.ts";
import type { Extraneous } from "./destination-index.ts";
import { isMissing } from "./error-text.ts";
import { IoError } from "./exit-codes.ts";
import type { FilterList } from "./filter-list.ts";
import { TaskPool } from "./in-order.ts";
import { Tag } from "./multiplex.ts";
import { parentName, shownName, toWire } from "./names.ts";
import type { Run } from "./run.ts";
import { Turns } from "./turns.ts";

/** Removals under way at the same time. */
const PARALLEL = 32;
/** Files deleted in one request. */
const BATCH = 1000;

/** Parents may vanish with their last child. */
function ignoreMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}

/** See the head of this file. */
export class Removals {
  readonly #run: Run;
  readonly #destination: Destination;
  readonly #filters: FilterList;
  readonly #backups: Backups | undefined;
  #deleted = 0;
  #skipped = 0;
  #files = 0;
  #directories = 0;

  /** What `filters` protect stays where a directory makes way. */
  constructor(run: Run, destination: Destination, filters: FilterList, backups: Backups | undefined) {
    this.#run = run;
    this.#destination = destination;
    this.#filters = filters;
    this.#backups = backups;
  }

  /** Files and directories deleted, for the statistics. */
  get counts(): { readonly files: number; readonly directories: number } {
    return { files: this.#files, directories: this.#directories };
  }

  /** Says at the end how many deletions the limit stopped. */
  finish(): void {
    if (this.#skipped === 0) return;
    this.#run.warning(`Deletions stopped due to --max-delete limit (${this.#skipped} skipped)`);
    this.#run.ioError |= IoError.deleteLimit;
  }

  /** Deletes names, contents before their directories. Failures are told; resolves to the directories that are not empty after that. */
  async deleteGroup(group: readonly Extraneous[]): Promise<ReadonlySet<string>> {
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
    return notEmpty;
  }

  /** A file makes way for a directory: it becomes a backup or goes. Rejects with `FsError`. */
  async removeFile(path: string, name: string): Promise<void> {
    if (!(await this.#backups?.move(path, name))) await this.#run.fileSystem.remove(path);
  }

  /**
   * A directory makes way for a file: all of it but what is protected if `recursive`, else only an empty one. Rejects with
   * `FsError`, `not-empty` if something stays.
   */
  async removeDirectory(path: string, name: string, recursive: boolean): Promise<void> {
    const { fileSystem, options } = this.#run;
    if (recursive) {
      const { doomed, kept } = await this.#contents(fileSystem, path, name);
      const notEmpty = await this.deleteGroup(doomed);
      if (kept || notEmpty.has(name)) throw new FsError("not-empty", `${path}: not everything in it may be deleted`);
    } else if (options.dryRun) {
      for await (const batch of fileSystem.walk(path)) if (batch.length > 0) throw new FsError("not-empty", `${path}: not empty`);
    }
    if (!options.dryRun) await fileSystem.rmdir(path).catch(ignoreMissing);
  }

  /** What is to be deleted of a directory, contents before directories, and whether something else stays in it. */
  async #contents(fileSystem: FileSystem, path: string, name: string): Promise<{ readonly doomed: Extraneous[]; readonly kept: boolean }> {
    const found: Extraneous[] = [];
    const stays = new Set<string>();
    const isProtected = new Set<string>();
    const turns = new Turns();
    for await (const batch of fileSystem.walk(path)) {
      for (const entry of batch) {
        await turns.due();
        const extraneous = { name: `${name}/${toWire(entry.path)}`, isDirectory: entry.attributes.type === "directory" };
        const parent = parentName(extraneous.name);
        await this.#filters.enter(parent);
        if (!isProtected.has(parent) && !this.#filters.excludes(extraneous.name, extraneous.isDirectory, true)) found.push(extraneous);
        else {
          isProtected.add(extraneous.name);
          for (let above = parent; above.length >= name.length && !stays.has(above); above = parentName(above)) stays.add(above);
        }
      }
    }
    const doomed = found.filter((extraneous) => {
      if (!stays.has(extraneous.name)) return true;
      this.#run.info(`cannot delete non-empty directory: ${shownName(extraneous.name)}`);
      return false;
    });
    return { doomed: doomed.reverse(), kept: stays.has(name) };
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
      const path = destinationPath(this.#destination, name);
      return path === undefined ? [] : [{ name, path }];
    });
    const failures = await fileSystem.removeFiles(known.map(({ path }) => path));
    for (const [index, { name, path }] of known.entries()) this.#report(name, path, false, failures[index]);
  }

  async #deleteOne({ name, isDirectory }: Extraneous): Promise<void> {
    const path = destinationPath(this.#destination, name);
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

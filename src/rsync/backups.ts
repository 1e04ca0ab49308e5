/**
 * `--backup`: what is replaced or deleted at the destination is kept under another name (rsync backup.c): beside it
 * with a suffix, or below `--backup-dir`. Knows no wire.
 */
import { FsError } from "../errors.ts";
import type { FileSystem } from "../vfs/file-system.ts";
import type { Destination } from "./destination.ts";
import { absolutePath, joinPath, parentName, shownName, toText } from "./names.ts";
import { isMissing } from "./error-text.ts";
import type { Run } from "./run.ts";

/** Takes away a directory with all that is in it. Rejects with `FsError`. */
async function removeTree(fileSystem: FileSystem, path: string): Promise<void> {
  const directories = [path];
  for await (const batch of fileSystem.walk(path)) {
    for (const entry of batch) {
      if (entry.attributes.type === "directory") directories.push(joinPath(path, entry.path));
      else await fileSystem.remove(joinPath(path, entry.path));
    }
  }
  for (const directory of directories.reverse()) {
    await fileSystem.rmdir(directory).catch((error: unknown) => {
      // Parents may vanish with their last child.
      if (!isMissing(error)) throw error;
    });
  }
}

/** See the head of this file. */
export class Backups {
  readonly #run: Run;
  readonly #destination: Destination;
  readonly #suffix: string;
  readonly #directory: string | undefined;
  readonly #made = new Set<string>();

  constructor(run: Run, destination: Destination) {
    const { backupDir, suffix } = run.options;
    this.#run = run;
    this.#destination = destination;
    this.#suffix = suffix ?? "~";
    if (backupDir === undefined) return;
    this.#directory = backupDir.startsWith("/") ? absolutePath(backupDir) : absolutePath(joinPath(destination.root, backupDir));
  }

  /** The path a file is kept under; undefined for what is a backup itself. */
  #target(path: string, name: string): string | undefined {
    if (this.#directory === undefined) return name.endsWith(this.#suffix) ? undefined : path + this.#suffix;
    const text = this.#destination.single === undefined ? toText(name) : path.slice(path.lastIndexOf("/") + 1);
    return text === undefined ? undefined : joinPath(this.#directory, text) + this.#suffix;
  }

  /** Copies the file that is about to be replaced, with its time. Rejects with `FsError`: then it must not be replaced. */
  async copy(path: string, name: string, mtime: number): Promise<void> {
    const target = this.#target(path, name);
    if (target === undefined) return;
    const { fileSystem } = this.#run;
    await this.#makeParents(target);
    await this.#place(target, () => fileSystem.copy(path, target));
    if ((await fileSystem.stat(target)).mtime !== mtime) await fileSystem.setstat(target, { mtime });
    this.#say(path, name);
  }

  /** Moves a file that is about to be deleted. False if it is a backup itself and may just go. */
  async move(path: string, name: string): Promise<boolean> {
    const target = this.#target(path, name);
    if (target === undefined) return false;
    await this.#makeParents(target);
    await this.#place(target, () => this.#run.fileSystem.rename(path, target, { replace: true }));
    this.#say(path, name);
    return true;
  }

  /** Names relative to the destination, as rsync shows them. */
  #say(path: string, name: string): void {
    const { levels, options } = this.#run;
    if (levels.backup === 0) return;
    const shown = this.#destination.single === undefined ? shownName(name) : path.slice(path.lastIndexOf("/") + 1);
    const below = options.backupDir === undefined ? "" : `${options.backupDir.replace(/\/+$/, "")}/`;
    this.#run.info(`backed up ${shown} to ${below}${shown}${this.#suffix}`);
  }

  /** Runs `action`, which makes `target`; a directory of that name below --backup-dir goes with everything in it. */
  async #place(target: string, action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      const inTheWay = error instanceof FsError && error.code === "is-a-directory";
      if (!inTheWay || this.#directory === undefined) throw error;
      await removeTree(this.#run.fileSystem, target);
      await action();
    }
  }

  async #makeParents(target: string): Promise<void> {
    if (this.#directory === undefined) return;
    const parent = parentName(target) || "/";
    if (parent === "/" || this.#made.has(parent)) return;
    await this.#makeParents(parent);
    try {
      await this.#run.fileSystem.mkdir(parent);
    } catch (error) {
      if (!(error instanceof FsError && error.code === "exists")) throw error;
    }
    this.#made.add(parent);
  }
}

/**
 * `--compare-dest`, `--copy-dest`, `--link-dest` (rsync generator.c `try_dests_reg`): directories on the server where a
 * file that is missing at the destination may be. A link becomes a copy within the store. Knows no wire.
 */
import { FsError } from "../errors.ts";
import { type Destination, destinationPath } from "./destination.ts";
import { DestinationIndex, type Existing } from "./destination-index.ts";
import type { FileList } from "./file-list.ts";
import { destinationMode, KEPT_MODE_BITS } from "./file-mode.ts";
import { absolutePath, joinPath } from "./names.ts";
import { isUnchanged, timesDiffer } from "./quick-check.ts";
import type { Run } from "./run.ts";
import type { AlternateBasis } from "./server-options.ts";

/** What was found: a file of that name, one of the same content, one that is the same in all that is kept. */
export interface AlternateMatch {
  readonly level: "exists" | "same-content" | "same";
  readonly path: string;
  readonly existing: Existing;
  /** Which of the directories, from 0. */
  readonly number: number;
}

/** See the head of this file. */
export class AlternateBases {
  readonly kind: AlternateBasis["kind"];
  readonly #run: Run;
  readonly #list: FileList;
  readonly #directories: { readonly index: DestinationIndex; readonly destination: Destination }[];

  constructor(run: Run, list: FileList, byName: ReadonlyMap<string, number>, destination: Destination, alternate: AlternateBasis) {
    this.kind = alternate.kind;
    this.#run = run;
    this.#list = list;
    this.#directories = alternate.directories.map((directory) => {
      const root = directory.startsWith("/") ? absolutePath(directory) : absolutePath(joinPath(destination.root, directory));
      const place: Destination = { root, single: undefined, isNew: false, madeParents: false };
      return { destination: place, index: new DestinationIndex(run, list, byName, place, false) };
    });
  }

  /** Lists the directories. */
  async fill(): Promise<void> {
    for (const { index } of this.#directories) await index.fill();
  }

  /** True if one of them has this directory: `--compare-dest` does not count it as new. */
  async hasDirectory(position: number): Promise<boolean> {
    for (const { index } of this.#directories) {
      if ((await index.existing(position))?.type === "directory") return true;
    }
    return false;
  }

  /** The best match for a file of the list. */
  async find(position: number): Promise<AlternateMatch | undefined> {
    let best: AlternateMatch | undefined;
    for (const [number, { index, destination }] of this.#directories.entries()) {
      const path = destinationPath(destination, this.#list.name(position));
      let existing = await index.existing(position);
      if (path === undefined || existing?.type !== "file") continue;
      if (existing.listed && timesDiffer(this.#run, this.#list.mtime(position), existing.mtime)) existing = await index.exact(position);
      if (existing?.type !== "file") continue;
      best ??= { level: "exists", path, existing, number };
      if (!(await isUnchanged(this.#run, this.#list, position, existing, path))) continue;
      if (this.#isSame(position, existing)) return { level: "same", path, existing, number };
      if (best.level === "exists") best = { level: "same-content", path, existing, number };
    }
    return best;
  }

  #isSame(position: number, { mtime, mode }: Pick<Existing, "mtime" | "mode">): boolean {
    const { options } = this.#run;
    if (options.times && timesDiffer(this.#run, this.#list.mtime(position), mtime)) return false;
    return destinationMode(options, this.#list.mode(position), mode) === (mode & KEPT_MODE_BITS);
  }

  /**
   * Copies a match to the destination, with time and mode of the list; what would be a link keeps those it has. False if
   * that failed: then it is transferred.
   */
  async copyTo(position: number, match: AlternateMatch, to: string): Promise<boolean> {
    const { fileSystem, options } = this.#run;
    try {
      await fileSystem.copy(match.path, to);
      const copy = await fileSystem.stat(to);
      const mtime = options.times ? this.#list.mtime(position) : copy.mtime;
      const isLink = this.kind === "link" && match.level === "same";
      const mode = isLink ? match.existing.mode : destinationMode(options, this.#list.mode(position));
      if (copy.mode !== mode || timesDiffer(this.#run, mtime, copy.mtime)) await fileSystem.setstat(to, { mtime, mode });
      return true;
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.#run.log.debug({ err: error, path: to }, "rsync copy from alternate directory failed");
      return false;
    }
  }
}

/**
 * Finds what a key means in a folder: a regular file, a directory, or the regular file that a symbolic link inside the
 * folder leads to. Everything else does not exist. Knows nothing of contents.
 */
import { closeSync } from "node:fs";
import type { Stats } from "node:fs";
import { realpath } from "node:fs/promises";
import { StoreError } from "../errors.ts";
import { isAbsent, systemCode } from "./local-errors.ts";
import { openRegular, statPath } from "./local-files.ts";
import { segmentsBelow, splitKey } from "./local-paths.ts";
import type { KeyPath, RootDirectory } from "./local-paths.ts";

/** An object that was found: a file that is open, or a directory. */
export type Found =
  | { readonly kind: "file"; readonly fd: number; readonly stats: Stats }
  | { readonly kind: "directory"; readonly stats: Stats };

/** See the head of this file. */
export class LocalLookup {
  readonly #root: RootDirectory;

  constructor(root: RootDirectory) {
    this.#root = root;
  }

  /** Stats of what a key means, without opening it. Rejects `not-found`. */
  async stat(key: string, place: KeyPath): Promise<Stats> {
    const directory = this.#root.open(place.directories);
    let stats: Stats | undefined;
    try {
      stats = await statPath(directory.path(place.name)).catch(absentAsUndefined);
    } finally {
      directory.close();
    }
    if (stats?.isSymbolicLink() && !place.isDirectory) stats = await this.statLink(key);
    if (stats && (place.isDirectory ? stats.isDirectory() : stats.isFile())) return stats;
    throw new StoreError("not-found", `there is no object ${JSON.stringify(key)}`);
  }

  /** Opens what a key means. Rejects `not-found`. */
  async open(key: string, place: KeyPath): Promise<Found> {
    if (place.isDirectory) return { kind: "directory", stats: await this.stat(key, place) };
    const directory = this.#root.open(place.directories);
    let file: { fd: number; stats: Stats } | undefined;
    try {
      file = await openRegular(directory.path(place.name));
    } catch (error) {
      if (!isAbsent(error)) throw error;
      // ELOOP: the name is a symbolic link, which O_NOFOLLOW does not open.
      if (systemCode(error) === "ELOOP") file = await this.#openLink(key);
    } finally {
      directory.close();
    }
    if (!file) throw new StoreError("not-found", `there is no object ${JSON.stringify(key)}`);
    return { kind: "file", ...file };
  }

  /** Opens the regular file below the root that a symbolic link means; undefined if it means anything else. */
  async #openLink(key: string): Promise<{ fd: number; stats: Stats } | undefined> {
    const { directories, name } = splitKey(key);
    const directory = this.#root.open(directories);
    try {
      const segments = segmentsBelow(this.#root.realPath, await realpath(directory.path(name)));
      if (segments === undefined) return undefined;
      // What the link meant is walked to once more without following anything: it may have been changed meanwhile.
      const target = this.#root.open(segments.slice(0, -1));
      try {
        return await openRegular(target.path(segments.at(-1) ?? ""));
      } finally {
        target.close();
      }
    } catch (error) {
      if (isAbsent(error) || (error instanceof StoreError && error.code === "not-found")) return undefined;
      throw error;
    } finally {
      directory.close();
    }
  }

  /** Stats of the regular file below the root that a symbolic link means; undefined if it means anything else. */
  async statLink(key: string): Promise<Stats | undefined> {
    const file = await this.#openLink(key);
    if (file) closeSync(file.fd);
    return file?.stats;
  }
}

function absentAsUndefined(error: unknown): undefined {
  if (isAbsent(error)) return undefined;
  throw error;
}

/**
 * From keys to places below a root directory, so that no symbolic link leads out of it. On Linux every directory on the
 * way is opened relative to the one before, without following links, through `/proc/self/fd` (openat(2) by other means):
 * what another process changes meanwhile cannot redirect us. Elsewhere each component is checked before it is used.
 *
 * Directories are opened synchronously: these are look-ups in the kernel's cache of a few microseconds, a tenth of
 * what a trip through the thread pool costs. Knows nothing of files' contents.
 */
import { closeSync, constants, fsync, lstatSync, mkdirSync, openSync, realpathSync } from "node:fs";
import { join, sep } from "node:path";
import { promisify } from "node:util";
import { StoreError } from "../errors.ts";
import { isAbsent, localError, systemCode } from "./local-errors.ts";
import { descriptorPath, HAS_PROC } from "./local-files.ts";
import { checkKey } from "./request-checks.ts";

/** The folder below the root that belongs to the gateway: never listed, never a key. */
export const PRIVATE_FOLDER = ".sftp-gateway";

/** Longest name of one path segment in bytes (NAME_MAX of Linux file systems). */
const MAX_NAME_BYTES = 255;

/** `O_PATH` of Linux: a place in the tree, no permission to read needed. Node does not export it. */
const O_PATH = 0x200000;
const DIRECTORY_FLAGS = (HAS_PROC ? O_PATH : constants.O_RDONLY) | constants.O_DIRECTORY | constants.O_NOFOLLOW;

const fsyncAsync = promisify(fsync);

/** Where a key lies: directories from the root on, and the name in the last of them. */
export interface KeyPath {
  readonly directories: readonly string[];
  readonly name: string;
  /** The key ends with `/`: it means the directory `name` itself. */
  readonly isDirectory: boolean;
}

/** Splits a key. Throws `invalid-key` for keys that have no place in a file system. */
export function splitKey(key: string): KeyPath {
  checkKey(key);
  const isDirectory = key.endsWith("/");
  const segments = (isDirectory ? key.slice(0, -1) : key).split("/");
  const problem = segmentsProblem(segments);
  if (problem !== undefined) throw new StoreError("invalid-key", `key ${JSON.stringify(key)} ${problem}`);
  const name = segments.at(-1) ?? "";
  return { directories: segments.slice(0, -1), name, isDirectory };
}

/** What keeps path segments from being names of files; undefined if nothing does. */
export function segmentsProblem(segments: readonly string[]): string | undefined {
  if (segments[0] === PRIVATE_FOLDER) return `is in ${PRIVATE_FOLDER}, which belongs to the gateway`;
  for (const segment of segments) {
    if (segment === "" || segment === "." || segment === "..") return `has the segment ${JSON.stringify(segment)}, which is no file name`;
    if (segment.includes("\0")) return "contains NUL, which no file name can";
    if (segment.length > MAX_NAME_BYTES / 3 && Buffer.byteLength(segment) > MAX_NAME_BYTES) {
      return `has a segment of more than ${MAX_NAME_BYTES} bytes, which no file name can have`;
    }
  }
  return undefined;
}

/** An open directory below the root. Whoever opened it closes it. */
export interface Directory {
  /** A path that leads to `name` in this directory whatever happens to the path it was opened by. */
  path(name: string): string;
  close(): void;
}

/** The directory all keys of a store lie in. */
export class RootDirectory {
  /** Without symbolic links. */
  readonly realPath: string;
  readonly #directory: OpenDirectory;
  readonly #syncs = new Map<string, { running: Promise<void>; next: Promise<void> | undefined }>();

  /** `root` must exist. Throws what the operating system does. */
  constructor(root: string) {
    this.realPath = realpathSync(root);
    this.#directory = new OpenDirectory(openSync(this.realPath, DIRECTORY_FLAGS), this.realPath);
  }

  /**
   * Opens a directory. Throws `not-found` if there is none (or it is a file or a symbolic link). With `onCreate` missing
   * ones are made, and it is told in which directories; `invalid-key` is thrown if something else is in the way.
   */
  open(segments: readonly string[], onCreate?: (parent: readonly string[]) => void): Directory {
    let current = this.#directory;
    try {
      for (const [depth, segment] of segments.entries()) {
        const next = onCreate ? enterOrCreate(current, segment, () => onCreate(segments.slice(0, depth))) : enter(current, segment);
        if (current !== this.#directory) current.close();
        current = next;
      }
      return current === this.#directory ? this.#directory.borrowed() : current;
    } catch (error) {
      if (current !== this.#directory) current.close();
      const place = JSON.stringify(segments.join("/"));
      if (onCreate || !isAbsent(error)) throw localError(error, `opening directory ${place}`);
      throw new StoreError("not-found", `there is no directory ${place}`, { cause: error });
    }
  }

  /** As `open`, without an error for a name that is not there: one costs more than the look-up. */
  openIfThere(segments: readonly string[]): Directory | undefined {
    const name = segments.at(-1);
    if (name === undefined) return this.open(segments);
    const parent = this.open(segments.slice(0, -1));
    try {
      if (!lstatSync(parent.path(name), { throwIfNoEntry: false })?.isDirectory()) return undefined;
    } finally {
      parent.close();
    }
    return this.open(segments);
  }

  /**
   * Makes what happened to names in the directory durable. Callers at the same time share the cost. `opened` is the
   * directory where the caller has it open, until this settles.
   */
  sync(segments: readonly string[], opened?: Directory): Promise<void> {
    const key = segments.join("/");
    const state = this.#syncs.get(key);
    if (state) {
      // The running one may have begun before our change: the next one has not.
      state.next ??= state.running.then(
        () => this.#startSync(key, segments, undefined),
        () => this.#startSync(key, segments, undefined),
      );
      return state.next;
    }
    return this.#startSync(key, segments, opened);
  }

  close(): void {
    this.#directory.close();
  }

  /** A directory that was removed meanwhile has nothing left to make durable. */
  #openOrGone(segments: readonly string[]): Directory | undefined {
    try {
      return this.open(segments);
    } catch (error) {
      if (error instanceof StoreError && error.code === "not-found") return undefined;
      throw error;
    }
  }

  #startSync(key: string, segments: readonly string[], opened: Directory | undefined): Promise<void> {
    const running = this.#syncNow(segments, opened).finally(() => {
      if (this.#syncs.get(key)?.running === running) this.#syncs.delete(key);
    });
    this.#syncs.set(key, { running, next: undefined });
    return running;
  }

  async #syncNow(segments: readonly string[], opened: Directory | undefined): Promise<void> {
    const directory = opened ?? this.#openOrGone(segments);
    if (!directory) return;
    try {
      const fd = openSync(directory.path("."), constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        await fsyncAsync(fd);
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      if (!isAbsent(error)) throw error; // removed meanwhile
    } finally {
      if (directory !== opened) directory.close();
    }
  }
}

class OpenDirectory implements Directory {
  readonly #fd: number;
  readonly #path: string;
  #closed = false;

  constructor(fd: number, path: string) {
    this.#fd = fd;
    this.#path = path;
  }

  path(name: string): string {
    return HAS_PROC ? `${descriptorPath(this.#fd)}/${name}` : join(this.#path, name);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#fd);
  }

  /** The path where `/proc` does not help; only used to open what is below. */
  get location(): string {
    return this.#path;
  }

  /** This directory for somebody who will close it, while it stays open. */
  borrowed(): Directory {
    return { path: (name) => this.path(name), close: () => undefined };
  }
}

function enter(parent: OpenDirectory, name: string): OpenDirectory {
  const path = parent.path(name);
  if (!HAS_PROC && !lstatSync(path).isDirectory()) throw Object.assign(new Error(`${name} is no directory`), { code: "ENOTDIR" });
  return new OpenDirectory(openSync(path, DIRECTORY_FLAGS), join(parent.location, name));
}

function enterOrCreate(parent: OpenDirectory, name: string, onCreate: () => void): OpenDirectory {
  try {
    return enter(parent, name);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
  try {
    mkdirSync(parent.path(name));
    onCreate();
  } catch (error) {
    // Another request may have made it in between.
    if (systemCode(error) !== "EEXIST") throw error;
  }
  return enter(parent, name);
}

/** The segments of a real path below the root; undefined if it is not below it, or private. */
export function segmentsBelow(root: string, realPath: string): string[] | undefined {
  const base = root.endsWith(sep) ? root : root + sep;
  if (!realPath.startsWith(base)) return undefined;
  const segments = realPath.slice(base.length).split(sep);
  return segmentsProblem(segments) === undefined ? segments : undefined;
}

/**
 * What lies at the destination of an upload, learned from as few listings as possible: one recursive walk below every
 * directory whose contents are sent, a listing where many single files go to one directory, a stat for the rest when
 * it is asked for. Keeps numbers by position in the file list and the names that are not in the list. Knows no wire.
 */
import { FsError } from "../errors.ts";
import type { Attributes, FileSystem, WalkEntry } from "../vfs/file-system.ts";
import { type Destination, destinationPath } from "./destination.ts";
import { isMissing } from "./error-text.ts";
import { EntryFlag, type FileList } from "./file-list.ts";
import { parentName, toWire } from "./names.ts";
import type { Run } from "./run.ts";

/** Single files in one directory from which on a listing of it is cheaper than asking for each. */
const LIST_FROM = 64;

const Known = { unknown: 0, missing: 1, file: 2, directory: 3, other: 4 } as const;

/** What is at a path. */
export type Existing = Pick<Attributes, "type" | "size" | "mtime" | "mode"> & {
  /** Told by a listing, which may not know the exact times and modes, and not whether the file is published. */
  readonly listed: boolean;
};

/** A name at the destination that is not in the list. */
export interface Extraneous {
  readonly name: string;
  readonly isDirectory: boolean;
}

/** A recursive walk that has begun. */
export type BegunWalk = AsyncIterable<readonly WalkEntry[]>;

/**
 * Begins to walk below `path`; undefined if that is no directory. Spares the stat that would tell, where everything
 * below is wanted anyway.
 */
export async function beginWalk(fileSystem: FileSystem, path: string): Promise<BegunWalk | undefined> {
  const iterator = fileSystem.walk(path)[Symbol.asyncIterator]();
  let first: IteratorResult<readonly WalkEntry[]> | undefined;
  try {
    first = await iterator.next();
  } catch (error) {
    if (error instanceof FsError) return undefined;
    throw error;
  }
  const next = (): Promise<IteratorResult<readonly WalkEntry[]>> => {
    const result = first;
    first = undefined;
    return result ? Promise.resolve(result) : iterator.next();
  };
  const end = async (): Promise<IteratorResult<readonly WalkEntry[]>> => (await iterator.return?.()) ?? { done: true, value: undefined };
  return { [Symbol.asyncIterator]: () => ({ next, return: end }) };
}

/** See the head of this file. */
export class DestinationIndex {
  readonly #run: Run;
  readonly #list: FileList;
  readonly #byName: ReadonlyMap<string, number>;
  readonly #destination: Destination;
  readonly #known: Uint8Array;
  readonly #sizes: Float64Array;
  readonly #mtimes: Float64Array;
  readonly #modes: Uint16Array;
  /** Files without a version: an upload that was never published may hide behind one. */
  readonly #unversioned = new Set<number>();
  /** Collected only if asked for. */
  readonly extraneous: Extraneous[] = [];
  readonly #collect: boolean;

  constructor(run: Run, list: FileList, byName: ReadonlyMap<string, number>, destination: Destination, collectExtraneous: boolean) {
    this.#run = run;
    this.#list = list;
    this.#byName = byName;
    this.#destination = destination;
    this.#collect = collectExtraneous;
    this.#known = new Uint8Array(list.length);
    this.#sizes = new Float64Array(list.length);
    this.#mtimes = new Float64Array(list.length);
    this.#modes = new Uint16Array(list.length);
  }

  get #fileSystem(): FileSystem {
    return this.#run.fileSystem;
  }

  /**
   * Reads the listings. What fails here is asked for one by one later, and deletions are off. `begun`: the walk of the
   * root of the transfer, if it began already.
   */
  async fill(begun?: BegunWalk): Promise<void> {
    if (this.#destination.isNew) {
      this.#known.fill(Known.missing);
      return;
    }
    if (this.#destination.single !== undefined) return;
    for (const position of this.#contentRoots()) await this.#readRoot(position, begun);
    for (const [directory, count] of this.#unknownByParent()) {
      if (count >= LIST_FROM) await this.#listDirectory(directory, false);
    }
  }

  /** Directories whose contents are sent and whose parent's are not. */
  #contentRoots(): number[] {
    const roots: number[] = [];
    let last: string | undefined;
    for (let position = 0; position < this.#list.length; position++) {
      if (!this.#list.isDirectory(position) || !this.#list.has(position, EntryFlag.content)) continue;
      if (this.#list.has(position, EntryFlag.duplicate)) continue;
      const name = this.#list.name(position);
      if (last !== undefined && this.#run.options.recurse && (last === "." || name.startsWith(`${last}/`))) continue;
      roots.push(position);
      last = name;
    }
    return roots;
  }

  #unknownByParent(): Map<string, number> {
    const counts = new Map<string, number>();
    for (let position = 0; position < this.#list.length; position++) {
      if (this.#known[position] !== Known.unknown || !this.#list.isFile(position)) continue;
      const parent = parentName(this.#list.name(position));
      counts.set(parent, (counts.get(parent) ?? 0) + 1);
    }
    return counts;
  }

  async #readRoot(position: number, begun: BegunWalk | undefined): Promise<void> {
    const name = this.#list.name(position);
    const path = destinationPath(this.#destination, name);
    if (path === undefined) return;
    if (!this.#run.options.recurse) {
      await this.#listDirectory(name, this.#collect);
      return;
    }
    let found = false;
    const prefix = name === "." ? "" : `${name}/`;
    try {
      for await (const batch of begun ?? this.#fileSystem.walk(path)) {
        for (const entry of batch) {
          found = true;
          this.#note(prefix + toWire(entry.path), entry.attributes, this.#collect, entry.etag !== undefined);
        }
      }
    } catch (error) {
      if (!isMissing(error)) {
        this.#fail(path, error);
        return;
      }
    }
    this.#markMissing(position, prefix);
    if (found || name === ".") this.#known[position] = Known.directory;
  }

  /** Reads one directory without what lies deeper. */
  async #listDirectory(name: string, collect: boolean): Promise<void> {
    const path = destinationPath(this.#destination, name);
    if (path === undefined) return;
    const prefix = name === "." ? "" : `${name}/`;
    try {
      const handle = await this.#fileSystem.opendir(path);
      try {
        for (let batch = await handle.next(); batch.length > 0; batch = await handle.next()) {
          for (const entry of batch) this.#note(prefix + toWire(entry.name), entry.attributes, collect, false);
        }
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (!isMissing(error)) {
        this.#fail(path, error);
        return;
      }
    }
    for (let position = 0; position < this.#list.length; position++) {
      const child = this.#list.name(position);
      if (child !== "." && this.#known[position] === Known.unknown && parentName(child) === name) this.#known[position] = Known.missing;
    }
  }

  #fail(path: string, error: unknown): void {
    this.#run.failure("generator", "opendir", path, error);
    this.#run.noteIoError();
  }

  #note(name: string, attributes: Attributes, collect: boolean, versioned: boolean): void {
    const position = this.#byName.get(name);
    if (position === undefined) {
      if (collect) this.extraneous.push({ name, isDirectory: attributes.type === "directory" });
      return;
    }
    this.#known[position] = attributes.type === "file" ? Known.file : attributes.type === "directory" ? Known.directory : Known.other;
    this.#sizes[position] = attributes.size;
    this.#mtimes[position] = attributes.mtime;
    this.#modes[position] = attributes.mode;
    if (attributes.type === "file" && !versioned) this.#unversioned.add(position);
  }

  /** Everything below a walked directory that was not seen is missing; in the sorted list it follows the directory. */
  #markMissing(root: number, prefix: string): void {
    for (let position = root + 1; position < this.#list.length; position++) {
      if (!this.#list.name(position).startsWith(prefix)) break;
      if (this.#known[position] === Known.unknown) this.#known[position] = Known.missing;
    }
  }

  /** What is at the path of an entry; undefined: nothing. Asks the file system only if no listing told. */
  existing(position: number): Existing | undefined | Promise<Existing | undefined> {
    const known = this.#known[position];
    if (known === Known.missing) return undefined;
    if (known === undefined || known === Known.unknown) return this.exact(position);
    return {
      type: known === Known.file ? "file" : known === Known.directory ? "directory" : "symlink",
      size: this.#sizes[position] ?? 0,
      mtime: this.#mtimes[position] ?? 0,
      mode: this.#modes[position] ?? 0,
      listed: true,
    };
  }

  /** As `existing`, from the file system itself. */
  async exact(position: number): Promise<Existing | undefined> {
    const path = destinationPath(this.#destination, this.#list.name(position));
    if (path === undefined) return undefined;
    try {
      return { ...(await this.#fileSystem.lstat(path)), listed: false };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /** True if the listing told no version of this file: it may be an upload that was never published. */
  unversioned(position: number): boolean {
    return this.#unversioned.has(position);
  }
}

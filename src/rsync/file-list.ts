/**
 * The file list of a run in compact form: parallel arrays, so that a million entries fit in some hundred megabytes.
 * Names are strings of characters 0–255 (the bytes as they came), relative to the root of the transfer, without
 * leading `/`; `.` is the root itself. Knows no wire format and no files.
 */
import { CHECKSUM_LENGTH } from "./checksums.ts";

/** Entries looked at before other work gets a turn. */
const TURN_EVERY = 32_768;
const TYPE_MASK = 0o170000;
const DIRECTORY = 0o040000;
const REGULAR = 0o100000;
const SYMLINK = 0o120000;
const CHARACTER_DEVICE = 0o020000;
const BLOCK_DEVICE = 0o060000;
const FIFO = 0o010000;
const SOCKET = 0o140000;

/** What an entry is. */
export type EntryType = "file" | "directory" | "symlink" | "device" | "special";

/** The type a mode word tells; undefined if it is none that rsync knows. */
export function typeOfMode(mode: number): EntryType | undefined {
  switch (mode & TYPE_MASK) {
    case REGULAR:
      return "file";
    case DIRECTORY:
      return "directory";
    case SYMLINK:
      return "symlink";
    case CHARACTER_DEVICE:
    case BLOCK_DEVICE:
      return "device";
    case FIFO:
    case SOCKET:
      return "special";
    default:
      return undefined;
  }
}

/** Bits of `FileList.flags`. */
export const EntryFlag = {
  /** The sender transfers the contents of this directory: what it does not list there is extraneous. */
  content: 1,
  /** A directory named on the command line. */
  top: 2,
  /** Another entry of the same name comes first: nothing is done for this one. */
  duplicate: 4,
} as const;

/** One entry, to add it. Times in whole seconds. */
export interface FileEntry {
  readonly name: string;
  readonly size: number;
  readonly mtime: number;
  readonly mode: number;
  readonly flags: number;
  /** Checksum of the content (`-c`), else undefined. */
  readonly checksum?: Uint8Array | undefined;
  /** Where a symbolic link points. */
  readonly target?: string | undefined;
  /** A number that names of the same file have in common (`-H`); 0 or undefined: no other names. */
  readonly group?: number | undefined;
}

/** See the head of this file. Positions count from 0. */
export class FileList {
  #names: string[] = [];
  #sizes = new Float64Array(256);
  #mtimes = new Float64Array(256);
  #modes = new Uint16Array(256);
  #flags = new Uint8Array(256);
  #checksums: Uint8Array | undefined;
  #groups: Uint32Array | undefined;
  readonly #targets = new Map<string, string>();
  /** Position in the order the list was sent, by position; undefined while both are the same. */
  #sentOrder: Uint32Array | undefined;
  /** The inverse of `#sentOrder`. */
  #positions: Uint32Array | undefined;

  /** Number of entries. */
  get length(): number {
    return this.#names.length;
  }

  name(position: number): string {
    return this.#names[position] ?? "";
  }

  size(position: number): number {
    return this.#sizes[position] ?? 0;
  }

  mtime(position: number): number {
    return this.#mtimes[position] ?? 0;
  }

  /** The whole mode word with the type bits. */
  mode(position: number): number {
    return this.#modes[position] ?? 0;
  }

  type(position: number): EntryType {
    return typeOfMode(this.mode(position)) ?? "special";
  }

  isDirectory(position: number): boolean {
    return (this.mode(position) & TYPE_MASK) === DIRECTORY;
  }

  isFile(position: number): boolean {
    return (this.mode(position) & TYPE_MASK) === REGULAR;
  }

  has(position: number, flag: number): boolean {
    return ((this.#flags[position] ?? 0) & flag) !== 0;
  }

  setFlag(position: number, flag: number): void {
    this.#flags[position] = (this.#flags[position] ?? 0) | flag;
  }

  /** The checksum of the content, if the list has checksums. */
  checksum(position: number): Uint8Array | undefined {
    return this.#checksums?.subarray(position * CHECKSUM_LENGTH, (position + 1) * CHECKSUM_LENGTH);
  }

  /** The number that all names of the same file have; 0 if nothing was said about other names. */
  group(position: number): number {
    return this.#groups?.[position] ?? 0;
  }

  /** True if any name has such a number. */
  get hasGroups(): boolean {
    return this.#groups !== undefined;
  }

  /** Where the symbolic link `name` points. */
  target(name: string): string | undefined {
    return this.#targets.get(name);
  }

  /** Appends an entry. */
  add(entry: FileEntry): void {
    const position = this.#names.length;
    if (position === this.#sizes.length) this.#grow(position * 2);
    this.#names.push(entry.name);
    this.#sizes[position] = entry.size;
    this.#mtimes[position] = entry.mtime;
    this.#modes[position] = entry.mode;
    this.#flags[position] = entry.flags;
    if (entry.target !== undefined) this.#targets.set(entry.name, entry.target);
    if (entry.group) {
      this.#groups ??= new Uint32Array(this.#sizes.length);
      this.#groups[position] = entry.group;
    }
    if (!entry.checksum) return;
    this.#checksums ??= new Uint8Array(this.#sizes.length * CHECKSUM_LENGTH);
    this.#checksums.set(entry.checksum, position * CHECKSUM_LENGTH);
  }

  #grow(capacity: number): void {
    this.#sizes = copyInto(new Float64Array(capacity), this.#sizes);
    this.#mtimes = copyInto(new Float64Array(capacity), this.#mtimes);
    this.#modes = copyInto(new Uint16Array(capacity), this.#modes);
    this.#flags = copyInto(new Uint8Array(capacity), this.#flags);
    if (this.#groups) this.#groups = copyInto(new Uint32Array(capacity), this.#groups);
    if (this.#checksums) this.#checksums = copyInto(new Uint8Array(capacity * CHECKSUM_LENGTH), this.#checksums);
  }

  /**
   * Puts the entries in the given order (`order[new] = old`). With `keepSentOrder` the peer goes on counting in the old
   * order: see `indexOf` and `positionOf`.
   */
  reorder(order: Uint32Array, keepSentOrder: boolean): void {
    const count = order.length;
    const names: string[] = new Array(count);
    const sizes = new Float64Array(count);
    const mtimes = new Float64Array(count);
    const modes = new Uint16Array(count);
    const flags = new Uint8Array(count);
    const checksums = this.#checksums ? new Uint8Array(count * CHECKSUM_LENGTH) : undefined;
    const groups = this.#groups && new Uint32Array(count);
    for (let position = 0; position < count; position++) {
      const old = order[position] ?? 0;
      names[position] = this.name(old);
      sizes[position] = this.size(old);
      mtimes[position] = this.mtime(old);
      modes[position] = this.mode(old);
      flags[position] = this.#flags[old] ?? 0;
      if (groups) groups[position] = this.group(old);
      const checksum = this.checksum(old);
      if (checksum) checksums?.set(checksum, position * CHECKSUM_LENGTH);
    }
    this.#names = names;
    this.#sizes = sizes;
    this.#mtimes = mtimes;
    this.#modes = modes;
    this.#flags = flags;
    this.#checksums = checksums;
    this.#groups = groups;
    if (!keepSentOrder) return;
    this.#sentOrder = order;
    const positions = new Uint32Array(count);
    for (const [position, old] of order.entries()) positions[old] = position;
    this.#positions = positions;
  }

  /** The file index of a position on the wire. */
  indexOf(position: number): number {
    return this.#sentOrder?.[position] ?? position;
  }

  /** The position of a file index from the wire, or -1. */
  positionOf(index: number): number {
    if (index < 0 || index >= this.length) return -1;
    return this.#positions?.[index] ?? index;
  }

  /** Takes leading slashes off every name (`-R`), after sorting. */
  stripRoot(): void {
    this.#names = this.#names.map((name) => (name.startsWith("/") ? name.replace(/^\/+/, "") || "." : name));
  }

  /**
   * Positions by name, and marks entries whose name came before as duplicates; a directory goes before anything else
   * of its name.
   */
  async indexNames(): Promise<Map<string, number>> {
    const byName = new Map<string, number>();
    for (let position = 0; position < this.length; position++) {
      if (position % TURN_EVERY === TURN_EVERY - 1) await new Promise((resolve) => setImmediate(resolve));
      const name = this.name(position);
      const first = byName.get(name);
      if (first === undefined) {
        byName.set(name, position);
        continue;
      }
      const replaces = this.isDirectory(position) && !this.isDirectory(first);
      const [kept, dropped] = replaces ? [position, first] : [first, position];
      if (this.has(dropped, EntryFlag.content)) this.setFlag(kept, EntryFlag.content);
      this.setFlag(dropped, EntryFlag.duplicate);
      byName.set(name, kept);
    }
    return byName;
  }
}

function copyInto<T extends Float64Array | Uint32Array | Uint16Array | Uint8Array>(target: T, source: T): T {
  target.set(source);
  return target;
}

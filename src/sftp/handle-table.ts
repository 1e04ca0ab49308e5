/**
 * The open handles of one channel: what the client's opaque strings stand for, in which order requests on one handle
 * run, and who still owes a `close` or `abort`. Knows no wire format but the handle's own bytes.
 */
import { randomBytes } from "node:crypto";
import { FsError } from "../errors.ts";
import type { DirectoryHandle, FileHandle } from "../vfs/file-system.ts";
import type { NameEntry } from "./wire/replies.ts";

const HANDLE_BYTES = 8;

/** What files and directories have in common. */
interface Entry {
  /** As the client named it; for texts and the log. */
  readonly path: string;
  /** Requests running on the handle. */
  running: number;
  /** Requests run one after the other: the last one; undefined where they may overlap, in the order they were made. */
  tail: Promise<void> | undefined;
  /** Called when nothing runs any more. */
  onIdle: (() => void) | undefined;
}

/** An open file. */
export interface FileEntry extends Entry {
  readonly kind: "file";
  readonly handle: FileHandle;
  /** Normalised, for the order of path requests. */
  readonly canonicalPath: string;
  readonly reads: boolean;
  readonly writes: boolean;
  readonly openedAtMs: number;
  bytesRead: number;
  bytesWritten: number;
  /** Why a WRITE failed: such a file is not published. */
  failure: FsError | undefined;
}

/** An open directory. */
export interface DirectoryEntry extends Entry {
  readonly kind: "directory";
  readonly handle: DirectoryHandle;
  /** Read and not sent; `next` is the first of them. */
  batch: readonly NameEntry[];
  next: number;
  /** `.` and `..` were sent or are in `batch`; the last name was. */
  begun: boolean;
  ended: boolean;
}

/** An open file or directory. */
export type HandleEntry = FileEntry | DirectoryEntry;

/** See the head of this file. */
export class HandleTable {
  readonly #limit: number;
  /** Tells this channel's handles from those of others. */
  readonly #salt = randomBytes(4).readUInt32BE();
  readonly #entries = new Map<number, HandleEntry>();
  #serial = 0;
  /** Places promised to running OPENs, and handles being closed. */
  #claimed = 0;
  #refusals = 0;
  #sealed = false;

  /** `limit` handles at most may be open, being opened or being closed. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** How often `claim` found no place. */
  get refusals(): number {
    return this.#refusals;
  }

  /** True once no handle may be added: the channel is going away. */
  get sealed(): boolean {
    return this.#sealed;
  }

  /** Claims a place for a handle about to be opened; false if there is none. The caller owes `release` or `add`. */
  claim(): boolean {
    if (this.#entries.size + this.#claimed >= this.#limit) {
      this.#refusals++;
      return false;
    }
    this.#claimed++;
    return true;
  }

  /** Gives a claimed place back. */
  release(): void {
    this.#claimed--;
  }

  /** Puts an opened handle into its claimed place; returns the client's name for it. */
  add(entry: HandleEntry): Uint8Array {
    this.#claimed--;
    this.#serial = (this.#serial + 1) >>> 0;
    while (this.#entries.has(this.#serial)) this.#serial = (this.#serial + 1) >>> 0;
    this.#entries.set(this.#serial, entry);
    const name = Buffer.allocUnsafe(HANDLE_BYTES);
    name.writeUInt32BE(this.#salt, 0);
    name.writeUInt32BE(this.#serial, 4);
    return name;
  }

  /** What a client's handle stands for; undefined if it is none of this channel's, or closed. */
  peek(handle: Uint8Array): HandleEntry | undefined {
    return this.#entries.get(this.#serialOf(handle));
  }

  /** As `peek`, but throws `stale`. */
  find(handle: Uint8Array): HandleEntry {
    return this.peek(handle) ?? invalid();
  }

  /** As `find`, for files only. */
  file(handle: Uint8Array): FileEntry {
    const entry = this.find(handle);
    if (entry.kind !== "file") throw new FsError("is-a-directory", `${entry.path}: the handle is a directory's`);
    return entry;
  }

  /** As `find`, for directories only. */
  directory(handle: Uint8Array): DirectoryEntry {
    const entry = this.find(handle);
    if (entry.kind !== "directory") throw new FsError("io", `${entry.path}: the handle is a file's, not a directory's`);
    return entry;
  }

  /** Files being written now under this normalised path: WRITEs were received that are not finished. */
  beingWritten(canonicalPath: string): FileEntry[] {
    const found: FileEntry[] = [];
    for (const entry of this.#entries.values()) {
      if (entry.kind === "file" && entry.writes && entry.running > 0 && entry.canonicalPath === canonicalPath) found.push(entry);
    }
    return found;
  }

  /** All files open for writing. */
  writers(): FileEntry[] {
    return [...this.#entries.values()].filter((entry): entry is FileEntry => entry.kind === "file" && entry.writes);
  }

  /** Takes a handle out to close it; its place stays claimed until `release`. Throws as `find` does. */
  take(handle: Uint8Array): HandleEntry {
    const serial = this.#serialOf(handle);
    const entry = this.#entries.get(serial) ?? invalid();
    this.#entries.delete(serial);
    this.#claimed++;
    return entry;
  }

  /** Takes out everything that nobody closed; from now on nothing may be added. */
  seal(): HandleEntry[] {
    this.#sealed = true;
    const left = [...this.#entries.values()];
    this.#entries.clear();
    return left;
  }

  #serialOf(handle: Uint8Array): number {
    if (handle.length !== HANDLE_BYTES) return -1;
    const view = new DataView(handle.buffer, handle.byteOffset, HANDLE_BYTES);
    return view.getUint32(0) === this.#salt ? view.getUint32(4) : -1;
  }
}

/**
 * Runs `operation` on handles: at once where requests may overlap (the handle keeps the order its calls are made in),
 * else behind the ones before. Takes its place on all of them at the same time, so that no two requests wait for each other.
 */
export async function runOn<T>(entries: readonly HandleEntry[], operation: () => Promise<T>): Promise<T> {
  let done: (() => void) | undefined;
  let before: Promise<void>[] | undefined;
  for (const entry of entries) {
    entry.running++;
    if (!entry.tail) continue;
    before = [...(before ?? []), entry.tail];
  }
  if (before) {
    const tail = new Promise<void>((resolve) => {
      done = resolve;
    });
    for (const entry of entries) if (entry.tail) entry.tail = tail;
    await Promise.all(before);
  }
  try {
    return await operation();
  } finally {
    done?.();
    for (const entry of entries) {
      entry.running--;
      if (entry.running === 0) entry.onIdle?.();
    }
  }
}

/** Resolves when no request runs on the handle; call it after the handle was taken out of the table. */
export function idle(entry: HandleEntry): Promise<void> | undefined {
  if (entry.running === 0) return undefined;
  return new Promise((resolve) => {
    entry.onIdle = resolve;
  });
}

function invalid(): never {
  throw new FsError("stale", "invalid handle: not open on this channel");
}

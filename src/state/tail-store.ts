/**
 * Files of the state directory for bytes of unpublished uploads that the store cannot take yet: tails shorter than a
 * part, and spools of files that are not written in order. All processes of the node together are held to one limit.
 * Knows nothing of uploads; who owns which file is in the upload table.
 */
import { type FileHandle, open, readdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import type { StateDirectory } from "./state-directory.ts";

/** Names of files are made by this process and read back from the table; anything else is refused. */
const validName = /^[A-Za-z0-9_-]{1,80}$/;

/** Longest list of buffers that one system call takes (POSIX IOV_MAX is 1,024). */
const maxVector = 512;

/** The files are full: `limit` bytes are in use. */
export class TailSpaceError extends Error {
  override readonly name = "TailSpaceError";
}

/** An open file of bytes. Whoever opened it owes `close`. */
export class TailFile {
  readonly name: string;
  readonly #file: FileHandle;
  readonly #store: TailStore;
  readonly #sparing: number;
  #length: number;
  #closing: Promise<void> | undefined;

  /** Made by `TailStore` only. */
  constructor(store: TailStore, name: string, file: FileHandle, options: { readonly length: number; readonly sparing: number }) {
    this.#store = store;
    this.#sparing = options.sparing;
    this.name = name;
    this.#file = file;
    this.#length = options.length;
  }

  /** Bytes up to the last one written. */
  get length(): number {
    return this.#length;
  }

  /** Writes chunks at `position`; a gap before it reads as zeros. Rejects with `TailSpaceError` at the limit. */
  async write(position: number, chunks: readonly Uint8Array[]): Promise<void> {
    let bytes = 0;
    for (const chunk of chunks) bytes += chunk.length;
    const end = position + bytes;
    const growth = Math.max(0, end - this.#length);
    this.#store.reserve(growth, this.#sparing);
    // At once, so that writes side by side do not count the same bytes.
    this.#length += growth;
    try {
      await this.#writeAll(position, chunks);
    } catch (error) {
      if (growth > 0 && this.#length === end) {
        this.#length -= growth;
        this.#store.release(growth);
      }
      throw error;
    }
  }

  /** Writes chunks behind the last byte. */
  append(chunks: readonly Uint8Array[]): Promise<void> {
    return this.write(this.#length, chunks);
  }

  /** Exactly `length` bytes from `position`; rejects if the file ends before. */
  async read(position: number, length: number): Promise<Uint8Array> {
    const buffer = Buffer.allocUnsafeSlow(length);
    await this.readInto(position, [buffer]);
    return buffer;
  }

  /** Fills `buffers` from `position` on; rejects if the file ends before. */
  async readInto(position: number, buffers: readonly Uint8Array[]): Promise<void> {
    let at = position;
    for (const buffer of buffers) {
      for (let done = 0; done < buffer.length; ) {
        const { bytesRead } = await this.#file.read(buffer, done, buffer.length - done, at);
        if (bytesRead === 0) throw new Error(`tail file ends at ${at}, ${buffer.length - done} bytes and more are missing`);
        done += bytesRead;
        at += bytesRead;
      }
    }
  }

  /** Cuts the file to `length` bytes. */
  async truncate(length: number): Promise<void> {
    await this.#file.truncate(length);
    this.#store.release(Math.max(0, this.#length - length));
    this.#length = length;
  }

  /** Resolves once what was written survives a crash of the machine. */
  sync(): Promise<void> {
    return this.#file.datasync();
  }

  /** Closes it and keeps the bytes. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#file.close();
    return this.#closing;
  }

  /** Closes it and deletes the bytes. */
  async discard(): Promise<void> {
    await this.close();
    await this.#store.remove(this.name);
  }

  async #writeAll(position: number, chunks: readonly Uint8Array[]): Promise<void> {
    let at = position;
    for (let index = 0; index < chunks.length; index += maxVector) {
      const vector = chunks.slice(index, index + maxVector);
      let wanted = 0;
      for (const chunk of vector) wanted += chunk.length;
      const { bytesWritten } = await this.#file.writev(vector, at);
      if (bytesWritten < wanted) await this.#writeRest(at, bytesWritten, vector);
      at += wanted;
    }
  }

  /** A short write is legal, though Linux does it on regular files only when the disk is full. */
  async #writeRest(position: number, written: number, vector: readonly Uint8Array[]): Promise<void> {
    let skip = written;
    let at = position + written;
    for (const chunk of vector) {
      let rest = chunk.subarray(Math.min(skip, chunk.length));
      skip = Math.max(0, skip - chunk.length);
      while (rest.length > 0) {
        const { bytesWritten } = await this.#file.write(rest, 0, rest.length, at);
        if (bytesWritten === 0) throw new Error("tail file takes no more bytes");
        at += bytesWritten;
        rest = rest.subarray(bytesWritten);
      }
    }
  }
}

/** See the head of this file. */
export class TailStore {
  readonly #folder: string;
  readonly #limit: number;
  #used = 0;

  /** `limit` bytes are what this process may add at most (default 16 GiB). */
  constructor(state: StateDirectory, options: { readonly limit?: number } = {}) {
    this.#folder = state.folder("tails");
    this.#limit = options.limit ?? 16 * 1024 ** 3;
  }

  /** A new, empty file. `sparing`: the share of the limit that it leaves to others, 0 (default) to 1. */
  async create(name: string, { sparing = 0 }: { readonly sparing?: number } = {}): Promise<TailFile> {
    return new TailFile(this, name, await open(this.#path(name), "wx+", 0o600), { length: 0, sparing });
  }

  /** A file that is there; undefined if it is not. */
  async open(name: string): Promise<TailFile | undefined> {
    try {
      const file = await open(this.#path(name), "r+");
      return new TailFile(this, name, file, { length: (await file.stat()).size, sparing: 0 });
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  /** Deletes a file; a missing one is no error. */
  async remove(name: string): Promise<void> {
    const localPath = this.#path(name);
    const size = await stat(localPath).then(
      (found) => found.size,
      () => 0,
    );
    await rm(localPath, { force: true });
    this.release(size);
  }

  /** Names of all files last written before `timeMs` (milliseconds since the epoch). */
  async olderThan(timeMs: number): Promise<string[]> {
    const names: string[] = [];
    for (const name of await readdir(this.#folder)) {
      const found = await stat(path.join(this.#folder, name)).catch(() => undefined);
      if (found && found.mtimeMs < timeMs && validName.test(name)) names.push(name);
    }
    return names;
  }

  /** Counts bytes that a file grows by. Throws `TailSpaceError` over the limit. Called by `TailFile`. */
  reserve(bytes: number, sparing: number): void {
    const isOver = bytes > 0 && this.#used + bytes > this.#limit * (1 - sparing);
    if (isOver) throw new TailSpaceError(`tail files hold ${this.#used} of ${this.#limit} bytes`);
    this.#used += bytes;
  }

  /** Gives bytes back. Called by `TailFile`. */
  release(bytes: number): void {
    this.#used = Math.max(0, this.#used - bytes);
  }

  #path(name: string): string {
    if (!validName.test(name)) throw new Error("not a name of a tail file");
    return path.join(this.#folder, name);
  }
}

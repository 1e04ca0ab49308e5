/**
 * A file being read: one chunk ahead of its reader, from a descriptor that keeps the version that was opened even when
 * the name is published anew. Knows nothing of keys and directories.
 */
import { closeSync } from "node:fs";
import { closeFile, READ_SIZE, readChunk, readSlab } from "./local-files.ts";
import { StoreError } from "../errors.ts";
import { releaseSlab } from "../slab-pool.ts";
import { localError } from "./local-errors.ts";
import type { ObjectBody, ObjectInfo } from "./objectstore.ts";
import { checkNotAborted } from "./request-checks.ts";

/** What is read: the descriptor now belongs to the body; `end` is exclusive. */
export interface LocalBodyOptions {
  readonly info: ObjectInfo;
  readonly fd: number;
  readonly start: number;
  readonly end: number;
  readonly signal?: AbortSignal | undefined;
}

/** See the head of this file. */
export class LocalBody implements ObjectBody {
  readonly info: ObjectInfo;
  readonly body: AsyncIterable<Uint8Array>;
  readonly #options: LocalBodyOptions;
  #reading: Promise<unknown> | undefined;
  #closed: Promise<void> | undefined;
  #destroyed = false;

  constructor(options: LocalBodyOptions) {
    this.info = options.info;
    this.#options = options;
    this.body = this.#read();
  }

  destroy(): void {
    this.#destroyed = true;
    // A descriptor that closes badly was only read from: nothing is lost.
    this.#close().catch(() => undefined);
  }

  async *#read(): AsyncGenerator<Uint8Array> {
    const { start, end, signal, info } = this.#options;
    let next: Promise<Uint8Array> | undefined;
    try {
      let position = start;
      next = this.#readAt(position);
      while (position < end) {
        const chunk = await next;
        next = undefined;
        checkNotAborted(signal);
        if (this.#destroyed) throw new StoreError("aborted", "the body was given up by its reader");
        if (chunk.byteLength === 0)
          throw new StoreError("io", `${JSON.stringify(info.key)} was cut short by somebody else while it was read`);
        position += chunk.byteLength;
        next = this.#readAt(position);
        yield chunk;
      }
    } catch (error) {
      throw localError(error, `reading ${JSON.stringify(info.key)}`);
    } finally {
      // what was read ahead and nobody got; a failure is of no interest any more
      void next?.then(releaseSlab, () => undefined);
      await this.#close();
    }
  }

  /** Begins to read; whoever awaits it learns of errors. */
  #readAt(position: number): Promise<Uint8Array> {
    const { fd, end } = this.#options;
    if (position >= end || this.#destroyed) return Promise.resolve(new Uint8Array(0));
    const isLong = end - position >= READ_SIZE;
    const reading = isLong ? readSlab(fd, position) : readChunk(fd, position, end - position);
    this.#reading = reading.catch(() => undefined);
    return reading;
  }

  /** Waits for a read under way: closing under it could hit another file that gets the same number. */
  #close(): Promise<void> {
    const { fd, info } = this.#options;
    // The last close of a file that was removed meanwhile frees it: with a large one the process would wait.
    this.#closed ??= Promise.resolve(this.#reading).then(() => (info.size <= READ_SIZE ? closeSync(fd) : closeFile(fd)));
    return this.#closed;
  }
}

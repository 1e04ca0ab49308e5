/**
 * The bytes of one file of the model file system: a buffer that grows, holes read as zeros. Knows nothing of paths.
 */
import { FsError } from "../../src/errors.ts";

/** A write further than this behind the end is refused, as the gateway does (nobody uploads zeros). Bytes. */
export const MAX_HOLE_BYTES = 64 * 1024 * 1024;

/** Growable bytes with POSIX write and truncate. */
export class Content {
  #buffer: Uint8Array;
  #size: number;

  constructor(initial: Uint8Array = new Uint8Array(0)) {
    this.#buffer = Uint8Array.from(initial);
    this.#size = initial.length;
  }

  get size(): number {
    return this.#size;
  }

  /** The bytes now; a view that the next change may overwrite. */
  get bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#size);
  }

  copy(): Content {
    return new Content(this.bytes);
  }

  /** A copy of up to `length` bytes from `offset`. */
  read(offset: number, length: number): Uint8Array {
    return this.bytes.slice(Math.min(offset, this.#size), Math.min(offset + length, this.#size));
  }

  /** Writes `chunk` at `offset`. Throws `no-space` for a hole of more than `MAX_HOLE_BYTES`. */
  write(offset: number, chunk: Uint8Array): void {
    this.#reserve(offset + chunk.length, offset);
    this.#buffer.set(chunk, offset);
    this.#size = Math.max(this.#size, offset + chunk.length);
  }

  truncate(size: number): void {
    this.#reserve(size, size);
    if (size < this.#size) this.#buffer.fill(0, size, this.#size);
    this.#size = size;
  }

  #reserve(end: number, start: number): void {
    if (start > this.#size + MAX_HOLE_BYTES) throw new FsError("no-space", "write would leave a hole of more than 64 MiB");
    if (end <= this.#buffer.length) return;
    const grown = new Uint8Array(Math.max(end, this.#buffer.length * 2, 1024));
    grown.set(this.bytes);
    this.#buffer = grown;
  }
}

/**
 * Whether what was received of an upload looks like all of it. A client that loses its connection behind the last byte and
 * before CLOSE comes back, compares sizes and finds nothing to do; so the last byte of such an upload is not shown to its owner,
 * and comes again. The signs may err: a wrong one costs that one byte. Knows sizes of writes; no bytes and no names.
 */
import { FsError } from "../../errors.ts";
import type { StoredPart } from "../../objectstore/objectstore.ts";

/** What mounts write is a multiple of this, and so is what most clients cut files into. */
const page = 4096;

/** A client that says nothing for so long has no more to send, or cannot be heard: either way its CLOSE may be what is missing. */
const silenceMs = 10_000;

/** The others: libssh2, and what OpenSSH makes of our limits. */
const usualWrites: ReadonlySet<number> = new Set([30_000, 255 * 1024]);

/** What was received, and whether it looks like all of the file. */
export interface Received {
  /** Bytes without a gap. */
  readonly length: number;
  readonly looksWhole?: boolean | undefined;
}

/** Bytes that the owner is shown of an upload: all but the last one if it looks whole. */
export function shownLength({ length, looksWhole = false }: Received): number {
  return looksWhole && length > 0 ? length - 1 : length;
}

/** See the head of this file. `now`: milliseconds of a clock. */
export class EndSigns {
  readonly #now: () => number;
  #lastMs = 0;
  #lostMs: number | undefined;
  #writes = 0;
  #longest = 0;
  #last = 0;
  #isSigned = false;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** A write of `length` bytes makes the file longer. */
  wrote(length: number): void {
    this.#lastMs = this.#now();
    this.#writes += 1;
    this.#longest = Math.max(this.#longest, length);
    this.#last = length;
    this.#isSigned = false;
  }

  /** The client did what clients do at the end of a file, or an earlier session of it had come there. */
  signed(): void {
    this.#isSigned = true;
  }

  /** The client is gone, for all we know: silence from now on says nothing. */
  lost(): void {
    this.#lostMs ??= this.#now();
  }

  /** True if no more seems to come: the last write was shorter than others or long ago, or something was said since. */
  get looksWhole(): boolean {
    if (this.#isSigned) return true;
    if (this.#writes > 0 && (this.#lostMs ?? this.#now()) - this.#lastMs >= silenceMs) return true;
    return this.#writes === 1 ? !isUsual(this.#last) : this.#last < this.#longest;
  }
}

/** Whether parts that nobody notes more about look like a whole file: the last one was sent before it was full. */
export function partsLookWhole(parts: readonly StoredPart[]): boolean {
  const last = parts.at(-1);
  const before = parts.at(-2);
  return last !== undefined && before !== undefined && last.size < before.size;
}

/** The byte that the owner was not shown and that is here all the same. */
export interface WithheldByte {
  readonly offset: number;
  /** Undefined if it cannot be read, for it is at the store. */
  readonly value: number | undefined;
}

/** Rejects `stale` if a client does not send again what was received at the place where it goes on. */
export function requireSame({ value }: WithheldByte, chunks: readonly Uint8Array[], path: string): void {
  const sent = chunks.find((chunk) => chunk.length > 0)?.[0];
  if (value === undefined || sent === value) return;
  const text = "what was received of this file before is not the beginning of what comes now";
  throw new FsError("stale", `${path}: ${text}; send it again from the start, or remove it`);
}

function isUsual(length: number): boolean {
  return length % page === 0 || usualWrites.has(length);
}

/**
 * The size a client said its file will have: in OPEN's attributes (WinSCP), where exactly that must come, or by setting
 * it before the first byte, where at least that must come. Tells a short upload from a finished one. Knows no bytes.
 */
import { FsError } from "../../errors.ts";

/** See the head of this file. Sizes in bytes. */
export class AnnouncedSize {
  /** In OPEN's attributes; 0 if not announced there. */
  readonly inOpen: number;
  #lastSet: number | undefined;
  #promised = 0;

  constructor(inOpen: number | undefined) {
    this.inOpen = inOpen ?? 0;
  }

  /** The client set the size; `isPromise`: before anything was written. */
  set(size: number, isPromise: boolean): void {
    this.#lastSet = size;
    this.#promised = isPromise ? size : 0;
  }

  /** Whether `size` bytes are all that the client has; undefined if it said nothing about that. */
  isAll(size: number): boolean | undefined {
    const expected = this.#lastSet ?? this.inOpen;
    return expected === 0 || size > expected ? undefined : size === expected;
  }

  /** Throws if `size` bytes are not what was announced for `path`. */
  check(size: number, path: string): void {
    const isExact = this.inOpen > 0 && (this.#lastSet === undefined || this.#lastSet === this.inOpen);
    const expected = isExact ? this.inOpen : this.#promised;
    if (isExact ? size === expected : size === 0 || size >= expected) return;
    throw new FsError("io", `${path}: ${expected} bytes were announced, ${size} came; nothing was published`);
  }
}

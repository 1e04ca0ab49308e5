/**
 * Writes that came a little too early wait here until the bytes before them are there. Knows nothing of parts; whoever
 * puts something in takes it out or calls `clear`, because the memory is counted.
 */
import type { UploadMemory } from "./upload-memory.ts";

/** How far ahead of the end a write may be. */
export const reorderWindow = 8 * 1024 * 1024;

/** How many early writes wait at most. */
const maxWaiting = 256;

/** An early write. */
export interface EarlyWrite {
  readonly offset: number;
  readonly chunks: readonly Uint8Array[];
  readonly length: number;
}

/** See the head of this file. */
export class ReorderBuffer {
  readonly #memory: UploadMemory;
  /** By offset, without overlaps. */
  #waiting: EarlyWrite[] = [];

  constructor(memory: UploadMemory) {
    this.#memory = memory;
  }

  /** True if nothing waits. */
  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** The write with the lowest offset, which stays. */
  get first(): EarlyWrite | undefined {
    return this.#waiting[0];
  }

  /** All writes that wait, by offset; they stay. */
  get waiting(): readonly EarlyWrite[] {
    return this.#waiting;
  }

  /** Offset behind the last waiting byte; 0 if nothing waits. */
  get end(): number {
    const last = this.#waiting.at(-1);
    return last ? last.offset + last.length : 0;
  }

  /** Keeps a copy of a write that begins after `expected`; false: it is too far ahead, overlaps another, or there is no room. */
  accept(write: EarlyWrite, expected: number): boolean {
    if (write.offset + write.length - expected > reorderWindow || this.#waiting.length >= maxWaiting) return false;
    let index = this.#waiting.length;
    while (index > 0 && (this.#waiting[index - 1]?.offset ?? 0) > write.offset) index -= 1;
    const before = this.#waiting[index - 1];
    const after = this.#waiting[index];
    if (before && before.offset + before.length > write.offset) return false;
    if (after && write.offset + write.length > after.offset) return false;
    if (!this.#memory.tryTake(write.length)) return false;
    this.#waiting.splice(index, 0, { ...write, chunks: [Buffer.concat(write.chunks)] });
    return true;
  }

  /** Takes out the write that begins at `offset`; its memory is no longer counted here. */
  take(offset: number): EarlyWrite | undefined {
    if (this.#waiting[0]?.offset !== offset) return undefined;
    return this.takeFirst();
  }

  /** Takes out the write with the lowest offset. */
  takeFirst(): EarlyWrite | undefined {
    const first = this.#waiting.shift();
    if (first) this.#memory.release(first.length);
    return first;
  }

  /** Forgets everything. */
  clear(): void {
    for (const write of this.#waiting) this.#memory.release(write.length);
    this.#waiting = [];
  }
}

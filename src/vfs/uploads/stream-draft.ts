/**
 * A file that is written from its start to its end, as nearly all are: bytes go to the part assembler in order, a
 * write that comes a little early waits. Knows nothing of names, versions and publishing.
 */
import { sliceChunks } from "./chunk-list.ts";
import type { PartAssembler } from "./part-assembler.ts";
import { ReorderBuffer } from "./reorder-buffer.ts";
import type { Spool } from "./spool.ts";
import type { UploadMemory } from "./upload-memory.ts";

/** See the head of this file. Calls must not overlap. */
export class StreamDraft {
  readonly assembler: PartAssembler;
  readonly #early: ReorderBuffer;
  readonly #fillTo: (offset: number) => Promise<void>;

  /** `fillTo` adds what belongs into a gap, so that the assembler reaches the given offset. */
  constructor(assembler: PartAssembler, memory: UploadMemory, fillTo: (offset: number) => Promise<void>) {
    this.assembler = assembler;
    this.#fillTo = fillTo;
    this.#early = new ReorderBuffer(memory);
  }

  /** Bytes received without a gap. */
  get length(): number {
    return this.assembler.length;
  }

  /** Offset behind the last byte received, gap or not. */
  get end(): number {
    return Math.max(this.assembler.length, this.#early.end);
  }

  /** True while everything can be had back: nothing but copies of a published version has been sent. */
  get isMovable(): boolean {
    return this.assembler.isUnsent;
  }

  /** Takes a write; false: it does not fit a file written in order, nothing was taken. */
  async write(offset: number, chunks: readonly Uint8Array[], length: number): Promise<boolean> {
    const expected = this.assembler.length;
    if (offset > expected) return this.#early.accept({ offset, chunks, length }, expected);
    if (!this.#early.isEmpty && this.#overlapsEarly(offset + length)) return false;
    if (offset < expected) return this.#writeBack(offset, chunks, length);
    await this.assembler.append(chunks);
    await this.#takeEarly();
    return true;
  }

  /** As `write`, for a write far ahead: what lies between is filled now, and may be written later. */
  async jump(offset: number, chunks: readonly Uint8Array[], length: number): Promise<boolean> {
    if (offset + length <= this.length) return false;
    this.assembler.mirrorAll();
    await this.fillGaps();
    if (offset > this.length) await this.#fillTo(offset);
    return this.write(offset, chunks, length);
  }

  /** Fills every gap, so that `length` is `end`. */
  async fillGaps(): Promise<void> {
    for (let write = this.#early.takeFirst(); write; write = this.#early.takeFirst()) {
      await this.#fillTo(write.offset);
      await this.assembler.append(write.chunks);
    }
  }

  /**
   * Copies everything to a new spool; false if some bytes are at the store already and cannot be had back. If it rejects,
   * the spool is discarded.
   */
  async copyTo(spool: Spool): Promise<boolean> {
    try {
      return await this.#copyTo(spool);
    } catch (error) {
      await spool.discard();
      throw error;
    }
  }

  /** Forgets the writes that wait. */
  forgetEarly(): void {
    this.#early.clear();
  }

  async #copyTo(spool: Spool): Promise<boolean> {
    if (!(await this.assembler.retrieve((offset, chunks) => spool.write(offset, chunks)))) return false;
    for (const { offset, chunks } of this.#early.waiting) await spool.write(offset, chunks);
    return true;
  }

  /** A write that begins before the end: over what was written before, and perhaps beyond. */
  async #writeBack(offset: number, chunks: readonly Uint8Array[], length: number): Promise<boolean> {
    const over = Math.min(length, this.length - offset);
    if (!(await this.assembler.overwrite(offset, sliceChunks(chunks, 0, over)))) return false;
    if (length > over) await this.assembler.append(sliceChunks(chunks, over, length - over));
    await this.#takeEarly();
    return true;
  }

  #overlapsEarly(end: number): boolean {
    const first = this.#early.first;
    return first !== undefined && end > first.offset;
  }

  async #takeEarly(): Promise<void> {
    for (let write = this.#early.take(this.length); write; write = this.#early.take(this.length)) await this.assembler.append(write.chunks);
  }
}

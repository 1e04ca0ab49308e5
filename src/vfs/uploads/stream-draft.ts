/**
 * A file that is written from its start to its end, as nearly all are: bytes go to the part assembler in order, a
 * write that comes a little early waits. Knows nothing of names, versions and publishing.
 */
import type { PartAssembler } from "./part-assembler.ts";
import { ReorderBuffer } from "./reorder-buffer.ts";
import type { Spool } from "./spool.ts";
import type { UploadMemory } from "./upload-memory.ts";

/** See the head of this file. Calls must not overlap. */
export class StreamDraft {
  readonly assembler: PartAssembler;
  readonly #early: ReorderBuffer;

  constructor(assembler: PartAssembler, memory: UploadMemory) {
    this.assembler = assembler;
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

  /** Takes a write; false: it does not fit a file written in order, nothing was taken. */
  async write(offset: number, chunks: readonly Uint8Array[], length: number): Promise<boolean> {
    const expected = this.assembler.length;
    if (offset > expected) return this.#early.accept({ offset, chunks, length }, expected);
    if (offset < expected || (!this.#early.isEmpty && this.#overlapsEarly(offset + length))) return false;
    await this.assembler.append(chunks);
    await this.#takeEarly();
    return true;
  }

  /** Fills every gap with zeros, so that `length` is `end`. */
  async fillGaps(): Promise<void> {
    for (let write = this.#early.takeFirst(); write; write = this.#early.takeFirst()) {
      await this.assembler.appendZeros(write.offset - this.assembler.length);
      await this.assembler.append(write.chunks);
    }
  }

  /** Moves everything to a spool; false if some bytes are at the store already and cannot be had back. */
  async moveTo(spool: Spool): Promise<boolean> {
    const unsent = this.assembler.unsent();
    if (!unsent) return false;
    let at = unsent.start;
    for await (const piece of unsent.pieces) {
      await spool.write(at, [piece]);
      at += piece.length;
    }
    for (let write = this.#early.takeFirst(); write; write = this.#early.takeFirst()) await spool.write(write.offset, write.chunks);
    await this.assembler.discard();
    return true;
  }

  /** Forgets the writes that wait. */
  forgetEarly(): void {
    this.#early.clear();
  }

  #overlapsEarly(end: number): boolean {
    const first = this.#early.first;
    return first !== undefined && end > first.offset;
  }

  async #takeEarly(): Promise<void> {
    for (let write = this.#early.take(this.length); write; write = this.#early.take(this.length)) await this.assembler.append(write.chunks);
  }
}

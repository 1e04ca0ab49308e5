/**
 * A file whose upload was interrupted and goes on: as long as the tokens name the noted blocks one after the other,
 * nothing is done, since the upload has their bytes. With the first byte that is new it is cut there and continued, with
 * literal bytes and with blocks of the published version. Nothing that was uploaded can be read back: of its blocks later
 * tokens may name those that consist of one byte, mostly zero; anything else is asked for again.
 */
import { ProtocolError } from "../errors.ts";
import type { Assembly } from "./assembly.ts";
import type { BasisBlocks } from "./basis-blocks.ts";
import { type Continuation, continuationHeader } from "./continuation.ts";
import type { FileSink } from "./file-sink.ts";
import { HISTORY } from "./upload-notes.ts";
import { basisLength, type SumHeader } from "./sums.ts";
import type { BlockRun, TokenReader } from "./tokens.ts";

const ZEROS = new Uint8Array(HISTORY);

/** Begins the file anew, or goes on behind the first `length` bytes, with that state of its checksum. */
export type BeginFile = (start?: { readonly blocks: number; readonly length: number; readonly saved: Uint8Array }) => FileSink;

/** See the head of this file. */
export class ContinuedFile implements Assembly {
  readonly #continuation: Continuation;
  readonly #published: BasisBlocks | undefined;
  readonly #begin: BeginFile;
  /** Blocks named so far, from the first one on without a gap. */
  #blocks = 0;
  #sink: FileSink | undefined;
  #unusable = false;

  /** `published` are the blocks behind the noted ones, if the continuation has such. */
  constructor(continuation: Continuation, published: BasisBlocks | undefined, begin: BeginFile) {
    this.#continuation = continuation;
    this.#published = published;
    this.#begin = begin;
  }

  get sink(): FileSink | undefined {
    return this.#sink;
  }

  get isUnusable(): boolean {
    return this.#unusable;
  }

  /** All noted blocks count as named: the sender goes on behind them (`--append-verify`). */
  takeAll(header: SumHeader): void {
    const expected = continuationHeader(this.#continuation);
    if (basisLength(header) !== basisLength(expected)) throw new ProtocolError("the sender continues at another length");
    this.#blocks = expected.count;
  }

  async read(tokens: TokenReader): Promise<void> {
    await this.#published?.open();
    try {
      await this.#data(tokens);
    } finally {
      await this.#published?.close();
    }
  }

  async #data(tokens: TokenReader): Promise<void> {
    const { ahead, blocks } = this.#continuation;
    for (let token = await tokens.next(); token; token = await tokens.next()) {
      if (token instanceof Uint8Array) {
        const sink = await this.#flushed(tokens);
        await sink?.write([token]);
        continue;
      }
      const { count } = token;
      const index = token.index - ahead;
      if (index < 0) throw new ProtocolError("a block that no file has");
      const noted = Math.max(0, Math.min(count, blocks - index));
      if (noted > 0) await this.#noted({ index, count: noted }, tokens);
      if (count > noted) await this.#old({ index: index + noted - blocks, count: count - noted }, tokens);
    }
    await this.#flushed(tokens);
  }

  /** Where the next byte goes, once it is begun and has everything before; undefined: it is of no use any more. */
  async #flushed(tokens: TokenReader): Promise<FileSink | undefined> {
    if (!this.#sink && !this.#unusable) await this.#start();
    if (this.#unusable) return undefined;
    if (this.#sink) await this.#published?.flush(this.#sink, tokens);
    return this.#sink;
  }

  /** Blocks of the published version. */
  async #old(run: BlockRun, tokens: TokenReader): Promise<void> {
    if (!this.#published) throw new ProtocolError(`block ${run.index + run.count - 1} behind those of the upload`);
    if (!this.#sink && !this.#unusable) await this.#start();
    // What could not be begun is asked for again: all that matters is that the stream is read to its end.
    if (this.#sink && !this.#unusable) await this.#published.add(this.#sink, run, tokens);
    else await tokens.matched(ZEROS);
  }

  async #noted(run: BlockRun, tokens: TokenReader): Promise<void> {
    const kept = await this.#keep(run);
    if (kept > 0) {
      const { notes } = this.#continuation;
      // Without the right history the bytes that follow come out wrong, but as many: the checksum tells then.
      const history = await notes.history(this.#blocks * notes.rules.blockLength).catch(() => undefined);
      await tokens.matched(history ?? ZEROS);
    }
    if (kept < run.count) await this.#elsewhere({ index: run.index + kept, count: run.count - kept }, tokens);
  }

  /** Takes those of the first blocks of a run that are what the upload has next, or the same; returns how many. */
  async #keep({ index, count }: BlockRun): Promise<number> {
    const { blocks, notes } = this.#continuation;
    if (this.#sink || this.#unusable) return 0;
    const wanted = Math.min(count, blocks - this.#blocks);
    const kept = index === this.#blocks ? wanted : await notes.equal(index, this.#blocks, wanted).catch(() => 0);
    this.#blocks += kept;
    return kept;
  }

  /** Noted blocks at another place than their own. */
  async #elsewhere({ index, count }: BlockRun, tokens: TokenReader): Promise<void> {
    const { notes } = this.#continuation;
    const sink = await this.#flushed(tokens);
    const byte = sink && (await notes.filling(index, count).catch(() => undefined));
    if (byte === undefined) this.#unusable = true;
    const content = byte ? Buffer.alloc(HISTORY, byte) : ZEROS;
    await tokens.matched(content);
    if (this.#unusable) return;
    for (let left = count * notes.rules.blockLength; left > 0; left -= content.length) {
      await sink?.write([content.subarray(0, Math.min(left, content.length))]);
    }
  }

  async #start(): Promise<void> {
    const { keepsAtLeast, notes } = this.#continuation;
    const blocks = this.#blocks;
    const length = blocks * notes.rules.blockLength;
    if (blocks === 0) {
      this.#sink = this.#begin();
      return;
    }
    const saved = length >= keepsAtLeast ? await notes.saved(blocks).catch(() => undefined) : undefined;
    if (saved) this.#sink = this.#begin({ blocks, length, saved });
    else this.#unusable = true;
  }
}

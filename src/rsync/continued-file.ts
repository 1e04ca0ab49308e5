/**
 * A file whose upload was interrupted and goes on: as long as the tokens name the noted blocks one after the other,
 * nothing is done, since the upload has their bytes. With the first byte that is new it is cut there and continued.
 * Nothing of it can be read back: later tokens may name blocks of zeros only; anything else is asked for again, whole.
 */
import { ProtocolError } from "../errors.ts";
import type { Assembly } from "./assembly.ts";
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
  readonly #begin: BeginFile;
  /** Blocks named so far, from the first one on without a gap. */
  #blocks = 0;
  #sink: FileSink | undefined;
  #unusable = false;

  constructor(continuation: Continuation, begin: BeginFile) {
    this.#continuation = continuation;
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
    for (let token = await tokens.next(); token; token = await tokens.next()) {
      if (token instanceof Uint8Array) await this.#literal(token);
      else await this.#named(token, tokens);
    }
    if (!this.#sink && !this.#unusable) await this.#start();
  }

  async #literal(bytes: Uint8Array): Promise<void> {
    if (!this.#sink && !this.#unusable) await this.#start();
    if (!this.#unusable) await this.#sink?.write([bytes]);
  }

  async #named({ index, count }: BlockRun, tokens: TokenReader): Promise<void> {
    const { blocks, notes } = this.#continuation;
    if (index + count > blocks) throw new ProtocolError(`block ${index + count - 1} of ${blocks}`);
    if (!this.#sink && !this.#unusable && index === this.#blocks) {
      this.#blocks += count;
      // Without the right history the bytes that follow come out wrong, but as many: the checksum tells then.
      const history = await notes.history(this.#blocks * notes.rules.blockLength).catch(() => undefined);
      return tokens.matched(history ?? ZEROS);
    }
    if (!this.#sink && !this.#unusable) await this.#start();
    if (!this.#unusable && !(await notes.areZeros(index, count).catch(() => false))) this.#unusable = true;
    await tokens.matched(ZEROS);
    if (this.#unusable) return;
    for (let left = count * notes.rules.blockLength; left > 0; left -= ZEROS.length) await this.#sink?.write([ZEROS]);
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

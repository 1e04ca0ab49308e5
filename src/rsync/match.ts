/**
 * Finds in a file what the receiver has already (rsync match.c `hash_search`): slides a window of one block over the
 * data, byte by byte, and compares its rolling sum, then its strong sum, with the receiver's blocks. Works on pieces as
 * they arrive and gives way to other work. Knows no wire.
 */
import { blockSum, type ChecksumRules, rollingSum } from "./checksums.ts";
import { lengthOfBlock, type SumHeader } from "./sums.ts";

/** Blocks with the same rolling sum that are looked at for one position. */
const MAX_CANDIDATES = 1024;
/** Bytes looked at before other work gets a turn. */
const TURN_BYTES = 256 * 1024;
/** Literal bytes kept back at most before they are sent. */
const LITERAL_LIMIT = 32 * 1024;

/** The receiver's blocks, found by rolling sum. */
export class BlockTable {
  readonly header: SumHeader;
  /** Rolling sums by block. */
  readonly #weak: Uint32Array;
  /** Truncated strong sums, one after the other. */
  readonly #strong: Uint8Array;
  /** First block of each bucket, plus one; 0: empty. */
  readonly #heads: Int32Array;
  /** Next block of the same bucket, plus one. */
  readonly #next: Int32Array;
  readonly #mask: number;

  /** `sums`: as on the wire, `count` times a rolling sum and a truncated strong sum. */
  constructor(header: SumHeader, sums: Uint8Array) {
    this.header = header;
    const { count, strongLength } = header;
    let size = 1024;
    while (size < count * 2) size *= 2;
    this.#mask = size - 1;
    this.#weak = new Uint32Array(count);
    this.#strong = new Uint8Array(count * strongLength);
    this.#heads = new Int32Array(size);
    this.#next = new Int32Array(count);
    const view = new DataView(sums.buffer, sums.byteOffset, sums.byteLength);
    for (let block = count - 1; block >= 0; block--) {
      const at = block * (4 + strongLength);
      const weak = view.getUint32(at, true);
      this.#weak[block] = weak;
      this.#strong.set(sums.subarray(at + 4, at + 4 + strongLength), block * strongLength);
      const bucket = this.#bucket(weak);
      this.#next[block] = this.#heads[bucket] ?? 0;
      this.#heads[bucket] = block + 1;
    }
  }

  #bucket(weak: number): number {
    return (Math.imul(weak, 0x9e3779b1) >>> 8) & this.#mask;
  }

  /**
   * The block that equals `window`, whose rolling sum is `weak`; -1 if there is none. `preferred` is taken if it matches,
   * too. `strong` computes the strong sum of the window; it is called once at most.
   */
  find(weak: number, length: number, preferred: number, strong: () => Uint8Array): number {
    let sum: Uint8Array | undefined;
    let found = -1;
    let candidate = this.#heads[this.#bucket(weak)] ?? 0;
    for (let tries = 0; candidate !== 0 && tries < MAX_CANDIDATES; tries++) {
      const block = candidate - 1;
      candidate = this.#next[block] ?? 0;
      if (this.#weak[block] !== weak || lengthOfBlock(this.header, block) !== length) continue;
      sum ??= strong();
      if (!this.#equals(block, sum)) continue;
      if (block === preferred || found < 0) found = block;
      if (found === preferred || preferred < 0) return found;
      if (preferred >= this.header.count) return found;
      if (this.#weak[preferred] !== weak) return found;
    }
    return found;
  }

  #equals(block: number, sum: Uint8Array): boolean {
    const { strongLength } = this.header;
    const at = block * strongLength;
    for (let index = 0; index < strongLength; index++) {
      if (this.#strong[at + index] !== sum[index]) return false;
    }
    return true;
  }
}

/** Gets what the search finds, in order. */
export interface MatchSink {
  literal(bytes: Uint8Array): Promise<void>;
  block(index: number, bytes: Uint8Array): Promise<void>;
}

/** The search through one file. Feed it with `add`, then call `end`. */
export class BlockSearch {
  readonly #table: BlockTable;
  readonly #rules: ChecksumRules;
  readonly #sink: MatchSink;
  readonly #length: number;
  readonly #lastLength: number;
  #buffer = new Uint8Array(0);
  /** First byte of the buffer that was not sent. */
  #literalFrom = 0;
  /** Where the window begins. */
  #at = 0;
  #previous = -2;
  #sinceTurn = 0;

  constructor(table: BlockTable, rules: ChecksumRules, sink: MatchSink) {
    this.#table = table;
    this.#rules = rules;
    this.#sink = sink;
    this.#length = table.header.blockLength;
    this.#lastLength = lengthOfBlock(table.header, table.header.count - 1);
  }

  /** Adds the next piece of the file. */
  async add(chunks: readonly Uint8Array[]): Promise<void> {
    const rest = this.#buffer.subarray(this.#literalFrom);
    const joined = Buffer.concat([rest, ...chunks]);
    this.#at -= this.#literalFrom;
    this.#literalFrom = 0;
    this.#buffer = joined;
    // The window slides only while a whole block lies after it, so that its end is never the end of what is known.
    await this.#search(joined.length - this.#length, this.#length);
  }

  /** Looks through what is left and passes on the rest as literal bytes. */
  async end(): Promise<void> {
    const size = this.#buffer.length;
    await this.#search(size - this.#length + 1, this.#length);
    await this.#searchTail(size);
    await this.#flush(size);
  }

  /** Slides the window of `length` bytes while it begins before `limit`. */
  async #search(limit: number, length: number): Promise<void> {
    while (this.#at < limit) {
      const stop = Math.min(limit, this.#at + TURN_BYTES);
      const match = this.#slide(stop, length);
      if (match >= 0) await this.#matched(match, length);
      if (this.#at - this.#literalFrom > LITERAL_LIMIT + this.#length) await this.#flush(this.#at);
      if (this.#sinceTurn >= TURN_BYTES) {
        this.#sinceTurn = 0;
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }

  /** Moves the window up to `stop`; the block it stopped at, or -1. */
  #slide(stop: number, length: number): number {
    const bytes = this.#buffer;
    const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = this.#at;
    const from = at;
    const first = rollingSum(bytes.subarray(at, at + length));
    let s1 = first & 0xffff;
    let s2 = first >>> 16;
    const preferred = this.#previous + 1;
    const strong = (): Uint8Array => blockSum(this.#rules, bytes.subarray(at, at + length));
    let match = -1;
    while (at < stop) {
      match = this.#table.find(((s1 & 0xffff) | (s2 << 16)) >>> 0, length, preferred, strong);
      if (match >= 0) break;
      const out = signed[at] ?? 0;
      s1 = (s1 - out + (signed[at + length] ?? 0)) | 0;
      s2 = (s2 - Math.imul(length, out) + s1) | 0;
      at++;
    }
    this.#sinceTurn += at - from + length;
    this.#at = at;
    return match;
  }

  async #matched(block: number, length: number): Promise<void> {
    await this.#flush(this.#at);
    await this.#sink.block(block, this.#buffer.subarray(this.#at, this.#at + length));
    this.#previous = block;
    this.#at += length;
    this.#literalFrom = this.#at;
  }

  /** At the end of the file only the last, shorter block can match. */
  async #searchTail(size: number): Promise<void> {
    const length = this.#lastLength;
    const at = size - length;
    if (length === this.#length || at < this.#at) return;
    const window = this.#buffer.subarray(at, size);
    const match = this.#table.find(rollingSum(window), length, this.#previous + 1, () => blockSum(this.#rules, window));
    if (match < 0) return;
    this.#at = at;
    await this.#matched(match, length);
  }

  async #flush(to: number): Promise<void> {
    if (to > this.#literalFrom) await this.#sink.literal(this.#buffer.subarray(this.#literalFrom, to));
    this.#literalFrom = Math.max(this.#literalFrom, to);
  }
}

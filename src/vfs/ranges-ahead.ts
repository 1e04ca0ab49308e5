/**
 * The next stretches of a large file fetched side by side, for a reader who is faster than one GET of the store. Begun
 * only after one GET was slow for long, tried on one reader at a time, and given up for a while where it does not help.
 * Knows offsets and a way to open GETs; no handles and no names.
 */
import type { ByteBudget } from "../byte-budget.ts";
import { holdSlab, releaseSlab } from "../slab-pool.ts";
import type { ObjectStream } from "./object-stream.ts";

const MIB = 1024 * 1024;
/** Bytes of each GET. */
export const RANGE_BYTES = 8 * MIB;
/** GETs beside the one that is read. */
export const RANGES_AHEAD = 3;
/** A GET is judged by so many bytes: files up to this size cost one GET, and are checked whole, however busy a store is. */
const JUDGED_BYTES = 128 * MIB;
/** Faster than this, in bytes a second, one GET is enough for anybody. */
const FAST = 64 * MIB;
/** The share of the time that the reader must have waited for the store. */
const WAITING_SHARE = 0.7;
/** What is left must be worth it. */
const WORTHWHILE_BYTES = 4 * RANGE_BYTES;
/** So much faster than one GET several must be. */
const GAIN = 1.5;
/** After a trial without gain nobody tries again for so long. */
const PAUSE_MS = 60_000;
/** Taken from a GET at a time. */
const PIECE = 256 * 1024;

/** What can be read from, in order; as `ObjectStream`. */
export interface ByteSource {
  readonly position: number;
  readonly end: number;
  take(length: number): Promise<Uint8Array[]>;
  close(): void;
}

/** What all readers of a store know of it: whether several GETs bring more than one. */
export class ParallelTrials {
  #isTrying = false;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;

  /** True for one reader at a time, who owes `end`. */
  begin(nowMs: number): boolean {
    if (this.#isTrying || nowMs < this.#pausedUntilMs) return false;
    this.#isTrying = true;
    return true;
  }

  /** The trial is over; `helped` undefined: it came to no result. */
  end(helped: boolean | undefined, nowMs: number): void {
    this.#isTrying = false;
    if (helped === false) this.#pausedUntilMs = nowMs + PAUSE_MS;
  }
}

/** Judges the one GET of a sequential reader. */
export class StreamPace {
  #sinceMs: number | undefined;
  #bytes = 0;
  #waitedMs = 0;

  /** Forgets what was seen: another GET, or a seek. */
  reset(): void {
    this.#sinceMs = undefined;
  }

  /** `bytes` came after a wait from `fromMs` to `toMs`. The rate in bytes a second if it is too slow for its reader. */
  add(bytes: number, fromMs: number, toMs: number): number | undefined {
    if (this.#sinceMs === undefined) {
      this.#sinceMs = fromMs;
      this.#bytes = 0;
      this.#waitedMs = 0;
    }
    this.#bytes += bytes;
    this.#waitedMs += toMs - fromMs;
    if (this.#bytes < JUDGED_BYTES) return undefined;
    const tookMs = Math.max(1, toMs - this.#sinceMs);
    const rate = (this.#bytes / tookMs) * 1000;
    const isWaiting = this.#waitedMs >= tookMs * WAITING_SHARE;
    this.reset();
    return isWaiting && rate < FAST ? rate : undefined;
  }
}

/** What a reader's ranges need. */
export interface RangesOptions {
  /** Where the first range begins, and the file ends. */
  readonly start: number;
  readonly size: number;
  /** Bytes a second that one GET brought. */
  readonly rate: number;
  readonly budget: ByteBudget;
  readonly trials: ParallelTrials;
  readonly nowMs: () => number;
  open(start: number, end: number): Promise<ObjectStream>;
}

/** See the head of this file. Whoever made it owes `close`. */
export class RangesAhead {
  readonly #options: RangesOptions;
  #ranges: Range[] = [];
  #next: number;
  #received = 0;
  readonly #beganMs: number;
  #isTrial = true;
  #isEnding = false;

  private constructor(options: RangesOptions) {
    this.#options = options;
    this.#next = options.start;
    this.#beganMs = options.nowMs();
    this.#topUp();
  }

  /** Begins if there is room and nobody else is trying; else undefined. */
  static begin(options: RangesOptions): RangesAhead | undefined {
    const { budget, start, size, trials, nowMs } = options;
    const bytes = RANGES_AHEAD * RANGE_BYTES;
    if (size - start < WORTHWHILE_BYTES || budget.underPressure || budget.used + bytes > budget.limit / 2) return undefined;
    return trials.begin(nowMs()) ? new RangesAhead(options) : undefined;
  }

  /** The range that begins at `offset`, which is its reader's from now on; undefined if there is none. */
  takeOver(offset: number): ByteSource | undefined {
    const range = this.#ranges.shift();
    if (!range || range.position !== offset) {
      range?.close();
      return undefined;
    }
    this.#judge();
    this.#topUp();
    return range;
  }

  /** Gives everything up that nobody has taken over. */
  close(): void {
    this.#isEnding = true;
    this.#endTrial(undefined);
    for (const range of this.#ranges) range.close();
    this.#ranges = [];
  }

  /** The reader has read one stretch, which took as long as one GET alone takes for it, while others came beside it. */
  #judge(): void {
    if (!this.#isTrial) return;
    const seconds = Math.max(1, this.#options.nowMs() - this.#beganMs) / 1000;
    const helped = (this.#received + RANGE_BYTES) / seconds >= this.#options.rate * GAIN;
    this.#endTrial(helped);
    this.#isEnding = !helped;
  }

  #endTrial(helped: boolean | undefined): void {
    if (!this.#isTrial) return;
    this.#isTrial = false;
    this.#options.trials.end(helped, this.#options.nowMs());
  }

  #topUp(): void {
    const { size, budget, open } = this.#options;
    while (!this.#isEnding && this.#ranges.length < RANGES_AHEAD && this.#next < size) {
      const end = Math.min(size, this.#next + RANGE_BYTES);
      if (budget.underPressure || !budget.tryTake(end - this.#next)) return;
      const onReceived = (bytes: number): void => {
        this.#received += bytes;
      };
      this.#ranges.push(new Range({ start: this.#next, end, budget, open, onReceived }));
      this.#next = end;
    }
  }
}

interface RangeOptions {
  readonly start: number;
  readonly end: number;
  /** Has `end - start` bytes taken for it. */
  readonly budget: ByteBudget;
  open(start: number, end: number): Promise<ObjectStream>;
  onReceived(bytes: number): void;
}

/** One stretch, received into memory as fast as the store sends it. */
class Range implements ByteSource {
  readonly end: number;
  readonly #options: RangeOptions;
  #position: number;
  #chunks: Uint8Array[] = [];
  #stream: ObjectStream | undefined;
  #isClosed = false;
  #failure: unknown;
  #isComplete = false;
  #wake: () => void = () => undefined;

  constructor(options: RangeOptions) {
    this.#options = options;
    this.end = options.end;
    this.#position = options.start;
    void this.#receive();
  }

  get position(): number {
    return this.#position;
  }

  async take(length: number): Promise<Uint8Array[]> {
    const taken: Uint8Array[] = [];
    let missing = Math.min(length, this.end - this.#position);
    while (missing > 0) {
      const chunk = this.#chunks[0];
      if (!chunk) {
        if (taken.length > 0) break;
        if (this.#failure !== undefined) throw this.#failure;
        if (this.#isComplete || this.#isClosed) break;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        continue;
      }
      const piece = chunk.length > missing ? chunk.subarray(0, missing) : chunk;
      if (piece.length < chunk.length) {
        holdSlab(chunk);
        this.#chunks[0] = chunk.subarray(piece.length);
      } else this.#chunks.shift();
      taken.push(piece);
      missing -= piece.length;
      this.#position += piece.length;
    }
    if (this.#position === this.end) this.close();
    return taken;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const chunk of this.#chunks) releaseSlab(chunk);
    this.#chunks = [];
    this.#stream?.close();
    this.#options.budget.release(this.end - this.#options.start);
    this.#wake();
  }

  /** Never rejects: what goes wrong is told to the reader who gets here. */
  async #receive(): Promise<void> {
    const { start, end, open, onReceived } = this.#options;
    try {
      const stream = await open(start, end);
      this.#stream = stream;
      while (!this.#isClosed) {
        const taken = await stream.take(PIECE);
        if (taken.length === 0) break;
        if (this.#isClosed) for (const chunk of taken) releaseSlab(chunk);
        else for (const chunk of taken) this.#keep(chunk, onReceived);
        this.#wake();
      }
    } catch (error) {
      this.#failure = error;
    } finally {
      this.#isComplete = true;
      this.#stream?.close();
      this.#wake();
    }
  }

  #keep(chunk: Uint8Array, onReceived: (bytes: number) => void): void {
    this.#chunks.push(chunk);
    onReceived(chunk.length);
  }
}

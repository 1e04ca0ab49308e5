/**
 * What all uploads of the process together may hold of the byte budget, and how much each should ask for. Uploads get
 * a quarter of the budget, so that many of them leave room for packets, replies and read-ahead; of a small budget more, so
 * that one upload has as many parts under way as it can use. Nobody can wait for ever: who waited too long goes through a file (see part-assembler.ts), and what must be in memory to leave a file
 * again takes its turn in a lane that may exceed the budget by one part.
 */
import { ByteBudget } from "../../byte-budget.ts";
import type { StoreLimits } from "../../objectstore/objectstore.ts";
import { SlabPool } from "../../slab-pool.ts";
import { slabLength } from "./chunk-list.ts";
import type { Clock } from "./clock.ts";

const MIB = 1024 * 1024;

/** Parts of one upload on their way to the store at once, where memory allows. */
const preferredInFlight = 4;

/** Three parts of 8 MiB under way and one that is filled. */
const enoughForOne = 32 * MIB;

/**
 * The size of parts doubles so often within the parts that an upload may have, which makes the largest object so many times
 * what parts of the first size would make: from 8 MiB on, 10,000 parts reach more than 8 TiB.
 */
const partSizes = 10;
const growthReach = 100;

/** Parts of each size on the way from the preferred size to the steady one: a kill early on loses little. */
const partsPerEarlySize = 8;

/** Larger parts are never held in memory. */
const maxPartInMemory = 128 * MIB;

/** The part whose size is asked for. */
export interface PartQuestion {
  /** From 1. */
  readonly partNumber: number;
  readonly offset: number;
  /** Size of the file that the client announced; 0 if none. */
  readonly announced: number;
}

/** See the head of this file. One instance serves the whole process: `of`. */
export class UploadMemory {
  /** Where uploads keep what they copy. */
  readonly slabs = new SlabPool(slabLength, 16 * MIB);
  static readonly #byBudget = new WeakMap<ByteBudget, UploadMemory>();
  readonly #budget: ByteBudget;
  readonly #share: ByteBudget;
  #active = 0;
  #lane: Promise<void> = Promise.resolve();

  private constructor(budget: ByteBudget) {
    this.#budget = budget;
    const share = (): number => Math.max(MIB, Math.floor(Math.min((budget.limit * 5) / 8, Math.max(enoughForOne, budget.limit / 4))));
    this.#share = new ByteBudget(share());
    budget.onResize(() => this.#share.resize(share()));
  }

  /** The one instance that belongs to `budget`. */
  static of(budget: ByteBudget): UploadMemory {
    const known = UploadMemory.#byBudget.get(budget);
    if (known) return known;
    const made = new UploadMemory(budget);
    UploadMemory.#byBudget.set(budget, made);
    return made;
  }

  /** True while less than half of the share is held and nobody waits: then small steps cost nobody anything. */
  get plentiful(): boolean {
    return this.#share.used * 2 < this.#share.limit && this.#budget.used * 2 < this.#budget.limit && !this.underPressure;
  }

  /** True while somebody waits for memory. */
  get underPressure(): boolean {
    return this.#share.underPressure || this.#budget.underPressure;
  }

  /** Counts an upload that holds or will hold memory; each call owes one `leave`. */
  enter(): void {
    this.#active += 1;
  }

  /** Ends what `enter` began. */
  leave(): void {
    this.#active -= 1;
  }

  /** Calls `listener` each time somebody has to start waiting. Returns the function that ends that. */
  onPressure(listener: () => void): () => void {
    const ends = [this.#share.onPressure(listener), this.#budget.onPressure(listener)];
    return () => {
      for (const end of ends) end();
    };
  }

  /** Takes `bytes` if they are free now. */
  tryTake(bytes: number): boolean {
    if (!this.#share.tryTake(bytes)) return false;
    if (this.#budget.tryTake(bytes)) return true;
    this.#share.release(bytes);
    return false;
  }

  /** Takes `bytes`, waiting at most `ms` milliseconds; says whether it did. Rejects when `signal` aborts. */
  async takeWithin(bytes: number, ms: number, clock: Clock, signal: AbortSignal): Promise<boolean> {
    if (this.tryTake(bytes)) return true;
    signal.throwIfAborted();
    const stop = new AbortController();
    const onAbort = (): void => stop.abort(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    const cancel = clock.after(ms, () => stop.abort());
    try {
      await this.#takeBoth(bytes, stop.signal);
      return true;
    } catch {
      signal.throwIfAborted();
      return false;
    } finally {
      cancel();
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Takes `bytes` over every limit. Only for what has already arrived or inside `urgently`. */
  force(bytes: number): void {
    this.#share.force(bytes);
    this.#budget.force(bytes);
  }

  /** Gives bytes back. */
  release(bytes: number): void {
    if (bytes === 0) return;
    this.#share.release(bytes);
    this.#budget.release(bytes);
  }

  /** Runs `work`, which may `force` one part's bytes and must release them; one at a time in the whole process. */
  async urgently<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#lane.then(work);
    this.#lane = result.then(
      () => undefined,
      () => undefined,
    );
    return await result;
  }

  /** How many parts of one upload may be on their way at once. `slow`: the store takes long for each. */
  inFlight(partSize: number, slow: boolean): number {
    const fair = Math.floor(this.#share.limit / (Math.max(1, this.#active) * partSize)) - 1;
    const wanted = slow && this.plentiful ? preferredInFlight * 2 : preferredInFlight;
    return Math.max(1, Math.min(wanted, fair));
  }

  /** A part that becomes larger than this goes through a file and streams from there. */
  get largestPart(): number {
    return Math.min(maxPartInMemory, Math.floor(this.#share.limit / 2));
  }

  /**
   * Size of part `partNumber` (from 1), which begins at `offset`: the store's preferred size, less while many uploads share
   * the memory, doubled after each tenth of the parts ; larger from the start for an
   * announced size, as far as memory goes, and beyond where growing would not reach it.
   */
  partSize(limits: StoreLimits, { partNumber, offset, announced }: PartQuestion): number {
    const fair = Math.floor(this.#share.limit / (Math.max(1, this.#active) * 2));
    const { preferredPartSize, steadyPartSize = preferredPartSize } = limits;
    const early = Math.min(steadyPartSize, preferredPartSize * 2 ** Math.floor((partNumber - 1) / partsPerEarlySize));
    const first = Math.max(limits.minPartSize, Math.min(early, fair));
    const partsPerSize = Math.max(1, Math.ceil(limits.maxParts / partSizes));
    const grown = first * 2 ** Math.floor((partNumber - 1) / partsPerSize);
    const even = Math.ceil(announced / Math.max(1, limits.maxParts - 100));
    // Up to some 8 TiB of S3's 48 growing parts are enough.
    const needed = announced > first * limits.maxParts * growthReach ? even : Math.min(even, this.largestPart);
    // The last tenth takes whatever is left up to the largest object.
    const left = Math.max(1, limits.maxParts - partNumber + 1);
    const rest = left <= partsPerSize ? Math.ceil((limits.maxObjectSize - offset) / left) : 0;
    return Math.min(limits.maxPartSize, Math.max(grown, needed, rest));
  }

  async #takeBoth(bytes: number, signal: AbortSignal): Promise<void> {
    await this.#share.take(bytes, signal);
    try {
      await this.#budget.take(bytes, signal);
    } catch (error) {
      this.#share.release(bytes);
      throw error;
    }
  }
}

/**
 * Gives memory back that the engine keeps though it needs it no more. V8 of Node 24 does that only when a process has little
 * to do: one that serves a customer all the time keeps the pages that its heap once had, and buffers that nobody holds.
 * Knows neither connections nor files.
 */

const MIB = 1024 * 1024;
const CHECK_MS = 500;
/** Less than this beside heap and buffers is not worth the pause of some hundredths of a second, ... */
const WORTH_OTHER_BYTES = 32 * MIB;
/** ... nor is this of heap or buffers, of which the engine lets about as much lie anyway. */
const WORTH_BYTES = 64 * MIB;
/** One collection follows the other no sooner, ... */
const PAUSE_MS = 3_000;
/** ... and takes this part of the time at most. */
const MOST_TIME = 0.05;
/** So long after the last of several that brought little, at most. */
const LONGEST_PAUSE_MS = 600_000;

/** Collects all garbage and gives free pages back: `gc` of `--expose-gc`. */
export type Collect = (options: { readonly type: "major"; readonly flavor: "last-resort" }) => void;

/** What a tidy works with. */
export interface MemoryTidyOptions {
  readonly collect: Collect;
  readonly usage?: () => Pick<NodeJS.MemoryUsage, "rss" | "heapTotal" | "external" | "arrayBuffers">;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

/** Bytes that the process has, by who keeps them. */
interface Kept {
  /** Neither heap nor buffers: the program, and what allocators have for later. */
  readonly other: number;
  readonly heap: number;
  readonly buffers: number;
}

/** See the head of this file. One for a process. */
export class MemoryTidy {
  readonly #collect: Collect;
  readonly #usage: NonNullable<MemoryTidyOptions["usage"]>;
  readonly #now: () => number;
  readonly #timer: NodeJS.Timeout;
  /** The fewest that ever were, and the fewest since the last collection. */
  #least: Kept | undefined;
  #leastSince: Kept | undefined;
  #last = Number.NEGATIVE_INFINITY;
  /** So long after the last collection another one may be. */
  #restMs = PAUSE_MS;
  /** How long after the last collection another one is tried for nothing new. */
  #pauseMs = PAUSE_MS;

  /** Looks twice a second from now on; keeps no process alive. */
  constructor({ collect, usage = () => process.memoryUsage(), now = () => performance.now() }: MemoryTidyOptions) {
    this.#collect = collect;
    this.#usage = usage;
    this.#now = now;
    this.#timer = setInterval(() => this.check(), CHECK_MS).unref();
  }

  /** Collects if that may bring enough: for what came since the last time soon, for what was there then ever less often. */
  check(): void {
    const before = this.#measure();
    this.#least = least(this.#least, before);
    this.#leastSince = least(this.#leastSince, before);
    const sinceMs = this.#now() - this.#last;
    const isDue = isWorth(before, this.#leastSince) ? sinceMs >= this.#restMs : isWorth(before, this.#least) && sinceMs >= this.#pauseMs;
    if (!isDue) return;
    const began = this.#now();
    this.#collect({ type: "major", flavor: "last-resort" });
    this.#last = this.#now();
    this.#restMs = Math.max(PAUSE_MS, (this.#last - began) / MOST_TIME);
    const after = this.#measure();
    this.#leastSince = after;
    const broughtLittle = total(before) - total(after) < WORTH_OTHER_BYTES / 2;
    this.#pauseMs = broughtLittle ? Math.min(LONGEST_PAUSE_MS, Math.max(this.#restMs, this.#pauseMs) * 2) : this.#restMs;
  }

  /** Looks no more. */
  close(): void {
    clearInterval(this.#timer);
  }

  #measure(): Kept {
    const { rss, heapTotal, external, arrayBuffers } = this.#usage();
    return { other: rss - heapTotal - external, heap: heapTotal, buffers: arrayBuffers };
  }
}

function isWorth(now: Kept, then: Kept): boolean {
  return now.other - then.other >= WORTH_OTHER_BYTES || now.heap - then.heap >= WORTH_BYTES || now.buffers - then.buffers >= WORTH_BYTES;
}

function least(one: Kept | undefined, other: Kept): Kept {
  if (!one) return other;
  return {
    other: Math.min(one.other, other.other),
    heap: Math.min(one.heap, other.heap),
    buffers: Math.min(one.buffers, other.buffers),
  };
}

function total({ other, heap, buffers }: Kept): number {
  return other + heap + buffers;
}

/**
 * How many bytes a client may send on one channel: credit comes back only for what the receiver let go, early instead
 * of in halves, and the window grows with the path's bandwidth-delay product while memory is plentiful. Knows no wire.
 */
import type { ByteBudget } from "../byte-budget.ts";
import { ProtocolError } from "../errors.ts";

/** Window of a new channel, in bytes. */
export const INITIAL_WINDOW = 1024 * 1024;
/** Largest window a fast and distant client gets, in bytes. */
export const MAX_WINDOW = 16 * 1024 * 1024;
/**
 * Window while memory is short, in bytes: enough for the largest SFTP packet, so that whoever holds a part of one can
 * always finish it.
 */
export const MIN_WINDOW = 320 * 1024;
/** The window grows so many times in one round trip that it filled. */
const GROWTH = 4;
/**
 * Beyond this a window costs the client: OpenSSH keeps what it read and may not send yet in a buffer that it copies whole
 * at each step of its growth (sshbuf.c: recallocarray), 0.4 CPU-seconds up to 8 MiB and two up to 16.
 */
const CHEAP_WINDOW = 4 * 1024 * 1024;
/** A path as long as this is no accident of a busy machine: a client that fills its first window gets `FAR_WINDOW` at once. */
const FAR_MS = 30;
const FAR_WINDOW = 8 * 1024 * 1024;
/** So many measurements one after the other must ask for an expensive window on a shorter path. */
const SURE_PROBES = 2;
/** Least time between two measurements of the path. */
const PROBE_INTERVAL_MS = 20;

/** Credit of one channel. All sizes in bytes. */
export class ReceiveWindow {
  readonly #budget: ByteBudget;
  readonly #now: () => number;
  readonly #fair: () => number;
  #target: number;
  /** What the client may still send. */
  #credit: number;
  /** Received and not consumed; charged to the budget. */
  #held = 0;
  readonly #openedMs: number;
  #probeStarted: number | undefined;
  #lastProbe = Number.NEGATIVE_INFINITY;
  #sinceProbe = 0;
  /** The shortest round trip seen: what the path takes where nothing is queued. */
  #baseMs = Number.POSITIVE_INFINITY;
  /** Measurements in a row that asked for more. */
  #filled = 0;

  /**
   * `now` in ms, monotonic; `isCrowded` begins with the smallest window, which still grows; `fair` is what this channel may
   * have beside the others of its user, in bytes.
   */
  constructor(
    budget: ByteBudget,
    options: { readonly now?: () => number; readonly isCrowded?: boolean; readonly fair?: () => number } = {},
  ) {
    this.#budget = budget;
    this.#fair = options.fair ?? (() => MAX_WINDOW);
    this.#now = options.now ?? (() => performance.now());
    this.#target = options.isCrowded === true ? MIN_WINDOW : INITIAL_WINDOW;
    this.#credit = this.#wanted();
    this.#openedMs = this.#now();
  }

  /** The client has answered that the channel was opened, for the first time: that took a round trip. */
  firstUsed(): void {
    this.#baseMs = Math.min(this.#baseMs, this.#now() - this.#openedMs);
  }

  /** What to grant when the channel opens. */
  get initial(): number {
    return this.#credit;
  }

  /** Bytes received and not consumed. */
  get held(): number {
    return this.#held;
  }

  /** Window aimed at when memory is plentiful. */
  get target(): number {
    return this.#target;
  }

  /** Counts what arrived. Throws `ProtocolError` if it is more than was granted. */
  received(bytes: number): void {
    if (bytes > this.#credit) throw new ProtocolError("more data than the channel window allows");
    this.#credit -= bytes;
    this.#held += bytes;
    this.#sinceProbe += bytes;
    this.#budget.force(bytes);
  }

  /** Gives back what the receiver let go; returns the bytes to grant now, often 0. */
  consumed(bytes: number): number {
    const released = Math.min(bytes, this.#held);
    this.#held -= released;
    this.#budget.release(released);
    const wanted = this.#wanted();
    const grant = wanted - this.#credit - this.#held;
    if (grant < wanted / 8 && this.#credit > 0) return 0;
    if (grant <= 0) return 0;
    this.#credit += grant;
    return grant;
  }

  /** True if a round trip should be measured now: the caller sends a probe and calls `probed` with its answer. */
  wantsProbe(): boolean {
    if (this.#probeStarted !== undefined) this.#growEarly(this.#probeStarted);
    if (this.#probeStarted !== undefined || this.#target >= MAX_WINDOW || this.#sinceProbe < this.#target / 4) return false;
    if (this.#now() - this.#lastProbe < PROBE_INTERVAL_MS) return false;
    this.#probeStarted = this.#now();
    this.#sinceProbe = 0;
    return true;
  }

  /**
   * The probe's answer is here. What arrived since is about the bandwidth-delay product of the path and all queues on it,
   * the client's own among them; the part of it that the shortest round trip had is the path's alone.
   */
  probed(): void {
    const now = this.#now();
    const tookMs = now - (this.#probeStarted ?? now);
    this.#probeStarted = undefined;
    this.#lastProbe = now;
    this.#baseMs = Math.min(this.#baseMs, tookMs);
    const isCheap = this.#target < CHEAP_WINDOW;
    const product = isCheap || tookMs === 0 ? this.#sinceProbe : (this.#sinceProbe * this.#baseMs) / tookMs;
    this.#filled = product >= this.#target / 2 && this.#isRoomy ? this.#filled + 1 : 0;
    if (this.#filled < (isCheap || this.#isFar ? 1 : SURE_PROBES)) return;
    this.#filled = 0;
    this.#target = Math.min(MAX_WINDOW, this.#target * GROWTH);
  }

  /** The channel is gone: gives back what is still charged. */
  close(): void {
    this.#budget.release(this.#held);
    this.#held = 0;
    this.#credit = Number.POSITIVE_INFINITY; // what is on the way is thrown away unseen
  }

  /** A client far away fills its window in one burst: the answer of the probe would say no more than is known now. */
  #growEarly(probeStarted: number): void {
    if (!this.#isFar || this.#target >= FAR_WINDOW || this.#sinceProbe < this.#target / 2 || !this.#isRoomy) return;
    if (this.#now() - probeStarted < this.#baseMs) this.#target = FAR_WINDOW;
  }

  get #isFar(): boolean {
    return this.#baseMs >= FAR_MS && this.#baseMs < Number.POSITIVE_INFINITY;
  }

  get #isRoomy(): boolean {
    return this.#budget.used + this.#target <= this.#budget.limit / 2;
  }

  #wanted(): number {
    const most = this.#budget.underPressure ? MIN_WINDOW : Math.max(MIN_WINDOW, this.#fair());
    return Math.min(most, this.#target);
  }
}

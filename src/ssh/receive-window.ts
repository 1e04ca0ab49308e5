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
  #probeStarted: number | undefined;
  #lastProbe = Number.NEGATIVE_INFINITY;
  #sinceProbe = 0;

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
    if (this.#probeStarted !== undefined || this.#target >= MAX_WINDOW || this.#sinceProbe < this.#target / 4) return false;
    if (this.#now() - this.#lastProbe < PROBE_INTERVAL_MS) return false;
    this.#probeStarted = this.#now();
    this.#sinceProbe = 0;
    return true;
  }

  /** The probe's answer is here: what arrived since is about the bandwidth-delay product. */
  probed(): void {
    this.#probeStarted = undefined;
    this.#lastProbe = this.#now();
    const roomy = this.#budget.used + this.#target <= this.#budget.limit / 2;
    if (this.#sinceProbe >= this.#target / 2 && roomy) this.#target = Math.min(MAX_WINDOW, this.#target * GROWTH);
  }

  /** The channel is gone: gives back what is still charged. */
  close(): void {
    this.#budget.release(this.#held);
    this.#held = 0;
    this.#credit = Number.POSITIVE_INFINITY; // what is on the way is thrown away unseen
  }

  #wanted(): number {
    const most = this.#budget.underPressure ? MIN_WINDOW : Math.max(MIN_WINDOW, this.#fair());
    return Math.min(most, this.#target);
  }
}

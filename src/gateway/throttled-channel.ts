/**
 * A channel that carries no more bytes per second than its user may use, all sessions of the user together. Slows the
 * peer down by what the channel offers anyway: the window upwards, `drained` downwards. Knows no protocol.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { ByteChannel, ByteReceiver } from "../byte-channel.ts";

/** What may go at once after a pause, in milliseconds of the rate. */
const BURST_MS = 250;
/** Longest single wait, so that a closed channel is noticed. */
const MAX_WAIT_MS = 1_000;

/** Hands out a rate to all who share it. */
export class RateLimit {
  readonly #bytesPerMs: number;
  readonly #now: () => number;
  /** Until when the rate is spent. */
  #spentUntilMs = 0;

  /** `bytesPerSecond` is at least 1; `now` in ms, monotonic. */
  constructor(bytesPerSecond: number, now: () => number = () => performance.now()) {
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#now = now;
  }

  /** Spends `bytes`; returns after how many ms they may have gone. */
  spend(bytes: number): number {
    const now = this.#now();
    this.#spentUntilMs = Math.max(this.#spentUntilMs, now - BURST_MS) + bytes / this.#bytesPerMs;
    return Math.max(0, this.#spentUntilMs - now);
  }

  /** Bytes that were spent ahead of time. */
  get debt(): number {
    return Math.max(0, Math.ceil((this.#spentUntilMs - this.#now()) * this.#bytesPerMs));
  }

  /** Milliseconds until `debt` is at most `bytes`. */
  untilDebt(bytes: number): number {
    return Math.max(0, this.#spentUntilMs - this.#now() - bytes / this.#bytesPerMs);
  }
}

/** The rates of one user; absent ones are not limited. */
export interface UserRates {
  readonly up: RateLimit | undefined;
  readonly down: RateLimit | undefined;
}

/** `inner`, slowed down. */
export class ThrottledChannel implements ByteChannel {
  readonly closed: AbortSignal;
  readonly #inner: ByteChannel;
  readonly #rates: UserRates;

  constructor(inner: ByteChannel, rates: UserRates) {
    this.#inner = inner;
    this.#rates = rates;
    this.closed = inner.closed;
  }

  receive(receiver: ByteReceiver): void {
    this.#inner.receive(receiver);
  }

  consume(bytes: number): void {
    const waitMs = this.#rates.up?.spend(bytes) ?? 0;
    if (waitMs === 0) {
      this.#inner.consume(bytes);
      return;
    }
    // The window stays closed for these bytes until their time has come; a closed channel has no window any more.
    setTimeout(() => this.#inner.consume(bytes), waitMs).unref();
  }

  write(...chunks: readonly Uint8Array[]): void {
    this.#rates.down?.spend(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
    this.#inner.write(...chunks);
  }

  writeError(chunk: Uint8Array): void {
    this.#inner.writeError(chunk);
  }

  get pendingBytes(): number {
    return Math.max(this.#inner.pendingBytes, this.#rates.down?.debt ?? 0);
  }

  async drained(limit?: number): Promise<void> {
    await this.#inner.drained(limit);
    const { down } = this.#rates;
    if (!down) return;
    for (;;) {
      const waitMs = down.untilDebt(limit ?? 0);
      if (waitMs === 0 || this.closed.aborted) return;
      await delay(Math.min(MAX_WAIT_MS, Math.ceil(waitMs)), undefined, { ref: false });
    }
  }

  exit(status: number): void {
    this.#inner.exit(status);
  }

  destroy(reason: string): void {
    this.#inner.destroy(reason);
  }
}

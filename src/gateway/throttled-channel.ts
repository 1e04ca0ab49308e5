/**
 * A channel that carries no more bytes per second than its user may use, all sessions of the user together. Slows the
 * peer down by what the channel offers anyway: the window upwards, `drained` downwards. Knows no protocol.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { ByteChannel, ByteReceiver } from "../byte-channel.ts";
import type { RateLimit } from "./rate-limit.ts";

/** Longest single wait, so that a closed channel is noticed. */
const MAX_WAIT_MS = 1_000;

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

  writeHeld(...chunks: readonly Uint8Array[]): void {
    this.#rates.down?.spend(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
    if (this.#inner.writeHeld) this.#inner.writeHeld(...chunks);
    else this.#inner.write(...chunks);
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

/** Looking at bytes of an upload while it is written, without waiting for its calls and without changing anything. */

/**
 * A stretch of bytes as it lay when it was looked at: a copy of what was in memory, or a call that reads it from where it
 * is kept. Such a call may fail because the bytes have moved on meanwhile; then they are to be looked at again.
 */
export type Piece = Uint8Array | (() => Promise<Uint8Array>);

/** A time in which bytes move from one keeping to another and nobody should look. Moves do not overlap. */
export class Reshaping {
  #running: Promise<unknown> | undefined;

  /** Runs a move. Rejects as it does. */
  async run(move: () => Promise<void>): Promise<void> {
    const running = move();
    this.#running = running.catch(() => undefined);
    await running.finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves when nothing moves. */
  async over(): Promise<void> {
    while (this.#running) await this.#running;
  }
}

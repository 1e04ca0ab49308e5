/**
 * What one connection holds of the byte budget: before login of the whole, afterwards of its user's share, which may
 * drop what stands still. Knows no wire.
 */
import { type BudgetShare, type Holder, shareOf } from "../budget-share.ts";
import type { ByteBudget } from "../byte-budget.ts";

/** A channel as far as its memory goes. */
export interface MemoryHolder {
  /** Bytes received and not consumed plus bytes queued. */
  readonly heldBytes: number;
  /** Since when only the client could have brought them forward, and did not; ms, monotonic. */
  readonly idleSince: number | undefined;
  abandon(reason: string): void;
}

/** What the share may drop of a connection. */
export interface Droppable {
  channels(): Iterable<MemoryHolder>;
  /** Bytes in the socket and received ones that wait, now: what is charged may be older. */
  unsent(): number;
  end(reason: string): void;
}

/** See the head of this file. Whoever makes one owes `close`. */
export class ConnectionMemory {
  readonly #whole: ByteBudget;
  readonly #log: (reason: string, heldBytes: number) => void;
  #share: BudgetShare | undefined;
  #unregister: (() => void) | undefined;
  /** Bytes in the socket that are charged. */
  #charged = 0;
  #drainedAt = performance.now();

  /** `log` is told what is dropped. */
  constructor(whole: ByteBudget, log: (reason: string, heldBytes: number) => void) {
    this.#whole = whole;
    this.#log = log;
  }

  /** Where this connection's bytes are counted. */
  get budget(): ByteBudget {
    return this.#share ?? this.#whole;
  }

  /** True if the user has so many channels open that a new one should begin with a small window of `windowBytes`. */
  isCrowded(windowBytes: number): boolean {
    return this.#share !== undefined && this.#share.openChannels * windowBytes * 4 > this.#whole.limit;
  }

  /** From now on the bytes are `user`'s. */
  loggedIn(user: string, droppable: Droppable): void {
    this.chargeSocket(0);
    this.#share = shareOf(this.#whole, user);
    this.#unregister = this.#share.register(() => this.#holders(droppable));
  }

  /** A channel was opened (`by` 1) or forgotten (-1). */
  countChannels(by: number): void {
    if (this.#share) this.#share.openChannels += by;
  }

  /** Charges what lies in the socket now. */
  chargeSocket(unsent: number): void {
    if (unsent > this.#charged) {
      if (this.#charged === 0) this.#drainedAt = performance.now();
      this.budget.force(unsent - this.#charged);
    } else if (unsent < this.#charged) {
      this.#drainedAt = performance.now();
      this.budget.release(this.#charged - unsent);
    }
    this.#charged = unsent;
  }

  /** The connection is gone; its channels have given their bytes back. */
  close(): void {
    this.chargeSocket(0);
    this.#unregister?.();
  }

  *#holders({ channels, unsent, end }: Droppable): Iterable<Holder> {
    const now = performance.now();
    for (const channel of channels()) {
      const { heldBytes } = channel;
      const drop = (reason: string): void => {
        this.#log(reason, heldBytes);
        channel.abandon(reason);
      };
      yield { heldBytes, idleMs: now - (channel.idleSince ?? now), drop };
    }
    this.chargeSocket(unsent());
    const heldBytes = this.#charged;
    yield {
      heldBytes,
      idleMs: now - this.#drainedAt,
      drop: (reason) => {
        this.#log(reason, heldBytes);
        end(reason);
      },
    };
  }
}

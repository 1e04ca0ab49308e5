/**
 * One user's share of the byte budget. Nobody may hold more than is left free for the others: one greedy user gets half,
 * two get a third each, and so on, so that some is always free. What arrives unasked can go over that; then the user's
 * own channels that have stood still longest are dropped. Knows no users' names but as keys, and no wire.
 */
import { ByteBudget } from "./byte-budget.ts";

/** Part of the budget that every user may hold whatever the others do. */
const GUARANTEED_PART = 8;
/** Part of the budget that the windows of one user's channels may fill together. */
const WINDOWS_PART = 8;
/** Something that has not moved for so long may be dropped for want of memory. */
const IDLE_MS = 5_000;
/** Beyond the limit by so many bytes, the largest holder is dropped whether it moves or not. */
const OVERDRAFT_BYTES = 32 * 1024 * 1024;
/** Dropping who holds less would bring nothing. */
const WORTHWHILE_BYTES = 16 * 1024;
const CHECK_INTERVAL_MS = 250;

/** Something of a user that holds bytes and can be dropped: a channel, or what lies unsent in a socket. */
export interface Holder {
  readonly heldBytes: number;
  /** For how long its client could have brought them forward and did not. */
  readonly idleMs: number;
  drop(reason: string): void;
}

/** A budget that also counts against the whole one: see the head of this file. */
export class BudgetShare extends ByteBudget {
  readonly #whole: ByteBudget;
  readonly #holders = new Set<() => Iterable<Holder>>();
  #held = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Channels open now; their number decides how large their windows begin. */
  openChannels = 0;

  constructor(whole: ByteBudget) {
    super(whole.limit);
    this.#whole = whole;
  }

  /** Of the whole budget as it is now: a worker gets more of it while it needs more. */
  override get limit(): number {
    return this.#whole.limit;
  }

  /** Bytes that this user holds. */
  override get used(): number {
    return this.#held;
  }

  /** Bytes that this user may hold now. */
  get allowance(): number {
    return Math.max(this.limit / GUARANTEED_PART, this.limit - this.#whole.used);
  }

  /** What one of the user's channels may have on its way here, so that many together leave the most of the budget free. */
  get fairWindow(): number {
    return Math.floor(this.limit / WINDOWS_PART / Math.max(1, this.openChannels));
  }

  override get underPressure(): boolean {
    return this.#whole.underPressure || this.#held >= this.allowance;
  }

  override tryTake(bytes: number): boolean {
    if (this.#held > 0 && this.#held + bytes > this.allowance) return false;
    if (!this.#whole.tryTake(bytes)) return false;
    this.#held += bytes;
    return true;
  }

  override force(bytes: number): void {
    this.#whole.force(bytes);
    this.#held += bytes;
    if (this.#held > this.allowance) this.#watch();
  }

  /** Waits for the whole budget only: whoever waits holds nothing that others wait for. */
  override async take(bytes: number, signal?: AbortSignal): Promise<void> {
    await this.#whole.take(bytes, signal);
    this.#held += bytes;
  }

  override release(bytes: number): void {
    if (bytes > this.#held) throw new Error(`budget share: ${bytes} bytes released, only ${this.#held} held`);
    this.#held -= bytes;
    this.#whole.release(bytes);
  }

  override onPressure(listener: () => void): () => void {
    return this.#whole.onPressure(listener);
  }

  /** Adds a source of holders, asked when the share is overdrawn. Returns the function that takes it out. */
  register(holders: () => Iterable<Holder>): () => void {
    this.#holders.add(holders);
    return () => this.#holders.delete(holders);
  }

  /** Looks again until the share is in order; nobody else may call back when a standing client does nothing. */
  #watch(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#trim();
      if (this.#held > this.allowance) this.#watch();
    }, CHECK_INTERVAL_MS).unref();
  }

  #trim(): void {
    const isDire = (): boolean => this.#whole.used > this.limit + OVERDRAFT_BYTES;
    const candidates = [...this.#holders].flatMap((holders) => [...holders()]).filter(({ heldBytes }) => heldBytes >= WORTHWHILE_BYTES);
    candidates.sort((a, b) => b.heldBytes - a.heldBytes);
    for (const holder of candidates) {
      if (this.#held <= this.allowance) return;
      if (holder.idleMs >= IDLE_MS || isDire()) holder.drop("it holds memory that others need");
    }
  }
}

const shares = new WeakMap<ByteBudget, Map<string, BudgetShare>>();

/** The share of the user `name` in `whole`: the same one at every call. One for each user that ever logged in. */
export function shareOf(whole: ByteBudget, name: string): BudgetShare {
  const known = shares.get(whole) ?? new Map<string, BudgetShare>();
  shares.set(whole, known);
  const share = known.get(name) ?? new BudgetShare(whole);
  known.set(name, share);
  return share;
}

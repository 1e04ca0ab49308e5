/**
 * The memory budget of a gateway, shared out among its workers: half of it evenly, half to those who run short. Knows
 * no processes.
 */

const MIB = 1024 * 1024;

/** What shares are made of. Sizes in bytes. */
export interface BudgetSharesOptions<Worker> {
  readonly total: number;
  readonly workers: number;
  /** Tells a worker what it has from now on. */
  readonly grant: (worker: Worker, limit: number) => void;
}

interface Share {
  limit: number;
  used: number;
}

/** See the head of this file. */
export class BudgetShares<Worker> {
  readonly #options: BudgetSharesOptions<Worker>;
  readonly #floor: number;
  readonly #step: number;
  readonly #shares = new Map<Worker, Share>();

  constructor(options: BudgetSharesOptions<Worker>) {
    this.#options = options;
    this.#floor = Math.max(MIB, Math.floor(options.total / options.workers / (options.workers === 1 ? 1 : 2)));
    this.#step = Math.max(MIB, Math.floor(options.total / 4));
  }

  /** A worker has come; it gets its even share. */
  add(worker: Worker): void {
    this.#set(worker, { limit: 0, used: 0 }, this.#floor);
  }

  /** A worker is gone, with all it held. */
  remove(worker: Worker): void {
    this.#shares.delete(worker);
  }

  /** A worker tells what it holds, and whether somebody in it waits for more. */
  report(worker: Worker, used: number, isShort: boolean): void {
    const share = this.#shares.get(worker);
    if (!share) return;
    share.used = used;
    if (isShort) this.#grow(worker, share);
    else if (share.limit > this.#floor && used < share.limit / 2) this.#set(worker, share, Math.max(this.#floor, used * 2));
  }

  #grow(worker: Worker, share: Share): void {
    let free = this.#options.total;
    for (const { limit, used } of this.#shares.values()) free -= Math.max(limit, used);
    if (free > 0) this.#set(worker, share, share.limit + Math.min(free, this.#step));
  }

  #set(worker: Worker, share: Share, limit: number): void {
    if (limit === share.limit) return;
    share.limit = limit;
    this.#shares.set(worker, share);
    this.#options.grant(worker, limit);
  }
}

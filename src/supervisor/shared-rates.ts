/**
 * The bandwidth of users whose sessions are spread over several workers: each worker slows its own sessions down and
 * reports what went through; it is told how far the user is ahead of the rate, all workers together. Knows no processes.
 */
import { RateLimit } from "../gateway/rate-limit.ts";
import type { UserTraffic } from "./messages.ts";

interface UserRate {
  readonly rates: Partial<UserTraffic>;
  readonly up: RateLimit | undefined;
  readonly down: RateLimit | undefined;
}

/** See the head of this file. */
export class SharedRates {
  readonly #users = new Map<string, UserRate>();
  readonly #now: () => number;

  /** `now` in ms, monotonic. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** A worker let `bytes` of `user` through, who may have `rates` bytes per second; returns how far that is ahead, in ms. */
  spent(user: string, rates: Partial<UserTraffic>, bytes: UserTraffic): UserTraffic {
    let known = this.#users.get(user);
    if (!known || known.rates.up !== rates.up || known.rates.down !== rates.down) {
      const limit = (rate: number | undefined): RateLimit | undefined => (rate === undefined ? undefined : new RateLimit(rate, this.#now));
      known = { rates, up: limit(rates.up), down: limit(rates.down) };
      this.#users.set(user, known);
    }
    return { up: known.up?.spend(bytes.up) ?? 0, down: known.down?.spend(bytes.down) ?? 0 };
  }
}

/**
 * How many connections may be open that nobody has logged in on, in all and per address. A flood pushes out its own
 * oldest connections instead of keeping others out. Knows no wire.
 */
import { plainAddress } from "../auth/key-options.ts";

/** A connection that nobody has logged in on yet. */
export interface Pending {
  readonly address: string;
  /** Closes it, because newer ones need the place. */
  readonly evict: () => void;
}

/** Bounds on connections without login. */
export interface AdmissionLimits {
  readonly total: number;
  readonly perAddress: number;
  /** A connection this old may be pushed out by a newer one. */
  readonly evictableAfterMs: number;
}

/**
 * Why an address deserves a penalty: it left after tries that failed, used up all tries, broke the protocol, or did not
 * log in within the grace time.
 */
export type OffenceKind = "auth-failed" | "too-many-tries" | "violation" | "login-timeout";

/** Asked before a connection is served, and told of offences; for penalties that outlive a connection. Never throws. */
export interface SourcePolicy {
  /** Why connections from this address are not served now, or undefined. */
  refusal(address: string): string | undefined;
  /** An address gave cause for a penalty. */
  offence(address: string, kind: OffenceKind): void;
  /** Somebody logged in from this address. */
  loggedIn(address: string): void;
}

interface Entry extends Pending {
  readonly since: number;
}

/** Counts the connections without login. */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #now: () => number;
  /** Oldest first. */
  readonly #pending = new Set<Entry>();
  readonly #perAddress = new Map<string, number>();

  /** `now` in ms, monotonic. */
  constructor(limits: AdmissionLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
  }

  /** Connections without login. */
  get size(): number {
    return this.#pending.size;
  }

  /**
   * Takes a place for a new connection, pushing out an old one if need be; returns the function that gives the place
   * back (idempotent), or undefined if all places are taken by connections too young to push out.
   */
  admit(pending: Pending): (() => void) | undefined {
    const entry: Entry = { address: plainAddress(pending.address), evict: pending.evict, since: this.#now() };
    const ofAddress = this.#perAddress.get(entry.address) ?? 0;
    if (ofAddress >= this.#limits.perAddress && !this.#evictOldest(entry.address)) return undefined;
    if (this.#pending.size >= this.#limits.total && !this.#evictOldest(undefined)) return undefined;
    this.#pending.add(entry);
    this.#perAddress.set(entry.address, (this.#perAddress.get(entry.address) ?? 0) + 1);
    return () => this.#release(entry);
  }

  #evictOldest(address: string | undefined): boolean {
    for (const entry of this.#pending) {
      if (address !== undefined && entry.address !== address) continue;
      if (this.#now() - entry.since < this.#limits.evictableAfterMs) return false;
      this.#release(entry);
      entry.evict();
      return true;
    }
    return false;
  }

  #release(entry: Entry): void {
    if (!this.#pending.delete(entry)) return;
    const left = (this.#perAddress.get(entry.address) ?? 1) - 1;
    if (left === 0) this.#perAddress.delete(entry.address);
    else this.#perAddress.set(entry.address, left);
  }
}

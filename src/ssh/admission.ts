/**
 * How many connections may be open that nobody has logged in on, in all and per address. A flood pushes out its own
 * silent and oldest connections instead of keeping others out. Knows no wire.
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
  /** A connection whose keys were exchanged so long ago may be pushed out by a newer one; others may at once. */
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

/**
 * How far a connection without login has come: nothing heard of it, its identification line read, keys exchanged. The
 * further it is, the later it gives way.
 */
export type Stage = 0 | 1 | 2;

/** The place of one connection without login. */
export interface Place {
  /** It has come further. */
  advance(stage: Stage): void;
  /** Gives the place back. Idempotent. */
  release(): void;
}

interface Entry extends Pending {
  stage: Stage;
  /** When it entered its stage. */
  since: number;
}

/** Counts the connections without login. */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #now: () => number;
  /** By stage; in each, those that have been in it longest come first. */
  readonly #pending: readonly [Set<Entry>, Set<Entry>, Set<Entry>] = [new Set(), new Set(), new Set()];
  readonly #perAddress = new Map<string, number>();

  /** `now` in ms, monotonic. */
  constructor(limits: AdmissionLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
  }

  /** Connections without login. */
  get size(): number {
    return this.#pending[0].size + this.#pending[1].size + this.#pending[2].size;
  }

  /**
   * Takes a place for a new connection. If there is none, the one that has come least far, and among those the oldest,
   * gives way: who says something is never kept out by who says nothing. Undefined if all places are taken by connections
   * that have exchanged keys and are too young to give way.
   */
  admit(pending: Pending): Place | undefined {
    const entry: Entry = { address: plainAddress(pending.address), evict: pending.evict, stage: 0, since: this.#now() };
    const ofAddress = this.#perAddress.get(entry.address) ?? 0;
    if (ofAddress >= this.#limits.perAddress && !this.#evictOne(entry.address)) return undefined;
    if (this.size >= this.#limits.total && !this.#evictOne(undefined)) return undefined;
    this.#pending[0].add(entry);
    this.#perAddress.set(entry.address, (this.#perAddress.get(entry.address) ?? 0) + 1);
    return { advance: (stage) => this.#advance(entry, stage), release: () => this.#release(entry) };
  }

  #advance(entry: Entry, stage: Stage): void {
    if (stage <= entry.stage || !this.#pending[entry.stage].delete(entry)) return;
    entry.stage = stage;
    entry.since = this.#now();
    this.#pending[stage].add(entry);
  }

  #evictOne(address: string | undefined): boolean {
    for (const entries of this.#pending) {
      for (const entry of entries) {
        if (address !== undefined && entry.address !== address) continue;
        if (entry.stage === 2 && this.#now() - entry.since < this.#limits.evictableAfterMs) return false;
        this.#release(entry);
        entry.evict();
        return true;
      }
    }
    return false;
  }

  #release(entry: Entry): void {
    if (!this.#pending[entry.stage].delete(entry)) return;
    const left = (this.#perAddress.get(entry.address) ?? 1) - 1;
    if (left === 0) this.#perAddress.delete(entry.address);
    else this.#perAddress.set(entry.address, left);
  }
}

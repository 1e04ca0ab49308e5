/**
 * Penalties of addresses that gave offence: they add up, decay with time, and shut an address out while there are too
 * many. One object for all connections of a node; everything in it is synchronous. Knows no sockets and no files.
 */
import { BlockList, isIP } from "node:net";
import { plainAddress } from "../auth/key-options.ts";
import type { OffenceKind, SourcePolicy } from "./admission.ts";

/** Addresses remembered at most; beyond, those that were quiet longest are forgotten. */
export const MAX_SOURCES = 20_000;
/** Somebody logged in from here not long ago: one customer's broken script must not shut out a whole office. */
const KNOWN_SHARE = 10;

/** How much each offence costs and when it is too much. All times in milliseconds. */
export interface PenaltyLimits {
  /** What each kind of offence adds; a penalty is a time and passes by itself. */
  readonly costs: Readonly<Record<OffenceKind, number>>;
  /** An address whose penalties add up to this is refused until they have passed. */
  readonly threshold: number;
  /** Penalties never add up to more. */
  readonly max: number;
  /** How long after a login an address counts as known: its offences cost a tenth. */
  readonly knownFor: number;
  /** Addresses and networks (`192.0.2.0/24`) that are never refused. */
  readonly allow: readonly string[];
}

/** What holds unless the configuration says otherwise. */
export const DEFAULT_PENALTIES: PenaltyLimits = {
  costs: { "auth-failed": 5_000, "too-many-tries": 10_000, violation: 10_000, "login-timeout": 10_000 },
  threshold: 60_000,
  max: 600_000,
  knownFor: 7 * 86_400_000,
  allow: ["127.0.0.1", "::1"],
};

/** One address as it is kept. Times in milliseconds since the epoch. */
export interface SavedSource {
  /** As `sourceOf` names it. */
  readonly source: string;
  /** When its penalties have passed. */
  readonly until: number;
  /** True while it is refused. */
  readonly refused: boolean;
  /** Until when it counts as known. */
  readonly knownUntil: number;
}

interface Source {
  until: number;
  refused: boolean;
  knownUntil: number;
}

/** See the head of this file. */
export class SourcePenalties implements SourcePolicy {
  readonly #limits: PenaltyLimits;
  readonly #now: () => number;
  readonly #allowed: (address: string) => boolean;
  /** Told that there is something new to save. */
  onChange: () => void = () => undefined;
  /** Told when an address begins to be refused, for how many milliseconds, and for what. */
  onRefused: (source: string, forMs: number, kind: OffenceKind) => void = () => undefined;
  /** Least recently changed first. */
  readonly #sources = new Map<string, Source>();

  /** `now` in ms since the epoch. Throws `RangeError` for an entry of `allow` that is no address and no network. */
  constructor(limits: PenaltyLimits = DEFAULT_PENALTIES, now: () => number = Date.now) {
    this.#limits = limits;
    this.#now = now;
    this.#allowed = addressMatcher(limits.allow);
  }

  /** Addresses remembered. */
  get size(): number {
    return this.#sources.size;
  }

  /** Addresses that are refused now. */
  get refusedCount(): number {
    let count = 0;
    for (const source of this.#sources.values()) if (source.refused && this.#left(source) > 0) count++;
    return count;
  }

  refusal(address: string): string | undefined {
    const source = this.#sources.get(sourceOf(address));
    if (!source?.refused || this.#allowed(plainAddress(address))) return undefined;
    const left = this.#left(source);
    if (left === 0) {
      source.refused = false;
      return undefined;
    }
    return `too many failed logins or errors from your address, try again in ${Math.ceil(left / 1000)} seconds`;
  }

  offence(address: string, kind: OffenceKind): void {
    const cost = this.#limits.costs[kind];
    if (cost === 0 || this.#allowed(plainAddress(address))) return;
    const { name, source } = this.#touch(address);
    const now = this.#now();
    const share = source.knownUntil > now ? KNOWN_SHARE : 1;
    source.until = now + Math.min(this.#left(source) + cost / share, this.#limits.max);
    const wasRefused = source.refused;
    source.refused = this.#left(source) >= this.#limits.threshold;
    if (source.refused && !wasRefused) this.onRefused(name, this.#left(source), kind);
    this.onChange();
  }

  loggedIn(address: string): void {
    if (this.#allowed(plainAddress(address))) return;
    const { source } = this.#touch(address);
    const now = this.#now();
    const isNews = source.until > now || source.knownUntil < now + this.#limits.knownFor / 2;
    source.until = 0;
    source.refused = false;
    source.knownUntil = now + this.#limits.knownFor;
    if (isNews) this.onChange();
  }

  /** What is worth keeping over a restart. */
  save(): SavedSource[] {
    const now = this.#now();
    const saved: SavedSource[] = [];
    for (const [source, { until, refused, knownUntil }] of this.#sources) {
      if (until > now || knownUntil > now) saved.push({ source, until, refused, knownUntil });
    }
    return saved;
  }

  /** Takes back what `save` gave. */
  restore(saved: readonly SavedSource[]): void {
    for (const { source, until, refused, knownUntil } of saved.slice(-MAX_SOURCES)) {
      this.#sources.set(source, { until, refused, knownUntil: Math.min(knownUntil, this.#now() + this.#limits.knownFor) });
    }
  }

  /** Milliseconds of penalty left; a clock that was set back does not lengthen it beyond the maximum. */
  #left({ until }: Source): number {
    return Math.min(Math.max(0, until - this.#now()), this.#limits.max);
  }

  /** The entry of an address, made the youngest. */
  #touch(address: string): { name: string; source: Source } {
    const name = sourceOf(address);
    const source = this.#sources.get(name) ?? { until: 0, refused: false, knownUntil: 0 };
    this.#sources.delete(name);
    for (const oldest of this.#sources.keys()) {
      if (this.#sources.size < MAX_SOURCES) break;
      this.#sources.delete(oldest);
    }
    this.#sources.set(name, source);
    return { name, source };
  }
}

/** What an address is counted as: IPv4 addresses each, IPv6 by /64, of which every home and every rented server has one. */
export function sourceOf(address: string): string {
  const plain = plainAddress(address);
  if (isIP(plain) !== 6) return plain;
  const [head = "", tail] = plain.split("::");
  const groupsOf = (text: string): string[] =>
    text === "" ? [] : text.split(":").flatMap((group) => (group.includes(".") ? ["0", "0"] : [group]));
  const first = groupsOf(head);
  const last = groupsOf(tail ?? "");
  const all = [...first, ...Array.from({ length: Math.max(0, 8 - first.length - last.length) }, () => "0"), ...last];
  return `${all
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":")}::/64`;
}

/** Tells whether an address is one of `list`, or in one of its networks. Throws `RangeError`. */
export function addressMatcher(list: readonly string[]): (address: string) => boolean {
  const blocks = new BlockList();
  for (const entry of list) {
    const [network = "", prefixText, more] = entry.split("/");
    const family = isIP(network);
    const bits = family === 4 ? 32 : 128;
    const prefix = prefixText === undefined ? bits : /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : Number.NaN;
    if (family === 0 || more !== undefined || !(prefix <= bits))
      throw new RangeError(`${JSON.stringify(entry)} is no address and no network`);
    blocks.addSubnet(network, prefix, family === 4 ? "ipv4" : "ipv6");
  }
  return (address) => {
    const family = isIP(address);
    return family !== 0 && blocks.check(address, family === 4 ? "ipv4" : "ipv6");
  };
}

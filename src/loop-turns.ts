/**
 * Turns of the process's event loop, divided among those who want much of it: whoever has used a slice waits until what
 * is ready of others has been served, and of all that waits for one user only one goes on in each turn, however many
 * connections and channels that user has. Who has lately asked for very much that moves little waits longer while others are
 * there. Costs nothing while nobody waits. Knows no sockets and no protocol.
 */

/** Work in one go after which one waits for another turn, in milliseconds: others are held up no longer than this. */
export const SLICE_MS = 1;
/**
 * Turns that work waits for which moves no files: refused requests, messages that mean nothing. While nobody else has
 * anything to do they pass in a fraction of a millisecond.
 */
export const IDLE_WORK_TURNS = 16;

/** What a group may start before it waits for a turn. */
const QUANTUM = 64;
/** The same for a group that presses. */
const PRESSING_QUANTUM = 8;
/** What moves so many bytes for each request is no flood, however fast. */
const BYTES_PER_REQUEST = 16 * 1024;
/** Requests beyond those, of about the last `RECENT_MS`, from which on a group presses. */
const PRESSING_REQUESTS = 1_000;
const RECENT_MS = 1_000;
/** Others are there if one was heard of so lately: a good line's transfer asks for its next block each few milliseconds. */
const PRESENT_MS = 25;
/** Groups whose use is remembered; those that asked for nothing lately are forgotten above it. */
const MOST_REMEMBERED = 1_000;

/** What a group has started since it last waited. */
export interface Work {
  readonly requests: number;
  /** Bytes of files moved by them. */
  readonly bytes: number;
  /** Most of them were refused. */
  readonly isIdle: boolean;
}

interface Heard {
  readonly group: string;
  atMs: number;
}

interface Use {
  /** Requests beyond what the bytes moved allow, fading. */
  requests: number;
  atMs: number;
}

interface Waiting {
  readonly dueTurn: number;
  readonly go: () => void;
}

/** The group of a user's sessions. */
export function userGroup(name: string): string {
  return `user ${name}`;
}

/** The group of those who come from an address and are not logged in. */
export function addressGroup(address: string): string {
  return `address ${address}`;
}

/** See the head of this file. One for a process. */
export class LoopTurns {
  readonly #waiting = new Map<string, Waiting[]>();
  readonly #spentMs = new Map<string, number>();
  readonly #use = new Map<string, Use>();
  /** The two groups that were heard of last, the latest first. */
  #heard: Heard | undefined;
  #heardBefore: Heard | undefined;
  #turn = 0;
  #isArmed = false;
  readonly #now: () => number;

  /** `now` in ms, monotonic. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Something came from `group`. */
  heard(group: string): void {
    if (this.#heard?.group === group) this.#heard.atMs = this.#now();
    else {
      this.#heardBefore = this.#heard;
      this.#heard = { group, atMs: this.#now() };
    }
  }

  /** Requests that `group` may start before its next `nextTurn`. */
  quantum(group: string): number {
    return this.#presses(group) ? PRESSING_QUANTUM : QUANTUM;
  }

  /** Counts `work`, and resolves when `group` may go on. */
  nextTurn(group: string, work: Work): Promise<void> {
    this.#count(group, work);
    const turns = work.isIdle || this.#presses(group) ? IDLE_WORK_TURNS : 1;
    return new Promise((resolve) => this.wait(group, resolve, turns));
  }

  /**
   * Calls `go`, which must not throw, once `turns` turns of the loop are over since those of the same `group` who waited
   * before have had theirs.
   */
  wait(group: string, go: () => void, turns = 1): void {
    const line = this.#waiting.get(group);
    const waiting = { dueTurn: Math.max(this.#turn, line?.at(-1)?.dueTurn ?? 0) + turns, go };
    if (line) line.push(waiting);
    else this.#waiting.set(group, [waiting]);
    this.#arm();
  }

  /** Counts what `group` has used in this turn. */
  spend(group: string, ms: number): void {
    this.#spentMs.set(group, (this.#spentMs.get(group) ?? 0) + ms);
    this.#arm();
  }

  /** True if `group` has had its slice of this turn, or somebody of it waits. */
  isSpent(group: string): boolean {
    return this.#waiting.has(group) || (this.#spentMs.get(group) ?? 0) >= SLICE_MS;
  }

  /** True if it has asked for much that moves little, and others are there. */
  #presses(group: string): boolean {
    const other = this.#heard?.group === group ? this.#heardBefore : this.#heard;
    const now = this.#now();
    if (!other || now - other.atMs > PRESENT_MS) return false;
    const use = this.#use.get(group);
    return use !== undefined && faded(use, now) > PRESSING_REQUESTS;
  }

  #count(group: string, { requests, bytes }: Work): void {
    const now = this.#now();
    const use = this.#use.get(group);
    const left = Math.max(0, (use ? faded(use, now) : 0) + requests - bytes / BYTES_PER_REQUEST);
    if (use) Object.assign(use, { requests: left, atMs: now });
    else if (left > 0) this.#remember(group, { requests: left, atMs: now });
  }

  #remember(group: string, use: Use): void {
    if (this.#use.size >= MOST_REMEMBERED) {
      for (const [other, { atMs }] of this.#use) if (use.atMs - atMs > 2 * RECENT_MS) this.#use.delete(other);
    }
    this.#use.set(group, use);
  }

  #arm(): void {
    if (this.#isArmed) return;
    this.#isArmed = true;
    setImmediate(() => this.#next());
  }

  #next(): void {
    this.#isArmed = false;
    this.#turn++;
    this.#spentMs.clear();
    for (const [group, line] of this.#waiting) {
      const first = line[0];
      if (!first || first.dueTurn > this.#turn) continue;
      line.shift();
      if (line.length === 0) this.#waiting.delete(group);
      first.go();
    }
    if (this.#waiting.size > 0) this.#arm();
  }
}

function faded({ requests, atMs }: Use, now: number): number {
  return requests * Math.exp((atMs - now) / RECENT_MS);
}

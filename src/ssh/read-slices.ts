/**
 * What one connection received, worked through in slices: when a slice of the loop's time is used up in the middle of it, the rest is
 * kept, the socket is not read, and the connection waits for its turn. A flood of small messages fits a quarter of a
 * million bytes into one read; without this it held up everybody else for as long as it lasted. Knows no messages.
 */
import { addressGroup, IDLE_WORK_TURNS, type LoopTurns, SLICE_MS, userGroup } from "../loop-turns.ts";

/** Before login: small reads wait without having been looked at while others of the same address have used the slice. */
const MAX_UNSEEN_BYTES = 16 * 1024;

/** What the slices are of. */
export interface SlicedConnection {
  /** Works through `bytes` from `start` on to the end or, at least one message, until `isOver`; returns how far it came. Does not throw. */
  parse(bytes: Buffer, start: number): number;
  /** So many bytes that were received wait now. */
  held(bytes: number): void;
}

/** See the head of this file. One for each connection. */
export class ReadSlices {
  readonly #turns: LoopTurns;
  readonly #connection: SlicedConnection;
  readonly #now: () => number;
  /** Whose turns are used: an address before login, a user after it. */
  #group: string;
  #loggedIn = false;
  /** What waits, from `#at` on. */
  #rest: Buffer | undefined;
  #at = 0;
  #closed = false;
  #isOver = false;
  #beganMs = 0;
  #messages = 0;
  #idleMessages = 0;

  /** `now` in ms, monotonic. */
  constructor(turns: LoopTurns, address: string, connection: SlicedConnection, now: () => number = () => performance.now()) {
    this.#turns = turns;
    this.#now = now;
    this.#group = addressGroup(address);
    this.#connection = connection;
  }

  /** True while something waits: the socket must not be read. */
  get isWaiting(): boolean {
    return this.#rest !== undefined;
  }

  /** From now on it is `user` who uses the turns. */
  loggedIn(user: string): void {
    this.#loggedIn = true;
    this.#group = userGroup(user);
  }

  /** Works through what came; `chunk` is lent. */
  received(chunk: Buffer): void {
    this.#turns.heard(this.#group);
    if (this.#rest) {
      this.#wait(Buffer.concat([this.#rest.subarray(this.#at), chunk]), 0);
    } else if (!this.#loggedIn && chunk.length <= MAX_UNSEEN_BYTES && this.#turns.isSpent(this.#group)) {
      this.#wait(Buffer.from(chunk), 0);
      this.#turns.wait(this.#group, () => this.#goOn());
    } else this.#run(chunk, 0, true);
  }

  /** True while no further message is to be looked at. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Counts a message; `isIdle` if it moves no files. Returns `isOver`. */
  endsWith(isIdle: boolean): boolean {
    this.#messages++;
    if (isIdle) this.#idleMessages++;
    // before login a connection may send so little that it need not be interrupted
    this.#isOver = this.#loggedIn && this.#now() - this.#beganMs >= SLICE_MS;
    return this.#isOver;
  }

  /** The connection is over. */
  close(): void {
    this.#closed = true;
    this.#rest = undefined;
  }

  #run(bytes: Buffer, start: number, isLent: boolean): void {
    this.#isOver = false;
    this.#beganMs = this.#now();
    this.#messages = 0;
    this.#idleMessages = 0;
    const end = this.#connection.parse(bytes, start);
    if (this.#closed) return;
    if (!this.#loggedIn) this.#turns.spend(this.#group, this.#now() - this.#beganMs);
    if (end >= bytes.length) {
      if (this.#rest) this.#settle();
      return;
    }
    if (isLent) this.#wait(Buffer.from(bytes.subarray(end)), 0);
    else this.#wait(bytes, end);
    const isMostlyIdle = this.#idleMessages * 2 > this.#messages;
    this.#turns.wait(this.#group, () => this.#goOn(), isMostlyIdle ? IDLE_WORK_TURNS : 1);
  }

  #goOn(): void {
    if (this.#rest) this.#run(this.#rest, this.#at, false);
  }

  #wait(rest: Buffer, at: number): void {
    this.#rest = rest;
    this.#at = at;
    this.#connection.held(rest.length - at);
  }

  #settle(): void {
    this.#rest = undefined;
    this.#connection.held(0);
  }
}

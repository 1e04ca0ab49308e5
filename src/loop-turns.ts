/**
 * Turns of the process's event loop, divided among those who want much of it: whoever has used a slice waits until what
 * is ready of others has been served, and of all that waits for one user only one goes on in each turn, however many
 * connections and channels that user has. Costs nothing while nobody waits. Knows no sockets and no requests.
 */

/** Work in one go after which one waits for another turn, in milliseconds: others are held up no longer than this. */
export const SLICE_MS = 1;
/**
 * Turns that work waits for which moves no files: refused requests, messages that mean nothing. While nobody else has
 * anything to do they pass in a fraction of a millisecond.
 */
export const IDLE_WORK_TURNS = 16;

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
  #turn = 0;
  #isArmed = false;

  /**
   * Calls `go`, which must not throw, once `turns` turns of the loop are over and those of the same `group` who waited
   * before have had theirs.
   */
  wait(group: string, go: () => void, turns = 1): void {
    const line = this.#waiting.get(group);
    const waiting = { dueTurn: this.#turn + turns, go };
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

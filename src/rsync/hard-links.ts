/**
 * Which names of an upload would be hard links of which (`-H`, rsync hlink.c). Objects have none: every name is stored as
 * a file of its own, and all but one of a group are told as links that could not be made. The one that stands for its
 * group is the first that is at the destination already, else the last. Pure: knows no wire format and no messages.
 */
import type { FileList } from "./file-list.ts";

const NONE = -1;

/** Values of `#roles`. */
const Role = { undecided: 0, link: 1, leader: 2 } as const;

/** What was found out about a name when its turn came: nothing is done for it, it has to be sent, or it is there. */
export type Found = "skipped" | "missing" | "there";

/** A name that stands for its group (then `leader` is `position`), or would be a link to the one that does. */
export interface LinkDecision {
  readonly position: number;
  readonly leader: number;
}

/** See the head of this file. All arrays are by position; what belongs to a group is kept at its first position. */
export class HardLinks {
  /** First position of the group; `NONE` for what is in none. */
  readonly #first: Int32Array;
  /** Last position of the group. */
  readonly #last: Int32Array;
  /** Of a group the name that stands for it. */
  readonly #leader: Int32Array;
  /** Of a group the last of those that wait for it; `#before` has the others. */
  readonly #waiting: Int32Array;
  readonly #before: Int32Array;
  /** Names that are stored and not decided. */
  readonly #stored = new Set<number>();
  readonly #roles: Uint8Array;

  private constructor(first: Int32Array, last: Int32Array) {
    const count = first.length;
    this.#first = first;
    this.#last = last;
    this.#leader = new Int32Array(count).fill(NONE);
    this.#waiting = new Int32Array(count).fill(NONE);
    this.#before = new Int32Array(count).fill(NONE);
    this.#roles = new Uint8Array(count);
  }

  /** The groups of a sorted list; undefined if it has none. Only files count: of other things every name is refused. */
  static of(list: FileList, isMeant: (position: number) => boolean): HardLinks | undefined {
    if (!list.hasGroups) return undefined;
    const first = new Int32Array(list.length).fill(NONE);
    const last = new Int32Array(list.length).fill(NONE);
    const starts = new Map<number, number>();
    let links = 0;
    for (let position = 0; position < list.length; position++) {
      const group = list.group(position);
      if (group === 0 || !list.isFile(position) || !isMeant(position)) continue;
      const start = starts.get(group) ?? position;
      if (start === position) starts.set(group, position);
      else links++;
      first[position] = start;
      last[start] = position;
    }
    return links > 0 ? new HardLinks(first, last) : undefined;
  }

  /** True if the list has other names of the same file. */
  isLinked(position: number): boolean {
    const first = this.#first[position] ?? NONE;
    return first !== NONE && this.#last[first] !== first;
  }

  /** To be called once for each linked name, in order. Returns what is decided by it; a new leader comes first. */
  turn(position: number, found: Found): LinkDecision[] {
    const first = this.#first[position] ?? NONE;
    const leader = this.#leader[first] ?? NONE;
    if (leader !== NONE) return found === "skipped" ? [] : [this.#decide(position, leader)];
    if (found === "there") return this.#lead(first, position);
    if (found === "missing") {
      this.#before[position] = this.#waiting[first] ?? NONE;
      this.#waiting[first] = position;
    }
    const waiting = this.#waiting[first] ?? NONE;
    if (position !== this.#last[first] || waiting === NONE) return [];
    this.#waiting[first] = this.#before[waiting] ?? NONE;
    return this.#lead(first, waiting);
  }

  #lead(first: number, leader: number): LinkDecision[] {
    this.#leader[first] = leader;
    const decisions = [this.#decide(leader, leader)];
    for (let position = this.#waiting[first] ?? NONE; position !== NONE; position = this.#before[position] ?? NONE) {
      decisions.push(this.#decide(position, leader));
    }
    return decisions;
  }

  #decide(position: number, leader: number): LinkDecision {
    this.#roles[position] = position === leader ? Role.leader : Role.link;
    return { position, leader };
  }

  /** The name is stored. True if that is all that was asked for; not while, or once, it would have to be a link. */
  isAsWanted(position: number): boolean {
    if (!this.isLinked(position)) return true;
    const role = this.#roles[position];
    if (role === Role.undecided) this.#stored.add(position);
    return role === Role.leader;
  }

  /** True if `isAsWanted` was asked too early for a name that stands for its group now. */
  wasStored(leader: number): boolean {
    return this.#stored.delete(leader);
  }
}

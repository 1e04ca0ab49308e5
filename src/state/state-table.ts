/**
 * One table of the state directory. Writes are refused while its disk is full, and removals that were refused are made up
 * for once there is room: a row that stays would go on telling other processes of what is over.
 */
import type { Database } from "lmdb";
import type { DiskRoom } from "./disk-room.ts";

/** Strings, or one string; sorted as lmdb sorts them. */
export type StateKey = string[] | string;

/** Removals that are remembered; of more the rows stay until the process they name has gone. */
const maxOwed = 100_000;
/** How often a full disk is looked at for them. */
const makeUpMs = 2_000;

/** See the head of this file. */
export class StateTable<Value> {
  readonly #rows: Database<Value, StateKey>;
  readonly #room: DiskRoom;
  /** Keys of rows that had to be removed when there was no room, by what they are as JSON. */
  readonly #owed = new Map<string, StateKey>();
  #timer: NodeJS.Timeout | undefined;

  constructor(rows: Database<Value, StateKey>, room: DiskRoom) {
    this.#rows = rows;
    this.#room = room;
  }

  get(key: StateKey): Value | undefined {
    return this.#rows.get(key);
  }

  /** Rows from `start` to before `end`, in the order of their keys. */
  range(bounds: { readonly start?: StateKey; readonly end?: StateKey }): Iterable<{ readonly key: StateKey; readonly value: Value }> {
    return this.#rows.getRange(bounds);
  }

  /** Keys from `start` to before `end`, in order. */
  keys(bounds: { readonly start: StateKey; readonly end: StateKey }): Iterable<StateKey> {
    return this.#rows.getKeys(bounds);
  }

  /** Writes a row; resolves once other processes see it. Rejects while the disk is full, and with lmdb's errors. */
  async put(key: StateKey, value: Value): Promise<void> {
    this.#room.require();
    if (this.#owed.size > 0) this.#owed.delete(JSON.stringify(key));
    await this.#rows.put(key, value);
  }

  /** Removes a row, if there is one; resolves once other processes see it. Rejects as `put` does; the row goes later then. */
  async remove(key: StateKey): Promise<void> {
    try {
      this.#room.require();
    } catch (error) {
      this.#owe(key);
      throw error;
    }
    await this.#rows.remove(key);
  }

  #owe(key: StateKey): void {
    if (this.#owed.size < maxOwed) this.#owed.set(JSON.stringify(key), key);
    this.#timer ??= setTimeout(() => this.#makeUp(), makeUpMs).unref();
  }

  /** Removes what is owed; what finds no room is owed again. */
  #makeUp(): void {
    this.#timer = undefined;
    const keys = [...this.#owed.values()];
    this.#owed.clear();
    // Whoever had the row removed was told that it failed; a store that is closed or broken has no use for a second answer.
    for (const key of keys) this.remove(key).catch(() => undefined);
  }
}

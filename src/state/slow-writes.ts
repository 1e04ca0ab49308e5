/**
 * Changes of objects that take their time, as the processes of a node tell each other of them: a table of keys with the
 * processes that are at work on each. Rows of processes that are gone count for nothing. Knows no stores.
 */
import { createHash } from "node:crypto";
import type { StateDirectory } from "./state-directory.ts";
import type { StateKey, StateTable } from "./state-table.ts";

/** How often whoever waits looks again. */
const LOOK_MS = 50;

/** See the head of this file. Its methods neither throw nor reject: without the table writes have no order across processes. */
export class SlowWrites {
  readonly #state: StateDirectory;
  readonly #volume: string;
  readonly #rows: StateTable<number>;
  readonly #onError: (error: unknown) => void;

  /** `volume` names the store and key prefix; `onError` hears of a table that cannot be used. */
  constructor(state: StateDirectory, volume: string, onError: (error: unknown) => void) {
    this.#state = state;
    this.#volume = createHash("sha256").update(volume).digest("base64url").slice(0, 22);
    this.#rows = state.table("slow-writes");
    this.#onError = onError;
  }

  /** Resolves once no other living process has told of one of `keys`; undefined: none has. */
  ended(keys: readonly string[]): Promise<void> | undefined {
    return this.#isClear(keys) ? undefined : this.#untilClear(keys);
  }

  /** Tells of `keys` until the result is called. */
  tell(keys: readonly string[]): () => void {
    const rows = keys.map((key) => [this.#volume, key, this.#state.processId]);
    const told = Promise.all(rows.map((row) => this.#rows.put(row, Date.now()))).catch(this.#onError);
    return () => {
      told.then(() => Promise.all(rows.map((row) => this.#rows.remove(row)))).catch(this.#onError);
    };
  }

  #isClear(keys: readonly string[]): boolean {
    try {
      this.#state.refresh();
      return keys.every((key) => {
        const rows = this.#rows.keys({ start: [this.#volume, key], end: [this.#volume, key, "~"] });
        return [...rows].every((row) => !this.#isBusy(row));
      });
    } catch (error) {
      this.#onError(error);
      return true;
    }
  }

  async #untilClear(keys: readonly string[]): Promise<void> {
    do await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    while (!this.#isClear(keys));
  }

  #isBusy(row: StateKey): boolean {
    const processId = row[2];
    if (processId === undefined || processId === this.#state.processId) return false;
    if (this.#state.isAlive(processId)) return true;
    this.#rows.remove(row).catch(this.#onError);
    return false;
  }
}

/**
 * Files that the processes of a node have opened to be written anew and that no table knows yet: a process that dies over
 * one leaves a row as if it had just begun it, so that nobody goes on behind the version before. Notes, not rows, while
 * it lives: most files are over within milliseconds.
 */
import type { ProcessNotes } from "./process-notes.ts";
import type { StateDirectory } from "./state-directory.ts";
import type { StateTable } from "./state-table.ts";
import type { UploadRow } from "./upload-table.ts";

/** One such file. `length`: CLOSE is being carried out, and so many bytes are all of it. */
export interface BegunFile extends Pick<UploadRow, "user" | "name" | "key" | "startedMs"> {
  /** As the rows of `UploadTable` name it. */
  readonly volume: string;
  readonly length?: number;
}

const ofStates = new WeakMap<StateDirectory, BegunFiles>();

/** See the head of this file. */
export class BegunFiles {
  readonly #notes: ProcessNotes<BegunFile>;
  readonly #rows: StateTable<UploadRow>;
  readonly #refresh: () => void;
  #adopting: Promise<void> | undefined;

  private constructor(state: StateDirectory) {
    this.#notes = state.notes("begun");
    this.#rows = state.table("uploads");
    this.#refresh = () => state.refresh();
  }

  /** The one of this process for a state directory. */
  static of(state: StateDirectory): BegunFiles {
    const known = ofStates.get(state) ?? new BegunFiles(state);
    ofStates.set(state, known);
    return known;
  }

  /** Notes a file under an id of the caller's, in place of what was noted under it. May throw the system's error. */
  put(id: string, file: BegunFile): void {
    this.#notes.put(id, file);
  }

  /** It is over, or a row knows of it. May throw the system's error. */
  remove(id: string): void {
    this.#notes.remove(id);
  }

  /** What living processes of this node besides this one have begun under a name. May throw the system's error. */
  ofOthers(volume: string, user: string, name: string): BegunFile | undefined {
    for (const { isAlive, notes } of this.#notes.ofOthers()) {
      const isMeant = (file: BegunFile): boolean => file.volume === volume && file.user === user && file.name === name;
      const found = isAlive ? [...notes.values()].findLast(isMeant) : undefined;
      if (found) return found;
    }
    return undefined;
  }

  /** Makes rows of what processes had begun that have died since. Rejects with the system's error, and tries again when next called. */
  adopt(): Promise<void> | undefined {
    this.#adopting ??= this.#adoptAll()?.finally(() => {
      this.#adopting = undefined;
    });
    return this.#adopting;
  }

  #adoptAll(): Promise<void> | undefined {
    const dead = this.#notes.ofDead();
    if (dead.length === 0) return undefined;
    // A row may have been the last thing a process wrote.
    this.#refresh();
    return Promise.all(
      dead.map(async ({ processId, notes }) => {
        await Promise.all([...notes].map(([id, file]) => this.#adoptOne(id, file, processId)));
        this.#notes.forget(processId);
      }),
    ).then(() => undefined);
  }

  async #adoptOne(id: string, { volume, length, ...file }: BegunFile, processId: string): Promise<void> {
    for (const { value } of this.#rows.range({ start: [volume, file.name], end: [volume, file.name, "~"] })) {
      if (value.user === file.user) return;
    }
    const closing = length === undefined ? { length: 0 } : { length, looksWhole: true };
    const row: UploadRow = { ...file, ...closing, id, state: "open", updatedMs: file.startedMs, processId };
    await this.#rows.put([volume, file.name, id], row);
  }
}

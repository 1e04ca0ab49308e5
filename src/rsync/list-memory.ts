/**
 * The memory that file lists and filter rules of all runs of a process may take together. A list cannot wait for room as
 * data can: it is needed whole, so a run whose list does not fit ends. The runs of one user may hold no more than is left free
 * for the others: the first user gets half, two get a third each, and so on. Knows nothing of lists.
 */
import { ExitStatus, RsyncExit } from "./exit-codes.ts";

/** Bytes for the lists of a process. Half of it holds a list of a million entries with names of usual length. */
const LIST_MEMORY = 768 * 1024 * 1024;
/** Bytes that every user may hold whatever the others do: some twenty thousand entries. */
const GUARANTEED = 4 * 1024 * 1024;
/** Bytes of names, indexes and arrays that go with one entry beside its text. */
export const ENTRY_BYTES = 200;

/** See the head of this file. */
export class ListMemory {
  readonly #limit: number;
  readonly #ofUser = new Map<string, number>();
  #used = 0;

  constructor(limit: number = LIST_MEMORY) {
    this.#limit = limit;
  }

  /** Bytes counted for all runs. */
  get used(): number {
    return this.#used;
  }

  /** What one run of `user` takes; `release` is owed. */
  open(user: string): ListShare {
    return new ListShare((bytes) => {
      const held = (this.#ofUser.get(user) ?? 0) + bytes;
      if (bytes > 0 && held > Math.max(GUARANTEED, this.#limit - this.#used)) return false;
      this.#used += bytes;
      if (held > 0) this.#ofUser.set(user, held);
      else this.#ofUser.delete(user);
      return true;
    });
  }
}

/** One run's part of it. */
export class ListShare {
  readonly #account: (bytes: number) => boolean;
  #held = 0;

  /** Made by `ListMemory` only. */
  constructor(account: (bytes: number) => boolean) {
    this.#account = account;
  }

  /** Counts one more entry whose text has `textBytes`. Throws `RsyncExit` when there is no room for it. */
  entry(textBytes: number): void {
    const bytes = textBytes + ENTRY_BYTES;
    if (!this.#account(bytes)) {
      throw new RsyncExit(ExitStatus.outOfMemory, "rsync: the server has no room for so long a list now; send it in parts");
    }
    this.#held += bytes;
  }

  /** Gives everything back. */
  release(): void {
    this.#account(-this.#held);
    this.#held = 0;
  }
}

/**
 * What the generator and the receiver of an upload share: the list, the destination, what was asked for, and how far
 * the phases are. Knows no wire format.
 */
import type { Continuation } from "./continuation.ts";
import { type Destination, destinationPath } from "./destination.ts";
import type { DestinationIndex } from "./destination-index.ts";
import { EntryFlag, type FileList } from "./file-list.ts";
import { HardLinks } from "./hard-links.ts";
import { Tag } from "./multiplex.ts";
import { shownName } from "./names.ts";
import type { Run } from "./run.ts";

/** How a requested file comes. */
export interface Basis {
  /** Where the blocks come from, or what is continued. */
  readonly path: string;
  /** `append`: the data continue the file of this length at the destination. */
  readonly appendTo: number | undefined;
  /** An interrupted upload that goes on: nothing of it can be read. */
  readonly continuation?: Continuation;
}

/** See the head of this file. */
export class Upload {
  readonly run: Run;
  readonly list: FileList;
  readonly byName: ReadonlyMap<string, number>;
  readonly destination: Destination;
  readonly index: DestinationIndex;
  /** `-H`: names of the list that are the same file; undefined if there are none. */
  readonly links: HardLinks | undefined;
  /** Positions asked for and not answered yet. */
  readonly #requested: Uint8Array;
  /** By position, for requests that sent sums. */
  readonly bases = new Map<number, Basis>();
  /** Permissions of requested files, by position, where those of a file that is there count. */
  readonly modes = new Map<number, number>();
  /** Times of the existing files that are replaced, by position, if backups are wanted. */
  readonly replaced = new Map<number, number>();
  /** What is to be asked for again in the second phase, and with which flags; `isDelta`: but for what is published. */
  readonly redo: { readonly position: number; readonly flags: number; readonly isDelta?: boolean }[] = [];
  /** Directories being made, by name: what goes below waits. */
  readonly made = new Map<string, Promise<boolean>>();
  #decided = 0;
  #awaited = Number.POSITIVE_INFINITY;
  #onDecided: () => void = () => undefined;
  #phase = 0;
  #waiting: { readonly phase: number; readonly resolve: () => void }[] = [];
  #failure: Error | undefined;
  #rejects: ((error: Error) => void)[] = [];

  constructor(run: Run, list: FileList, byName: ReadonlyMap<string, number>, destination: Destination, index: DestinationIndex) {
    this.run = run;
    this.list = list;
    this.byName = byName;
    this.destination = destination;
    this.index = index;
    this.#requested = new Uint8Array(list.length);
    this.links = HardLinks.of(list, (position) => !list.has(position, EntryFlag.duplicate));
  }

  /** The virtual path of an entry; undefined if its name cannot be one. */
  path(position: number): string | undefined {
    return destinationPath(this.destination, this.list.name(position));
  }

  /** The name of an entry as messages show it. */
  shown(position: number): string {
    return shownName(this.list.name(position));
  }

  request(position: number): void {
    this.#requested[position] = 1;
  }

  /** Everything before `position` is decided. */
  decidedBefore(position: number): void {
    this.#decided = position;
    if (position < this.#awaited) return;
    this.#awaited = Number.POSITIVE_INFINITY;
    this.#onDecided();
  }

  /** True if the file was asked for and this is the first answer. Waits while it is not decided: answers may be early. */
  async answer(position: number): Promise<boolean> {
    if (position >= this.#decided && !this.#failure) {
      await new Promise<void>((resolve) => {
        this.#awaited = position + 1;
        this.#onDecided = resolve;
      });
    }
    if (this.#requested[position] !== 1) return false;
    this.#requested[position] = 0;
    return true;
  }

  /** Ends of phases the sender has announced. */
  get phase(): number {
    return this.#phase;
  }

  /** The sender announced the end of a phase. */
  endPhase(): void {
    this.#phase++;
    const due = this.#waiting.filter(({ phase }) => phase <= this.#phase);
    this.#waiting = this.#waiting.filter(({ phase }) => phase > this.#phase);
    for (const { resolve } of due) resolve();
  }

  /** Resolves when the sender has announced the end of that many phases. */
  phaseEnded(phase: number): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#phase >= phase) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ phase, resolve });
      this.#rejects.push(reject);
    });
  }

  /** The run broke: whoever waits for a phase rejects. */
  fail(error: Error): void {
    this.#failure ??= error;
    for (const reject of this.#rejects.splice(0)) reject(error);
    this.#onDecided();
  }

  /** Tells the client that a file arrived safely (`--remove-source-files`: it deletes its own). */
  confirm(position: number): void {
    if (!this.run.options.removeSourceFiles || this.links?.isAsWanted(position) === false) return;
    this.run.writer.numberMessage(Tag.success, this.list.indexOf(position));
  }
}

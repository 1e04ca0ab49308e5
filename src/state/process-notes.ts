/**
 * Short notes of what each process of a node is at work on, for those that outlive it. A note is appended to a file of
 * the process's own with one plain write: a `kill -9` does not undo that, and it costs microseconds where a row of a
 * table costs a commit. Lost with the machine, and with the state directory. Knows nothing of what the notes say.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import path from "node:path";

/** What is needed of a state directory. */
export interface NotesPlace {
  /** Local path of a folder that exists. */
  readonly folder: string;
  /** See `StateDirectory.processId`. */
  readonly processId: string;
  isAlive(processId: string): boolean;
}

/** What another process has noted and not taken back. */
export interface OthersNotes<Value> {
  readonly processId: string;
  /** False: it has died over what it noted. */
  readonly isAlive: boolean;
  readonly notes: ReadonlyMap<string, Value>;
}

/** The file is written anew, or emptied, at this size. */
const maxFileBytes = 256 * 1024;
/** Deaths are looked for so often at most. */
const deathsEveryMs = 50;

/** See the head of this file. Its methods may throw the system's errors. Whoever makes one owes `close`. */
export class ProcessNotes<Value> {
  readonly #place: NotesPlace;
  readonly #path: string;
  readonly #current = new Map<string, Value>();
  #file: number | undefined;
  #bytes = 0;
  #lookedAtMs = Number.NEGATIVE_INFINITY;

  constructor(place: NotesPlace) {
    this.#place = place;
    this.#path = path.join(place.folder, fileOf(place.processId));
  }

  /** When it returns, the note `id` outlives this process. */
  put(id: string, value: Value): void {
    this.#current.set(id, value);
    this.#append([id, value]);
  }

  /** Takes a note back, if there is one of that id. */
  remove(id: string): void {
    if (this.#current.delete(id)) this.#append([id]);
  }

  /** What the other processes have noted, the dead ones' included until `forget`. */
  ofOthers(): OthersNotes<Value>[] {
    return this.#others().map((processId) => {
      const isAlive = this.#place.isAlive(processId);
      return { processId, isAlive, notes: this.#read(processId) };
    });
  }

  /** The notes of processes that have died; nothing if somebody asked within the last 50 ms. */
  ofDead(): OthersNotes<Value>[] {
    const now = performance.now();
    if (now - this.#lookedAtMs < deathsEveryMs) return [];
    this.#lookedAtMs = now;
    const dead = this.#others().filter((processId) => !this.#place.isAlive(processId));
    return dead.map((processId) => ({ processId, isAlive: false, notes: this.#read(processId) }));
  }

  /** Removes the notes of a process that has died. */
  forget(processId: string): void {
    const file = path.join(this.#place.folder, fileOf(processId));
    for (const each of [file, `${file}${draftSuffix}`]) rmSync(each, { force: true });
  }

  /** Closes the file; notes that were not taken back stay. */
  close(): void {
    if (this.#file === undefined) return;
    closeSync(this.#file);
    this.#file = undefined;
    if (this.#current.size === 0) rmSync(this.#path, { force: true });
  }

  #append(line: readonly unknown[]): void {
    if (this.#bytes > maxFileBytes) this.#shorten();
    this.#file ??= this.#open();
    // The newline comes first: half a line, left by a full disk, spoils no other.
    this.#bytes += writeSync(this.#file, `\n${JSON.stringify(line)}`);
  }

  #open(): number {
    const file = openSync(this.#path, "a", 0o600);
    this.#bytes = fstatSync(file).size;
    return file;
  }

  #shorten(): void {
    if (this.#file === undefined) return;
    const text = [...this.#current].map((note) => `\n${JSON.stringify(note)}`).join("");
    if (text === "") {
      ftruncateSync(this.#file);
      this.#bytes = 0;
      return;
    }
    // Much is noted at the moment: written anew beside the old file, so that no moment is without them.
    const draft = `${this.#path}${draftSuffix}`;
    const file = openSync(draft, "w", 0o600);
    try {
      writeSync(file, text);
      renameSync(draft, this.#path);
    } finally {
      closeSync(file);
    }
    closeSync(this.#file);
    this.#file = undefined;
    this.#file = this.#open();
    // What is left is not looked at again before as much has been added.
    this.#bytes = 0;
  }

  #others(): string[] {
    const names = readdirSync(this.#place.folder).filter((name) => /^\d+-[a-z0-9]+$/.test(name));
    return names.map((name) => name.replace("-", ":")).filter((processId) => processId !== this.#place.processId);
  }

  #read(processId: string): Map<string, Value> {
    const notes = new Map<string, Value>();
    for (const line of textOf(path.join(this.#place.folder, fileOf(processId))).split("\n")) {
      const [id, value] = parse<Value>(line);
      if (id === undefined) continue;
      if (value === undefined) notes.delete(id);
      else notes.set(id, value);
    }
    return notes;
  }
}

const draftSuffix = ".draft";

function fileOf(processId: string): string {
  return processId.replace(":", "-");
}

/** Nothing if the file was removed meanwhile: another process has read it. */
function textOf(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
    throw error;
  }
}

/** Nothing for half a line: its writer is still at it, was killed over it, or its disk is full. */
function parse<Value>(line: string): readonly [id?: string, value?: Value] {
  try {
    return line === "" ? [] : (JSON.parse(line) as readonly [string, Value?]);
  } catch {
    return [];
  }
}

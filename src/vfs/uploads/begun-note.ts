/**
 * The note that a file is being written anew, for the case that this process is killed over it before the table knows of
 * the upload. Never fails an upload: a note that cannot be written costs what it is for.
 */
import type { UploadVolume } from "./upload-volume.ts";

/** Which file it is, as its client names it, and the key it will be published under. */
export interface NotedFile {
  readonly user: string;
  readonly name: string;
  readonly key: string;
}

/** See the head of this file. */
export class BegunNote {
  readonly #volume: UploadVolume;
  readonly #id: string;
  /** When the file was opened, in milliseconds since the epoch. */
  readonly openedMs: number;
  /** See `ContentOptions`: written over without being truncated (scp) it is a new version as well, until it is an edit. */
  readonly overwriting = (isSo: boolean): void => (isSo ? this.began() : this.over());
  readonly #mayReplace: boolean;
  #file: NotedFile;
  #isThere = false;

  /** Writes nothing yet. `id`: nobody else's. `mayReplace`: there may be an older version that somebody could go on with. */
  constructor(volume: UploadVolume, id: string, file: NotedFile, mayReplace: boolean) {
    this.#mayReplace = mayReplace;
    this.#volume = volume;
    this.#id = id;
    this.openedMs = volume.clock.now();
    this.#file = file;
  }

  /** It is clear that nothing of an older version will be left. */
  began(): void {
    if (this.#mayReplace && !this.#isThere) this.#put();
  }

  /** CLOSE is being carried out; `length` bytes are all of the file. */
  closing(length: number): void {
    if (this.#isThere) this.#put(length);
  }

  /** It has another name from now on. */
  moved(key: string): void {
    this.#file = { ...this.#file, name: key, key };
    if (this.#isThere) this.#put();
  }

  /** It is published, or given up, or a row says what is left of it. */
  over(): void {
    if (!this.#isThere) return;
    this.#isThere = false;
    this.#try(() => this.#volume.table.forgetBegun(this.#id));
  }

  #put(length?: number): void {
    this.#isThere = true;
    const file = { ...this.#file, startedMs: this.openedMs, ...(length !== undefined && { length }) };
    this.#try(() => this.#volume.table.noteBegun(this.#id, file));
  }

  #try(write: () => void): void {
    try {
      write();
    } catch (error) {
      this.#volume.log.warn({ err: error }, "that a file is being written cannot be noted");
    }
  }
}

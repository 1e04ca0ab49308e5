/**
 * Remembers which ETag at the source belongs to which at the destination, for `sync --etag`: ETags of objects that were
 * stored in parts or encrypted with KMS differ although the bytes are equal. One line of JSON a name; memory for one
 * entry. A lost journal costs copies, nothing else.
 */
import { createReadStream } from "node:fs";
import { type FileHandle, open, rename, rm, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { dirname } from "node:path";
import { makeFolder } from "../../make-folder.ts";
import { compareKeys } from "../../objectstore/key-order.ts";
import { sortByKey } from "../ordered-listing.ts";

const LINES_AT_ONCE = 500;

/** The versions that were equal. */
export interface KnownPair {
  readonly source: string;
  readonly destination: string;
}

interface Line extends KnownPair {
  readonly key: string;
}

/** See the head of this file. Whoever opens one owes `finish`. */
export class EtagJournal {
  readonly #path: string;
  readonly #isReadOnly: boolean;
  #notes: FileHandle | undefined;
  #waiting: string[] = [];
  #written: Promise<void> = Promise.resolve();
  #entries: AsyncIterator<Line> | undefined;
  #head: Line | undefined;

  private constructor(path: string, isReadOnly: boolean) {
    this.#path = path;
    this.#isReadOnly = isReadOnly;
  }

  /** Opens the journal at `path`, which need not exist. `readOnly`: nothing is written. Rejects with the system's error. */
  static async open(path: string, options: { readonly readOnly: boolean }): Promise<EtagJournal> {
    const journal = new EtagJournal(path, options.readOnly);
    if (options.readOnly) return journal;
    await makeFolder(dirname(path), 0o700);
    journal.#notes = await open(journal.#newPath, "w", 0o600);
    return journal;
  }

  /** What is known of `name`. Names must be asked for in UTF-8 byte order. */
  async find(name: string): Promise<KnownPair | undefined> {
    this.#entries ??= this.#read()[Symbol.asyncIterator]();
    for (;;) {
      if (!this.#head) {
        const { value, done } = await this.#entries.next();
        if (done) return undefined;
        this.#head = value;
      }
      const order = compareKeys(this.#head.key, name);
      if (order > 0) return undefined;
      if (order === 0) return this.#head;
      this.#head = undefined;
    }
  }

  /** The names will be asked for from the first one again. */
  async rewind(): Promise<void> {
    await this.#entries?.return?.();
    this.#entries = undefined;
    this.#head = undefined;
  }

  /** These versions are equal. In any order. */
  async note(name: string, pair: KnownPair): Promise<void> {
    if (this.#isReadOnly) return;
    this.#waiting.push(`${JSON.stringify({ key: name, source: pair.source, destination: pair.destination })}\n`);
    if (this.#waiting.length >= LINES_AT_ONCE) await this.#flush();
  }

  /** `isWhole`: every name was looked at, so that what is not noted is gone. Otherwise what was known stays known. */
  async finish(isWhole: boolean): Promise<void> {
    await this.rewind();
    if (this.#isReadOnly) return;
    await this.#flush();
    await this.#notes?.close();
    if (isWhole) return rename(this.#newPath, this.#path);
    await writeFile(this.#path, createReadStream(this.#newPath), { flag: "a", mode: 0o600 });
    await rm(this.#newPath, { force: true });
  }

  get #newPath(): string {
    return `${this.#path}.new`;
  }

  async #flush(): Promise<void> {
    const lines = this.#waiting.join("");
    this.#waiting = [];
    this.#written = this.#written.then(async () => {
      await this.#notes?.write(lines);
    });
    await this.#written;
  }

  #read(): AsyncGenerator<Line> {
    return sortByKey(linesOf(this.#path));
  }
}

/** The lines of a journal; one that was cut off or damaged is passed over. */
async function* linesOf(path: string): AsyncGenerator<Line[]> {
  try {
    for await (const text of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      const line = parseLine(text);
      if (line) yield [line];
    }
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
}

function parseLine(text: string): Line | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return undefined;
    const { key, source, destination } = value as Partial<Record<keyof Line, unknown>>;
    return typeof key === "string" && typeof source === "string" && typeof destination === "string"
      ? { key, source, destination }
      : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

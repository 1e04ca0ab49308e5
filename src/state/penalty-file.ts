/**
 * Keeps what is known of addresses over a restart: one small JSON file in the state directory, written by the one
 * process that counts. Losing it costs nothing but memory of offences. Knows no penalties.
 */
import { readFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import path from "node:path";

/** Changes are written together, this long after the first. */
const SAVE_DELAY_MS = 1_000;
const MAX_FILE_BYTES = 16 * 1024 * 1024;

/** One address: see `SavedSource` in src/ssh/source-penalties.ts, whose shape this is. */
interface Row {
  readonly source: string;
  readonly until: number;
  readonly refused: boolean;
  readonly knownUntil: number;
}

/** What is kept: gives its rows, takes them back, and says when they change. */
export interface KeptSources {
  onChange: () => void;
  save(): readonly Row[];
  restore(rows: readonly Row[]): void;
}

/** The file of one node. Whoever makes one owes `close`. */
export class PenaltyFile {
  readonly #localPath: string;
  readonly #sources: KeptSources;
  readonly #onError: (error: Error) => void;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #isDirty = false;

  /**
   * Fills `sources` from the file in `directory` and writes their changes there from now on. A file that is missing is
   * empty; one that cannot be read, and writes that fail, are told to `onError` and cost nothing else.
   */
  constructor(directory: string, sources: KeptSources, onError: (error: Error) => void) {
    this.#localPath = path.join(directory, "penalties.json");
    this.#sources = sources;
    this.#onError = onError;
    this.#load();
    sources.onChange = () => this.#changed();
  }

  /** Writes what is not written yet. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#sources.onChange = () => undefined;
    this.#write();
    await this.#writing;
  }

  #load(): void {
    try {
      const text = readFileSync(this.#localPath, "utf8");
      if (text.length > MAX_FILE_BYTES) throw new Error("the file is too large");
      const rows: unknown = JSON.parse(text);
      if (!Array.isArray(rows)) throw new Error("the file is no list");
      this.#sources.restore(rows.filter(isRow));
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      if ("code" in error && error.code === "ENOENT") return;
      this.#onError(error);
    }
  }

  #changed(): void {
    this.#isDirty = true;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#write();
    }, SAVE_DELAY_MS).unref();
  }

  #write(): void {
    if (!this.#isDirty) return;
    this.#isDirty = false;
    this.#writing = this.#writing.then(() => this.#replace()).catch((error: Error) => this.#onError(error));
  }

  async #replace(): Promise<void> {
    const aside = `${this.#localPath}.${process.pid}`;
    await writeFile(aside, JSON.stringify(this.#sources.save()), { mode: 0o600 });
    await rename(aside, this.#localPath);
  }
}

function isRow(value: unknown): value is Row {
  if (typeof value !== "object" || value === null) return false;
  const row = value as Partial<Record<keyof Row, unknown>>;
  return (
    typeof row.source === "string" &&
    row.source.length < 64 &&
    Number.isFinite(row.until) &&
    Number.isFinite(row.knownUntil) &&
    typeof row.refused === "boolean"
  );
}

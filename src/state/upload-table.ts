/**
 * The table of unpublished uploads of one volume, shared by all processes of the node: what the store holds of each,
 * where its tail is, who owns it. Parts are rows of their own, so that an upload of 10,000 parts costs 10,000 small
 * writes. Knows nothing of stores and handles; a table that cannot be written costs resumability, never an upload.
 */
import { createHash } from "node:crypto";
import { type BegunFile, BegunFiles } from "./begun-files.ts";
import type { StateDirectory } from "./state-directory.ts";
import type { StateTable } from "./state-table.ts";

/** How far an upload in the table has come. */
export type UploadRowState = "open" | "dropped" | "parked";

/** A stored part as the table keeps it. */
export interface UploadPartRow {
  readonly partNumber: number;
  readonly size: number;
  readonly etag: string;
  readonly crc32?: number;
}

/** Bytes that follow the stored parts, kept in a file of the tail store. */
export interface UploadTailRow {
  readonly file: string;
  /** Offset in the finished object of the file's first byte. */
  readonly start: number;
  readonly length: number;
}

/** One unpublished upload without its parts. Sizes in bytes, times in milliseconds since the epoch unless said otherwise. */
export interface UploadRow {
  readonly id: string;
  readonly user: string;
  /** The key as the client named it (a temporary name included). */
  readonly name: string;
  /** The key it will be published under. */
  readonly key: string;
  readonly state: UploadRowState;
  /** The store's name for it; absent while everything is in the tail. */
  readonly uploadId?: string;
  readonly tail?: UploadTailRow;
  /** Bytes received without a gap; for `open` as of the last write to the table. */
  readonly length: number;
  /** True if that looks like all of the file; for `open` as of the last write to the table. */
  readonly looksWhole?: boolean;
  /**
   * A file that was to be written anew and of which nothing has come, as `startedMs`, when it was opened, has it: kept so that
   * nobody goes on behind the version before it. Without this a dropped row of no length is an upload that is over.
   */
  readonly isBegun?: boolean;
  /** The published version it continues. */
  readonly base?: { readonly etag: string; readonly size: number };
  /** Whole seconds. */
  readonly mtime?: number;
  readonly mode?: number;
  /** What the store was told when the upload was created. */
  readonly created?: { readonly contentType: string; readonly metadata: Readonly<Record<string, string>> };
  readonly startedMs: number;
  readonly updatedMs: number;
  /** `StateDirectory.processId` of the process that last had it open. */
  readonly processId: string;
}

/** See the head of this file. */
export class UploadTable {
  readonly #volume: string;
  readonly #state: StateDirectory;
  readonly #rows: StateTable<UploadRow>;
  readonly #parts: StateTable<UploadPartRow>;
  readonly #notes: StateTable<number>;
  readonly #begun: BegunFiles;

  /** `volume` names the store and key prefix; two volumes with one name share their uploads. */
  constructor(state: StateDirectory, volume: string) {
    this.#state = state;
    this.#volume = createHash("sha256").update(volume).digest("base64url").slice(0, 22);
    this.#rows = state.table("uploads");
    this.#parts = state.table("upload-parts");
    this.#notes = state.table("upload-notes");
    this.#begun = BegunFiles.of(state);
  }

  /** This process as rows name it. */
  get processId(): string {
    return this.#state.processId;
  }

  /** False while its disk is full: `put` rejects then. */
  get hasRoom(): boolean {
    return this.#state.hasRoom;
  }

  /** True while the process that has the row open lives. */
  isOpen(row: UploadRow): boolean {
    return row.state === "open" && this.#state.isAlive(row.processId);
  }

  /** True while the process of that id runs on this node. */
  isAlive(processId: string): boolean {
    return this.#state.isAlive(processId);
  }

  /** Names of all tail files that any volume's rows count on. */
  tailFiles(): Set<string> {
    const names = new Set<string>();
    for (const { value } of this.#rows.range({})) if (value.tail) names.add(value.tail.file);
    return names;
  }

  /** Writes a row; resolves once other processes see it. */
  async put(row: UploadRow): Promise<void> {
    await this.#rows.put([this.#volume, row.name, row.id], row);
  }

  /** Puts `row`, which was called `oldName`, under its name; its parts stay. */
  async rename(row: UploadRow, oldName: string): Promise<void> {
    await Promise.all([this.put(row), this.#rows.remove([this.#volume, oldName, row.id])]);
  }

  /** Adds a stored part to an upload. */
  async putPart(id: string, part: UploadPartRow): Promise<void> {
    await this.#parts.put([id, partKey(part.partNumber)], part);
  }

  /** The row of one upload. */
  get(name: string, id: string): UploadRow | undefined {
    return this.#rows.get([this.#volume, name, id]);
  }

  /** The stored parts of an upload in the order of their numbers. */
  parts(id: string): UploadPartRow[] {
    const parts: UploadPartRow[] = [];
    for (const { value } of this.#parts.range({ start: [id], end: [id, "~"] })) parts.push(value);
    return parts;
  }

  /** All uploads of one name. */
  find(name: string): UploadRow[] {
    const rows: UploadRow[] = [];
    this.#state.refresh();
    for (const { value } of this.#rows.range({ start: [this.#volume, name], end: [this.#volume, name, "~"] })) rows.push(value);
    return rows;
  }

  /** All uploads whose name begins with `prefix`, in UTF-8 byte order of their names. */
  list(prefix: string): UploadRow[] {
    const rows: UploadRow[] = [];
    this.#state.refresh();
    for (const { key, value } of this.#rows.range({ start: [this.#volume, prefix] })) {
      if (key[0] !== this.#volume || !value.name.startsWith(prefix)) break;
      rows.push(value);
    }
    return rows;
  }

  /** Notes that a file was opened to be written anew, or what is known of it now: see begun-files.ts. May throw the system's error. */
  noteBegun(id: string, file: Omit<BegunFile, "volume">): void {
    this.#begun.put(id, { ...file, volume: this.#volume });
  }

  /** What was noted under `id` is over, or in the table. May throw the system's error. */
  forgetBegun(id: string): void {
    this.#begun.remove(id);
  }

  /** A file of that name that another living process has begun anew. May throw the system's error. */
  begunElsewhere(user: string, name: string): BegunFile | undefined {
    return this.#begun.ofOthers(this.#volume, user, name);
  }

  /** Lets `find` and `list` know of what processes had begun that have died since. Rejects with the system's error. */
  adoptBegun(): Promise<void> | undefined {
    return this.#begun.adopt();
  }

  /** Forgets an upload and its parts. */
  async remove(name: string, id: string): Promise<void> {
    const keys = [...this.#parts.keys({ start: [id], end: [id, "~"] })];
    await Promise.all([this.#rows.remove([this.#volume, name, id]), ...keys.map((key) => this.#parts.remove(key))]);
  }

  /** A remembered time of this volume, in milliseconds since the epoch. */
  note(name: string): number | undefined {
    return this.#notes.get([this.#volume, name]);
  }

  /** Remembers a time of this volume. */
  async putNote(name: string, timeMs: number): Promise<void> {
    await this.#notes.put([this.#volume, name], timeMs);
  }

  /** Resolves once every write so far survives a crash of the machine. */
  flushed(): Promise<void> {
    return this.#state.flushed();
  }
}

/** Sorts as the number does. */
function partKey(partNumber: number): string {
  return String(partNumber).padStart(6, "0");
}

/**
 * The checksum of a file that arrives and, beside it, the notes by which another run can go on with it
 * (upload-notes.ts). Notes are written before the bytes they are about are handed on, at least once a MiB, so that
 * they reach as far as what the store has. Knows no wire.
 */
import type { FileHandle } from "node:fs/promises";
import { type Digest, newBlockSum, RollingSum, type SavableDigest, savableTransferDigest } from "./checksums.ts";
import {
  encodeHeader,
  HISTORY,
  HISTORY_EVERY,
  historyOffset,
  MAX_NOTED_BLOCKS,
  type NotesRules,
  recordLength,
  recordOffset,
  type UploadNotesStore,
} from "./upload-notes.ts";

/** Where an earlier run stopped: behind so many blocks, with this state of the checksum. */
export interface NotedStart {
  /** Of the upload that goes on. */
  readonly id: string;
  readonly blocks: number;
  readonly saved: Uint8Array;
}

/** What waits to be written: bytes and where they go. */
interface Note {
  readonly position: number;
  readonly bytes: Uint8Array;
}

/** The same notes in fewer pieces: those that follow one another are one. */
function joined(notes: readonly Note[]): Note[] {
  const runs: { position: number; end: number; pieces: Uint8Array[] }[] = [];
  for (const { position, bytes } of notes) {
    const run = runs.findLast(({ end }) => end === position);
    if (!run) runs.push({ position, end: position + bytes.length, pieces: [bytes] });
    else {
      run.pieces.push(bytes);
      run.end += bytes.length;
    }
  }
  return runs.map(({ position, pieces }) => ({ position, bytes: Buffer.concat(pieces) }));
}

/** See the head of this file. Owes `close`. */
export class NotesRecorder implements Digest {
  readonly #store: UploadNotesStore;
  readonly #rules: NotesRules;
  readonly #digest: SavableDigest;
  readonly #rolling = new RollingSum();
  readonly #history = Buffer.alloc(HISTORY + 8);
  readonly #startBlocks: number;
  #strong: Digest;
  #block: number;
  /** Bytes of the current block so far. */
  #filled = 0;
  #notes: Note[] = [];
  #isDue = false;
  #file: FileHandle | undefined;
  #id: string | undefined;
  #stopped = false;

  constructor(store: UploadNotesStore, rules: NotesRules, start?: NotedStart) {
    this.#store = store;
    this.#rules = rules;
    this.#startBlocks = start?.blocks ?? 0;
    this.#block = this.#startBlocks;
    this.#id = start?.id;
    this.#digest = savableTransferDigest(rules.checksums, start?.saved, this.#block * rules.blockLength);
    this.#strong = newBlockSum(rules.checksums);
  }

  /** Bytes of each block that is noted. */
  get blockLength(): number {
    return this.#rules.blockLength;
  }

  /** True if notes should be written before anything else is handed on. */
  get isDue(): boolean {
    return this.#isDue;
  }

  update(data: Uint8Array): void {
    if (this.#stopped) {
      this.#digest.update(data);
      return;
    }
    for (let offset = 0; offset < data.length; ) {
      const piece = data.subarray(offset, offset + this.#rules.blockLength - this.#filled);
      offset += piece.length;
      this.#digest.update(piece);
      this.#strong.update(piece);
      this.#rolling.add(piece);
      this.#filled += piece.length;
      this.#remember(piece);
      if (this.#filled === this.#rules.blockLength) this.#endBlock();
    }
  }

  digest(): Uint8Array {
    return this.#digest.digest();
  }

  /** Writes what is due into the notes of upload `id`. Never rejects: notes that cannot be written end here. */
  async flush(id: string | undefined): Promise<void> {
    this.#isDue = false;
    if (id === undefined || this.#notes.length === 0 || this.#stopped) return;
    try {
      this.#file ??= await this.#begin(id);
      for (const { position, bytes } of joined(this.#notes.splice(0))) await this.#file.write(bytes, 0, bytes.length, position);
    } catch {
      this.#stopped = true;
      this.#notes = [];
    }
  }

  /** Ends it; the notes stay. */
  async close(): Promise<void> {
    this.#stopped = true;
    await this.#file?.close();
    this.#file = undefined;
  }

  /** Ends it and forgets the notes: there is nothing to go on with. */
  async discard(): Promise<void> {
    await this.close();
    if (this.#id !== undefined) await this.#store.remove(this.#id);
  }

  /** Keeps the last bytes before a place whose history is noted; `piece` has just been added. */
  #remember(piece: Uint8Array): void {
    const { blockLength } = this.#rules;
    if (((this.#block + 1) * blockLength) % HISTORY_EVERY !== 0) return;
    const from = this.#filled - piece.length - (blockLength - HISTORY);
    const skipped = Math.max(0, -from);
    if (skipped < piece.length) this.#history.set(piece.subarray(skipped), 8 + from + skipped);
  }

  #endBlock(): void {
    const rules = this.#rules;
    const record = Buffer.alloc(recordLength(rules));
    const strong = this.#strong.digest();
    record.writeUInt32LE(this.#rolling.value, 0);
    record.set(strong, 4);
    record.set(this.#digest.save(), 4 + strong.length);
    this.#notes.push({ position: recordOffset(rules, this.#block), bytes: record });
    this.#block += 1;
    this.#filled = 0;
    this.#rolling.reset();
    this.#strong = newBlockSum(rules.checksums);
    if (this.#block >= MAX_NOTED_BLOCKS) this.#stopped = true;
    const end = this.#block * rules.blockLength;
    if (end % HISTORY_EVERY !== 0) return;
    this.#isDue = true;
    const history = Buffer.from(this.#history);
    history.writeBigUInt64LE(BigInt(end));
    this.#notes.push({ position: historyOffset(end), bytes: history });
  }

  async #begin(id: string): Promise<FileHandle> {
    this.#id = id;
    const file = await this.#store.write(id);
    try {
      await file.write(encodeHeader(this.#rules), 0, undefined, 0);
      // What lies behind was noted by a run that did not get that far this time.
      await file.truncate(recordOffset(this.#rules, this.#startBlocks));
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }
}

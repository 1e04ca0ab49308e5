/**
 * One upload's row in the table of unpublished uploads, kept up to date while it runs. Writing is never waited for on
 * the way of the data and never fails an upload: a row that is missing costs resumability only. Knows no handles.
 */
import type { ObjectInfo, ObjectProperties, StoredPart } from "../../objectstore/objectstore.ts";
import type { UploadRow, UploadRowState, UploadTailRow } from "../../state/upload-table.ts";
import type { Received } from "./end-signs.ts";
import type { AssembledSoFar, Remains } from "./part-assembler.ts";
import type { UploadVolume } from "./upload-volume.ts";

/** Time and mode as a client set them; `mtime` in whole seconds. */
export interface TimesAndMode {
  readonly mtime?: number;
  readonly mode?: number;
}

/** So much of a file has to have come for its beginning to be remembered: less is sent within milliseconds. */
const worthRow = 256 * 1024;

/** What a new upload is about. */
export interface NewUpload {
  readonly id: string;
  readonly user: string;
  readonly name: string;
  readonly key: string;
  readonly base: ObjectInfo | undefined;
}

/** See the head of this file. */
export class UploadRecord {
  readonly #volume: UploadVolume;
  #row: UploadRow;
  #inTable: boolean;
  #writing: Promise<unknown> = Promise.resolve();

  private constructor(volume: UploadVolume, row: UploadRow, inTable: boolean) {
    this.#volume = volume;
    this.#row = row;
    this.#inTable = inTable;
  }

  /** A new upload; nothing is written before the store knows of it. */
  static begin(volume: UploadVolume, upload: NewUpload): UploadRecord {
    const now = volume.clock.now();
    const { base, ...names } = upload;
    const row: UploadRow = {
      ...names,
      state: "open",
      length: 0,
      ...(base && { base: { etag: base.etag, size: base.size } }),
      startedMs: now,
      updatedMs: now,
      processId: volume.table.processId,
    };
    return new UploadRecord(volume, row, false);
  }

  /** A row that is in the table and not open. */
  static resting(volume: UploadVolume, row: UploadRow): UploadRecord {
    return new UploadRecord(volume, row, true);
  }

  /** Takes up a row that was dropped or parked; other processes see at once that it is taken. */
  static async resume(volume: UploadVolume, row: UploadRow): Promise<UploadRecord> {
    const record = new UploadRecord(volume, row, true);
    record.#change({ state: "open" });
    await record.#writing;
    return record;
  }

  /** The row as it is now. */
  get row(): UploadRow {
    return this.#row;
  }

  /** False if another process has taken the upload over. */
  get isOurs(): boolean {
    if (!this.#inTable) return true;
    const row = this.#volume.table.get(this.#row.name, this.#row.id);
    return row === undefined || row.processId === this.#volume.table.processId;
  }

  /** The store has created the multipart upload. */
  created(uploadId: string, properties: ObjectProperties): void {
    this.#change({ uploadId, created: { contentType: properties.contentType ?? "", metadata: { ...properties.metadata } } });
  }

  /** `received` bytes have come: if the process dies before the store has a part, the upload is still known to have begun. */
  began(received: number): void {
    if (!this.#inTable && received >= worthRow) this.#change({ state: "open" });
  }

  /** The store has one more part. */
  stored(part: StoredPart): void {
    if (!this.isOurs) return;
    this.#write(() => this.#volume.table.putPart(this.#row.id, part));
  }

  /** CLOSE was asked for and is being carried out: if the process dies over it, parts of `length` bytes are all of the file. */
  closing(length: number): void {
    this.#change({ length, looksWhole: true });
  }

  /** Everything received is safe: in parts or in `tail`. Resolves once that survives a crash. */
  async synced({ length, looksWhole = false }: Received, tail: UploadTailRow | undefined): Promise<void> {
    this.#change({ length, looksWhole, ...(tail && { tail }) });
    await this.#writing;
    await this.#volume.table.flushed();
  }

  /** The upload waits for its owner: `dropped` to be resumed, `parked` to be renamed. Rejects if a parked one cannot be written down. */
  async rest(state: "dropped" | "parked", remains: Remains, times: TimesAndMode): Promise<void> {
    const { tail: _old, ...row } = this.#row;
    this.#row = row;
    const { uploadId, tail, length, looksWhole = false } = remains;
    this.#change({ state, length, looksWhole, ...times, ...(uploadId !== undefined && { uploadId }), ...(tail && { tail }) });
    await this.#writing;
    if (state === "dropped") return;
    // CLOSE will be answered for a parked upload, which must not be forgotten: what `#change` only logs has to fail here.
    const { table } = this.#volume;
    if (table.get(this.#row.name, this.#row.id)?.state !== "parked") await table.put(this.#row);
    await table.flushed();
  }

  /** Nothing came of a file that was opened, `openedMs`, to be written anew. */
  async restBegun(openedMs: number): Promise<void> {
    this.#change({ state: "dropped", length: 0, isBegun: true, startedMs: openedMs });
    await this.#writing;
  }

  /** Changes time and mode of a resting upload. */
  async setTimes(state: UploadRowState, times: TimesAndMode): Promise<void> {
    this.#change({ state, ...times });
    await this.#writing;
  }

  /** The owner calls a resting upload `name` from now on. What the store knows keeps its key until it is published. */
  async rename(name: string): Promise<void> {
    const oldName = this.#row.name;
    if (oldName === name) return;
    this.#row = { ...this.#row, name, key: this.#row.uploadId === undefined ? name : this.#row.key };
    await this.#volume.table.rename(this.#row, oldName);
  }

  /** The upload is over: forgets the row. */
  async forget(): Promise<void> {
    const { name, id, tail } = this.#row;
    if (!this.#inTable) return;
    this.#inTable = false;
    // Only rows that are committed are found and removed.
    await this.#writing;
    this.#write(async () => {
      await this.#volume.table.remove(name, id);
      if (tail) await this.#volume.tails.remove(tail.file);
    });
    await this.#writing;
  }

  /** The upload is over, but the store could not be told: leaves it to the next sweep. */
  async abandon(): Promise<void> {
    if (!this.#inTable) return;
    this.#change({ state: "dropped", length: 0 });
    await this.#writing;
  }

  /** Discards what the store and this node have of it, then the row. Rejects with the store's error; a sweep tries again then. */
  async discard(): Promise<void> {
    const { uploadId, key } = this.#row;
    try {
      if (uploadId !== undefined) await this.#volume.store.openUpload(key, uploadId).abort();
    } catch (error) {
      await this.abandon();
      throw error;
    }
    await this.forget();
  }

  #change(change: Partial<UploadRow>): void {
    const { table, clock } = this.#volume;
    this.#row = { ...this.#row, ...change, updatedMs: clock.now(), processId: table.processId };
    this.#inTable = true;
    const row = this.#row;
    this.#write(() => table.put(row));
  }

  #write(write: () => Promise<void>): void {
    this.#writing = Promise.all([this.#writing, write()]).catch((error: unknown) => {
      this.#volume.log.warn({ err: error, upload: this.#row.id }, "table of unpublished uploads cannot be written");
    });
  }
}

/** The stored parts of a resting upload in order, as far as they end within `limit` bytes. */
export function partsOf(volume: UploadVolume, row: UploadRow, limit: number): StoredPart[] {
  const parts: StoredPart[] = [];
  let length = 0;
  for (const part of volume.table.parts(row.id)) {
    if (part.partNumber !== parts.length + 1 || length + part.size > limit) break;
    parts.push(part);
    length += part.size;
  }
  return parts;
}

/** What a resting upload has, opened to go on; undefined if its tail is gone although its length counts on it. */
export async function soFarOf(volume: UploadVolume, row: UploadRow): Promise<AssembledSoFar | undefined> {
  const parts = partsOf(volume, row, row.tail?.start ?? row.length);
  let length = 0;
  for (const part of parts) length += part.size;
  const soFar = { uploadId: row.uploadId, parts };
  if (!row.tail) return length === row.length ? soFar : undefined;
  const file = await volume.tails.open(row.tail.file);
  if (length !== row.tail.start || !file || file.length < row.tail.length) {
    await file?.close();
    return undefined;
  }
  return { ...soFar, tail: { file, length: row.tail.length } };
}

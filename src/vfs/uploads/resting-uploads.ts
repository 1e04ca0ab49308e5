/**
 * Uploads of one volume that no handle has open: dropped ones that wait for a resume, parked ones that wait for their
 * rename, and those that a process left open when it died, which become dropped ones when somebody asks. Works on the
 * table and the store; knows no sessions.
 */
import { StoreError } from "../../errors.ts";
import type { StoredPart } from "../../objectstore/objectstore.ts";
import type { UploadRow } from "../../state/upload-table.ts";
import { UploadLife, type UploadState } from "./upload-life.ts";
import { type NewUpload, UploadRecord } from "./upload-record.ts";
import type { UploadVolume } from "./upload-volume.ts";

/** Uploads of dead processes that the store is asked about at once. */
const recoveredAtOnce = 16;

/** See the head of this file. */
export class RestingUploads {
  readonly #volume: UploadVolume;
  readonly #recovering = new Map<string, Promise<UploadRow | undefined>>();

  constructor(volume: UploadVolume) {
    this.#volume = volume;
  }

  /** The newest resting upload of `name` that belongs to `user`. */
  async find(user: string, name: string): Promise<UploadRow | undefined> {
    await this.#adopt();
    return newest(await this.#resting(this.#volume.table.find(name), user));
  }

  /** All resting uploads of `user` whose name begins with `prefix`, one for each name. */
  async list(user: string, prefix: string): Promise<UploadRow[]> {
    const byName = new Map<string, UploadRow>();
    await this.#adopt();
    for (const row of await this.#resting(this.#volume.table.list(prefix), user)) {
      const known = byName.get(row.name);
      if (!known || known.updatedMs <= row.updatedMs) byName.set(row.name, row);
    }
    return [...byName.values()];
  }

  /** Uploads of `user` that another process of this node has open. */
  openElsewhere(user: string, name: string): UploadRow | undefined {
    const { table } = this.#volume;
    const rows = table.find(name).filter((row) => row.user === user && row.processId !== table.processId && table.isOpen(row));
    const row = newest(rows);
    if (!row) return undefined;
    const parts = usableParts(table.parts(row.id), this.#volume.store.limits.minPartSize, undefined);
    return { ...row, looksWhole: false, length: parts.reduce((sum, part) => sum + part.size, 0) };
  }

  /** Takes an upload out of the hands of another process; it finds out when it next looks at the table. */
  async takeFromProcess(row: UploadRow): Promise<UploadRow | undefined> {
    await UploadRecord.resume(this.#volume, row);
    return this.#recover(row);
  }

  /** Ends every resting upload of `name` but `keptId`: a newer one took its place. Never rejects. */
  async replace(user: string, name: string, keptId: string | undefined): Promise<void> {
    for (const row of this.#volume.table.find(name)) {
      if (row.user === user && row.id !== keptId && !this.#volume.table.isOpen(row)) await this.#tryDiscard(row, "replaced");
    }
  }

  /**
   * Remembers a file that was opened, at `openedMs`, to be written anew and was lost before anything came of it. Not if
   * there is an upload of that name that got something. Never rejects.
   */
  async rememberBegun(upload: NewUpload, openedMs: number): Promise<string | undefined> {
    const hasBytes = (row: UploadRow): boolean => row.user === upload.user && !isAbandoned(row) && row.isBegun !== true;
    if (this.#volume.table.find(upload.name).some(hasBytes)) return undefined;
    await UploadRecord.begin(this.#volume, upload).restBegun(openedMs);
    return upload.id;
  }

  /** A dropped upload is called `to` from now on, in place of any other of that name. Rejects if that cannot be written down. */
  async rename(row: UploadRow, to: string): Promise<void> {
    await UploadRecord.resting(this.#volume, row).rename(to);
    await this.replace(row.user, to, row.id);
  }

  /** Ends one resting upload. Rejects with the store's error. */
  async discard(row: UploadRow): Promise<void> {
    new UploadLife(lifeOf(row)).become("discarded");
    await UploadRecord.resting(this.#volume, row).discard();
  }

  /** Ends all that nobody has touched since `timeMs`, whoever owns them. Never rejects; says how many there were. */
  async expire(prefix: string, timeMs: number): Promise<number> {
    let expired = 0;
    for (const row of this.#volume.table.list(prefix)) {
      if (this.#volume.table.isOpen(row) || (row.updatedMs >= timeMs && !isAbandoned(row))) continue;
      await this.#tryDiscard(row, "expired");
      expired += 1;
    }
    return expired;
  }

  /** Holds a user to the limit of tails: the upload that went over it keeps only what the store has. */
  async capTails(row: UploadRow, prefix: string): Promise<void> {
    const { table, tails, tailLimitPerUser, log } = this.#volume;
    if (!row.tail) return;
    let total = 0;
    for (const other of table.list(prefix)) if (other.user === row.user) total += other.tail?.length ?? 0;
    if (total <= tailLimitPerUser) return;
    log.warn({ user: row.user, bytes: row.tail.length }, "tail of a dropped upload not kept: the user has too many");
    await tails.remove(row.tail.file);
    const { tail, ...rest } = row;
    if (tail.start > 0) await table.put({ ...rest, looksWhole: false, length: tail.start });
    else await this.#nothingOf(rest);
  }

  /** Files that a process had just begun when it died get rows. Never rejects. */
  async #adopt(): Promise<void> {
    try {
      await this.#volume.table.adoptBegun();
    } catch (error) {
      this.#volume.log.warn({ err: error }, "what a process had begun when it died cannot be looked up; the next session tries again");
    }
  }

  async #resting(rows: readonly UploadRow[], user: string): Promise<UploadRow[]> {
    const { table } = this.#volume;
    const resting = rows.filter((row) => row.user === user && row.state !== "open");
    const orphans = rows.filter((row) => row.user === user && row.state === "open" && !table.isOpen(row));
    for (let first = 0; first < orphans.length; first += recoveredAtOnce) {
      const recovered = await Promise.all(orphans.slice(first, first + recoveredAtOnce).map((row) => this.#recover(row)));
      for (const row of recovered) if (row) resting.push(row);
    }
    return resting.filter((row) => !isAbandoned(row));
  }

  /** A process died with this upload: the store says what it has. */
  #recover(row: UploadRow): Promise<UploadRow | undefined> {
    const running = this.#recovering.get(row.id) ?? this.#recoverOnce(row).finally(() => this.#recovering.delete(row.id));
    this.#recovering.set(row.id, running);
    return running;
  }

  async #recoverOnce(row: UploadRow): Promise<UploadRow | undefined> {
    const { table, log } = this.#volume;
    try {
      const parts = await this.#storedParts(row);
      const stored = parts.reduce((sum, part) => sum + part.size, 0);
      const tail = row.tail && row.tail.start === stored ? row.tail : undefined;
      const length = stored + (tail?.length ?? 0);
      if (length === 0) return await this.#nothingOf(row);
      for (const part of parts) await table.putPart(row.id, part);
      const { tail: _unknown, ...rest } = row;
      const looksWhole = row.looksWhole === true && length === row.length;
      const found = { length, looksWhole, ...(tail && { tail }) };
      const recovered: UploadRow = { ...rest, ...found, state: "dropped", processId: table.processId };
      await table.put(recovered);
      return recovered;
    } catch (error) {
      if (error instanceof StoreError && error.code === "no-such-upload") {
        await table.remove(row.name, row.id);
        return undefined;
      }
      log.warn({ err: error, upload: row.id }, "an unfinished upload cannot be looked up");
      return undefined;
    }
  }

  /** Nothing is left of an upload that was begun: what there is at the store goes, but not that it was begun. */
  async #nothingOf(row: UploadRow): Promise<UploadRow | undefined> {
    await this.#tryDiscard(row, "discarded");
    if (row.base || (await this.#isPublished(row))) return undefined;
    const { id, user, name, key, startedMs } = row;
    const record = UploadRecord.begin(this.#volume, { id: `${id}-`, user, name, key, base: undefined });
    await record.restBegun(startedMs);
    return record.row;
  }

  /** True if its process died after it had published it, or somebody has published another one since. False if that is not known. */
  async #isPublished({ key, startedMs, looksWhole, length }: UploadRow): Promise<boolean> {
    try {
      const { lastModifiedMs, size } = await this.#volume.store.head(key);
      // The store's clock may tell whole seconds only: what was being closed is known by its size.
      return lastModifiedMs > startedMs || (looksWhole === true && size === length);
    } catch (error) {
      const isAbsent = error instanceof StoreError && error.code === "not-found";
      if (!isAbsent) this.#volume.log.warn({ err: error }, "whether an upload was published before its process died is not known");
      return false;
    }
  }

  /** Parts without a gap up to where the tail begins; without a last one too small to be followed by another. */
  async #storedParts(row: UploadRow): Promise<StoredPart[]> {
    const { store } = this.#volume;
    if (row.uploadId === undefined) return [];
    const tailStart = row.tail && (await this.#hasTail(row)) ? row.tail.start : undefined;
    const listed = await store.openUpload(row.key, row.uploadId).listParts();
    return usableParts(listed, store.limits.minPartSize, tailStart);
  }

  async #hasTail(row: UploadRow): Promise<boolean> {
    if (!row.tail) return false;
    const file = await this.#volume.tails.open(row.tail.file);
    await file?.close();
    return file !== undefined && file.length >= row.tail.length;
  }

  async #tryDiscard(row: UploadRow, end: UploadState): Promise<void> {
    try {
      new UploadLife(lifeOf(row)).become(end);
      await UploadRecord.resting(this.#volume, row).discard();
    } catch (error) {
      this.#volume.log.warn({ err: error, upload: row.id }, "an ended upload could not be cleaned up; the next sweep tries again");
    }
  }
}

/** Parts from the first on without a gap, up to `tailStart` if they reach it; a short last one cannot be continued. */
export function usableParts(listed: readonly StoredPart[], minPartSize: number, tailStart: number | undefined): StoredPart[] {
  const parts: StoredPart[] = [];
  let length = 0;
  for (const part of listed) {
    if (part.partNumber !== parts.length + 1 || length === tailStart) break;
    parts.push(part);
    length += part.size;
  }
  const last = parts.at(-1);
  if (last && last.size < minPartSize) parts.pop();
  return parts;
}

/** An upload that is over and only waits for the store to be told. */
function isAbandoned(row: UploadRow): boolean {
  return row.state === "dropped" && row.length === 0 && row.isBegun !== true;
}

function lifeOf(row: UploadRow): UploadState {
  return row.state === "parked" ? "parked" : "dropped";
}

function newest(rows: readonly UploadRow[]): UploadRow | undefined {
  let found: UploadRow | undefined;
  for (const row of rows) if (!found || row.updatedMs >= found.updatedMs) found = row;
  return found;
}

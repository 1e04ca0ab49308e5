/** One session's view of the unpublished uploads of a volume: the port `PendingUploads`, see there. */
import { FsError, StoreError } from "../../errors.ts";
import type { UploadRow } from "../../state/upload-table.ts";
import { OWNER_ID } from "../attributes.ts";
import type { AttributeChange, Attributes, FileHandle, InterruptedUpload } from "../file-system.ts";
import { DEFAULT_FILE_MODE } from "../object-metadata.ts";
import type { PendingEntry, PendingState, PendingUploads, WriteRequest } from "../pending-uploads.ts";
import { toFsError } from "../store-fault.ts";
import { shownLength } from "./end-signs.ts";
import type { ForeignUpload } from "./foreign-uploads.ts";
import { LiveReader, type PublishedVersion } from "./live-reader.ts";
import { openParked } from "./parked-reader.ts";
import { publishParked } from "./parked.ts";
import { UploadRecord } from "./upload-record.ts";
import type { LiveUpload, UploadOwner, UploadRegistry } from "./upload-registry.ts";

/** See `PendingUploads`. */
export class UploadView implements PendingUploads {
  readonly #registry: UploadRegistry;
  readonly #owner: UploadOwner;

  constructor(registry: UploadRegistry, owner: UploadOwner) {
    this.#registry = registry;
    this.#owner = owner;
  }

  settling(key: string): Promise<unknown> | undefined {
    return this.#registry.settling(this.#owner, key);
  }

  async find(key: string): Promise<PendingEntry | undefined> {
    const { user } = this.#owner;
    // Some clients do not wait for the answer to CLOSE: what they ask next must see what it brings.
    await this.#registry.settleOwn(this.#owner, key);
    const here = this.#here(key);
    if (here?.handle.hidesPublished) {
      // Writes that were sent before are not always answered when somebody asks how long the file is.
      await here.handle.caughtUp();
      return this.#liveEntry(here);
    }
    // A session that has just ended is waited for until it is clear how much came, which takes no request.
    for (const { handle } of this.#registry.live(user, key)) await handle.quiet();
    const live = this.#registry.live(user, key).findLast(({ handle }) => handle.received > 0);
    if (live) return this.#liveEntry(live);
    const row = (await this.#registry.resting.find(user, key)) ?? this.#registry.resting.openElsewhere(user, key);
    if (row) return rowEntry(row);
    const foreign = await this.#registry.foreign.findKnown(key);
    if (foreign) return foreignEntry(foreign);
    // Opened, but nothing is known yet of what it will be: a file of that name exists in any case.
    const open = here ?? this.#registry.live(user, key).findLast(({ handle }) => handle.isLive);
    return open && { ...this.#liveEntry(open), state: "live-elsewhere" };
  }

  async findElsewhere(key: string): Promise<PendingEntry | undefined> {
    const known = await this.find(key);
    if (known) return known;
    const foreign = await this.#registry.foreign.find(key);
    return foreign && foreignEntry(foreign);
  }

  async list(prefix: string): Promise<PendingEntry[]> {
    const { user } = this.#owner;
    const entries = new Map<string, PendingEntry>();
    const before = this.#registry.liveBelow(user, prefix);
    for (const foreign of await this.#registry.foreign.listKnown(prefix)) entries.set(foreign.key, foreignEntry(foreign));
    for (const row of await this.#registry.resting.list(user, prefix)) entries.set(row.name, rowEntry(row));
    const open = this.#registry.liveBelow(user, prefix);
    // What was published meanwhile may be missing from a listing of the store that was asked for at the same time.
    const published = before.filter((live) => live.handle.published !== undefined && !open.includes(live));
    for (const live of published) entries.set(live.name, { ...this.#liveEntry(live), state: "live-elsewhere" });
    for (const live of open) {
      const { name, session, handle } = live;
      const goesFirst = session === this.#owner.session ? handle.hidesPublished : handle.received > 0;
      if (goesFirst) entries.set(name, this.#liveEntry(live));
      // As `find` has it: there is a file of that name, whatever comes of what was opened.
      else if (handle.isLive && !entries.has(name)) entries.set(name, { ...this.#liveEntry(live), state: "live-elsewhere" });
    }
    return [...entries.values()].sort((one, other) => Buffer.compare(Buffer.from(one.key), Buffer.from(other.key)));
  }

  open(request: WriteRequest): Promise<FileHandle> {
    return this.#registry.open(this.#owner, request);
  }

  async read(key: string, path: string, openVersion: (version: PublishedVersion) => FileHandle): Promise<FileHandle | undefined> {
    const row = await this.#registry.resting.find(this.#owner.user, key);
    const here = this.#here(key)?.handle;
    const synced = this.#registry.live(this.#owner.user, key).findLast(({ handle }) => handle.isLive && handle.synced !== undefined);
    const writer = here ?? synced?.handle;
    // Until its first call a writer may turn out to go on with what rests.
    if (writer && (writer.hidesPublished || !row)) {
      const setstat = async (change: AttributeChange): Promise<void> => void (await this.setAttributes(key, change, path));
      return new LiveReader({ writer, syncedOnly: here === undefined, path, setstat, openVersion });
    }
    return row && openParked(this.#registry.volume, row, path, rowEntry(row).attributes);
  }

  interrupted(key: string): Promise<InterruptedUpload | undefined> {
    return this.#registry.interrupted(this.#owner, key);
  }

  async setAttributes(key: string, change: AttributeChange, path: string = nameOf(key)): Promise<boolean> {
    const open = this.#here(key) ?? this.#registry.live(this.#owner.user, key).findLast(({ handle }) => handle.isLive);
    if (open) {
      await open.handle.setstat(change);
      return true;
    }
    await this.#registry.settle(this.#owner.user, key);
    const row = await this.#registry.resting.find(this.#owner.user, key);
    if (!row) return false;
    const { mtime, mode, size } = change;
    if (size !== undefined && size !== 0 && size !== row.length && size !== shownLength(row)) {
      throw new FsError("unsupported", `${path}: an unfinished upload cannot be cut; send the file again from the start`);
    }
    const times = { ...(mtime !== undefined && { mtime }), ...(mode !== undefined && { mode: mode & 0o7777 }) };
    if (row.mtime !== (mtime ?? row.mtime) || row.mode !== (times.mode ?? row.mode)) {
      await UploadRecord.resting(this.#registry.volume, row).setTimes(row.state, times);
    }
    return true;
  }

  async discard(key: string, path: string = nameOf(key)): Promise<boolean> {
    const { user, session } = this.#owner;
    let isUnlinked = false;
    for (const { handle, ...live } of this.#registry.live(user, key)) {
      if (live.session !== session) await handle.takeOver();
      if (live.session === session && handle.isLive) {
        handle.unlink();
        isUnlinked = true;
      }
    }
    await this.#registry.settle(user, key);
    const { resting, foreign, volume } = this.#registry;
    try {
      const row = (await resting.find(user, key)) ?? (await this.#takeFromProcess(key));
      if (row) {
        await resting.discard(row);
        await resting.replace(user, key, undefined);
        return true;
      }
      const unknown = await foreign.find(key);
      if (!unknown) return isUnlinked;
      await volume.store.openUpload(key, unknown.uploadId).abort();
      foreign.forget(key);
      return true;
    } catch (error) {
      throw toFsError(error, path);
    }
  }

  async rename(from: string, to: string, options: { readonly replace: boolean; readonly path: string }): Promise<boolean> {
    const { user } = this.#owner;
    const { resting, volume } = this.#registry;
    await this.#registry.settle(user, from);
    const row = await resting.find(user, from);
    const open = this.#registry.live(user, from).filter(({ handle }) => handle.isLive);
    try {
      if (row?.state === "parked" && open.length === 0) {
        const { path, replace } = options;
        await volume.order.run([row.key, to], path, () => publishParked(volume, row, { to, path, replace }));
        await resting.replace(user, to, undefined);
        return true;
      }
      if (!row && open.length === 0) return false;
      const isPublished = await this.#isPublished(from);
      if (row && open.length === 0) {
        if (!isPublished && !options.replace && (await this.#isPublished(to))) throw exists(options.path);
        await resting.rename(row, to);
        return !isPublished;
      }
      if (open.length > 0 && open.every(({ handle }) => handle.isMovable || !isPublished)) {
        if (!options.replace && (await this.#isPublished(to))) throw exists(options.path);
        for (const { handle } of open) await handle.moveTo({ key: to, path: options.path });
        return !isPublished;
      }
      // What is published under the name is renamed by the tree; an unfinished upload beside it stays what it is.
      if (isPublished) return false;
    } catch (error) {
      throw toFsError(error, options.path);
    }
    throw new FsError("stale", `${options.path}: the upload of this file is not finished; finish it before renaming`);
  }

  async follow(from: string, to: string): Promise<void> {
    const row = await this.#registry.resting.find(this.#owner.user, from);
    if (row?.state === "dropped") await this.#registry.resting.rename(row, to);
  }

  /** The latest upload of `key` that this very session has open. */
  #here(key: string): LiveUpload | undefined {
    return this.#registry.live(this.#owner.user, key).findLast((live) => live.session === this.#owner.session && live.handle.isLive);
  }

  #takeFromProcess(key: string): Promise<UploadRow | undefined> {
    const row = this.#registry.resting.openElsewhere(this.#owner.user, key);
    return row ? this.#registry.resting.takeFromProcess(row) : Promise.resolve(undefined);
  }

  async #isPublished(key: string): Promise<boolean> {
    try {
      await this.#registry.volume.store.head(key);
      return true;
    } catch (error) {
      if (error instanceof StoreError && error.code === "not-found") return false;
      throw error;
    }
  }

  #liveEntry({ name, session, handle }: LiveUpload): PendingEntry {
    if (session === this.#owner.session) return { key: name, state: "live-here", attributes: handle.snapshot };
    return { key: name, state: "live-elsewhere", attributes: { ...handle.snapshot, size: handle.shown } };
  }
}

/** The name of the file alone, where nobody says its path. */
function nameOf(key: string): string {
  return key.slice(key.lastIndexOf("/") + 1);
}

function exists(path: string): FsError {
  return new FsError("exists", `${path}: the file is already there`);
}

function rowEntry(row: UploadRow): PendingEntry {
  const states: Readonly<Record<UploadRow["state"], PendingState>> = { open: "live-elsewhere", dropped: "dropped", parked: "parked" };
  return { key: row.name, state: states[row.state], attributes: attributesOf(shownLength(row), row, row.updatedMs) };
}

function foreignEntry(foreign: ForeignUpload): PendingEntry {
  return { key: foreign.key, state: "dropped", attributes: attributesOf(shownLength(foreign), {}, foreign.initiatedMs) };
}

function attributesOf(size: number, times: { readonly mtime?: number; readonly mode?: number }, atMs: number): Attributes {
  const mtime = times.mtime ?? Math.floor(atMs / 1000);
  return { type: "file", size, mode: times.mode ?? DEFAULT_FILE_MODE, uid: OWNER_ID, gid: OWNER_ID, mtime, atime: mtime };
}

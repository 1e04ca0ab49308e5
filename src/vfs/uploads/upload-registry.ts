/**
 * All unpublished uploads of one volume, shared by every session of this process: those that are open here, those in
 * the table of the node, and those only the store knows of. Each session sees its owner's through a view.
 *
 * What costs a request: opening, writing and closing a new file cost what storing it costs. Uploads begun on another
 * node are looked for as told in foreign-uploads.ts.
 */
import { randomBytes } from "node:crypto";
import type { ByteBudget } from "../../byte-budget.ts";
import { FsError, StoreError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { ObjectInfo, ObjectStore } from "../../objectstore/objectstore.ts";
import type { TailStore } from "../../state/tail-store.ts";
import type { UploadRow, UploadTable } from "../../state/upload-table.ts";
import type { FileHandle, InterruptedUpload } from "../file-system.ts";
import type { PendingUploads, PublishedChange, WriteRequest } from "../pending-uploads.ts";
import { toFsError } from "../store-fault.ts";
import { WriteOrder } from "../write-order.ts";
import { type Clock, systemClock } from "./clock.ts";
import { shownLength } from "./end-signs.ts";
import { type ForeignUpload, ForeignUploads } from "./foreign-uploads.ts";
import type { OpeningSources, Resumable } from "./opening.ts";
import { RestingUploads } from "./resting-uploads.ts";
import { DEFAULT_TEMPORARY_NAMES, TemporaryNames } from "./temporary-names.ts";
import { UploadMemory } from "./upload-memory.ts";
import { UploadRecord } from "./upload-record.ts";
import { UploadView } from "./upload-view.ts";
import type { QuotaTarget, UploadVolume } from "./upload-volume.ts";
import { WriteHandle } from "./write-handle.ts";

const DAY_MS = 24 * 60 * 60 * 1000;

/** An upload that got nothing for so long gives its memory back when others wait for some. */
const idleMs = 1_000;

/**
 * How long a session waits for what another one of the same user is just closing, and for one that looks finished: sshfs
 * sends CLOSE after the program has gone on, and may ask over another connection.
 */
const closingWaitMs = 2_000;
const idleWaitMs = 100;

/** Files of dead processes that no row names are removed after so long. */
const orphanMs = 10 * 60 * 1000;

/** What a registry works on. */
export interface UploadRegistryOptions {
  readonly store: ObjectStore;
  /** Key prefix of the volume: empty, or ends with `/`. */
  readonly prefix: string;
  readonly table: UploadTable;
  readonly tails: TailStore;
  /** The one of the process. */
  readonly budget: ByteBudget;
  readonly log: Logger;
  /** The volume's (default: one of its own). */
  readonly order?: WriteOrder;
  /** Content type for a key. */
  readonly contentType: (key: string) => string;
  /** Told, and waited for, after something was published and before the client is. Must not reject. */
  readonly onPublished?: (change: PublishedChange) => Promise<void> | void;
  /** Whether publishing under `key` replaces a file, if somebody wants to know: see `Volume.replaces`. */
  readonly replaces?: (key: string) => Promise<boolean | "unknown" | undefined>;
  /** Rejects with `FsError` `quota` if the volume may not grow by `bytes` (negative: it shrinks). */
  readonly checkQuota?: (bytes: number, target: QuotaTarget) => Promise<void> | void;
  /** Names under which uploads wait for their rename (default `DEFAULT_TEMPORARY_NAMES`). */
  readonly temporaryNames?: readonly string[];
  /** Uploads that nobody touched for so long are swept (default 7 days). */
  readonly expiryMs?: number;
  /** How often the store is asked for uploads of other nodes at most (default 60 s); see foreign-uploads.ts. */
  readonly discoveryIntervalMs?: number;
  /** Most bytes of tails one user may leave behind (default 1 GiB). */
  readonly tailLimitPerUser?: number;
  readonly clock?: Clock;
}

/** Whose view it is. */
export interface UploadOwner {
  readonly user: string;
  /** Names the session; any value that is equal only to itself. */
  readonly session: unknown;
}

/** An upload that a handle of this process has open. */
export interface LiveUpload extends UploadOwner {
  readonly name: string;
  readonly handle: WriteHandle;
}

/** See the head of this file. */
export class UploadRegistry {
  readonly resting: RestingUploads;
  readonly foreign: ForeignUploads;
  readonly volume: UploadVolume;
  readonly #prefix: string;
  readonly #expiryMs: number;
  readonly #temporary: TemporaryNames;
  readonly #live = new Set<LiveUpload>();
  readonly #endPressure: () => void;
  #relieving = false;
  #closed = false;

  constructor(options: UploadRegistryOptions) {
    const { onPublished, checkQuota, replaces, clock = systemClock } = options;
    const memory = UploadMemory.of(options.budget);
    this.volume = {
      store: options.store,
      table: options.table,
      tails: options.tails,
      log: options.log,
      order: options.order ?? new WriteOrder({ clock }),
      memory,
      clock,
      contentType: options.contentType,
      onPublished: async (change) => {
        try {
          await onPublished?.(change);
        } catch (error) {
          options.log.error({ err: error }, "a published file could not be announced");
        }
      },
      replaces: async (key) => replaces?.(key),
      checkQuota: async (bytes, target) => checkQuota?.(bytes, target),
      tailLimitPerUser: options.tailLimitPerUser ?? 1024 ** 3,
      nextFileName: () => `${fileOwner(options.table.processId)}-${newId()}`,
    };
    this.#prefix = options.prefix;
    this.#expiryMs = options.expiryMs ?? 7 * DAY_MS;
    this.#temporary = new TemporaryNames(options.temporaryNames ?? DEFAULT_TEMPORARY_NAMES);
    this.resting = new RestingUploads(this.volume);
    const intervalMs = options.discoveryIntervalMs ?? 60_000;
    this.foreign = new ForeignUploads(this.volume, {
      prefix: this.#prefix,
      intervalMs,
      ownUploads: () => new Set(this.volume.table.list(this.#prefix).map((row) => row.uploadId)),
    });
    this.#endPressure = memory.onPressure(() => this.#relieveSoon());
  }

  /** One session's view. */
  view(owner: UploadOwner): PendingUploads {
    return new UploadView(this, owner);
  }

  /** Uploads open in this process under `name`, the latest last. */
  live(user: string, name: string): LiveUpload[] {
    return this.liveBelow(user, name).filter((upload) => upload.name === name);
  }

  /** All uploads of `user` open in this process. */
  liveBelow(user: string, prefix: string): LiveUpload[] {
    const isMeant = ({ handle, ...upload }: LiveUpload): boolean =>
      upload.user === user && upload.name.startsWith(prefix) && !handle.isUnlinked;
    return [...this.#live].filter(isMeant);
  }

  /**
   * For `name` and what lies directly in it, if it is a directory: waits for uploads of the owner's other sessions that
   * are being closed or look as if they were about to be. Undefined if there is none.
   */
  settling({ user, session }: UploadOwner, name: string): Promise<unknown> | undefined {
    if (this.#live.size === 0) return undefined;
    const directory = name === "" || name.endsWith("/") ? name : `${name}/`;
    const waits: Promise<void>[] = [];
    for (const live of this.#live) {
      if (live.user !== user || live.session === session || live.handle.isUnlinked) continue;
      const isMeant = live.name === name || live.name.slice(0, live.name.lastIndexOf("/") + 1) === directory;
      const wait = isMeant ? live.handle.settling(closingWaitMs, idleWaitMs) : undefined;
      if (wait) waits.push(wait);
    }
    return waits.length > 0 ? Promise.all(waits) : undefined;
  }

  /** Waits for uploads of `name` that are being closed in this session. */
  async settleOwn(owner: UploadOwner, name: string): Promise<void> {
    for (const { handle, session } of this.live(owner.user, name)) {
      if (session === owner.session && !handle.isLive) await handle.ended();
    }
  }

  /** Waits for uploads of `name` that are being closed or dropped. */
  async settle(user: string, name: string): Promise<void> {
    for (const { handle } of this.live(user, name)) if (!handle.isLive) await handle.ended();
  }

  /** Opens `request.key` for writing. */
  async open(owner: UploadOwner, request: WriteRequest): Promise<FileHandle> {
    if (this.#closed) throw new FsError("unavailable", `${request.path}: the gateway is shutting down`);
    // What cannot be written down would be lost with this process: it is published under its temporary name instead.
    const isParked = !request.flags.finalName && this.volume.table.hasRoom;
    const parks = isParked ? this.#temporary.parking(request.key) : "never";
    const sources = this.#sources(owner, request);
    if (request.flags.exclusive) await this.#requireNothing(owner, request, sources);
    const key = (parks === "always" ? this.#temporary.finalKey(request.key) : undefined) ?? request.key;
    const { truncate, exclusive, finalName } = request.flags;
    const isAnew = truncate === true && !exclusive && !finalName;
    const rememberBegun = async (openedMs: number): Promise<string | undefined> => {
      // Another session is at work on this name: it knows better what becomes of it.
      if (this.live(owner.user, request.key).some((other) => other !== live && other.handle.isLive)) return undefined;
      return this.resting.rememberBegun({ id: newId(), user: owner.user, name: request.key, key, base: undefined }, openedMs);
    };
    const handle = new WriteHandle({
      volume: this.volume,
      request,
      sources,
      user: owner.user,
      key,
      parks,
      newId,
      ...(isAnew && { rememberBegun }),
      onEnd: async (ended, state) => {
        this.#live.delete(live);
        // One that failed, and that its client has not closed, would be kept for a resume in place of what was sent since.
        if (state === "published") for (const { handle: other } of this.live(owner.user, request.key)) other.unlink(true);
        if (state === "published" || state === "parked" || state === "dropped") {
          await this.resting.replace(owner.user, request.key, state === "published" ? undefined : ended.uploadId);
        }
        if (state === "dropped") await this.#capTails(request.key, ended.uploadId);
      },
    });
    const live: LiveUpload = {
      ...owner,
      handle,
      get name() {
        return handle.name;
      },
    };
    this.#live.add(live);
    return handle;
  }

  /** See `PendingUploads.interrupted`. */
  async interrupted(owner: UploadOwner, name: string): Promise<InterruptedUpload | undefined> {
    await this.settle(owner.user, name);
    const live = this.live(owner.user, name).findLast(({ session, handle }) => session !== owner.session && handle.uploadId !== undefined);
    if (live?.handle.base) return undefined;
    // More may be on its way to it from a connection that is not known to be lost: what is offered has to stay as it is.
    await live?.handle.takeOver();
    const row = (await this.resting.find(owner.user, name)) ?? this.resting.openElsewhere(owner.user, name);
    if (!row || row.base || row.isBegun || row.state === "parked") return undefined;
    return { id: row.id, length: row.length, keepsAtLeast: row.tail?.start ?? row.length };
  }

  /** Ends what nobody has touched for the expiry time, and frees files nobody owns. Never rejects. */
  async sweep(): Promise<{ readonly expired: number }> {
    const { clock, tails, table, log } = this.volume;
    const now = clock.now();
    const expired = await this.resting.expire(this.#prefix, now - this.#expiryMs);
    try {
      const kept = table.tailFiles();
      for (const name of await tails.olderThan(now - orphanMs)) {
        const [pid = "", started = ""] = name.split("-");
        // A file of a living process may be in use without a row; a file in a row waits for its resume.
        if (!kept.has(name) && !table.isAlive(`${pid}:${started}`)) await tails.remove(name);
      }
    } catch (error) {
      log.warn({ err: error }, "old tail files could not be removed");
    }
    return { expired };
  }

  /** Keeps every open upload for a resume and ends. Never rejects. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#endPressure();
    const cause = new FsError("unavailable", "the gateway is shutting down");
    await Promise.all([...this.#live].map(({ handle }) => handle.abort(cause)));
  }

  #sources(owner: UploadOwner, request: WriteRequest): OpeningSources {
    let known = typeof request.published === "object" ? request.published : undefined;
    return {
      published: async () => {
        if (known) return known;
        const found = await this.#head(request);
        if (found !== "absent") known = found;
        return found;
      },
      pending: () => this.#resumable(owner, request.key),
      pendingElsewhere: async () => {
        const foreign = await this.foreign.findNow(request.key);
        return foreign && this.#resumableForeign(owner, foreign);
      },
    };
  }

  async #head(request: WriteRequest): Promise<ObjectInfo | "absent"> {
    try {
      return await this.volume.store.head(request.key);
    } catch (error) {
      if (error instanceof StoreError && error.code === "not-found") return "absent";
      throw toFsError(error, request.path);
    }
  }

  async #requireNothing(owner: UploadOwner, request: WriteRequest, sources: OpeningSources): Promise<void> {
    const isPublished = request.published === "absent" ? false : (await sources.published()) !== "absent";
    const isOpen = this.live(owner.user, request.key).some(({ handle }) => handle.isLive);
    const isThere = isPublished || isOpen || (await sources.pending()) !== undefined;
    if (isThere) throw new FsError("exists", `${request.path}: the file is already there`);
  }

  async #resumable(owner: UploadOwner, name: string): Promise<Resumable | undefined> {
    // An undecided handle may be the one that asks, or wait for the same answer.
    for (const { handle } of this.live(owner.user, name)) if (!handle.isLive && handle.hidesPublished) await handle.ended();
    for (const { handle } of this.live(owner.user, name)) if (handle.hidesPublished) await handle.quiet();
    const elsewhere = this.live(owner.user, name).findLast((upload) => upload.session !== owner.session && upload.handle.received > 0);
    if (elsewhere) return this.#resumableLive(owner, elsewhere.handle, name);
    const row = await this.resting.find(owner.user, name);
    if (row) {
      const { id, length, base, startedMs } = row;
      return { id, length, shown: shownLength(row), base, ...(row.isBegun && { begunMs: startedMs }), take: async () => row };
    }
    const open = this.resting.openElsewhere(owner.user, name);
    if (open) {
      const { id, length, base, startedMs } = open;
      return {
        id,
        length,
        shown: length,
        base,
        ...(length === 0 && { begunMs: startedMs }),
        take: () => this.resting.takeFromProcess(open),
      };
    }
    const begun = this.volume.table.begunElsewhere(owner.user, name);
    if (begun) return { id: undefined, length: 0, shown: 0, base: undefined, begunMs: begun.startedMs, take: async () => undefined };
    const foreign = await this.foreign.findKnown(name);
    return foreign && this.#resumableForeign(owner, foreign);
  }

  #resumableLive(owner: UploadOwner, handle: WriteHandle, name: string): Resumable {
    return {
      id: handle.uploadId,
      length: handle.received,
      shown: handle.shown,
      base: handle.base,
      take: async () => {
        await handle.takeOver();
        const row = await this.resting.find(owner.user, name);
        return row?.id === handle.uploadId ? row : undefined;
      },
    };
  }

  #resumableForeign(owner: UploadOwner, foreign: ForeignUpload): Resumable {
    return {
      id: undefined,
      length: foreign.length,
      shown: shownLength(foreign),
      base: undefined,
      foreignSinceMs: foreign.initiatedMs,
      take: () => this.#adopt(owner.user, foreign),
    };
  }

  /** An upload of another node becomes one of ours. */
  async #adopt(user: string, foreign: ForeignUpload): Promise<UploadRow> {
    const { key, uploadId, parts, length, looksWhole = false } = foreign;
    const record = UploadRecord.begin(this.volume, { id: newId(), user, name: key, key, base: undefined });
    for (const part of parts) record.stored(part);
    await record.rest("dropped", { uploadId, parts, tail: undefined, length, looksWhole }, {});
    this.foreign.forget(key);
    return record.row;
  }

  async #capTails(name: string, id: string | undefined): Promise<void> {
    const row = id === undefined ? undefined : this.volume.table.get(name, id);
    if (row) await this.resting.capTails(row, this.#prefix);
  }

  /** While others wait for memory, uploads that get nothing move theirs to a file. */
  #relieveSoon(): void {
    if (this.#relieving || this.#closed) return;
    this.#relieving = true;
    this.volume.clock.after(idleMs, () => {
      this.#relieving = false;
      if (!this.volume.memory.underPressure) return;
      const relieved = [...this.#live].map(({ handle }) => handle.relieve(idleMs));
      Promise.all(relieved).catch((error: unknown) => this.volume.log.warn({ err: error }, "memory of an idle upload could not be freed"));
      this.#relieveSoon();
    });
  }
}

/** The first part of names of files: who may have it open. */
function fileOwner(processId: string): string {
  return processId.replace(":", "-");
}

/** A name no upload and no file of this node ever had. */
function newId(): string {
  return randomBytes(12).toString("base64url");
}

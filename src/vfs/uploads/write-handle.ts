/**
 * A file opened for writing, from OPEN to CLOSE or to the loss of its connection: puts calls in order, keeps times and
 * mode, and takes the upload through its life (upload-life.ts). Bytes are upload-content.ts's business; which uploads
 * there are besides is its owner's.
 */
import { FsError, StoreError } from "../../errors.ts";
import type { ObjectInfo, ObjectProperties } from "../../objectstore/objectstore.ts";
import type { AttributeChange, Attributes, FileHandle } from "../file-system.ts";
import { toFsError } from "../store-fault.ts";
import type { LiveWriter, PublishedVersion } from "./live-reader.ts";
import type { Piece } from "./peek.ts";
import { Activity, atMost } from "./activity.ts";
import { BegunNote } from "./begun-note.ts";
import { type CopyTarget, copyRange } from "./copy-range.ts";
import type { ContentOptions, ReadyContent } from "./content-options.ts";
import { type Received, shownLength } from "./end-signs.ts";
import { announce, type NewName, placeReady } from "./publish.ts";
import { UploadContent } from "./upload-content.ts";
import { UploadLife, type UploadState } from "./upload-life.ts";
import { UploadTimes } from "./upload-times.ts";

/** Who opened it and how, and what the upload is to do besides. */
export interface WriteHandleOptions extends Omit<ContentOptions, "isBegunAnew" | "overwriting" | "properties"> {
  /** Whether CLOSE lets it wait for its rename: see `TemporaryNames.parking`. */
  readonly parks: "always" | "if-small" | "never";
  /** Of a file that is written anew, and that its client may come back for though nothing arrived: see `RestingUploads`. */
  readonly rememberBegun?: (openedMs: number) => Promise<string | undefined>;
  /** Called once when the handle has ended, with what the upload became. Must not throw. */
  onEnd(handle: WriteHandle, state: UploadState): Promise<void>;
}

/** See the head of this file. */
export class WriteHandle implements FileHandle, LiveWriter {
  readonly #options: WriteHandleOptions;
  readonly #content: UploadContent;
  readonly #life = new UploadLife("open");
  readonly #times: UploadTimes;
  #ending: Promise<void> | undefined;
  readonly #givenUp = new AbortController();
  #hasFailed = false;
  #isUnlinked = false;
  #kept: Received | undefined;
  #quiet: Promise<void> = Promise.resolve();
  #isCounted = false;
  #fault: FsError | undefined;
  #moved: NewName | undefined;
  #published: PublishedVersion | undefined;
  #synced: number | undefined;
  #begunId: string | undefined;
  readonly #activity: Activity;
  readonly #note: BegunNote;

  constructor(options: WriteHandleOptions) {
    const { request, volume, key } = options;
    this.#options = options;
    this.#times = new UploadTimes(volume, key, request);
    this.#activity = new Activity(volume.clock);
    const isBegunAnew = options.rememberBegun !== undefined && request.published !== "absent";
    const replaces = request.published !== "absent" && request.flags.finalName !== true;
    this.#note = new BegunNote(volume, options.newId(), { user: options.user, name: request.key, key }, replaces);
    if (isBegunAnew) this.#note.began();
    const properties = (base: ObjectInfo | undefined): ObjectProperties => this.#times.tell(base, this.#content.record?.row);
    this.#content = new UploadContent({ ...options, isBegunAnew, overwriting: this.#note.overwriting, properties });
  }

  /** The key it is open under, as the client names it. */
  get name(): string {
    return this.#moved?.key ?? this.#options.request.key;
  }

  /** Bytes received without a gap; once it is given up, those that are kept. */
  get received(): number {
    return this.#kept?.length ?? this.#content.received;
  }

  /** Size that the owner's other sessions see; see end-signs.ts. A mount may be several sessions, and must see every byte. */
  get shown(): number {
    if (this.#kept) return shownLength(this.#kept);
    const { shownSize, soFar } = this.#content;
    const isShownWhole = this.#options.request.flags.sequential !== true || this.#synced === shownSize || soFar.length < shownSize;
    return isShownWhole ? shownSize : shownLength(soFar);
  }

  /** What this is an upload of, for the row of the table if there is one. */
  get uploadId(): string | undefined {
    return this.#begunId ?? this.#content.record?.row.id;
  }

  /** True once its first call has made clear what it is. */
  get isDecided(): boolean {
    return this.#content.isDecided;
  }

  /** True if the file is already another one than what is published under its name. */
  get hidesPublished(): boolean {
    const { flags } = this.#options.request;
    return this.#content.isDecided || flags.truncate === true || flags.exclusive === true;
  }

  /** The published version it continues. */
  get base(): ObjectInfo | undefined {
    return this.#content.base;
  }

  /** True if the file was removed while it is open. */
  get isUnlinked(): boolean {
    return this.#isUnlinked;
  }

  /** What its CLOSE published, if it did. */
  get published(): PublishedVersion | undefined {
    return this.#published;
  }

  /** Bytes that the last `sync` made safe; undefined: there was none. */
  get synced(): number | undefined {
    return this.#synced;
  }

  /** See `UploadContent.peek`: for others than the writer; does not wait for the writer's calls. */
  peek(start: number, end: number): Promise<Piece[]> {
    return this.#content.peek(start, end);
  }

  /** Resolves once the calls made so far have taken effect, or failed. */
  caughtUp(): Promise<void> {
    return this.#activity.caughtUp();
  }

  /** True until it is closed, aborted or taken over. */
  get isLive(): boolean {
    return this.#ending === undefined;
  }

  /** Resolves once `received` does not grow any more, if it is being given up. */
  async quiet(): Promise<void> {
    await this.#quiet;
    if (this.#kept?.length === 0 && this.#options.rememberBegun) await this.ended();
  }

  /** Resolves once it has ended, if it is ending. */
  async ended(): Promise<void> {
    await this.#ending?.catch(() => undefined);
  }

  /**
   * What somebody who asks about this file should wait for: its CLOSE that is being carried out, or, if it looks finished
   * (nothing under way, used a moment ago), the CLOSE that may be on another connection. At most `closingMs` or
   * `idleMs`. Undefined: nothing.
   */
  settling(closingMs: number, idleMs: number): Promise<void> | undefined {
    if (this.#ending) return this.#givenUp.signal.aborted ? undefined : atMost(closingMs, this.ended());
    return this.#activity.finishing(idleMs)?.then(() => {
      return this.#ending && !this.#givenUp.signal.aborted ? atMost(closingMs, this.ended()) : undefined;
    });
  }

  /** Attributes without waiting for calls under way, for a listing. */
  get snapshot(): Attributes {
    return this.#times.attributes(this.#kept?.length ?? this.#content.shownSize, this.base);
  }

  async read(offset: number, length: number): Promise<readonly Uint8Array[]> {
    if (!this.#options.request.flags.read) throw new FsError("permission-denied", `${this.#path}: not opened for reading`);
    return this.#run(() => this.#content.read(offset, length));
  }

  write(offset: number, chunks: readonly Uint8Array[]): Promise<void> {
    return this.#run(() => this.#write(offset, chunks));
  }

  copyFrom(source: FileHandle, sourceOffset: number, length: number, offset: number): Promise<number> {
    const target: CopyTarget = {
      store: this.#options.volume.store,
      copy: (...stretch) => this.#guard(() => this.#content.copy(...stretch)),
      write: (at, chunks) => this.#write(at, chunks),
    };
    const { signal: givenUp } = this.#givenUp;
    return this.#run(() => copyRange({ source, sourceOffset, length, offset, givenUp }, target));
  }

  stat(): Promise<Attributes> {
    return this.#run(async () => this.#times.attributes(await this.#content.size(), this.base));
  }

  setstat(change: AttributeChange): Promise<void> {
    return this.#run(async () => {
      const { size } = change;
      if (size !== undefined) await this.#guard(() => this.#content.setSize(size));
      this.#times.set(change);
      if (change.mtime !== undefined) this.#content.signEnd();
    });
  }

  sync(): Promise<void> {
    return this.#run(async () => {
      await this.#guard(() => this.#content.sync());
      this.#synced = this.#content.received;
    });
  }

  /** See `FileHandle.close`. Also carried through when the client has gone after asking for it. */
  close(): Promise<void> {
    if (this.#givenUp.signal.aborted) return this.ended().then(() => Promise.reject(this.#fault));
    if (!this.#ending) {
      const { key, volume } = this.#options;
      const turn = volume.order.enter(this.#moved ? [key, this.#moved.key] : [key], this.#path);
      this.#ending = this.#activity.enqueue(() => this.#close(turn.granted)).finally(() => turn.leave());
    }
    this.#activity.closing();
    return this.#ending;
  }

  /** See `FileHandle.abort`. Never rejects. */
  async abort(cause: Error): Promise<void> {
    await this.#end(cause).catch(() => undefined);
  }

  /** Another session of the owner goes on with this upload: what is here is kept for it. Never rejects. */
  takeOver(): Promise<void> {
    return this.abort(new FsError("stale", `${this.#path}: the upload was continued in another session`));
  }

  /** The file was removed while it is open, or `onlyIfFailed`, newly published: nothing will be left behind. */
  unlink(onlyIfFailed = false): void {
    this.#isUnlinked ||= !onlyIfFailed || this.#hasFailed;
  }

  /** True if it can be renamed while it is open: nothing of a published version is needed under the old name. */
  get isMovable(): boolean {
    const { truncate, exclusive } = this.#options.request.flags;
    return this.isLive && this.base === undefined && (this.isDecided || truncate === true || exclusive === true);
  }

  /** The file was renamed while it is open: CLOSE will publish it there. Never rejects. */
  async moveTo(name: NewName): Promise<void> {
    this.#moved = name;
    this.#note.moved(name.key);
    // What comes to be under the old name from now on has nothing to do with it.
    await this.#activity.enqueue(() => this.#content.beginFresh()).catch(() => undefined);
  }

  /** Gives memory back if nothing came in for `idleMs`. */
  async relieve(idleMs: number): Promise<void> {
    const isIdle = (): boolean => this.isLive && this.#activity.isIdle(idleMs);
    if (this.#content.inMemory > 0 && isIdle()) await this.#activity.enqueue(async () => (isIdle() ? this.#content.relieve() : undefined));
  }

  get #path(): string {
    return this.#options.request.path;
  }

  #run<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#ending) return Promise.reject(this.#fault ?? new FsError("stale", `${this.#path}: the file is closed`));
    return this.#activity.enqueue(async () => {
      // What came before an abort is still taken, up to the first thing that fails.
      if (this.#fault && (this.#hasFailed || !this.#givenUp.signal.aborted)) throw this.#fault;
      try {
        return await work();
      } catch (error) {
        throw toFsError(error, this.#path);
      } finally {
        this.#activity.used();
      }
    });
  }

  /** A failed change makes the whole upload unfit to be published. */
  async #guard<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      this.#hasFailed = true;
      this.#fault ??= toFsError(error, this.#path);
      throw this.#fault;
    }
  }

  #write(offset: number, chunks: readonly Uint8Array[]): Promise<void> {
    if (!this.#isCounted) this.#options.volume.memory.enter();
    this.#isCounted = true;
    return this.#guard(() => this.#content.write(offset, chunks));
  }

  /** `turn`: when it may publish; undefined: now. */
  async #close(turn: Promise<void> | undefined): Promise<void> {
    this.#life.become("closing");
    try {
      if (this.#fault) throw this.#fault;
      if (this.#isUnlinked) {
        this.#life.become("discarded");
        return await this.#content.discard();
      }
      const ready = await this.#content.finish();
      if (ready) this.#note.closing(ready.size);
      if (turn) await turn;
      if (!ready) await this.#changeTimesOnly();
      else if (!(await this.#park(ready))) await this.#publish(ready);
    } catch (error) {
      this.#fault = toFsError(error, this.#path);
      if (this.#life.state === "closing") await this.#keep(this.#fault);
      throw this.#fault;
    } finally {
      await this.#ended();
    }
  }

  async #publish(ready: ReadyContent): Promise<void> {
    const { volume, request } = this.#options;
    const { key, path } = this.#moved ?? { key: this.#options.key, path: this.#path };
    const oldSize = typeof request.published === "object" ? request.published.size : (ready.base?.size ?? 0);
    await volume.checkQuota(ready.size - oldSize, { key, size: ready.size });
    if (this.#content.record?.isOurs === false) throw new FsError("stale", `${this.#path}: the upload was continued in another session`);
    const condition = this.#moved ? {} : ready.condition;
    const placed = await placeReady(volume, key, { ...ready, condition }).catch((error: unknown) => {
      const isTaken = error instanceof StoreError && error.code === "precondition-failed";
      if (isTaken && request.flags.exclusive) throw new FsError("exists", `${this.#path}: the file is already there`, { cause: error });
      throw error;
    });
    if (!placed) {
      this.#life.become("discarded");
      return this.#content.discard();
    }
    const row = this.#content.record?.row;
    const wanted = this.#times.properties(ready.base, row);
    const given = this.#times.told ?? row?.created ?? wanted;
    this.#life.become("published");
    const leftover = (error: unknown): void => volume.log.warn({ err: error }, "files of a published upload could not be removed");
    await this.#content.release().catch(leftover);
    this.#published = await announce(volume, { key, path, ...placed, given, wanted });
  }

  async #park(ready: ReadyContent): Promise<boolean> {
    const { parks, volume } = this.#options;
    if (parks === "never" || this.#moved || (parks === "if-small" && !volume.table.hasRoom)) return false;
    const remains = await this.#content.park(ready, parks === "if-small");
    if (!remains) return false;
    await this.#content.record?.rest("parked", remains, this.#times.wanted);
    this.#life.become("parked");
    return true;
  }

  /** Nothing was written: a published file that was only opened may still have got other times. */
  async #changeTimesOnly(): Promise<void> {
    const { volume, key, request, sources } = this.#options;
    const published = await sources.published();
    await this.#content.release();
    this.#life.become("discarded");
    if (published === "absent") return;
    const change = this.#times.changeOf(published);
    if (change) await announce(volume, { key, path: request.path, result: published, replaced: false, ...change });
  }

  #end(cause: Error): Promise<void> {
    if (!this.#ending) {
      this.#givenUp.abort();
      this.#fault ??= cause instanceof FsError ? cause : new FsError("io", `${this.#path}: the upload was interrupted`, { cause });
      this.#content.interrupt(this.#fault);
      this.#quiet = this.#activity.enqueue(async () => {
        this.#kept = this.#content.soFar;
      });
      this.#ending = this.#activity.enqueue(async () => {
        await this.#keep(this.#fault ?? cause);
        await this.#ended();
      });
    }
    return this.#ending;
  }

  /** Keeps what was received for a resume. Never rejects. */
  async #keep(cause: Error): Promise<void> {
    const { log } = this.#options.volume;
    this.#kept = this.#content.soFar;
    try {
      if (this.#content.record?.isOurs === false) {
        this.#life.become("discarded");
        return await this.#content.letGo();
      }
      // The store has forgotten the upload, or completed it for another node: nothing can be continued.
      const isOver = this.#isUnlinked || (cause.cause instanceof StoreError && cause.cause.code === "no-such-upload");
      const remains = isOver ? await this.#content.discard() : await this.#content.keep();
      this.#kept = remains ?? { length: 0 };
      if (remains) {
        await this.#content.record?.rest("dropped", remains, this.#times.wanted);
        log.info({ path: this.#path, bytes: remains.length, cause: cause.message }, "upload kept for resume");
      }
      if (!remains && !isOver && !this.#moved) this.#begunId = await this.#options.rememberBegun?.(this.#note.openedMs);
      this.#life.become(remains || this.#begunId ? "dropped" : "discarded");
    } catch (error) {
      if (this.#life.state !== "discarded") this.#life.become("discarded");
      log.warn({ err: error, path: this.#path }, "an ended upload could not be cleaned up; the next sweep tries again");
    }
  }

  async #ended(): Promise<void> {
    this.#note.over();
    if (this.#isCounted) this.#options.volume.memory.leave();
    await this.#options.onEnd(this, this.#life.state);
  }
}

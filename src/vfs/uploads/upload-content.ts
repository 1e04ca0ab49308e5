/**
 * The bytes of one file opened for writing, whatever order they come in: begins undecided, becomes a stream or a spool
 * with the first call that needs one, and ends as an assembler ready to publish, as remains to resume, or as nothing.
 * Knows versions and lengths; nothing of sessions, times, or the state of the upload.
 */
import { FsError } from "../../errors.ts";
import type { ObjectInfo } from "../../objectstore/objectstore.ts";
import { AnnouncedSize } from "./announced-size.ts";
import { chunksLength, sliceChunks } from "./chunk-list.ts";
import { EndSigns, type Received, requireSame, type WithheldByte } from "./end-signs.ts";
import { OldVersion } from "./old-version.ts";
import { type Opening, openingOfWrite, openingWithoutWrite, type Resumable } from "./opening.ts";
import { type AssembledSoFar, PartAssembler, type Remains } from "./part-assembler.ts";
import { assemblerOptions, type ContentOptions, type ReadyContent } from "./content-options.ts";
import { keepSpooled, keepWhole, makeSafe } from "./park-content.ts";
import { type Piece, Reshaping } from "./peek.ts";
import { outOfReach, requirePossible, requireSmallHole } from "./refusals.ts";
import type { CopySource } from "./sent-parts.ts";
import { Spool } from "./spool.ts";
import { StreamDraft } from "./stream-draft.ts";
import { takeUp } from "./take-up.ts";
import { UploadRecord } from "./upload-record.ts";

/** See the head of this file. Calls must not overlap, but for `interrupt` and the getters. */
export class UploadContent {
  readonly #options: ContentOptions;
  readonly #announced: AnnouncedSize;
  #record: UploadRecord | undefined;
  #stream: StreamDraft | undefined;
  #spool: Spool | undefined;
  #poured: PartAssembler | undefined;
  readonly #old: OldVersion;
  #interruption: Error | undefined;
  #onlyIfAbsent = false;
  #extendTo = 0;
  /** True once bytes were added that the client did not send. */
  #padded = false;
  readonly #reshaping = new Reshaping();
  readonly #signs: EndSigns;
  #withheld: WithheldByte | undefined;

  constructor(options: ContentOptions) {
    this.#options = options;
    this.#announced = new AnnouncedSize(options.request.attributes.size);
    this.#old = new OldVersion(() => options.sources.published(), options.overwriting);
    this.#signs = new EndSigns(() => options.volume.clock.now());
    if (this.#announced.inOpen > 0) this.#old.cut(this.#announced.inOpen);
  }

  /** The row of the upload once it has begun. */
  get record(): UploadRecord | undefined {
    return this.#record;
  }

  /** The published version it edits or continues. */
  get base(): ObjectInfo | undefined {
    return this.#old.base;
  }

  /** True once it is clear what the first call made of it. */
  get isDecided(): boolean {
    return this.#stream !== undefined || this.#spool !== undefined;
  }

  /** Bytes received without a gap, if it has begun. */
  get received(): number {
    return this.#stream?.length ?? this.#spool?.size ?? 0;
  }

  /** What was received, to be kept or shown to others than the writer. */
  get soFar(): Received {
    const { received } = this;
    const isPartial = received < Math.max(this.#end, this.#extendTo);
    return { length: received, looksWhole: !isPartial && (this.#announced.isAll(received) ?? this.#signs.looksWhole) };
  }

  /** The client did what it does at the end of a file. */
  signEnd(): void {
    this.#signs.signed();
  }

  /** Size of the file as far as it can be told without asking the store. */
  get shownSize(): number {
    return Math.max(this.received, this.#extendTo);
  }

  /** Bytes in memory that could go to a file while nothing comes in. */
  get inMemory(): number {
    return this.#stream?.assembler.inMemory ?? 0;
  }

  /** Size the file would have if it were closed now. */
  async size(): Promise<number> {
    if (!this.isDecided) {
      const opening = await openingWithoutWrite(this.#options.request, this.#options.sources);
      if (opening.kind === "resume") return opening.pending.shown;
      return "base" in opening ? opening.base.size : 0;
    }
    return Math.max(this.#end, this.#extendTo, await this.#old.endBehind(this.#end));
  }

  /** Takes chunks at `offset` (at the end for a file opened to append). */
  async write(offset: number, chunks: readonly Uint8Array[]): Promise<void> {
    const length = chunksLength(chunks);
    if (length === 0) return;
    const { request, volume, sources } = this.#options;
    requirePossible(offset, offset + length, { maxSize: volume.store.limits.maxObjectSize, path: request.path });
    if (!this.isDecided) await this.#begin(await openingOfWrite(request, offset, sources));
    const known = this.#withheld;
    if (known?.offset === offset && this.#stream?.length === offset + 1) {
      requireSame(known, chunks, request.path);
      this.#withheld = undefined;
      return this.write(offset + 1, sliceChunks(chunks, 1, length - 1));
    }
    const at = request.flags.append ? Math.max(this.#end, this.#extendTo) : offset;
    this.#checkHole(at - this.#end);
    if (at + length > this.#end) this.#signs.wrote(length);
    if (this.#options.isBegunAnew) this.#record?.began(this.received);
    if (this.#stream) {
      // A part that has left cannot be read back: a handle that may read goes through a file from then on.
      const leaves = request.flags.read === true && at + length > volume.store.limits.minPartSize;
      if (!(leaves && this.#stream.isMovable) && (await this.#stream.write(at, chunks, length))) return;
      if (!this.#stream.isMovable && (await this.#stream.jump(at, chunks, length))) return;
      await this.#reshaping.run(() => this.#toSpool());
    }
    await this.#spool?.write(at, chunks);
  }

  /** Unless it is decided already, it is a new file. */
  async beginFresh(): Promise<void> {
    if (!this.isDecided) await this.#begin({ kind: "fresh", overwrites: false });
  }

  /** Adds a stretch of a published version at `offset` inside the store; false if that cannot be done there. */
  async copy(source: CopySource, start: number, length: number, offset: number): Promise<boolean> {
    const { request, sources } = this.#options;
    if (!this.isDecided) await this.#begin(await openingOfWrite(request, offset, sources));
    if (!this.#stream || offset !== this.#end || offset !== this.#stream.length || request.flags.read) return false;
    await this.#stream.assembler.appendCopy(source, start, length);
    if (!request.flags.keepsCopies) this.#padded = true;
    return true;
  }

  /** Cuts the file or makes it longer with zeros; before anything was written it announces the size. */
  async setSize(size: number): Promise<void> {
    const { request, sources } = this.#options;
    requirePossible(size, size, { maxSize: Number.MAX_SAFE_INTEGER, path: request.path });
    if (!this.isDecided) {
      await this.#begin(size === 0 ? { kind: "fresh", overwrites: false } : await openingWithoutWrite(request, sources));
    }
    if (this.#spool) {
      this.#checkHole(size - this.#spool.size);
      this.#announced.set(size, false);
      this.#spool.setSize(size);
    } else if (this.#stream) {
      const stream = this.#stream;
      await this.#reshaping.run(() => this.#setStreamSize(stream, size));
    }
  }

  /** Bytes as they would be if the file were closed now. */
  async read(offset: number, length: number): Promise<Uint8Array[]> {
    const { request, sources } = this.#options;
    if (!this.isDecided) await this.#begin(await openingWithoutWrite(request, sources));
    if (this.#stream) await this.#reshaping.run(() => this.#toSpool());
    return (await this.#spool?.read(offset, length)) ?? [];
  }

  /**
   * The bytes from `start` to `end`, all within `received`, for somebody else than the writer: see peek.ts. May be called
   * while other calls run. Rejects `unavailable` if some are at the store only.
   */
  async peek(start: number, end: number): Promise<Piece[]> {
    await this.#reshaping.over();
    const spool = this.#spool;
    const pieces = spool ? [...(await spool.read(start, end - start))] : await this.#stream?.assembler.peek(start, end);
    if (pieces) return pieces;
    throw new FsError("unavailable", `${this.#options.request.path}: the upload of this file is not finished; it cannot be read yet`);
  }

  /** Everything received so far survives the end of the process. */
  async sync(): Promise<void> {
    if (!this.#stream || this.#stream.length === 0) return;
    const { length, tail } = await this.#stream.assembler.sync();
    await this.#record?.synced({ ...this.soFar, length }, tail);
  }

  /** Gives memory back while nothing comes in. */
  async relieve(): Promise<void> {
    await this.#stream?.assembler.relieve();
  }

  /** Ends every wait of a call under way with `reason`. */
  interrupt(reason: Error): void {
    this.#interruption = reason;
    this.#signs.lost();
    this.#stream?.assembler.interrupt(reason);
    this.#poured?.interrupt(reason);
  }

  /** Everything is written: what is to be published, or undefined if nothing has changed. */
  async finish(): Promise<ReadyContent | undefined> {
    const { request, sources } = this.#options;
    if (!this.isDecided) {
      const opening = await openingWithoutWrite(request, sources);
      if (opening.kind === "edit") return undefined;
      if (opening.kind === "create" && !request.flags.create) throw new FsError("not-found", `${request.path}: no such file`);
      this.#onlyIfAbsent = opening.kind === "create";
      await this.#begin(opening);
    }
    this.#signs.signed();
    const ready = await (this.#spool ? this.#finishSpool(this.#spool) : this.#stream && this.#finishStream(this.#stream));
    if (ready?.assembler.isBegun) this.#record?.closing(ready.size);
    return ready;
  }

  /** The upload is given up: what is left of it for its owner to go on with. Undefined: nothing, all is cleaned up. */
  async keep(): Promise<Remains | undefined> {
    if (this.#spool) return this.#keepSpool(this.#spool);
    const stream = this.#stream;
    if (!stream) return undefined;
    const { length, looksWhole = false } = this.soFar;
    stream.forgetEarly();
    const old = this.base?.size ?? 0;
    if (this.#padded || stream.length <= old) {
      await this.discard();
      return undefined;
    }
    const remains = await stream.assembler.keep();
    if (remains.length > old) return { ...remains, looksWhole: looksWhole && remains.length === length };
    await this.#record?.discard();
    return undefined;
  }

  /** Ends it without a trace. Rejects with the store's error if that cannot be told, after all else is done. */
  async discard(): Promise<void> {
    this.#stream?.forgetEarly();
    await this.#spool?.discard();
    try {
      await (this.#stream?.assembler ?? this.#poured)?.discard();
    } catch (error) {
      await this.#record?.abandon();
      throw error;
    }
    await this.#record?.forget();
  }

  /** Another process goes on with it: frees what is held here and leaves the store and the table alone. */
  async letGo(): Promise<void> {
    this.#stream?.forgetEarly();
    await this.#spool?.discard();
    await (this.#stream?.assembler ?? this.#poured)?.letGo();
  }

  /** Everything is safe, unpublished: what is to be remembered of it. Undefined: it is not all here, and `onlyHere` was asked for. */
  async park(ready: ReadyContent, onlyHere: boolean): Promise<Remains | undefined> {
    const { volume, request } = this.#options;
    if (!(await makeSafe(volume, ready.assembler, onlyHere))) return undefined;
    await this.#spool?.discard();
    return keepWhole(ready, request.path);
  }

  /** Frees what is held here after publishing. */
  async release(): Promise<void> {
    await this.#spool?.discard();
    await (this.#stream?.assembler ?? this.#poured)?.release();
    await this.#record?.forget();
  }

  get #end(): number {
    return this.#stream?.end ?? this.#spool?.size ?? 0;
  }

  async #begin(opening: Opening): Promise<void> {
    const { volume } = this.#options;
    if (opening.kind === "resume") return this.#resume(opening.pending, opening.offset);
    if ("base" in opening) this.#old.isContinued(opening.base);
    if (opening.kind === "edit") {
      this.#spool = new Spool(volume.store, volume, opening.base);
      return;
    }
    const assembler = this.#assemble();
    if (opening.kind === "append") await assembler.appendCopy(opening.base, 0, opening.base.size);
    else if (opening.kind === "fresh" && opening.overwrites) this.#old.isOverwritten();
    this.#stream = this.#draft(assembler);
  }

  async #resume(pending: Resumable, offset: number | undefined): Promise<void> {
    const { volume, request } = this.#options;
    const { row, at, soFar, withheld } = await takeUp(volume, pending, offset, request);
    this.#record = await UploadRecord.resume(volume, row);
    this.#old.isResumed(row.base?.etag);
    this.#withheld = withheld;
    if (withheld) this.#signs.signed();
    const assembler = this.#assemble(soFar);
    await assembler.truncate(at);
    this.#stream = this.#draft(assembler);
  }

  #draft(assembler: PartAssembler): StreamDraft {
    return new StreamDraft(assembler, this.#options.volume.memory, (offset) => this.#fillTo(assembler, offset));
  }

  #assemble(soFar?: AssembledSoFar): PartAssembler {
    const { volume, key, user, request, newId } = this.#options;
    const { base } = this;
    this.#record ??= UploadRecord.begin(volume, { id: newId(), user, name: request.key, key, base });
    const assembler = new PartAssembler(assemblerOptions(this.#options, this.#record, base, this.#announced.inOpen), soFar);
    if (this.#interruption) assembler.interrupt(this.#interruption);
    return assembler;
  }

  /** What is there becomes a spool. Rejects, and nothing has changed, if that cannot be done. */
  async #toSpool(): Promise<void> {
    const { volume } = this.#options;
    const stream = this.#stream;
    if (!stream) return;
    const oldEnd = await this.#old.keepAll();
    this.#checkHole(this.#extendTo - Math.max(this.base?.size ?? 0, stream.end));
    const spool = new Spool(volume.store, volume, this.base);
    if (oldEnd < spool.size) spool.setSize(oldEnd);
    if (!(await stream.copyTo(spool))) throw outOfReach(stream.assembler, this.#options.request.path);
    if (this.#extendTo > spool.size) spool.setSize(this.#extendTo);
    const record = this.#record;
    this.#extendTo = 0;
    this.#record = undefined;
    this.#stream = undefined;
    this.#old.isEdited();
    this.#spool = spool;
    stream.forgetEarly();
    // The spool has everything: what the store cannot be told now is left to the next sweep.
    await stream.assembler.discard().then(
      () => record?.forget(),
      () => record?.abandon(),
    );
  }

  async #setStreamSize(stream: StreamDraft, size: number): Promise<void> {
    const { end } = stream;
    if (size < end) this.#withheld = undefined;
    if (end > 0) this.#checkHole(size - end);
    this.#announced.set(size, end === 0 && !this.#options.request.flags.append);
    this.#old.cut(size);
    this.#extendTo = size > end ? size : 0;
    if (size >= end) return;
    await stream.fillGaps();
    if (await stream.assembler.truncate(size)) return;
    await this.#toSpool();
    this.#spool?.setSize(size);
  }

  #checkHole(hole: number): void {
    requireSmallHole(hole, this.#options.request.path);
  }

  async #finishSpool(spool: Spool): Promise<ReadyContent | undefined> {
    if (!spool.isChanged) return undefined;
    this.#announced.check(spool.size, this.#options.request.path);
    this.#poured = this.#assemble();
    await spool.pour(this.#poured);
    return this.#ready(this.#poured);
  }

  async #finishStream(stream: StreamDraft): Promise<ReadyContent> {
    await stream.fillGaps();
    this.#announced.check(stream.length, this.#options.request.path);
    const { assembler } = stream;
    const oldEnd = await this.#old.keepBehind(assembler.length);
    // A size that was set before anything was written may have been an announcement: only now it is a hole.
    this.#checkHole(this.#extendTo - Math.max(oldEnd, assembler.length));
    await this.#fillTo(assembler, Math.max(oldEnd, this.#extendTo));
    return this.#ready(assembler);
  }

  /** Adds what the client did not send up to `offset`: old bytes where there are some, else zeros. */
  async #fillTo(assembler: PartAssembler, offset: number): Promise<void> {
    if (offset <= assembler.length) return;
    this.#padded = true;
    const oldEnd = Math.min(offset, await this.#old.keepBehind(assembler.length));
    if (this.base && oldEnd > assembler.length) await assembler.appendCopy(this.base, assembler.length, oldEnd - assembler.length);
    await assembler.appendZeros(offset - assembler.length);
  }

  #ready(assembler: PartAssembler): ReadyContent {
    const exclusive = this.#options.request.flags.exclusive === true || this.#onlyIfAbsent;
    const condition = this.#old.condition(exclusive);
    return { assembler, condition, base: this.#old.changed, size: assembler.length, onlyIfAbsent: this.#onlyIfAbsent };
  }

  async #keepSpool(spool: Spool): Promise<Remains | undefined> {
    const { looksWhole = false } = this.soFar;
    await this.#poured?.discard();
    await this.#record?.forget();
    const remains = await keepSpooled(spool);
    if (!remains) return undefined;
    this.#record = undefined;
    this.#assemble();
    return { ...remains, looksWhole };
  }
}

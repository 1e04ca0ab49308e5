/**
 * Turns a stream of bytes into one object: parts are filled in order and sent several at a time; what fits one part
 * goes by one `put` at the end. Stretches of a published object are copied inside the store where they are long enough.
 * What has been sent can be written over as far as this node has a copy. Knows nothing of handles, names, or owners.
 */
import { StoreError } from "../../errors.ts";
import type { PartBody, PutResult, StoredPart, WriteCondition } from "../../objectstore/objectstore.ts";
import type { TailFile } from "../../state/tail-store.ts";
import type { UploadTailRow } from "../../state/upload-table.ts";
import { chunksLength, sliceChunks } from "./chunk-list.ts";
import { PartContent } from "./part-content.ts";
import type { Piece } from "./peek.ts";
import type { MirrorScope } from "./part-mirror.ts";
import { PartQueue, type QueueOptions } from "./part-queue.ts";
import { type CopySource, type SealedPart, SentParts } from "./sent-parts.ts";

/** A copied part is at most this large, so that several run at once. */
const copyPiece = 512 * 1024 * 1024;

/** How long parts under way may take when their upload is given up. */
const longestFarewellMs = 30_000;

/** Zeros to fill holes with. */
const zeros = new Uint8Array(64 * 1024);

/** Where the object goes, who wants to know, and what is to be expected. */
export interface AssemblerOptions extends QueueOptions {
  /** Size the client announced; 0 if none. */
  readonly announced: number;
  /** Which sent parts the client may come back to. */
  readonly mirror: MirrorScope;
  /** The published version that it continues, if any. */
  readonly base: CopySource | undefined;
}

/** What an earlier run of the upload left. */
export interface AssembledSoFar {
  readonly uploadId: string | undefined;
  /** In order, from part 1 on, without a gap. */
  readonly parts: readonly StoredPart[];
  readonly tail?: { readonly file: TailFile; readonly length: number };
}

/** What is left of an upload that was given up: everything up to `length` is either a stored part or in the tail. */
export interface Remains {
  readonly uploadId: string | undefined;
  readonly parts: readonly StoredPart[];
  readonly tail: UploadTailRow | undefined;
  readonly length: number;
  /** See end-signs.ts. */
  readonly looksWhole?: boolean;
}

/** See the head of this file. Calls must not overlap, but for `interrupt`. */
export class PartAssembler {
  readonly #options: AssemblerOptions;
  readonly #queue: PartQueue;
  readonly #sent: SentParts;
  /** Ends waits of the writer. */
  readonly #stop = new AbortController();
  /** Ends parts under way. */
  readonly #cut = new AbortController();
  readonly #unsent = new Map<number, PartContent>();
  #onlyCopies = true;
  #current: PartContent;
  /** The last part is kept here until the object is published: if that fails, a resume must be able to make it longer. */
  #last: { readonly partNumber: number; readonly content: PartContent } | undefined;

  constructor(options: AssemblerOptions, soFar?: AssembledSoFar) {
    this.#options = options;
    this.#queue = new PartQueue(options, soFar?.uploadId, soFar?.parts);
    this.#sent = new SentParts(options);
    for (const { size } of soFar?.parts ?? []) {
      this.#onlyCopies = false;
      this.#sent.add(size);
    }
    this.#current = new PartContent(options.keeper, soFar?.tail?.file, soFar?.tail?.length);
  }

  /** Bytes accepted so far. */
  get length(): number {
    return this.#sent.length + this.#current.length;
  }

  /** Bytes of the part being filled that are in memory. */
  get inMemory(): number {
    return this.#current.inMemory;
  }

  /** True if nothing but copies has been sent. */
  get isUnsent(): boolean {
    return this.#onlyCopies;
  }

  /** From now on the client may come back to any place. */
  mirrorAll(): void {
    this.#sent.mirror.copyAll();
  }

  /** Adds chunks at the end; resolves when they are accepted. Rejects with what made a part fail, now or earlier. */
  async append(chunks: readonly Uint8Array[]): Promise<void> {
    this.#queue.throwFailure();
    let bytes = chunksLength(chunks);
    let rest = chunks;
    for (;;) {
      const room = this.#partSize() - this.#current.length;
      if (room <= 0) {
        await this.#seal();
        continue;
      }
      if (bytes <= room) return this.#current.append(rest, bytes, room, this.#stop.signal);
      await this.#current.append(sliceChunks(rest, 0, room), room, room, this.#stop.signal);
      rest = sliceChunks(rest, room, bytes - room);
      bytes -= room;
    }
  }

  /** Adds `length` zeros. */
  async appendZeros(length: number): Promise<void> {
    for (let left = length; left > 0; left -= zeros.length) await this.append([zeros.subarray(0, Math.min(left, zeros.length))]);
  }

  /** Adds a stretch of a published version; rejects `precondition-failed` if that version is gone. */
  async appendCopy(source: CopySource, start: number, length: number): Promise<void> {
    this.#queue.throwFailure();
    const { limits } = this.#options.store;
    // A part in the middle must not be too small: it is filled up with downloaded bytes first.
    const missing = this.#current.length === 0 ? 0 : Math.max(0, limits.minPartSize - this.#current.length);
    if (length < missing + Math.max(1, limits.minPartSize)) return this.#appendDownload(source, start, length);
    await this.#appendDownload(source, start, missing);
    if (this.#current.length > 0) await this.#seal();
    const pieces = Math.max(1, Math.ceil(length / Math.max(limits.minPartSize, Math.min(copyPiece, limits.maxPartSize))));
    const copied = length - missing;
    for (let index = 0; index < pieces; index += 1) {
      const from = Math.floor((copied * index) / pieces);
      await this.#sealCopy(source, start + missing + from, Math.floor((copied * (index + 1)) / pieces) - from);
    }
  }

  /** What kept parts that have left from being copied on this node, if anything did. */
  get mirrorFault(): unknown {
    return this.#sent.mirror.fault;
  }

  /** Writes over bytes accepted before, all within `length`; false if some are at the store only and nothing was done. */
  async overwrite(offset: number, chunks: readonly Uint8Array[]): Promise<boolean> {
    const end = offset + chunksLength(chunks);
    const touched = this.#sent.within(offset, end);
    if (touched.length > 0) {
      if (!(await this.#recall(touched))) return false;
      await this.#sent.overwrite(touched, offset, chunks);
    }
    const start = Math.max(offset, this.#sent.length);
    if (end > start) await this.#current.overwrite(start - this.#sent.length, sliceChunks(chunks, start - offset, end - start));
    return true;
  }

  /** Cuts to `length` bytes; false if some that stay are at the store only and nothing was done. */
  async truncate(length: number): Promise<boolean> {
    if (length >= this.#sent.length) {
      await this.#current.truncate(length - this.#sent.length);
      return true;
    }
    await this.#queue.settle();
    const [split] = this.#sent.within(length, length + 1);
    if (!split || (length > split.offset && !(await this.#recall([split])))) return false;
    await this.#current.discard();
    for (const { partNumber } of this.#sent.cutFrom(split)) this.#queue.forget(partNumber);
    this.#current = new PartContent(this.#options.keeper);
    const { mirror } = this.#sent;
    const kept = mirror.pieces(split, length - split.offset);
    mirror.forgetFrom(split.partNumber);
    for await (const piece of kept) await this.append([piece]);
    return true;
  }

  /**
   * Hands all bytes but those copied from the version it continues to `write`, in order. False, and nothing was done: some
   * are at the store only.
   */
  async retrieve(write: (offset: number, chunks: readonly Uint8Array[]) => Promise<void>): Promise<boolean> {
    const sent = this.#sent.unpublished();
    if (sent.length > 0 && !(await this.#recall(sent))) return false;
    for (const part of sent) {
      let at = part.offset;
      for await (const piece of this.#sent.mirror.pieces(part)) {
        await write(at, [piece]);
        at += piece.length;
      }
    }
    let at = this.#sent.length;
    for await (const piece of this.#current.pieces()) {
      await write(at, [piece]);
      at += piece.length;
    }
    return true;
  }

  /** The bytes from `start` to `end`, all within `length`: see peek.ts. Undefined: some are at the store only. */
  async peek(start: number, end: number): Promise<Piece[] | undefined> {
    const upload = await this.#queue.existing();
    const pieces: Piece[] = [];
    for (const part of this.#sent.within(start, end)) {
      const from = Math.max(start, part.offset);
      const to = Math.min(end, part.offset + part.size);
      const waiting = this.#unsent.get(part.partNumber);
      const sent = waiting ? undefined : this.#sent.peek(part, from, to, upload);
      if (waiting) pieces.push(...waiting.peek(from - part.offset, to - part.offset));
      else if (sent) pieces.push(sent);
      else return undefined;
    }
    const from = Math.max(start, this.#sent.length);
    if (from < end) pieces.push(...this.#current.peek(from - this.#sent.length, end - this.#sent.length));
    return pieces;
  }

  /** Everything that the parts sent so far do not hold is in a file and on the disk; how far that and they reach. */
  async sync(): Promise<{ readonly length: number; readonly tail: UploadTailRow | undefined }> {
    await this.#resend();
    const tail = await this.#current.sync();
    return { length: this.length, tail: tail && { ...tail, start: this.#sent.length } };
  }

  /** Gives memory back while nothing comes in. */
  async relieve(): Promise<void> {
    await this.#current.spill();
  }

  /** The key that the store knows or will know it under. */
  get key(): string {
    return this.#options.key;
  }

  /** True once the store knows of the upload. */
  get isBegun(): boolean {
    return this.#queue.isBegun;
  }

  /**
   * Publishes the object, under another key only while `isBegun` is false. Rejects with the store's error; then nothing is
   * visible and all bytes are still here.
   */
  async publish(condition: WriteCondition, key = this.#options.key): Promise<PutResult> {
    const { store } = this.#options;
    if (!this.#queue.isBegun) {
      const options = { ...this.#options.properties(), ...condition };
      const result = await this.#current.load((chunks) => store.put(key, chunks, options), this.#cut.signal);
      await this.#current.discard(true);
      return result;
    }
    await this.storeAll();
    return (await this.#queue.upload()).complete(this.#queue.contiguous(), condition);
  }

  /** Brings every byte to the store as parts, without publishing. */
  async storeAll(): Promise<void> {
    if (this.#current.length > 0 || this.#sent.count === 0) await this.#seal(true);
    await this.#resend();
  }

  /**
   * Waits for parts under way, keeps the rest in a file and ends. Never rejects: what can be kept nowhere is not in
   * the answer. `withLast` also lists the last part, which is in the tail file too.
   */
  async keep(options: { readonly withLast?: boolean } = {}): Promise<Remains> {
    const cancel = this.#options.keeper.clock.after(longestFarewellMs, () => this.#cut.abort());
    // What fails here shows as parts that the store does not have.
    await this.#resend().catch(() => undefined);
    cancel();
    const last = this.#last;
    for (const partNumber of this.#sent.dirty.keys()) this.#queue.forget(partNumber);
    if (last && !options.withLast) this.#queue.forget(last.partNumber);
    const parts = this.#queue.contiguous();
    const start = parts.reduce((sum, part) => sum + part.size, 0);
    const uploadId = (await this.#queue.existing())?.uploadId;
    if (last && last.partNumber === parts.length) {
      const tail = await this.#keepTail(last.content);
      return { uploadId, parts, tail: tail && { ...tail, start: start - tail.length }, length: start };
    }
    const next = parts.length === this.#sent.count ? this.#current : this.#unsent.get(parts.length + 1);
    const tail = await this.#keepTail(last?.partNumber === parts.length + 1 ? last.content : next);
    return { uploadId, parts, tail: tail && { ...tail, start }, length: start + (tail?.length ?? 0) };
  }

  /** Ends it and has the store forget its parts. Rejects with the store's error, after everything here is freed. */
  async discard(): Promise<void> {
    await this.letGo();
    await (await this.#queue.existing())?.abort();
  }

  /** Ends it here; the store keeps what it has. */
  async letGo(): Promise<void> {
    const reason = new StoreError("aborted", "upload discarded");
    this.interrupt(reason);
    this.#cut.abort(reason);
    await this.#queue.settle();
    await this.release();
  }

  /** Frees what is held here: memory and files. */
  async release(): Promise<void> {
    const last = this.#last ? [this.#last.content] : [];
    for (const content of [this.#current, ...last, ...this.#unsent.values()]) await content.discard();
    this.#unsent.clear();
    this.#last = undefined;
    await this.#sent.mirror.discard();
  }

  /** Ends every wait for memory with `reason`; parts under way go on. */
  interrupt(reason: Error): void {
    this.#stop.abort(reason);
  }

  #partSize(): number {
    const { store, keeper, announced } = this.#options;
    return keeper.memory.partSize(store.limits, { partNumber: this.#sent.count + 1, offset: this.#sent.length, announced });
  }

  /** Sends the current part on its way, waiting while too many are, and begins the next. */
  async #seal(last = false): Promise<void> {
    const content = this.#current;
    await this.#queue.waitForSlot(content.length, last ? undefined : this.#stop.signal);
    const sealed = this.#sent.add(content.length);
    const { partNumber, offset } = sealed;
    this.#onlyCopies = false;
    this.#current = new PartContent(this.#options.keeper);
    this.#unsent.set(partNumber, content);
    const { signal } = this.#cut;
    this.#queue.start(async (upload) => {
      const part = await content.lend(async (body) => {
        const copied = last ? undefined : this.#sent.mirror.copy(sealed, body, upload);
        return upload.uploadPart({ partNumber, offset }, body, signal).finally(() => copied);
      }, signal);
      this.#unsent.delete(partNumber);
      if (last) this.#last = { partNumber, content };
      else await content.discard(true);
      return part;
    });
  }

  async #sealCopy(source: CopySource, start: number, length: number): Promise<void> {
    await this.#queue.waitForSlot(0, this.#stop.signal);
    const position = this.#sent.add(length, { source, start });
    const from = { key: source.key, start, length, ifMatch: source.etag };
    this.#queue.start((upload) => upload.copyPart(position, from, this.#cut.signal));
  }

  /** Waits for parts under way and sends those again that were written over. */
  async #resend(): Promise<void> {
    await this.#queue.settle();
    this.#queue.throwFailure();
    const { signal } = this.#cut;
    for (const part of [...this.#sent.dirty.values()]) {
      const { partNumber, offset, size } = part;
      await this.#queue.waitForSlot(size);
      this.#queue.start(async (upload) => {
        const send = (body: PartBody): Promise<StoredPart> => upload.uploadPart({ partNumber, offset }, body, signal);
        const stored = await this.#sent.mirror.load(part, send, signal);
        this.#sent.sentAgain(part);
        return stored;
      });
    }
    await this.#queue.settle();
    this.#queue.throwFailure();
  }

  /** Waits for parts under way and gets the bytes of parts back; false if they cannot be had. */
  async #recall(parts: readonly SealedPart[]): Promise<boolean> {
    await this.#queue.settle();
    this.#queue.throwFailure();
    return this.#sent.recall(parts, await this.#queue.existing());
  }

  async #appendDownload(source: CopySource, start: number, length: number): Promise<void> {
    if (length === 0) return;
    const range = { start, end: start + length - 1 };
    const object = await this.#options.store.get(source.key, { range, ifMatch: source.etag });
    try {
      for await (const chunk of object.body) await this.append([chunk]);
    } finally {
      object.destroy();
    }
  }

  /** Keeps one content in a file and frees all others. */
  async #keepTail(content: PartContent | undefined): Promise<{ readonly file: string; readonly length: number } | undefined> {
    try {
      return await content?.intoFile();
    } catch {
      // No room for the tail: what the store has is still worth keeping.
      return undefined;
    } finally {
      await this.release();
    }
  }
}

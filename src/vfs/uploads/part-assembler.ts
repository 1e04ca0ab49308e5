/**
 * Turns a stream of bytes into one object: parts are filled in order and sent several at a time; what fits one part
 * goes by one `put` at the end. Stretches of a published object are copied inside the store where they are long enough.
 * What has been sent can be written over as far as this node has a copy. Knows nothing of handles, names, or owners.
 */
import { StoreError } from "../../errors.ts";
import type { ObjectInfo, PutResult, StoredPart, WriteCondition } from "../../objectstore/objectstore.ts";
import type { TailFile } from "../../state/tail-store.ts";
import type { UploadTailRow } from "../../state/upload-table.ts";
import { chunksLength, sliceChunks } from "./chunk-list.ts";
import { PartContent } from "./part-content.ts";
import { type MirrorScope, PartMirror } from "./part-mirror.ts";
import { PartQueue, type QueueOptions } from "./part-queue.ts";

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
}

/** A published version to copy from. */
export type CopySource = Pick<ObjectInfo, "key" | "etag">;

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
}

/** A part that has been filled. */
interface SealedPart {
  readonly partNumber: number;
  readonly offset: number;
  readonly size: number;
}

/** See the head of this file. Calls must not overlap, but for `interrupt`. */
export class PartAssembler {
  readonly #options: AssemblerOptions;
  readonly #queue: PartQueue;
  readonly #mirror: PartMirror;
  /** Ends waits of the writer. */
  readonly #stop = new AbortController();
  /** Ends parts under way. */
  readonly #cut = new AbortController();
  #sealed: SealedPart[] = [];
  readonly #unsent = new Map<number, PartContent>();
  /** Parts that were written over and must be sent again. */
  readonly #dirty = new Set<number>();
  #onlyCopies = true;
  #current: PartContent;
  #currentStart = 0;
  /** The last part is kept here until the object is published: if that fails, a resume must be able to make it longer. */
  #last: { readonly partNumber: number; readonly content: PartContent } | undefined;

  constructor(options: AssemblerOptions, soFar?: AssembledSoFar) {
    this.#options = options;
    this.#queue = new PartQueue(options, soFar?.uploadId, soFar?.parts);
    this.#mirror = new PartMirror(options.keeper, options.mirror);
    for (const { size } of soFar?.parts ?? []) {
      this.#onlyCopies = false;
      this.#nextPart(size);
    }
    this.#current = new PartContent(options.keeper, soFar?.tail?.file, soFar?.tail?.length);
  }

  /** Bytes accepted so far. */
  get length(): number {
    return this.#currentStart + this.#current.length;
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
    this.#mirror.copyAll();
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

  /** Writes over bytes accepted before, all within `length`; false if some are at the store only and nothing was done. */
  async overwrite(offset: number, chunks: readonly Uint8Array[]): Promise<boolean> {
    const end = offset + chunksLength(chunks);
    const touched = this.#sealed.filter((part) => part.offset < end && part.offset + part.size > offset);
    await this.#queue.settle();
    this.#queue.throwFailure();
    if (!touched.every(({ partNumber }) => this.#mirror.has(partNumber))) return false;
    const sent = Math.max(0, Math.min(end, this.#currentStart) - offset);
    if (sent > 0) await this.#mirror.write(offset, sliceChunks(chunks, 0, sent));
    for (const { partNumber } of touched) this.#dirty.add(partNumber);
    if (end > this.#currentStart) {
      const rest = sliceChunks(chunks, sent, end - offset - sent);
      await this.#current.overwrite(offset + sent - this.#currentStart, rest);
    }
    return true;
  }

  /** Cuts to `length` bytes; false if some that stay are at the store only and nothing was done. */
  async truncate(length: number): Promise<boolean> {
    if (length >= this.#currentStart) {
      await this.#current.truncate(length - this.#currentStart);
      return true;
    }
    await this.#queue.settle();
    const split = this.#sealed.find((part) => part.offset + part.size > length);
    if (!split || (length > split.offset && !this.#mirror.has(split.partNumber))) return false;
    await this.#current.discard();
    for (const { partNumber } of this.#sealed.splice(split.partNumber - 1)) {
      this.#queue.forget(partNumber);
      this.#dirty.delete(partNumber);
    }
    this.#current = new PartContent(this.#options.keeper);
    this.#currentStart = split.offset;
    for await (const piece of this.#mirror.pieces(split.offset, length - split.offset)) await this.append([piece]);
    this.#mirror.forgetFrom(split.partNumber);
    return true;
  }

  /** The bytes that no part has yet and where they begin, if nothing else but copies has been sent; else undefined. */
  unsent(): { readonly start: number; readonly pieces: AsyncGenerator<Uint8Array> } | undefined {
    return this.#onlyCopies ? { start: this.#currentStart, pieces: this.#current.pieces() } : undefined;
  }

  /** Everything that the parts sent so far do not hold is in a file and on the disk; how far that and they reach. */
  async sync(): Promise<{ readonly length: number; readonly tail: UploadTailRow | undefined }> {
    await this.#resend();
    const tail = await this.#current.sync();
    return { length: this.length, tail: tail && { ...tail, start: this.#currentStart } };
  }

  /** Gives memory back while nothing comes in. */
  async relieve(): Promise<void> {
    await this.#current.spill();
  }

  /** Publishes the object. Rejects with the store's error; then nothing is visible and all bytes are still here. */
  async publish(condition: WriteCondition): Promise<PutResult> {
    const { store, key } = this.#options;
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
    if (this.#current.length > 0 || this.#sealed.length === 0) await this.#seal(true);
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
    for (const partNumber of this.#dirty) this.#queue.forget(partNumber);
    if (last && !options.withLast) this.#queue.forget(last.partNumber);
    const parts = this.#queue.contiguous();
    const start = parts.reduce((sum, part) => sum + part.size, 0);
    const uploadId = (await this.#queue.existing())?.uploadId;
    if (last && last.partNumber === parts.length) {
      const tail = await this.#keepTail(last.content);
      return { uploadId, parts, tail: tail && { ...tail, start: start - tail.length }, length: start };
    }
    const next = parts.length === this.#sealed.length ? this.#current : this.#unsent.get(parts.length + 1);
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
    await this.#mirror.discard();
  }

  /** Ends every wait for memory with `reason`; parts under way go on. */
  interrupt(reason: Error): void {
    this.#stop.abort(reason);
  }

  #partSize(): number {
    const { store, keeper, announced } = this.#options;
    return keeper.memory.partSize(store.limits, this.#sealed.length + 1, announced);
  }

  /** Sends the current part on its way, waiting while too many are, and begins the next. */
  async #seal(last = false): Promise<void> {
    const content = this.#current;
    await this.#queue.waitForSlot(content.length, last ? undefined : this.#stop.signal);
    const { partNumber, offset } = this.#nextPart(content.length);
    this.#onlyCopies = false;
    this.#current = new PartContent(this.#options.keeper);
    this.#unsent.set(partNumber, content);
    const { signal } = this.#cut;
    this.#queue.start(async (upload) => {
      const part = await content.load(async (chunks) => {
        const copied = last ? undefined : this.#mirror.copy(partNumber, offset, chunks);
        const stored = await upload.uploadPart({ partNumber, offset }, chunks, signal).finally(() => copied);
        return stored;
      }, signal);
      this.#unsent.delete(partNumber);
      if (last) this.#last = { partNumber, content };
      else await content.discard(true);
      return part;
    });
  }

  async #sealCopy(source: CopySource, start: number, length: number): Promise<void> {
    await this.#queue.waitForSlot(0, this.#stop.signal);
    const position = this.#nextPart(length);
    const from = { key: source.key, start, length, ifMatch: source.etag };
    this.#queue.start((upload) => upload.copyPart(position, from, this.#cut.signal));
  }

  #nextPart(size: number): SealedPart {
    const { limits } = this.#options.store;
    if (this.#sealed.length >= limits.maxParts || this.#currentStart + size > limits.maxObjectSize) {
      throw new StoreError("too-large", `more than ${limits.maxParts} parts or ${limits.maxObjectSize} bytes`);
    }
    const part = { partNumber: this.#sealed.length + 1, offset: this.#currentStart, size };
    this.#sealed.push(part);
    this.#currentStart += size;
    return part;
  }

  /** Waits for parts under way and sends those again that were written over. */
  async #resend(): Promise<void> {
    await this.#queue.settle();
    this.#queue.throwFailure();
    const { signal } = this.#cut;
    for (const partNumber of [...this.#dirty]) {
      const part = this.#sealed[partNumber - 1];
      if (!part) continue;
      const { offset, size } = part;
      await this.#queue.waitForSlot(size);
      this.#queue.start(async (upload) => {
        const send = (chunks: readonly Uint8Array[]): Promise<StoredPart> => upload.uploadPart({ partNumber, offset }, chunks, signal);
        const stored = await this.#mirror.load(offset, size, send, signal);
        this.#dirty.delete(partNumber);
        return stored;
      });
    }
    await this.#queue.settle();
    this.#queue.throwFailure();
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

/**
 * Turns a stream of bytes into one object: parts are filled in order and sent several at a time; what fits one part
 * goes by one `put` at the end. Stretches of a published object are copied inside the store where they are long enough.
 * Knows nothing of offsets other than "next", of handles, names, or who owns the upload.
 */
import type {
  MultipartUpload,
  ObjectInfo,
  ObjectProperties,
  ObjectStore,
  PutResult,
  StoredPart,
  WriteCondition,
} from "../../objectstore/objectstore.ts";
import { StoreError } from "../../errors.ts";
import { chunksLength, sliceChunks } from "./chunk-list.ts";
import { type ContentKeeper, PartContent } from "./part-content.ts";
import type { TailFile } from "../../state/tail-store.ts";
import type { UploadTailRow } from "../../state/upload-table.ts";

/** A copied part is at most this large, so that several run at once. */
const copyPiece = 512 * 1024 * 1024;

/** A part that takes longer than this says that the store is slow. */
const slowPartMs = 1_000;

/** How long parts under way may take when their upload is given up. */
const longestFarewellMs = 30_000;

/** Zeros to fill holes with. */
const zeros = new Uint8Array(64 * 1024);

/** Where the object goes and who wants to know how far it has come. */
export interface AssemblerOptions {
  readonly store: ObjectStore;
  readonly key: string;
  readonly keeper: ContentKeeper;
  /** Size the client announced; 0 if none. */
  readonly announced: number;
  /** Asked once, when the object or the multipart upload is created. */
  properties(): ObjectProperties;
  /** The store has created the multipart upload. */
  created(uploadId: string, properties: ObjectProperties): void;
  /** The store has one more part. */
  stored(part: StoredPart): void;
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

/** See the head of this file. Calls must not overlap, `relieve` included. */
export class PartAssembler {
  readonly #options: AssemblerOptions;
  /** Ends waits of the writer. */
  readonly #stop = new AbortController();
  /** Ends parts under way. */
  readonly #cut = new AbortController();
  readonly #stored = new Map<number, StoredPart>();
  readonly #unsent = new Map<number, PartContent>();
  readonly #inFlight = new Set<Promise<void>>();
  #upload: Promise<MultipartUpload> | undefined;
  #sealed = 0;
  #onlyCopies = true;
  #failure: unknown;
  #current: PartContent;
  #currentStart = 0;
  /** The last part is kept here until the object is published: if that fails, a resume must be able to make it longer. */
  #last: { readonly partNumber: number; readonly content: PartContent } | undefined;
  #slow = false;

  constructor(options: AssemblerOptions, soFar?: AssembledSoFar) {
    this.#options = options;
    if (soFar?.uploadId !== undefined) this.#upload = Promise.resolve(options.store.openUpload(options.key, soFar.uploadId));
    for (const part of soFar?.parts ?? []) {
      this.#sealed += 1;
      this.#onlyCopies = false;
      this.#stored.set(part.partNumber, part);
      this.#currentStart += part.size;
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

  /** True once the store knows of the upload, or is being told. */
  get isMultipart(): boolean {
    return this.#upload !== undefined;
  }

  /** The error that ended sending, once there is one. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Adds chunks at the end; resolves when they are accepted. Rejects with what made a part fail, now or earlier. */
  async append(chunks: readonly Uint8Array[]): Promise<void> {
    this.#throwFailure();
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
    this.#throwFailure();
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

  /** Cuts to `length` bytes if the bytes beyond are still here; else false and nothing happens. */
  async truncate(length: number): Promise<boolean> {
    if (length < this.#currentStart) return false;
    await this.#current.truncate(length - this.#currentStart);
    return true;
  }

  /** The bytes that no part has yet and where they begin, if nothing else but copies has been sent; else undefined. */
  unsent(): { readonly start: number; readonly pieces: AsyncGenerator<Uint8Array> } | undefined {
    return this.#onlyCopies ? { start: this.#currentStart, pieces: this.#current.pieces() } : undefined;
  }

  /** Everything that the parts sent so far do not hold is in a file and on the disk; how far that and they reach. */
  async sync(): Promise<{ readonly length: number; readonly tail: UploadTailRow | undefined }> {
    await this.#settle();
    this.#throwFailure();
    const tail = await this.#current.sync();
    return { length: this.length, tail: tail && { ...tail, start: this.#currentStart } };
  }

  /** Gives memory back while nothing comes in. */
  async relieve(): Promise<void> {
    await this.#current.spill();
  }

  /** Publishes the object. Rejects with the store's error; then nothing is visible and all bytes are still here. */
  async publish(condition: WriteCondition): Promise<PutResult> {
    if (!this.#upload) return this.#put(condition);
    await this.storeAll();
    const parts = this.#partList();
    const upload = await this.#upload;
    return upload.complete(parts, condition);
  }

  /** Brings every byte to the store as parts, without publishing. */
  async storeAll(): Promise<void> {
    if (this.#current.length > 0 || this.#sealed === 0) await this.#seal(true);
    await this.#settle();
    this.#throwFailure();
  }

  /**
   * Waits for parts under way, keeps the rest in a file and ends. Never rejects: what can be kept nowhere is not in
   * the answer. `withLast` also lists the last part, which is in the tail file too.
   */
  async keep(options: { readonly withLast?: boolean } = {}): Promise<Remains> {
    const cancel = this.#options.keeper.clock.after(longestFarewellMs, () => this.#cut.abort());
    await this.#settle();
    cancel();
    const last = this.#last;
    if (last && !options.withLast) this.#stored.delete(last.partNumber);
    const parts: StoredPart[] = [];
    let start = 0;
    for (let part = this.#stored.get(1); part; part = this.#stored.get(parts.length + 1)) {
      parts.push(part);
      start += part.size;
    }
    const uploadId = await this.#uploadId();
    if (last && last.partNumber === parts.length) {
      const tail = await this.#keepTail(last.content);
      return { uploadId, parts, tail: tail && { ...tail, start: start - tail.length }, length: start };
    }
    const next = parts.length === this.#sealed ? this.#current : this.#unsent.get(parts.length + 1);
    const tail = await this.#keepTail(last?.partNumber === parts.length + 1 ? last.content : next);
    return { uploadId, parts, tail: tail && { ...tail, start }, length: start + (tail?.length ?? 0) };
  }

  /** Ends it and has the store forget its parts. Rejects with the store's error, after everything here is freed. */
  async discard(): Promise<void> {
    const reason = new StoreError("aborted", "upload discarded");
    this.interrupt(reason);
    this.#cut.abort(reason);
    await this.#settle();
    await this.release();
    const upload = await this.#upload?.catch(() => undefined);
    await upload?.abort();
  }

  /** Frees what is held here: memory and files. */
  async release(): Promise<void> {
    const last = this.#last ? [this.#last.content] : [];
    for (const content of [this.#current, ...last, ...this.#unsent.values()]) await content.discard();
    this.#unsent.clear();
    this.#last = undefined;
  }

  /** Ends every wait for memory with `reason`; parts under way go on. */
  interrupt(reason: Error): void {
    this.#stop.abort(reason);
  }

  async #put(condition: WriteCondition): Promise<PutResult> {
    const { store, key } = this.#options;
    const options = { ...this.#options.properties(), ...condition };
    return this.#current.load((chunks) => store.put(key, chunks, options), this.#cut.signal);
  }

  #partSize(): number {
    const { store, keeper, announced } = this.#options;
    return keeper.memory.partSize(store.limits, this.#sealed + 1, announced);
  }

  /** Sends the current part on its way, waiting while too many are, and begins the next. */
  async #seal(last = false): Promise<void> {
    const content = this.#current;
    const size = content.length;
    await this.#waitForSlot(size);
    const { partNumber, offset } = this.#nextPart(size);
    this.#onlyCopies = false;
    this.#current = new PartContent(this.#options.keeper);
    this.#unsent.set(partNumber, content);
    const { signal } = this.#cut;
    this.#start(async (upload) => {
      const part = await content.load((chunks) => upload.uploadPart({ partNumber, offset }, chunks, signal), signal);
      this.#unsent.delete(partNumber);
      if (last) this.#last = { partNumber, content };
      else await content.discard();
      return part;
    });
  }

  async #sealCopy(source: CopySource, start: number, length: number): Promise<void> {
    await this.#waitForSlot(0);
    const position = this.#nextPart(length);
    const from = { key: source.key, start, length, ifMatch: source.etag };
    this.#start((upload) => upload.copyPart(position, from, this.#cut.signal));
  }

  #nextPart(size: number): { readonly partNumber: number; readonly offset: number } {
    const { limits } = this.#options.store;
    if (this.#sealed >= limits.maxParts || this.#currentStart + size > limits.maxObjectSize) {
      throw new StoreError("too-large", `more than ${limits.maxParts} parts or ${limits.maxObjectSize} bytes`);
    }
    const offset = this.#currentStart;
    this.#sealed += 1;
    this.#currentStart += size;
    return { partNumber: this.#sealed, offset };
  }

  async #waitForSlot(size: number): Promise<void> {
    const { memory } = this.#options.keeper;
    while (this.#inFlight.size >= memory.inFlight(Math.max(1, size), this.#slow)) await Promise.race(this.#inFlight);
    this.#throwFailure();
  }

  #start(send: (upload: MultipartUpload) => Promise<StoredPart>): void {
    const run = async (): Promise<void> => {
      const { keeper, stored } = this.#options;
      const begun = keeper.clock.now();
      try {
        const part = await send(await this.#begin());
        this.#slow = keeper.clock.now() - begun > slowPartMs;
        this.#stored.set(part.partNumber, part);
        stored(part);
      } catch (error) {
        this.#failure ??= error;
      } finally {
        this.#inFlight.delete(running);
      }
    };
    const running = run();
    this.#inFlight.add(running);
  }

  #begin(): Promise<MultipartUpload> {
    this.#upload ??= this.#create();
    return this.#upload;
  }

  async #create(): Promise<MultipartUpload> {
    const { store, key, created } = this.#options;
    const properties = this.#options.properties();
    const upload = await store.createUpload(key, properties);
    created(upload.uploadId, properties);
    return upload;
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

  async #settle(): Promise<void> {
    while (this.#inFlight.size > 0) await Promise.all(this.#inFlight);
  }

  #partList(): StoredPart[] {
    return [...this.#stored.values()].sort((one, other) => one.partNumber - other.partNumber);
  }

  /** Keeps one content in a file and frees all others. */
  async #keepTail(content: PartContent | undefined): Promise<{ readonly file: string; readonly length: number } | undefined> {
    try {
      return await content?.intoFile();
    } catch (error) {
      // No room for the tail: what the store has is still worth keeping.
      this.#failure ??= error;
      return undefined;
    } finally {
      await this.release();
    }
  }

  async #uploadId(): Promise<string | undefined> {
    const upload = await this.#upload?.catch(() => undefined);
    return upload?.uploadId;
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}

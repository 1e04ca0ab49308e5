/**
 * One GET of one version of an object, read piece by piece. Fetches nothing beyond what its reader takes, but for what
 * the connection holds by itself. Knows no handles.
 */
import type { ByteBudget } from "../byte-budget.ts";
import type { ObjectInfo, ObjectStore } from "../objectstore/objectstore.ts";
import { holdSlab, releaseSlab } from "../slab-pool.ts";

/** What a stream counts in the byte budget: the chunk at hand, the connection's own buffer and the read being filled. */
export const STREAM_COST = 256 * 1024;

/** Which bytes of which version a stream reads. */
export interface StreamRequest {
  readonly key: string;
  readonly etag: string;
  readonly start: number;
  /** After the last byte; more than `start`, at most `size`. */
  readonly end: number;
  readonly size: number;
}

/** See the head of this file. Whoever opened it owes `close`. */
export class ObjectStream {
  /** Of the whole object. */
  readonly info: ObjectInfo;
  #end: number;
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #destroy: () => void;
  readonly #budget: ByteBudget;
  #position: number;
  #rest: Uint8Array | undefined;
  #isClosed = false;

  private constructor(
    source: { readonly info: ObjectInfo; readonly body: AsyncIterable<Uint8Array>; destroy(): void },
    range: { readonly start: number; readonly end: number },
    budget: ByteBudget,
  ) {
    this.info = source.info;
    this.#end = range.end;
    this.#position = range.start;
    this.#chunks = source.body[Symbol.asyncIterator]();
    this.#destroy = () => source.destroy();
    this.#budget = budget;
  }

  /** Sends the GET. Waits for memory first. Rejects with a `StoreError`, or the signal's reason. */
  static async open(store: ObjectStore, request: StreamRequest, budget: ByteBudget, signal: AbortSignal): Promise<ObjectStream> {
    const { key, etag, start, end, size } = request;
    await budget.take(STREAM_COST, signal);
    try {
      const isWhole = start === 0 && end === size;
      const range = isWhole ? {} : { range: end === size ? { start } : { start, end: end - 1 } };
      return new ObjectStream(await store.get(key, { ifMatch: etag, signal, ...range }), { start, end }, budget);
    } catch (error) {
      budget.release(STREAM_COST);
      throw error;
    }
  }

  /** Offset behind the last byte that can be taken. */
  get end(): number {
    return this.#end;
  }

  /** Nothing from `end` on will be read: the GET is given up there. Not before `position`. */
  cutAt(end: number): void {
    this.#end = Math.max(this.#position, Math.min(this.#end, end));
  }

  /** Offset in the object of the next byte. */
  get position(): number {
    return this.#position;
  }

  /** Up to `length` bytes, fewer only at the end of the stream, as `FileHandle.read` hands them out. Rejects with a `StoreError`; then the stream is of no more use. */
  async take(length: number): Promise<Uint8Array[]> {
    const taken: Uint8Array[] = [];
    let missing = Math.min(length, this.#end - this.#position);
    while (missing > 0) {
      const chunk = this.#rest ?? (await this.#pull());
      if (!chunk) break;
      const piece = chunk.length > missing ? chunk.subarray(0, missing) : chunk;
      this.#rest = chunk.length > missing ? chunk.subarray(missing) : undefined;
      if (this.#rest) holdSlab(chunk);
      taken.push(piece);
      missing -= piece.length;
      this.#position += piece.length;
    }
    if (this.#position === this.#end) await this.#finish();
    return taken;
  }

  /** Frees the connection and the memory. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#rest) releaseSlab(this.#rest);
    this.#rest = undefined;
    this.#destroy();
    this.#budget.release(STREAM_COST);
  }

  /** Reads the end of the body, so that the connection can be used again. */
  async #finish(): Promise<void> {
    if (this.#isClosed) return;
    const after = await this.#chunks.next();
    if (after.done) {
      this.#isClosed = true;
      this.#budget.release(STREAM_COST);
    } else this.close();
  }

  async #pull(): Promise<Uint8Array | undefined> {
    for (;;) {
      const next = await this.#chunks.next();
      if (next.done) return undefined;
      if (next.value.length > 0) return next.value;
    }
  }
}

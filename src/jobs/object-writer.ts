/**
 * Writes a stream of unknown length as one object through the store port: collected in parts, a single request where it
 * all fits in one. Nothing is visible before `commit`.
 */
import type { MultipartUpload, ObjectProperties, ObjectStore, PutResult, StoredPart } from "../objectstore/objectstore.ts";

/** See the head of this file. Whoever makes one owes `commit` or `abort`. */
export class ObjectWriter {
  readonly #store: ObjectStore;
  readonly #key: string;
  readonly #properties: ObjectProperties;
  readonly #signal: AbortSignal | undefined;
  readonly #partSize: number;
  readonly #parts: StoredPart[] = [];
  #chunks: Uint8Array[] = [];
  #size = 0;
  #offset = 0;
  #upload: MultipartUpload | undefined;

  /** `partSize` in bytes: at least what the store asks for; default 8 MiB. */
  constructor(
    store: ObjectStore,
    options: {
      readonly key: string;
      readonly properties: ObjectProperties;
      readonly partSize?: number;
      readonly signal?: AbortSignal | undefined;
    },
  ) {
    this.#store = store;
    this.#key = options.key;
    this.#properties = options.properties;
    this.#signal = options.signal;
    this.#partSize = Math.max(options.partSize ?? 8 * 1024 * 1024, store.limits.minPartSize);
  }

  /** Takes a chunk, which must not change afterwards. Rejects with a StoreError. */
  async write(chunk: Uint8Array): Promise<void> {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    if (this.#size >= this.#partSize) await this.#flush();
  }

  /** Publishes the object. Rejects with a StoreError. */
  async commit(): Promise<PutResult> {
    if (!this.#upload) {
      return this.#store.put(this.#key, this.#chunks, { ...this.#properties, ...(this.#signal ? { signal: this.#signal } : {}) });
    }
    if (this.#size > 0) await this.#flush();
    return this.#upload.complete(this.#parts, undefined, this.#signal);
  }

  /** Discards what was written. */
  async abort(): Promise<void> {
    this.#chunks = [];
    await this.#upload?.abort();
  }

  async #flush(): Promise<void> {
    this.#upload ??= await this.#store.createUpload(this.#key, this.#properties, this.#signal);
    const chunks = this.#chunks;
    const position = { partNumber: this.#parts.length + 1, offset: this.#offset };
    this.#offset += this.#size;
    this.#chunks = [];
    this.#size = 0;
    this.#parts.push(await this.#upload.uploadPart(position, chunks, this.#signal));
  }
}

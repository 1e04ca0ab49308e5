/**
 * The parts of one upload on their way to the store, several at a time. The multipart upload is created with the first
 * part. Knows nothing of where bytes come from.
 */
import type { MultipartUpload, ObjectProperties, ObjectStore, StoredPart } from "../../objectstore/objectstore.ts";
import type { ContentKeeper } from "./part-content.ts";

/** A part that takes longer than this says that the store is slow. */
const slowPartMs = 1_000;

/** Where the object goes and who wants to know how far it has come. */
export interface QueueOptions {
  readonly store: ObjectStore;
  readonly key: string;
  readonly keeper: ContentKeeper;
  /** Asked once, when the object or the multipart upload is created. */
  properties(): ObjectProperties;
  /** The store has created the multipart upload. */
  created(uploadId: string, properties: ObjectProperties): void;
  /** The store has one more part. */
  stored(part: StoredPart): void;
}

/** See the head of this file. */
export class PartQueue {
  readonly #options: QueueOptions;
  readonly #stored = new Map<number, StoredPart>();
  readonly #inFlight = new Set<Promise<void>>();
  #upload: Promise<MultipartUpload> | undefined;
  #failure: unknown;
  #slow = false;

  /** `uploadId` and `parts` are what an earlier run left. */
  constructor(options: QueueOptions, uploadId?: string, parts: readonly StoredPart[] = []) {
    this.#options = options;
    if (uploadId !== undefined) this.#upload = Promise.resolve(options.store.openUpload(options.key, uploadId));
    for (const part of parts) this.#stored.set(part.partNumber, part);
  }

  /** True once the store knows of the upload, or is being told. */
  get isBegun(): boolean {
    return this.#upload !== undefined;
  }

  /** What the store has of part `partNumber`. */
  get(partNumber: number): StoredPart | undefined {
    return this.#stored.get(partNumber);
  }

  /** Forgets that the store has a part: it will be sent again or is not wanted. */
  forget(partNumber: number): void {
    this.#stored.delete(partNumber);
  }

  /** Parts from the first on without a gap. */
  contiguous(): StoredPart[] {
    const parts: StoredPart[] = [];
    for (let part = this.#stored.get(1); part; part = this.#stored.get(parts.length + 1)) parts.push(part);
    return parts;
  }

  /** Waits while too many parts are under way. Rejects with what made a part fail, or when `stop` aborts. */
  async waitForSlot(size: number, stop?: AbortSignal): Promise<void> {
    const { memory } = this.#options.keeper;
    let end: () => void = () => undefined;
    const stopped = new Promise<void>((resolve) => {
      end = resolve;
    });
    stop?.addEventListener("abort", end, { once: true });
    try {
      while (this.#inFlight.size >= memory.inFlight(Math.max(1, size), this.#slow)) {
        stop?.throwIfAborted();
        await Promise.race([stopped, ...this.#inFlight]);
      }
    } finally {
      stop?.removeEventListener("abort", end);
    }
    this.throwFailure();
  }

  /** Sends a part without waiting for it. What goes wrong is the queue's failure from then on. */
  start(send: (upload: MultipartUpload) => Promise<StoredPart>): void {
    const running = this.#send(send).finally(() => this.#inFlight.delete(running));
    this.#inFlight.add(running);
  }

  /** Resolves when nothing is under way. */
  async settle(): Promise<void> {
    while (this.#inFlight.size > 0) await Promise.all(this.#inFlight);
  }

  /** Throws what made a part fail, if one did. */
  throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** The multipart upload, created if need be. */
  upload(): Promise<MultipartUpload> {
    this.#upload ??= this.#create();
    return this.#upload;
  }

  /** The multipart upload if the store has one. Never rejects. */
  async existing(): Promise<MultipartUpload | undefined> {
    return this.#upload?.catch(() => undefined);
  }

  async #send(send: (upload: MultipartUpload) => Promise<StoredPart>): Promise<void> {
    const { keeper, stored } = this.#options;
    const begun = keeper.clock.now();
    try {
      const part = await send(await this.upload());
      this.#slow = keeper.clock.now() - begun > slowPartMs;
      this.#stored.set(part.partNumber, part);
      stored(part);
    } catch (error) {
      this.#failure ??= error;
    }
  }

  async #create(): Promise<MultipartUpload> {
    const { store, key, created } = this.#options;
    const properties = this.#options.properties();
    const upload = await store.createUpload(key, properties);
    created(upload.uploadId, properties);
    return upload;
  }
}

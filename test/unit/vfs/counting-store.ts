/** A store that counts requests by kind, can fail them, and can be told to change something in the middle of one. */
import type {
  CopyOptions,
  GetOptions,
  ListEntry,
  ListOptions,
  MultipartUpload,
  ObjectBody,
  ObjectInfo,
  ObjectProperties,
  ObjectStore,
  PutOptions,
  PutResult,
  StoreLimits,
  UnfinishedUpload,
} from "../../../src/objectstore/objectstore.ts";

/** What is counted: each page of a listing and each batch of deletes is one request. */
export type RequestKind =
  | "head"
  | "list"
  | "get"
  | "put"
  | "copy"
  | "move"
  | "delete"
  | "createUpload"
  | "uploadPart"
  | "copyPart"
  | "complete";

const ORDER: readonly RequestKind[] = [
  "head",
  "list",
  "get",
  "put",
  "copy",
  "move",
  "delete",
  "createUpload",
  "uploadPart",
  "copyPart",
  "complete",
];

/** See the head of this file. */
export class CountingStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly move?: NonNullable<ObjectStore["move"]>;
  readonly space?: NonNullable<ObjectStore["space"]>;
  readonly counts = new Map<RequestKind, number>();
  /** Requests under way and the most there were at once. */
  active = 0;
  mostActive = 0;
  /** Called before each request; may reject it or delay it. */
  before: (kind: RequestKind, key: string) => Promise<void> | void = () => undefined;
  /** Bytes handed out by bodies. */
  bytesRead = 0;

  constructor(store: ObjectStore) {
    this.#store = store;
    const move = store.move?.bind(store);
    if (move) this.move = (from, to, options) => this.#run("move", from, () => move(from, to, options));
    const space = store.space?.bind(store);
    if (space) this.space = space;
  }

  get limits(): StoreLimits {
    return this.#store.limits;
  }

  /** Requests since the last call, as `{ head: 1, list: 2 }`. */
  take(): Partial<Record<RequestKind, number>> {
    const taken = Object.fromEntries(this.counts);
    this.counts.clear();
    return taken;
  }

  /** As `take`, as `1 head, 2 list`. */
  takeText(): string {
    const taken = this.take();
    return ORDER.flatMap((kind) => (taken[kind] === undefined ? [] : [`${taken[kind]} ${kind}`])).join(", ");
  }

  async head(key: string, signal?: AbortSignal): Promise<ObjectInfo> {
    return this.#run("head", key, () => this.#store.head(key, signal));
  }

  async get(key: string, options?: GetOptions): Promise<ObjectBody> {
    const body = await this.#run("get", key, () => this.#store.get(key, options));
    const count = (bytes: number): void => {
      this.bytesRead += bytes;
    };
    async function* counted(): AsyncGenerator<Uint8Array> {
      for await (const chunk of body.body) {
        count(chunk.length);
        yield chunk;
      }
    }
    return { info: body.info, body: counted(), destroy: () => body.destroy() };
  }

  async put(key: string, chunks: readonly Uint8Array[], options?: PutOptions): Promise<PutResult> {
    return this.#run("put", key, () => this.#store.put(key, chunks, options));
  }

  async createUpload(key: string, properties: ObjectProperties, signal?: AbortSignal): Promise<MultipartUpload> {
    return this.#counted(await this.#run("createUpload", key, () => this.#store.createUpload(key, properties, signal)));
  }

  openUpload(key: string, uploadId: string): MultipartUpload {
    return this.#counted(this.#store.openUpload(key, uploadId));
  }

  #counted(upload: MultipartUpload): MultipartUpload {
    const { key, uploadId } = upload;
    return {
      key,
      uploadId,
      uploadPart: (...args) => this.#run("uploadPart", key, () => upload.uploadPart(...args)),
      copyPart: (...args) => this.#run("copyPart", key, () => upload.copyPart(...args)),
      listParts: (signal) => upload.listParts(signal),
      complete: (...args) => this.#run("complete", key, () => upload.complete(...args)),
      abort: (signal) => upload.abort(signal),
    };
  }

  listUploads(prefix: string, signal?: AbortSignal): AsyncIterable<UnfinishedUpload> {
    return this.#store.listUploads(prefix, signal);
  }

  async copy(from: string, to: string, options?: CopyOptions): Promise<PutResult> {
    return this.#run("copy", from, () => this.#store.copy(from, to, options));
  }

  async delete(keys: readonly string[], signal?: AbortSignal): Promise<void> {
    return this.#run("delete", keys[0] ?? "", () => this.#store.delete(keys, signal));
  }

  async *list(prefix: string, options?: ListOptions): AsyncIterable<ListEntry[]> {
    const size = options?.pageSize ?? 1_000;
    const pages = this.#store.list(prefix, options)[Symbol.asyncIterator]();
    let isFull = true;
    while (isFull) {
      const page = await this.#run("list", prefix, () => pages.next());
      if (page.done) return;
      // S3 says whether more follow; the memory store needs one more look at a page that is exactly full.
      isFull = page.value.length === size;
      yield page.value;
    }
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #run<T>(kind: RequestKind, key: string, request: () => Promise<T>): Promise<T> {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    this.active++;
    this.mostActive = Math.max(this.mostActive, this.active);
    try {
      await this.before(kind, key);
      return await request();
    } finally {
      this.active--;
    }
  }
}

/**
 * The port of a flat store of immutable objects: what every adapter (memory, local, s3) offers and the contract suite
 * checks. Knows nothing of paths, users or handles.
 *
 * Keys are well-formed Unicode strings of 1 to 1,024 UTF-8 bytes; they are compared and listed in UTF-8 byte order.
 * Sizes and offsets are bytes. Every method rejects with a `StoreError`. Bytes are passed as lists of chunks so that
 * nobody has to concatenate them; chunks must not change once passed.
 */

/** What the store says about one object. */
export interface ObjectInfo {
  readonly key: string;
  readonly size: number;
  /** Identifies this version of the object; opaque, without quotes. Changes whenever the object is written again. */
  readonly etag: string;
  /** When the store made this version, in milliseconds since the epoch. */
  readonly lastModifiedMs: number;
  readonly contentType?: string;
  /** User metadata (`x-amz-meta-…` without that prefix), keys in lower case. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly storageClass?: string;
  /** The store's own name for this version, where the bucket keeps versions. */
  readonly versionId?: string;
  /** Present if there are any. */
  readonly headers?: ContentHeaders;
  /** Tags of the object, where the store says so and there are any. */
  readonly tagCount?: number;
}

/** HTTP headers that are kept with an object and sent to whoever reads it, besides its type; as they are sent. */
export interface ContentHeaders {
  readonly cacheControl?: string;
  readonly contentDisposition?: string;
  readonly contentEncoding?: string;
  readonly contentLanguage?: string;
  readonly expires?: string;
}

/** One object as a listing shows it. */
export interface ListedObject {
  readonly kind: "object";
  readonly key: string;
  readonly size: number;
  readonly etag: string;
  readonly lastModifiedMs: number;
  readonly storageClass?: string;
  /** Time and mode as in `ObjectInfo.metadata`, where a listing knows them (a local disk does, S3 does not). */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** All keys that share `prefix` up to and including the delimiter, folded into one entry. */
export interface ListedPrefix {
  readonly kind: "prefix";
  readonly prefix: string;
}

/** One entry of a listing page; entries come in UTF-8 byte order of key or prefix. */
export type ListEntry = ListedObject | ListedPrefix;

/** Restricts a listing. */
export interface ListOptions {
  /** Folds keys into prefixes at this character; only `/` is asked for. */
  readonly delimiter?: "/";
  /** Lists only entries (keys, or prefixes they are folded into) strictly after this name in UTF-8 byte order. */
  readonly after?: string;
  /** Entries per page, 1 to 1,000 (default 1,000). */
  readonly pageSize?: number;
  /**
   * Whether pages of a long listing may be asked for side by side, at five percent more requests (default: of a directory's
   * listing, with a delimiter, and not otherwise).
   */
  readonly sideBySide?: boolean;
  readonly signal?: AbortSignal;
}

/** What is stored with an object besides its bytes. */
export interface ObjectProperties {
  readonly contentType?: string;
  /** User metadata, keys in lower case, at most 2 KiB together. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Kept by S3 only. */
  readonly headers?: ContentHeaders;
  /** As a query string, `a=1&b=2`, at most 2,000 characters. Kept by S3 only. */
  readonly tags?: string;
}

/** When a write may happen: only if nothing is there, or only if that version is there. Else `precondition-failed`. */
export interface WriteCondition {
  readonly ifNoneMatch?: "*";
  readonly ifMatch?: string;
}

/** Options of `put`. */
export interface PutOptions extends ObjectProperties, WriteCondition {
  readonly signal?: AbortSignal;
}

/** What a finished write left in the store. `lastModifiedMs` is absent where the store does not say. */
export interface PutResult {
  readonly etag: string;
  readonly size: number;
  readonly lastModifiedMs?: number;
}

/** Which bytes `get` returns: from `start` up to and including `end` (default: to the end of the object). */
export interface ByteRange {
  readonly start: number;
  readonly end?: number;
}

/** Options of `get`. */
export interface GetOptions {
  readonly range?: ByteRange;
  /** Only this version: otherwise `precondition-failed`. */
  readonly ifMatch?: string;
  readonly signal?: AbortSignal;
}

/** An object being read. Whoever gets it reads `body` to its end or calls `destroy`, exactly one of them. */
export interface ObjectBody {
  /** Of the whole object (`size` is the object's, not the range's). */
  readonly info: ObjectInfo;
  /**
   * The bytes asked for, in order; rejects with a `StoreError` if they end early. Chunks belong to the reader; where one
   * lies in a slab (slab-pool.ts) the reader is its one holder, and may release it when nobody reads it any more.
   */
  readonly body: AsyncIterable<Uint8Array>;
  /** Gives up reading and frees the connection. Idempotent. */
  destroy(): void;
}

/** Options of `copy`. */
export interface CopyOptions extends WriteCondition {
  /** Copy only this version of the source: otherwise `precondition-failed`. */
  readonly sourceIfMatch?: string;
  /** Replaces content type and user metadata as a whole; absent: both are copied from the source. */
  readonly replaceProperties?: ObjectProperties;
  /** Size of the source if the caller knows it: saves a request for objects over the single-copy limit. */
  readonly sourceSize?: number;
  readonly signal?: AbortSignal;
}

/** One part of a multipart upload that the store holds. */
export interface StoredPart {
  /** 1 to `limits.maxParts`. Parts form the object in the order of their numbers. */
  readonly partNumber: number;
  readonly size: number;
  readonly etag: string;
  /** CRC-32 of the part's bytes where this process computed it. */
  readonly crc32?: number;
}

/** Where a part's bytes lie in the finished object. */
export interface PartPosition {
  readonly partNumber: number;
  /** Offset of the part's first byte in the finished object: the sum of the sizes of the parts before it. */
  readonly offset: number;
}

/** The bytes of a part that is too large to be held in memory. */
export interface StreamedPart {
  /** Bytes, ≥ 1. */
  readonly size: number;
  /** All of them from the first on, the same each time: for a checksum before, and for another try after a failure. */
  read(): AsyncIterable<Uint8Array>;
}

/** What one part is made of. */
export type PartBody = readonly Uint8Array[] | StreamedPart;

/**
 * An upload in parts whose object is not visible before `complete`. Parts may be sent in any order and in parallel,
 * and again under the same number. It outlives the process: `openUpload` takes it up again.
 */
export interface MultipartUpload {
  readonly key: string;
  /** Names this upload in the store, also for another process or node. */
  readonly uploadId: string;
  /** Stores one part. Retries by itself as far as the store's policy goes. */
  uploadPart(position: PartPosition, body: PartBody, signal?: AbortSignal): Promise<StoredPart>;
  /** Stores one part as a copy of a range of a published object, without moving bytes through the gateway. */
  copyPart(position: PartPosition, source: PartSource, signal?: AbortSignal): Promise<StoredPart>;
  /**
   * `length` bytes from `offset` of the finished object, all of them in stored parts. Only where parts can be read before
   * the object is published (a local disk); absent elsewhere.
   */
  readBack?(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array>;
  /** All parts the store holds, by number. */
  listParts(signal?: AbortSignal): Promise<StoredPart[]>;
  /** Publishes the object made of `parts`, in ascending order of number; each but the last ≥ `limits.minPartSize`. */
  complete(parts: readonly StoredPart[], condition?: WriteCondition, signal?: AbortSignal): Promise<PutResult>;
  /** Discards the upload and its parts. An upload that is already gone is no error. */
  abort(signal?: AbortSignal): Promise<void>;
}

/** A range of a published object as source of a part. */
export interface PartSource {
  readonly key: string;
  readonly start: number;
  /** Bytes, ≥ 1. */
  readonly length: number;
  /** Version of the source; otherwise `precondition-failed`. */
  readonly ifMatch: string;
}

/** An unfinished upload as the store lists it. */
export interface UnfinishedUpload {
  readonly key: string;
  readonly uploadId: string;
  readonly initiatedMs: number;
}

/** Limits of an adapter, in bytes and counts. */
export interface StoreLimits {
  /** Smallest part but the last (S3: 5 MiB; local: 1). */
  readonly minPartSize: number;
  readonly maxPartSize: number;
  readonly maxParts: number;
  /** Largest object of one `put` (S3: 5 GiB). */
  readonly maxPutSize: number;
  readonly maxObjectSize: number;
  /** What one `put` or part should be at first, where the caller has no better idea. */
  readonly preferredPartSize: number;
  /** What parts should grow to soon, where a large upload is cheaper in fewer parts. */
  readonly steadyPartSize?: number;
}

/** Room on the medium of a store, in bytes and numbers of objects. */
export interface StoreSpace {
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly totalObjects: number;
  readonly freeObjects: number;
}

/**
 * A store as the source of server-side copies into another one. Opaque but for `reach`: two stores with equal ones are at
 * one provider and reached as one identity, so that `copyFrom` can work between them.
 */
export interface CopyOrigin {
  /** Holds no secret. */
  readonly reach: string;
  /** The same, for keys that begin with `prefix` only. */
  within(prefix: string): CopyOrigin;
}

/** Options of `copyFrom`. */
export interface CopyFromOptions {
  /** Version of the source; otherwise `precondition-failed`. */
  readonly sourceIfMatch: string;
  /** Bytes of the source. */
  readonly sourceSize: number;
  /** Larger objects are copied in parts (default 512 MiB). */
  readonly partThreshold?: number;
  readonly signal?: AbortSignal;
}

/** What `copyFrom` did. */
export interface CopyFromResult extends PutResult {
  /** What could not be copied along, for the operator. */
  readonly warning?: string;
}

/** A flat store of immutable objects: see the head of this file. */
export interface ObjectStore {
  readonly limits: StoreLimits;
  /** This store as a source for `copyFrom` of another; absent where there is no such thing. */
  readonly copyOrigin?: CopyOrigin;
  /**
   * Copies an object of another store into this one without moving its bytes through the gateway, at any size, with content
   * type, metadata, special headers and tags. Only where `copyOrigin.reach` of both are equal: otherwise `unsupported`.
   */
  copyFrom?(origin: CopyOrigin, from: string, to: string, options: CopyFromOptions): Promise<CopyFromResult>;
  /** The object's tags as a query string. Absent where there are no tags. Rejects `access-denied` without the right to read them. */
  tags?(key: string, signal?: AbortSignal): Promise<string>;
  /** Rejects `not-found` for a missing object. */
  head(key: string, signal?: AbortSignal): Promise<ObjectInfo>;
  /** Opens an object for reading. A range that starts at or after the end is `invalid-argument`. */
  get(key: string, options?: GetOptions): Promise<ObjectBody>;
  /** Publishes an object whole: durable and visible to everybody when it resolves. Retries by itself. */
  put(key: string, chunks: readonly Uint8Array[], options?: PutOptions): Promise<PutResult>;
  createUpload(key: string, properties: ObjectProperties, signal?: AbortSignal): Promise<MultipartUpload>;
  /** Takes up an unfinished upload again; makes no request, so a wrong id shows at the first use. */
  openUpload(key: string, uploadId: string): MultipartUpload;
  /** Unfinished uploads of keys below `prefix`, in key order. */
  listUploads(prefix: string, signal?: AbortSignal): AsyncIterable<UnfinishedUpload>;
  /** Copies an object within the store at any size (multipart copy over the single-copy limit); onto itself too. */
  copy(from: string, to: string, options?: CopyOptions): Promise<PutResult>;
  /** Deletes objects; missing ones are no error. Rejects if any could not be deleted, after trying all. */
  delete(keys: readonly string[], signal?: AbortSignal): Promise<void>;
  /** Pages of the keys that begin with `prefix`; the first page is asked for when iteration starts. Pages may be empty. */
  list(prefix: string, options?: ListOptions): AsyncIterable<ListEntry[]>;
  /**
   * Renames an object in one step at no cost, where the store can (a local disk): same rules and result as `copy`, and
   * `from` is gone. Absent where only a copy and a deletion do it.
   */
  move?(from: string, to: string, options?: Omit<CopyOptions, "sourceSize">): Promise<PutResult>;
  /** Room on the medium, where it has an end. */
  space?(): Promise<StoreSpace>;
  /** Releases connections and timers. */
  close(): Promise<void>;
}

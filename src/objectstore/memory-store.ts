/**
 * The object store port in memory: the reference implementation that tests run against. Promises everything the port
 * promises except that it survives the process. Knows nothing of disks or networks.
 */
import { crc32 } from "node:zlib";
import { StoreError } from "../errors.ts";
import { compareKeys, lowerBound } from "./key-order.ts";
import type {
  CopyOptions,
  GetOptions,
  ListedObject,
  ListEntry,
  ListOptions,
  MultipartUpload,
  ObjectBody,
  ObjectInfo,
  ObjectProperties,
  ObjectStore,
  PartPosition,
  PartSource,
  PutOptions,
  PutResult,
  StoredPart,
  StoreLimits,
  UnfinishedUpload,
  WriteCondition,
} from "./objectstore.ts";
import {
  checkKey,
  checkNotAborted,
  checkPageSize,
  checkPart,
  checkPartList,
  checkPartSource,
  checkProperties,
  checkPutSize,
  resolveRange,
  totalLength,
  partPieces,
} from "./request-checks.ts";
import { S3_LIMITS } from "./store-limits.ts";

/** How `createMemoryStore` may differ from its defaults. */
export interface MemoryStoreOptions {
  /** Overrides single limits (default: Amazon S3's), so that tests can upload in small parts. */
  readonly limits?: Partial<StoreLimits>;
  /** Clock in milliseconds (default `Date.now`). */
  readonly now?: () => number;
  /** Bytes per chunk of a body (default 64 KiB). */
  readonly readChunkSize?: number;
}

/** A store that is empty and lives as long as the object does. */
export function createMemoryStore(options: MemoryStoreOptions = {}): ObjectStore {
  return new MemoryStore(options);
}

interface MemoryObject {
  readonly info: ObjectInfo;
  readonly bytes: Buffer;
}

interface MemoryPart extends StoredPart {
  readonly offset: number;
  readonly bytes: Buffer;
}

interface MemoryUploadState {
  readonly key: string;
  readonly uploadId: string;
  readonly properties: ObjectProperties;
  readonly initiatedMs: number;
  readonly parts: Map<number, MemoryPart>;
}

class MemoryStore implements ObjectStore {
  readonly limits: StoreLimits;
  readonly #now: () => number;
  readonly #readChunkSize: number;
  readonly #objects = new Map<string, MemoryObject>();
  readonly #uploads = new Map<string, MemoryUploadState>();
  #sortedKeys: string[] | undefined;
  #sequence = 0;

  constructor({ limits, now = Date.now, readChunkSize = 64 * 1024 }: MemoryStoreOptions) {
    this.limits = { ...S3_LIMITS, ...limits };
    this.#now = now;
    this.#readChunkSize = readChunkSize;
  }

  async head(key: string, signal?: AbortSignal): Promise<ObjectInfo> {
    checkKey(key);
    checkNotAborted(signal);
    return this.#find(key).info;
  }

  async get(key: string, { range, ifMatch, signal }: GetOptions = {}): Promise<ObjectBody> {
    checkKey(key);
    checkNotAborted(signal);
    const object = this.#find(key);
    if (ifMatch !== undefined) checkVersion(object, ifMatch);
    const { start, end } = resolveRange(range, object.info.size);
    return new MemoryBody(object.info, object.bytes.subarray(start, end), { chunkSize: this.#readChunkSize, signal });
  }

  async put(key: string, chunks: readonly Uint8Array[], options: PutOptions = {}): Promise<PutResult> {
    checkKey(key);
    checkProperties(options);
    checkPutSize(totalLength(chunks), this.limits);
    checkNotAborted(options.signal);
    this.#checkCondition(key, options);
    return this.#publish(key, Buffer.concat(chunks), options);
  }

  async createUpload(key: string, properties: ObjectProperties, signal?: AbortSignal): Promise<MultipartUpload> {
    checkKey(key);
    checkProperties(properties);
    checkNotAborted(signal);
    const uploadId = `upload-${++this.#sequence}`;
    this.#uploads.set(uploadId, { key, uploadId, properties, initiatedMs: this.#now(), parts: new Map() });
    return this.openUpload(key, uploadId);
  }

  openUpload(key: string, uploadId: string): MultipartUpload {
    checkKey(key);
    return {
      key,
      uploadId,
      uploadPart: async (position, body, signal) => {
        const chunks: Uint8Array[] = [];
        for await (const piece of partPieces(body)) chunks.push(piece);
        return this.#storePart(this.#findUpload(key, uploadId), position, chunks, signal);
      },
      copyPart: async (position, source, signal) => this.#copyPart(this.#findUpload(key, uploadId), position, source, signal),
      listParts: async (signal) => {
        checkNotAborted(signal);
        return [...this.#findUpload(key, uploadId).parts.values()].sort((a, b) => a.partNumber - b.partNumber).map(describePart);
      },
      complete: async (parts, condition, signal) => this.#complete(this.#findUpload(key, uploadId), parts, condition, signal),
      abort: async (signal) => {
        checkNotAborted(signal);
        if (this.#uploads.get(uploadId)?.key === key) this.#uploads.delete(uploadId);
      },
    };
  }

  async *listUploads(prefix: string, signal?: AbortSignal): AsyncIterable<UnfinishedUpload> {
    const uploads = [...this.#uploads.values()].filter((upload) => upload.key.startsWith(prefix));
    for (const { key, uploadId, initiatedMs } of uploads.sort((a, b) => compareKeys(a.key, b.key))) {
      checkNotAborted(signal);
      yield { key, uploadId, initiatedMs };
    }
  }

  async copy(from: string, to: string, options: CopyOptions = {}): Promise<PutResult> {
    checkKey(from);
    checkKey(to);
    checkProperties(options.replaceProperties);
    checkNotAborted(options.signal);
    const source = this.#find(from);
    if (options.sourceIfMatch !== undefined) checkVersion(source, options.sourceIfMatch);
    this.#checkCondition(to, options);
    return this.#publish(to, source.bytes, options.replaceProperties ?? source.info);
  }

  async delete(keys: readonly string[], signal?: AbortSignal): Promise<void> {
    for (const key of keys) checkKey(key);
    checkNotAborted(signal);
    for (const key of keys) if (this.#objects.delete(key)) this.#sortedKeys = undefined;
  }

  async *list(prefix: string, { delimiter, after, pageSize, signal }: ListOptions = {}): AsyncIterable<ListEntry[]> {
    const size = checkPageSize(pageSize);
    let last = after;
    for (;;) {
      checkNotAborted(signal);
      const page = this.#page({ prefix, delimiter, after: last, size });
      yield page;
      const lastEntry = page[page.length - 1];
      if (page.length < size || lastEntry === undefined) return;
      last = lastEntry.kind === "object" ? lastEntry.key : lastEntry.prefix;
    }
  }

  async close(): Promise<void> {}

  #find(key: string): MemoryObject {
    const object = this.#objects.get(key);
    if (!object) throw new StoreError("not-found", `there is no object ${JSON.stringify(key)}`);
    return object;
  }

  #findUpload(key: string, uploadId: string): MemoryUploadState {
    const upload = this.#uploads.get(uploadId);
    if (upload?.key !== key) throw new StoreError("no-such-upload", `there is no unfinished upload ${uploadId} of ${JSON.stringify(key)}`);
    return upload;
  }

  #checkCondition(key: string, { ifMatch, ifNoneMatch }: WriteCondition): void {
    const object = this.#objects.get(key);
    if (ifNoneMatch === "*" && object) throw new StoreError("precondition-failed", `object ${JSON.stringify(key)} exists`);
    if (ifMatch !== undefined && object?.info.etag !== ifMatch) {
      throw new StoreError("precondition-failed", `object ${JSON.stringify(key)} is not version ${ifMatch}`);
    }
  }

  #publish(key: string, bytes: Buffer, { contentType, metadata }: ObjectProperties): PutResult {
    const info: ObjectInfo = {
      key,
      size: bytes.length,
      etag: `v${++this.#sequence}`,
      lastModifiedMs: this.#now(),
      ...(contentType === undefined ? {} : { contentType }),
      metadata: { ...metadata },
    };
    if (!this.#objects.has(key)) this.#sortedKeys = undefined;
    this.#objects.set(key, { info, bytes });
    return { etag: info.etag, size: info.size, lastModifiedMs: info.lastModifiedMs };
  }

  #storePart(upload: MemoryUploadState, position: PartPosition, chunks: readonly Uint8Array[], signal?: AbortSignal): StoredPart {
    checkPart(position, totalLength(chunks), this.limits);
    checkNotAborted(signal);
    const bytes = Buffer.concat(chunks);
    const part = { ...position, size: bytes.length, etag: `p${++this.#sequence}`, crc32: crc32(bytes), bytes };
    upload.parts.set(part.partNumber, part);
    return describePart(part);
  }

  #copyPart(upload: MemoryUploadState, position: PartPosition, source: PartSource, signal?: AbortSignal): StoredPart {
    checkPartSource(source);
    const object = this.#find(source.key);
    checkVersion(object, source.ifMatch);
    const end = source.start + source.length;
    if (end > object.info.size) {
      throw new StoreError("invalid-argument", `source range ends at ${end}, the object has ${object.info.size} bytes`);
    }
    return this.#storePart(upload, position, [object.bytes.subarray(source.start, end)], signal);
  }

  #complete(upload: MemoryUploadState, parts: readonly StoredPart[], condition: WriteCondition = {}, signal?: AbortSignal): PutResult {
    checkNotAborted(signal);
    checkPartList(parts, this.limits);
    let offset = 0;
    const chunks = parts.map((wanted) => {
      const part = upload.parts.get(wanted.partNumber);
      if (part?.etag !== wanted.etag)
        throw new StoreError("invalid-argument", `part ${wanted.partNumber} is not stored with etag ${wanted.etag}`);
      if (part.offset !== offset) {
        throw new StoreError("invalid-argument", `part ${part.partNumber} was sent for offset ${part.offset}, but begins at ${offset}`);
      }
      offset += part.size;
      return part.bytes;
    });
    this.#checkCondition(upload.key, condition);
    this.#uploads.delete(upload.uploadId);
    return this.#publish(upload.key, Buffer.concat(chunks), upload.properties);
  }

  #page(query: { prefix: string; delimiter: string | undefined; after: string | undefined; size: number }): ListEntry[] {
    const { prefix, delimiter, after, size } = query;
    this.#sortedKeys ??= [...this.#objects.keys()].sort(compareKeys);
    const keys = this.#sortedKeys;
    const entries: ListEntry[] = [];
    let index = lowerBound(keys, (key) => compareKeys(key, prefix) >= 0 && (after === undefined || compareKeys(key, after) > 0));
    while (entries.length < size) {
      const key = keys[index];
      if (!key?.startsWith(prefix)) break;
      const cut = delimiter === undefined ? -1 : key.indexOf(delimiter, prefix.length);
      if (cut < 0) {
        entries.push(describeListed(this.#find(key).info));
        index++;
        continue;
      }
      const folded = key.slice(0, cut + 1);
      if (after === undefined || compareKeys(folded, after) > 0) entries.push({ kind: "prefix", prefix: folded });
      index = lowerBound(keys, (other) => compareKeys(other, folded) > 0 && !other.startsWith(folded));
    }
    return entries;
  }
}

/** A body over bytes that are all there. */
class MemoryBody implements ObjectBody {
  readonly info: ObjectInfo;
  readonly body: AsyncIterable<Uint8Array>;
  #destroyed = false;

  constructor(info: ObjectInfo, bytes: Buffer, options: { readonly chunkSize: number; readonly signal: AbortSignal | undefined }) {
    this.info = info;
    this.body = this.#chunks(bytes, options.chunkSize, options.signal);
  }

  destroy(): void {
    this.#destroyed = true;
  }

  async *#chunks(bytes: Buffer, chunkSize: number, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
    for (let offset = 0; offset < bytes.length; offset += chunkSize) {
      checkNotAborted(signal);
      if (this.#destroyed) throw new StoreError("aborted", "the body was given up by its reader");
      yield bytes.subarray(offset, offset + chunkSize);
    }
  }
}

function checkVersion({ info }: MemoryObject, etag: string): void {
  if (info.etag !== etag) throw new StoreError("precondition-failed", `object ${JSON.stringify(info.key)} is not version ${etag}`);
}

function describePart({ partNumber, size, etag, crc32: checksum }: StoredPart): StoredPart {
  return { partNumber, size, etag, ...(checksum === undefined ? {} : { crc32: checksum }) };
}

function describeListed({ key, size, etag, lastModifiedMs }: ObjectInfo): ListedObject {
  return { kind: "object", key, size, etag, lastModifiedMs };
}

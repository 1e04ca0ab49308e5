/**
 * The object store port on Amazon S3 and what speaks its protocol. Knows nothing of paths, users or handles; how requests
 * are sent, tried again and translated is in the files beside this one.
 */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { StoreError } from "../../errors.ts";
import { S3_LIMITS } from "../store-limits.ts";
import type {
  ByteRange,
  CopyFromOptions,
  CopyFromResult,
  CopyOptions,
  CopyOrigin,
  GetOptions,
  ListEntry,
  ListOptions,
  MultipartUpload,
  ObjectBody,
  ObjectInfo,
  ObjectProperties,
  ObjectStore,
  PartSource,
  PutOptions,
  PutResult,
  StoreLimits,
  UnfinishedUpload,
} from "../objectstore.ts";
import { checkKey, checkProperties, checkPutSize, checkRange, totalLength } from "../request-checks.ts";
import { checkIgnoredCondition } from "./condition-check.ts";
import { crc32Of, decodeCrc32, encodeCrc32 } from "./crc32.ts";
import type { ObjectHead, OpenedObject } from "./direct-requests.ts";
import { S3Body } from "./s3-body.ts";
import { copyObject } from "./s3-copy.ts";
import type { CopyContext } from "./s3-copy.ts";
import { copyFromOrigin, reachOf, S3CopyOrigin, tagsAsText } from "./s3-cross-copy.ts";
import { deleteObjects } from "./s3-delete.ts";
import { MalformedAnswer } from "./s3-errors.ts";
import { ChunkBody } from "./s3-http.ts";
import { listObjects, listUnfinishedUploads } from "./s3-listing.ts";
import type { BucketFields } from "./s3-listing.ts";
import { DEFAULT_REGION, SILENT_LOG } from "./s3-options.ts";
import type { S3StoreOptions, StoreLog } from "./s3-options.ts";
import {
  conditionFields,
  etagOf,
  objectInfo,
  propertyFields,
  quoted,
  specialHeaders,
  SpecialHeaderMemory,
  storageFields,
} from "./s3-properties.ts";
import { S3Requests } from "./s3-requests.ts";
import { createS3Upload, openS3Upload } from "./s3-upload.ts";

/** Asks the store for the checksum it keeps, without making the SDK verify it (6.5 CPU-s/GiB for CRC64NVME). */
const WITH_CHECKSUM = { "x-amz-checksum-mode": "ENABLED" };

/** A store on one bucket. Makes no request; connections and credentials are shared with other stores of equal settings. */
export function createS3Store(options: S3StoreOptions): ObjectStore {
  return new S3Store(options);
}

class S3Store implements ObjectStore {
  readonly limits: StoreLimits;
  readonly copyOrigin: S3CopyOrigin;
  readonly #options: S3StoreOptions;
  readonly #log: StoreLog;
  readonly #requests: S3Requests;
  readonly #bucket: BucketFields;
  readonly #special = new SpecialHeaderMemory();
  readonly #context: CopyContext;
  readonly #verifyReads: boolean;

  constructor(options: S3StoreOptions) {
    const { bucket, expectedBucketOwner, endpoint, awsRegion } = options;
    this.limits = { ...S3_LIMITS, ...options.limits };
    this.#options = options;
    this.#log = options.log ?? SILENT_LOG;
    this.#requests = new S3Requests(options);
    this.#bucket = { Bucket: bucket, ...(expectedBucketOwner === undefined ? {} : { ExpectedBucketOwner: expectedBucketOwner }) };
    this.#verifyReads = options.verifyReads ?? endpoint?.startsWith("http:") === true;
    const requests = this.#requests;
    this.#context = {
      requests,
      get ignoresConditions() {
        return requests.isCeph;
      },
      bucket: this.#bucket,
      limits: this.limits,
      endpoint: endpoint ?? awsRegion ?? DEFAULT_REGION,
      storage: storageFields(options),
      head: (key) => this.head(key),
      storedCrc32: (key) => this.#storedCrc32(key),
      read: (source) => this.#readRange(source),
      special: this.#special,
      put: (key, chunks, options) => this.put(key, chunks, options),
      discard: (key) => this.delete([key]),
    };
    this.copyOrigin = new S3CopyOrigin(reachOf(options), this.#context);
  }

  async tags(key: string, signal?: AbortSignal): Promise<string> {
    checkKey(key);
    return tagsAsText(this.#context, key, signal);
  }

  async head(key: string, signal?: AbortSignal): Promise<ObjectInfo> {
    checkKey(key);
    try {
      return await this.#head(key, signal);
    } catch (error) {
      if (!(error instanceof StoreError) || (error.code !== "access-denied" && error.code !== "invalid-argument")) throw error;
      return this.#explainHead(key, signal);
    }
  }

  async *#readRange({ key, start, length, ifMatch }: PartSource): AsyncGenerator<Uint8Array> {
    const object = await this.get(key, { range: { start, end: start + length - 1 }, ...(ifMatch !== undefined && { ifMatch }) });
    try {
      yield* object.body;
    } finally {
      object.destroy();
    }
  }

  async get(key: string, { range, ifMatch, signal }: GetOptions = {}): Promise<ObjectBody> {
    checkKey(key);
    if (range) checkRange(range);
    const output = await this.#open(key, { range, ifMatch, signal, verify: this.#verifyReads && range === undefined });
    const info = objectInfo(key, output);
    this.#special.remember(key, info.etag, specialHeaders(output));
    const start = range?.start ?? 0;
    const end = range?.end === undefined ? info.size : Math.min(range.end + 1, info.size);
    return new S3Body({
      info,
      stream: streamOf(output),
      start,
      end,
      crc32: this.#verifyReads && range === undefined && !isOfParts(info) ? decodeCrc32(output.ChecksumCRC32) : undefined,
      signal,
      reopen: async (offset) => streamOf(await this.#open(key, { range: { start: offset, end: end - 1 }, ifMatch: info.etag, signal })),
      onBreak: (offset, cause) =>
        this.#log.debug({ bucket: this.#options.bucket, key, offset, err: cause }, "reading goes on after a break"),
    });
  }

  async put(key: string, chunks: readonly Uint8Array[], options: PutOptions = {}): Promise<PutResult> {
    checkKey(key);
    checkProperties(options);
    const size = totalLength(chunks);
    checkPutSize(size, this.limits);
    const crc32 = crc32Of(chunks);
    await checkIgnoredCondition(this.#context, key, options, true);
    const fields = {
      ...this.#bucket,
      Key: key,
      ContentLength: size,
      ChecksumCRC32: encodeCrc32(crc32),
      ...propertyFields(options),
      ...(options.tags === undefined ? {} : { Tagging: options.tags }),
      ...conditionFields(this.#context.ignoresConditions && options.ifMatch !== undefined ? {} : options),
      ...storageFields(this.#options),
    };
    const conditional = options.ifMatch !== undefined || options.ifNoneMatch !== undefined;
    const etag = await this.#requests.run({
      operation: "PutObject",
      key,
      lane: "write",
      signal: options.signal,
      codes: options.ifMatch === undefined ? {} : { "not-found": "precondition-failed" },
      attempt: async (_, call, direct) => etagOf((await direct.put({ ...fields, Body: new ChunkBody(chunks) }, call)).ETag),
      recover: async (fault) =>
        conditional && fault.code === "precondition-failed" ? this.#findOwn(key, chunks, { size, crc32 }) : undefined,
    });
    return { etag, size };
  }

  createUpload(key: string, properties: ObjectProperties, signal?: AbortSignal): Promise<MultipartUpload> {
    try {
      checkKey(key);
      checkProperties(properties);
    } catch (error) {
      return Promise.reject(error);
    }
    return createS3Upload(this.#context, key, properties, { signal });
  }

  openUpload(key: string, uploadId: string): MultipartUpload {
    checkKey(key);
    return openS3Upload(this.#context, key, uploadId);
  }

  listUploads(prefix: string, signal?: AbortSignal): AsyncIterable<UnfinishedUpload> {
    return listUnfinishedUploads(this.#requests, this.#bucket, prefix, signal);
  }

  async copy(from: string, to: string, options: CopyOptions = {}): Promise<PutResult> {
    checkKey(from);
    checkKey(to);
    checkProperties(options.replaceProperties);
    await checkIgnoredCondition(this.#context, to, options, false);
    return copyObject(this.#context, from, to, options);
  }

  copyFrom(origin: CopyOrigin, from: string, to: string, options: CopyFromOptions): Promise<CopyFromResult> {
    return copyFromOrigin(this.#context, origin, { from, to, reach: this.copyOrigin.reach }, options);
  }

  async delete(keys: readonly string[], signal?: AbortSignal): Promise<void> {
    for (const key of keys) checkKey(key);
    await deleteObjects(this.#requests, this.#bucket, keys, signal);
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncIterable<ListEntry[]> {
    for await (const page of listObjects(this.#requests, this.#bucket, prefix, options)) {
      for (const entry of page) if (entry.kind === "object") this.#noticeStorageClass(entry.key, entry.etag, entry.storageClass);
      yield page;
    }
  }

  async close(): Promise<void> {
    this.#requests.close();
  }

  #head(key: string, signal: AbortSignal | undefined): Promise<ObjectInfo> {
    return this.#requests.run({
      operation: "HeadObject",
      key,
      lane: "control",
      signal,
      attempt: async (_, call, direct) => {
        const output = await direct.head({ ...this.#bucket, Key: key }, call);
        const info = objectInfo(key, output);
        this.#special.remember(key, info.etag, specialHeaders(output));
        return info;
      },
    });
  }

  /** A refused HEAD has no body and so no reason: a GET of one byte has. */
  async #explainHead(key: string, signal: AbortSignal | undefined): Promise<ObjectInfo> {
    const output = await this.#open(key, { range: { start: 0, end: 0 }, signal });
    streamOf(output).destroy();
    return objectInfo(key, output);
  }

  #open(key: string, options: OpenOptions): Promise<OpenedObject> {
    const { range, ifMatch, signal, verify } = options;
    return this.#requests.run({
      operation: "GetObject",
      key,
      lane: "read",
      signal,
      ...(verify === true ? { headers: WITH_CHECKSUM } : {}),
      attempt: async (_, call, direct) => {
        const fields = {
          ...this.#bucket,
          Key: key,
          ...(range === undefined ? {} : { Range: `bytes=${range.start}-${range.end ?? ""}` }),
          ...(ifMatch === undefined ? {} : { IfMatch: quoted(ifMatch) }),
        };
        const output = await direct.get(fields, call);
        try {
          checkAnswer(output, range?.start);
        } catch (error) {
          streamOf(output).destroy();
          throw error;
        }
        return output;
      },
    });
  }

  /** The etag of the object under `key` if it is what a `put` of these chunks, whose answer was lost, has left there. */
  async #findOwn(key: string, chunks: readonly Uint8Array[], own: { size: number; crc32: number }): Promise<string | undefined> {
    try {
      const info = await this.head(key);
      if (info.size !== own.size) return undefined;
      const stored = await this.#storedCrc32(key);
      if (stored !== undefined) return stored === own.crc32 ? info.etag : undefined;
      const md5 = createHash("md5");
      for (const chunk of chunks) md5.update(chunk);
      return md5.digest("hex") === info.etag ? info.etag : undefined;
    } catch (error) {
      if (error instanceof StoreError) return undefined;
      throw error;
    }
  }

  #storedCrc32(key: string): Promise<number | undefined> {
    return this.#requests.run({
      operation: "HeadObject",
      key,
      lane: "control",
      headers: WITH_CHECKSUM,
      attempt: async (_, call, direct) => decodeCrc32((await direct.head({ ...this.#bucket, Key: key }, call)).ChecksumCRC32),
    });
  }

  /** A listing knows the storage class only: it must not displace what a HEAD has told about the same version. */
  #noticeStorageClass(key: string, etag: string, storageClass: string | undefined): void {
    if (storageClass === undefined || storageClass === "STANDARD" || this.#special.knows(key, etag)) return;
    this.#special.remember(key, etag, specialHeaders({ StorageClass: storageClass as "STANDARD_IA" }));
  }
}

/** True of what came in parts: some stores (versitygw) keep a wrong checksum for objects with parts copied from others. */
function isOfParts({ etag }: ObjectInfo): boolean {
  return etag.includes("-");
}

/** How one GET request is made. */
interface OpenOptions {
  readonly range?: ByteRange | undefined;
  readonly ifMatch?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Ask for the checksum the store keeps. */
  readonly verify?: boolean;
}

/** Throws `MalformedAnswer` unless the answer has the version and exactly the beginning that was asked for. */
function checkAnswer({ ETag, ContentRange, ContentLength }: ObjectHead, start: number | undefined): void {
  etagOf(ETag);
  if (ContentLength === undefined) throw new MalformedAnswer("the store's answer has no length");
  if (start === undefined) return;
  const first = /^bytes (\d+)-/.exec(ContentRange ?? "")?.[1];
  if (first === undefined || Number(first) !== start) throw new MalformedAnswer("the store answered with another range");
}

function streamOf({ Body }: OpenedObject): Readable {
  if (Body instanceof Readable) return Body;
  throw new MalformedAnswer("the store's answer has no body");
}

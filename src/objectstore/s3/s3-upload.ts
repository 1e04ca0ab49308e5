/**
 * Multipart uploads to S3. Each part carries its CRC-32, which the store verifies; where the store knows full-object
 * checksums, the whole object does, too. Knows nothing of what the parts are made of.
 */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListPartsCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import type { CompleteMultipartUploadCommandOutput, ListPartsCommandOutput, Part } from "@aws-sdk/client-s3";
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { StoreError } from "../../errors.ts";
import type {
  MultipartUpload,
  ObjectInfo,
  ObjectProperties,
  PartBody,
  PartPosition,
  PartSource,
  PutResult,
  StoredPart,
  StoreLimits,
  WriteCondition,
} from "../objectstore.ts";
import { checkPart, checkPartList, checkPartSource, partLength } from "../request-checks.ts";
import { checkIgnoredCondition } from "./condition-check.ts";
import { combineCrc32, crc32Of, decodeCrc32, encodeCrc32 } from "./crc32.ts";
import { classifyFault, MalformedAnswer } from "./s3-errors.ts";
import type { S3Fault } from "./s3-errors.ts";
import { ChunkBody, withCall } from "./s3-http.ts";
import type { BucketFields } from "./s3-listing.ts";
import { conditionFields, copySource, etagOf, propertyFields, quoted } from "./s3-properties.ts";
import type { SpecialHeaders } from "./s3-properties.ts";
import type { S3Requests } from "./s3-requests.ts";

/**
 * What the store does with checksums of an upload: `full-object` verifies parts and whole; `parts` takes checksums of
 * parts and says nothing; `none` refuses them; `unknown`: somebody else has begun the upload.
 */
type ChecksumMode = "full-object" | "parts" | "none" | "unknown";

/** Endpoints that refused checksums in this process's life, so that no second request is lost on asking. */
const withoutChecksums = new Set<string>();

/** Endpoints whose checksums of copied ranges were found right, or to be those of the whole source (versitygw 1.4). */
const rangeChecksums = new Map<string, "right" | "of-source">();

/** What all uploads of a store share. */
export interface UploadContext {
  readonly requests: S3Requests;
  readonly bucket: BucketFields;
  readonly limits: StoreLimits;
  /** Under what to remember the store's abilities. */
  readonly endpoint: string;
  /** Fields of the store's configuration for new objects. */
  readonly storage: SpecialHeaders;
  readonly head: (key: string) => Promise<ObjectInfo>;
  /** See `checkIgnoredCondition`. */
  readonly ignoresConditions: boolean;
  /** CRC-32 of a published object where the store keeps one. */
  readonly storedCrc32: (key: string) => Promise<number | undefined>;
  /** The bytes of a range. */
  readonly read: (source: PartSource) => AsyncIterable<Uint8Array>;
}

/** Begins an upload; `special` are further headers of the object. */
export async function createS3Upload(
  context: UploadContext,
  key: string,
  properties: ObjectProperties,
  options: {
    readonly signal?: AbortSignal | undefined;
    readonly special?: SpecialHeaders | undefined;
    /** Tags of the object as a query string. */
    readonly tagging?: string | undefined;
  } = {},
): Promise<MultipartUpload> {
  const { requests, bucket, endpoint } = context;
  const output = await requests.run({
    operation: "CreateMultipartUpload",
    key,
    lane: "control",
    signal: options.signal,
    attempt: async (client, call) => {
      const tags = options.tagging ?? properties.tags;
      const tagging = tags === undefined ? {} : { Tagging: tags };
      const fields = { ...bucket, Key: key, ...propertyFields(properties), ...options.special, ...context.storage, ...tagging };
      const create = async (checksum: boolean): Promise<{ uploadId: string; mode: ChecksumMode }> => {
        const asked = checksum ? ({ ChecksumAlgorithm: "CRC32", ChecksumType: "FULL_OBJECT" } as const) : {};
        const answer = await client.send(withCall(new CreateMultipartUploadCommand({ ...fields, ...asked }), call));
        if (!answer.UploadId) throw new MalformedAnswer("the store's answer has no upload id");
        const confirmed: ChecksumMode = answer.ChecksumType === "FULL_OBJECT" ? "full-object" : "parts";
        return { uploadId: answer.UploadId, mode: checksum ? confirmed : "none" };
      };
      // Parts that are copied would spoil the checksum of the whole.
      if (withoutChecksums.has(endpoint) || rangeChecksums.get(endpoint) === "of-source") return create(false);
      try {
        return await create(true);
      } catch (error) {
        if (!refusesChecksums(classifyFault(error))) throw error;
        const plain = await create(false);
        withoutChecksums.add(endpoint);
        return plain;
      }
    },
  });
  return new S3Upload(context, key, output.uploadId, output.mode);
}

/** Takes up an unfinished upload; makes no request. */
export function openS3Upload(context: UploadContext, key: string, uploadId: string): MultipartUpload {
  return new S3Upload(context, key, uploadId, withoutChecksums.has(context.endpoint) ? "none" : "unknown");
}

/** A part that is copied from a range of an object, in this or another bucket. */
export interface PartCopy {
  readonly position: PartPosition;
  readonly source: PartSource;
  /** The source's. */
  readonly bucket: BucketFields;
}

/** Stores one part of `upload` as a copy. */
export async function copyPartFrom(
  context: UploadContext,
  upload: Pick<MultipartUpload, "key" | "uploadId">,
  { position, source, bucket }: PartCopy,
  signal: AbortSignal | undefined,
): Promise<StoredPart> {
  checkPartSource(source);
  checkPart(position, source.length, context.limits);
  return context.requests.run({
    operation: "UploadPartCopy",
    key: upload.key,
    lane: "slow",
    workBytes: source.length,
    signal,
    attempt: async (client, call) => {
      const command = new UploadPartCopyCommand({
        ...context.bucket,
        Key: upload.key,
        UploadId: upload.uploadId,
        PartNumber: position.partNumber,
        CopySource: copySource(bucket.Bucket, source.key),
        CopySourceRange: `bytes=${source.start}-${source.start + source.length - 1}`,
        CopySourceIfMatch: quoted(source.ifMatch),
        ...sourceOwner(bucket),
      });
      const { CopyPartResult: result } = await client.send(withCall(command, call));
      const crc32 = decodeCrc32(result?.ChecksumCRC32);
      return {
        partNumber: position.partNumber,
        size: source.length,
        etag: etagOf(result?.ETag),
        ...(crc32 === undefined ? {} : { crc32 }),
      };
    },
  });
}

/** The refusal may be of the checksum fields, which are the newest thing in these requests. */
function refusesChecksums({ name, status }: S3Fault): boolean {
  return status === 501 || name === "InvalidRequest" || name === "InvalidArgument" || name === "NotImplemented" || name === "MalformedXML";
}

class S3Upload implements MultipartUpload {
  readonly key: string;
  readonly uploadId: string;
  readonly #context: UploadContext;
  #mode: ChecksumMode;

  constructor(context: UploadContext, key: string, uploadId: string, mode: ChecksumMode) {
    this.#context = context;
    this.key = key;
    this.uploadId = uploadId;
    this.#mode = mode;
  }

  async uploadPart(position: PartPosition, body: PartBody, signal?: AbortSignal): Promise<StoredPart> {
    const size = partLength(body);
    checkPart(position, size, this.#context.limits);
    const crc32 = await crc32OfPart(body);
    const etag = await this.#context.requests.run({
      operation: "UploadPart",
      key: this.key,
      lane: "write",
      signal,
      codes: { "not-found": "no-such-upload" },
      attempt: (client, call) =>
        this.#withOrWithoutChecksum(async (checksum) => {
          const command = new UploadPartCommand({
            ...this.#fields(),
            PartNumber: position.partNumber,
            Body: "read" in body ? Readable.from(body.read(), { objectMode: false }) : new ChunkBody(body),
            ContentLength: size,
            ...(checksum ? { ChecksumCRC32: encodeCrc32(crc32) } : {}),
          });
          return etagOf((await client.send(withCall(command, call))).ETag);
        }),
    });
    return { partNumber: position.partNumber, size, etag, crc32 };
  }

  async copyPart(position: PartPosition, source: PartSource, signal?: AbortSignal): Promise<StoredPart> {
    const { bucket, endpoint, read } = this.#context;
    const throughHere = (): Promise<StoredPart> => this.uploadPart(position, { size: source.length, read: () => read(source) }, signal);
    if (this.#mode !== "none" && rangeChecksums.get(endpoint) === "of-source") return throughHere();
    const part = await copyPartFrom(this.#context, this, { position, source, bucket }, signal);
    await checkIgnoredCondition(this.#context, source.key, { ifMatch: source.ifMatch }, false);
    if (this.#mode === "none" || part.crc32 === undefined || rangeChecksums.get(endpoint) === "right") return part;
    if (!(await this.#isOfSource(part.crc32, source))) return part;
    // The object would be published with a wrong checksum: readers that verify it could not read it.
    return throughHere();
  }

  /** True if the store took the whole source's checksum for that of a range; asked once for each endpoint. */
  async #isOfSource(crc32: number, source: PartSource): Promise<boolean> {
    const { endpoint, storedCrc32, head } = this.#context;
    const whole = await orUndefined(storedCrc32(source.key), []);
    if (typeof whole !== "number" || (whole === crc32 && (await head(source.key)).size === source.length)) return false;
    rangeChecksums.set(endpoint, whole === crc32 ? "of-source" : "right");
    return whole === crc32;
  }

  async listParts(signal?: AbortSignal): Promise<StoredPart[]> {
    const parts: StoredPart[] = [];
    let marker: string | undefined;
    do {
      const page: ListPartsCommandOutput = await this.#partsPage(marker, signal);
      if (page.ChecksumType === "FULL_OBJECT") this.#mode = "full-object";
      for (const part of page.Parts ?? []) parts.push(storedPart(part));
      marker = page.IsTruncated === true ? page.NextPartNumberMarker : undefined;
    } while (marker !== undefined);
    return parts.sort((a, b) => a.partNumber - b.partNumber);
  }

  async complete(parts: readonly StoredPart[], condition: WriteCondition = {}, signal?: AbortSignal): Promise<PutResult> {
    const size = checkPartList(parts, this.#context.limits);
    if (size > this.#context.limits.maxObjectSize)
      throw new StoreError("too-large", `an object of ${size} bytes is over the store's limit`);
    const crc32 = combinedCrc32(parts);
    await checkIgnoredCondition(this.#context, this.key, condition, false);
    const etag = await this.#context.requests.run({
      operation: "CompleteMultipartUpload",
      key: this.key,
      lane: "slow",
      workBytes: size,
      signal,
      codes: { "not-found": condition.ifMatch === undefined ? "no-such-upload" : "precondition-failed" },
      attempt: (client, call) =>
        this.#withOrWithoutChecksum(async (checksum) => {
          // Some stores want to hear of checksums again (versitygw), others refuse them: then the request is sent without.
          const whole = checksum && (this.#mode === "full-object" || (this.#mode === "unknown" && crc32 !== undefined));
          const command = new CompleteMultipartUploadCommand({
            ...this.#fields(),
            ...conditionFields(condition),
            MultipartUpload: { Parts: parts.map((part) => completedPart(part, whole)) },
            ...(whole && crc32 !== undefined ? { ChecksumCRC32: encodeCrc32(crc32), ChecksumType: "FULL_OBJECT" as const } : {}),
          });
          return this.#publishedEtag(await client.send(withCall(command, call)));
        }),
      recover: () => this.#findPublished(parts, size, crc32),
    });
    return { etag, size };
  }

  async abort(signal?: AbortSignal): Promise<void> {
    try {
      await this.#context.requests.run({
        operation: "AbortMultipartUpload",
        key: this.key,
        lane: "control",
        signal,
        codes: { "not-found": "no-such-upload" },
        attempt: (client, call) => client.send(withCall(new AbortMultipartUploadCommand(this.#fields()), call)),
      });
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== "no-such-upload") throw error;
    }
  }

  #fields(): BucketFields & { readonly Key: string; readonly UploadId: string } {
    return { ...this.#context.bucket, Key: this.key, UploadId: this.uploadId };
  }

  /** An upload must not fail because of a checksum the store does not know: the request is sent without, from now on. */
  async #withOrWithoutChecksum<T>(send: (checksum: boolean) => Promise<T>): Promise<T> {
    if (this.#mode === "none") return send(false);
    try {
      return await send(true);
    } catch (error) {
      if (!refusesChecksums(classifyFault(error))) throw error;
      const result = await send(false);
      this.#mode = "none";
      return result;
    }
  }

  #partsPage(marker: string | undefined, signal: AbortSignal | undefined): Promise<ListPartsCommandOutput> {
    return this.#context.requests.run({
      operation: "ListParts",
      key: this.key,
      lane: "control",
      signal,
      codes: { "not-found": "no-such-upload" },
      attempt: async (client, call) => {
        const command = new ListPartsCommand({ ...this.#fields(), ...(marker === undefined ? {} : { PartNumberMarker: marker }) });
        const page = await client.send(withCall(command, call));
        if (page.IsTruncated === undefined && page.UploadId === undefined) throw new MalformedAnswer("the listing of parts has no head");
        return page;
      },
    });
  }

  /** Ceph RGW 16 and 18 publish and answer with an empty etag; an answer with nothing in it may be an error. */
  async #publishedEtag({ ETag, Location, Key }: CompleteMultipartUploadCommandOutput): Promise<string> {
    if (ETag) return etagOf(ETag);
    if (Location === undefined && Key === undefined) throw new MalformedAnswer("the store's answer to the completion is empty");
    return (await this.#context.head(this.key)).etag;
  }

  /**
   * After a completion whose answer was lost: the etag of the object if it is the one these parts make. Rejects
   * `no-such-upload` if the upload is gone without it: Ceph RGW 16 answers 500 then.
   */
  async #findPublished(parts: readonly StoredPart[], size: number, crc32: number | undefined): Promise<string | undefined> {
    const info = await orUndefined(this.#context.head(this.key), ["not-found"]);
    if (info === "failed") return undefined;
    if (info !== undefined && (await this.#isOurs(info, parts, size, crc32))) return info.etag;
    if ((await orUndefined(this.listParts(), ["no-such-upload"])) !== undefined) return undefined;
    throw new StoreError("no-such-upload", `the upload ${this.uploadId} of ${JSON.stringify(this.key)} has ended without its object`);
  }

  async #isOurs(info: ObjectInfo, parts: readonly StoredPart[], size: number, crc32: number | undefined): Promise<boolean> {
    if (info.size !== size) return false;
    if (info.etag === multipartEtag(parts)) return true;
    if (crc32 === undefined || !info.etag.endsWith(`-${parts.length}`)) return false;
    return (await orUndefined(this.#context.storedCrc32(this.key), [])) === crc32;
  }
}

/** The result; undefined if the store rejected with one of `codes`, `failed` with another. */
async function orUndefined<T>(promise: Promise<T>, codes: readonly string[]): Promise<T | "failed" | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return codes.includes(error.code) ? undefined : "failed";
  }
}

/** `ExpectedSourceBucketOwner` where the owner of the source's bucket is expected. */
export function sourceOwner({ ExpectedBucketOwner }: BucketFields): { ExpectedSourceBucketOwner?: string } {
  return ExpectedBucketOwner === undefined ? {} : { ExpectedSourceBucketOwner: ExpectedBucketOwner };
}

/** A part that streams is read twice: the checksum goes into the head of the request. */
async function crc32OfPart(body: PartBody): Promise<number> {
  if (!("read" in body)) return crc32Of(body);
  let value = 0;
  for await (const piece of body.read()) value = crc32Of([piece], value);
  return value;
}

function storedPart({ PartNumber, Size, ETag, ChecksumCRC32 }: Part): StoredPart {
  const crc32 = decodeCrc32(ChecksumCRC32);
  return { partNumber: PartNumber ?? 0, size: Size ?? 0, etag: ETag?.replaceAll('"', "") ?? "", ...(crc32 === undefined ? {} : { crc32 }) };
}

function completedPart({ partNumber, etag, crc32 }: StoredPart, withChecksum: boolean): { PartNumber: number; ETag: string } {
  const checksum = withChecksum && crc32 !== undefined ? { ChecksumCRC32: encodeCrc32(crc32) } : {};
  return { PartNumber: partNumber, ETag: quoted(etag), ...checksum };
}

/** CRC-32 of the whole object, if that of every part is known. */
function combinedCrc32(parts: readonly StoredPart[]): number | undefined {
  let whole = 0;
  for (const { crc32, size } of parts) {
    if (crc32 === undefined) return undefined;
    whole = combineCrc32(whole, crc32, size);
  }
  return whole;
}

/** The etag S3 gives an object of these parts: the MD5 of their MD5s; unknown where part etags are no MD5s (SSE-KMS). */
function multipartEtag(parts: readonly StoredPart[]): string | undefined {
  const hash = createHash("md5");
  for (const { etag } of parts) {
    if (!/^[0-9a-f]{32}$/i.test(etag)) return undefined;
    hash.update(Buffer.from(etag, "hex"));
  }
  return `${hash.digest("hex")}-${parts.length}`;
}

/**
 * Copies of objects within a bucket: one request up to the store's limit, a multipart copy above it. Knows nothing of
 * why something is copied.
 */
import { CopyObjectCommand } from "@aws-sdk/client-s3";
import { StoreError } from "../../errors.ts";
import type {
  CopyOptions,
  ObjectInfo,
  ObjectProperties,
  ObjectStore,
  PartPosition,
  PartSource,
  PutResult,
  StoredPart,
} from "../objectstore.ts";
import { checkNotAborted } from "../request-checks.ts";
import { withCall } from "./s3-http.ts";
import { conditionFields, copySource, etagOf, propertyFields, quoted } from "./s3-properties.ts";
import type { SpecialHeaderMemory } from "./s3-properties.ts";
import { createS3Upload, sourceOwner } from "./s3-upload.ts";
import type { UploadContext } from "./s3-upload.ts";

/** Parts of a multipart copy, and how many are copied at once. */
const COPY_PART_SIZE = 256 * 1024 ** 2;
const PARALLEL_PARTS = 8;

/** What copying needs besides the requests. */
export interface CopyContext extends UploadContext {
  readonly special: SpecialHeaderMemory;
  readonly put: ObjectStore["put"];
  /** Removes an object that was published incomplete. */
  readonly discard: (key: string) => Promise<void>;
}

/** Options of a copy whose source's size is known. */
interface SizedCopyOptions extends CopyOptions {
  readonly size: number;
}

/** See `ObjectStore.copy`. */
export async function copyObject(context: CopyContext, from: string, to: string, options: CopyOptions): Promise<PutResult> {
  // S3 refuses a copy onto itself that changes nothing, and does not say how long a copy is.
  const restated = from === to && options.replaceProperties === undefined;
  const source = restated || options.sourceSize === undefined ? await headSource(context, from, options) : undefined;
  const size = options.sourceSize ?? source?.size ?? 0;
  // CopyObject and PutObject share their limit (Amazon S3 API Reference).
  if (size > context.limits.maxPutSize) return copyInParts(context, from, to, options);
  try {
    const { lastModifiedMs, etag } = await copyAtOnce(
      context,
      from,
      to,
      restated && source ? { ...options, size, replaceProperties: source } : { ...options, size },
    );
    return { etag, size, ...(lastModifiedMs === undefined ? {} : { lastModifiedMs }) };
  } catch (error) {
    if (isRefusedMarkerCopy(error) && to.endsWith("/")) return rewriteMarker(context, from, to, options);
    if (!isTooLargeForOneCopy(error)) throw error;
    return copyInParts(context, from, to, options);
  }
}

/** Writes a directory's marker, which has no bytes, again under its new name, for stores that do not copy it. */
async function rewriteMarker(context: CopyContext, from: string, to: string, options: CopyOptions): Promise<PutResult> {
  const source = await headSource(context, from, options);
  if (source.size > 0)
    throw new StoreError("invalid-argument", `${JSON.stringify(from)} has bytes: this store cannot keep it as a directory`);
  const { ifMatch, ifNoneMatch, signal } = options;
  const conditions = { ...(ifMatch === undefined ? {} : { ifMatch }), ...(ifNoneMatch === undefined ? {} : { ifNoneMatch }) };
  return context.put(to, [], { ...(options.replaceProperties ?? source), ...conditions, ...(signal && { signal }) });
}

async function copyAtOnce(context: CopyContext, from: string, to: string, options: SizedCopyOptions): Promise<Omit<PutResult, "size">> {
  const { requests, bucket, special, storage } = context;
  const { sourceIfMatch, replaceProperties, size, signal } = options;
  const kept = special.recall(from, sourceIfMatch);
  const fields = {
    ...bucket,
    ...sourceOwner(bucket),
    Key: to,
    CopySource: copySource(bucket.Bucket, from),
    ...(sourceIfMatch === undefined ? {} : { CopySourceIfMatch: quoted(sourceIfMatch) }),
    ...conditionFields(options),
    ...(kept?.StorageClass === undefined ? {} : { StorageClass: kept.StorageClass }),
    ...(replaceProperties ? { ...kept, ...propertyFields(replaceProperties), MetadataDirective: "REPLACE" as const } : {}),
    ...storage,
  };
  return requests.run({
    operation: "CopyObject",
    key: to,
    lane: "slow",
    workBytes: size,
    signal,
    codes: options.ifMatch === undefined ? {} : { "not-found": "precondition-failed" },
    attempt: async (client, call) => {
      const { CopyObjectResult: result } = await client.send(withCall(new CopyObjectCommand(fields), call));
      const lastModifiedMs = result?.LastModified?.getTime();
      const etag = etagOf(result?.ETag);
      special.remember(to, etag, kept);
      return { etag, ...(lastModifiedMs === undefined ? {} : { lastModifiedMs }) };
    },
    // A condition can fail because the first try succeeded unheard: then the target has the source's content.
    recover: async (fault) => {
      if (fault.code !== "precondition-failed" || sourceIfMatch === undefined) return undefined;
      const info = await context.head(to).catch(() => undefined);
      if (info?.etag !== sourceIfMatch || (replaceProperties && !hasMetadata(info, replaceProperties))) return undefined;
      return { etag: info.etag, lastModifiedMs: info.lastModifiedMs };
    },
  });
}

function hasMetadata(info: ObjectInfo, { metadata }: ObjectProperties): boolean {
  return Object.entries(metadata ?? {}).every(([name, value]) => info.metadata?.[name] === value);
}

async function copyInParts(context: CopyContext, from: string, to: string, options: CopyOptions): Promise<PutResult> {
  const source = await headSource(context, from, options);
  const properties: ObjectProperties = options.replaceProperties ?? source;
  const special = context.special.recall(from, source.etag);
  const { signal } = options;
  const upload = await createS3Upload(context, to, properties, { signal, special });
  try {
    const { maxParts, maxPartSize } = context.limits;
    const partSize = Math.max(Math.min(COPY_PART_SIZE, maxPartSize), Math.ceil(source.size / maxParts));
    const copyPart: CopyPart = (position, range, either) => upload.copyPart(position, range, either);
    const parts = await copyParts({ source, partSize, copyPart, signal });
    return await upload.complete(parts, options, signal);
  } catch (error) {
    // The failure that matters is the first; what abort cannot remove, the janitor finds.
    await upload.abort().catch(() => undefined);
    throw error;
  }
}

/** Copies one part. */
export type CopyPart = (position: PartPosition, source: PartSource, signal: AbortSignal) => Promise<StoredPart>;

/** A source and how its ranges become parts. */
export interface PartsPlan {
  readonly source: Pick<ObjectInfo, "key" | "size" | "etag">;
  readonly partSize: number;
  readonly copyPart: CopyPart;
  readonly signal: AbortSignal | undefined;
}

/** Copies all parts, several at once; after the first failure no more are begun. */
export async function copyParts({ source, partSize, copyPart, signal }: PartsPlan): Promise<StoredPart[]> {
  const count = Math.ceil(source.size / partSize);
  const parts: StoredPart[] = [];
  const failed = new AbortController();
  const either = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  let next = 0;
  const copyNext = async (): Promise<void> => {
    while (next < count && !either.aborted) {
      const index = next++;
      const start = index * partSize;
      const length = Math.min(partSize, source.size - start);
      const position = { partNumber: index + 1, offset: start };
      parts[index] = await copyPart(position, { key: source.key, start, length, ifMatch: source.etag }, either);
    }
  };
  const workers = Array.from({ length: Math.min(PARALLEL_PARTS, count) }, async () => {
    try {
      await copyNext();
    } catch (error) {
      failed.abort(error);
      throw error;
    }
  });
  const results = await Promise.allSettled(workers);
  if (failed.signal.aborted) throw failed.signal.reason;
  for (const result of results) if (result.status === "rejected") throw result.reason;
  checkNotAborted(signal);
  return parts;
}

async function headSource(context: CopyContext, from: string, options: CopyOptions): Promise<ObjectInfo> {
  const info = await context.head(from);
  if (options.sourceIfMatch !== undefined && info.etag !== options.sourceIfMatch) {
    throw new StoreError("precondition-failed", `the source ${JSON.stringify(from)} is no longer version ${options.sourceIfMatch}`);
  }
  return info;
}

/** Amazon: InvalidRequest "The specified copy source is larger than the maximum allowable size …"; others: EntityTooLarge. */
export function isTooLargeForOneCopy(error: unknown): boolean {
  return error instanceof StoreError && (error.code === "too-large" || /larger than the maximum/i.test(error.message));
}

/** versitygw takes the copy of a directory's marker for one with content (DirectoryObjectContainsData), also when it has none. */
function isRefusedMarkerCopy(error: unknown): boolean {
  return error instanceof StoreError && error.message.includes("DirectoryObjectContainsData");
}

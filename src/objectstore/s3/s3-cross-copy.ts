/**
 * Copies from another bucket at the same provider, as the same identity, without moving bytes: one request up to a
 * threshold, a multipart copy with properties and tags above it. Knows nothing of why something is copied.
 */
import { CopyObjectCommand, GetObjectTaggingCommand, PutObjectTaggingCommand } from "@aws-sdk/client-s3";
import type { Tag } from "@aws-sdk/client-s3";
import { createHash } from "node:crypto";
import { StoreError } from "../../errors.ts";
import type { CopyFromOptions, CopyFromResult, CopyOrigin, ObjectInfo } from "../objectstore.ts";
import { checkKey, checkNotAborted } from "../request-checks.ts";
import { copyParts, isTooLargeForOneCopy } from "./s3-copy.ts";
import type { CopyContext } from "./s3-copy.ts";
import { withCall } from "./s3-http.ts";
import type { S3StoreOptions } from "./s3-options.ts";
import { copySource, etagOf, quoted } from "./s3-properties.ts";
import { copyPartFrom, createS3Upload, sourceOwner } from "./s3-upload.ts";

const MIB = 1024 ** 2;
/** Objects over this are copied in parts, which can be tried again one by one. */
const PART_THRESHOLD = 512 * MIB;
const MIN_COPY_PART = 64 * MIB;
/** Longest tag header S3 takes; more tags are set afterwards. */
const MAX_TAG_HEADER = 2_000;

/** What identifies provider and identity of a store's connection, without secrets. */
export function reachOf(options: S3StoreOptions): string {
  const { endpoint, profile, accessKeyId, secretAccessKey, sessionToken, roleArn, externalId, sessionPolicy, stsEndpoint } = options;
  const identity = [endpoint, profile, accessKeyId, secretAccessKey, sessionToken, roleArn, externalId, sessionPolicy, stsEndpoint];
  return createHash("sha256").update(JSON.stringify(identity)).digest("hex");
}

/** A bucket as the source of copies into others. */
export class S3CopyOrigin implements CopyOrigin {
  readonly reach: string;
  readonly context: CopyContext;
  readonly prefix: string;

  /** Keys must begin with `prefix`. */
  constructor(reach: string, context: CopyContext, prefix = "") {
    this.reach = reach;
    this.context = context;
    this.prefix = prefix;
  }

  within(prefix: string): S3CopyOrigin {
    return new S3CopyOrigin(this.reach, this.context, prefix);
  }
}

/** See `ObjectStore.copyFrom`. */
export async function copyFromOrigin(
  context: CopyContext,
  origin: CopyOrigin,
  { from, to, reach }: { readonly from: string; readonly to: string; readonly reach: string },
  options: CopyFromOptions,
): Promise<CopyFromResult> {
  checkKey(from);
  checkKey(to);
  if (!(origin instanceof S3CopyOrigin) || origin.reach !== reach)
    throw new StoreError("unsupported", "the two stores are not at one provider, reached as one identity");
  if (!from.startsWith(origin.prefix)) throw new StoreError("access-denied", `${JSON.stringify(from)} is outside the source's prefix`);
  const threshold = Math.min(options.partThreshold ?? PART_THRESHOLD, context.limits.maxPutSize);
  const copy = { context, origin, from, to, options };
  if (options.sourceSize > threshold) return copyInParts(copy);
  try {
    return await copyAtOnce(copy);
  } catch (error) {
    if (!isTooLargeForOneCopy(error)) throw error;
    return copyInParts(copy);
  }
}

interface CrossCopy {
  readonly context: CopyContext;
  readonly origin: S3CopyOrigin;
  readonly from: string;
  readonly to: string;
  readonly options: CopyFromOptions;
}

async function copyAtOnce({ context, origin, from, to, options }: CrossCopy): Promise<CopyFromResult> {
  const { bucket } = origin.context;
  const fields = {
    ...context.bucket,
    ...sourceOwner(bucket),
    Key: to,
    CopySource: copySource(bucket.Bucket, from),
    CopySourceIfMatch: quoted(options.sourceIfMatch),
    ...context.storage,
  };
  return context.requests.run({
    operation: "CopyObject",
    key: to,
    lane: "slow",
    signal: options.signal,
    attempt: async (client, call) => {
      const { CopyObjectResult: result } = await client.send(withCall(new CopyObjectCommand(fields), call));
      const lastModifiedMs = result?.LastModified?.getTime();
      return { etag: etagOf(result?.ETag), size: options.sourceSize, ...(lastModifiedMs === undefined ? {} : { lastModifiedMs }) };
    },
  });
}

async function copyInParts(copy: CrossCopy): Promise<CopyFromResult> {
  const { context, origin, from, to, options } = copy;
  const { signal } = options;
  const source = await origin.context.head(from);
  if (source.etag !== options.sourceIfMatch)
    throw new StoreError("precondition-failed", `the source ${JSON.stringify(from)} is no longer version ${options.sourceIfMatch}`);
  const { tags, warning } = await tagsOf(origin.context, from, signal);
  const header = queryString(tags);
  const tagging = header !== "" && header.length <= MAX_TAG_HEADER ? header : undefined;
  const special = origin.context.special.recall(from, source.etag);
  const { StorageClass: _own, ...headers } = special ?? {};
  // Not given up half-way: an upload whose id nobody learns cannot be aborted.
  const upload = await createS3Upload(context, to, source, { special: headers, tagging });
  try {
    checkNotAborted(signal);
    const result = await fillAndComplete(copy, source, upload);
    if (header !== "" && tagging === undefined) await putTags(copy, tags);
    return { ...result, ...(warning === undefined ? {} : { warning }) };
  } catch (error) {
    // The failure that matters is the first; what abort cannot remove, the janitor finds.
    await upload.abort().catch(() => undefined);
    throw error;
  }
}

async function fillAndComplete(
  { context, origin, to, options: { signal } }: CrossCopy,
  source: ObjectInfo,
  upload: Awaited<ReturnType<typeof createS3Upload>>,
): Promise<CopyFromResult> {
  const { maxParts, maxPartSize, minPartSize } = context.limits;
  const wanted = Math.max(Math.min(MIN_COPY_PART, maxPartSize), minPartSize, Math.ceil(source.size / maxParts));
  const { bucket } = origin.context;
  const parts = await copyParts({
    source,
    partSize: wanted,
    copyPart: (position, range, either) => copyPartFrom(context, upload, { position, source: range, bucket }, either),
    signal,
  });
  const result = await upload.complete(parts, undefined, signal);
  const { size } = await context.head(to);
  if (size !== source.size) throw new StoreError("io", `the copy has ${size} bytes, its source ${source.size}`);
  return result;
}

/** See `ObjectStore.tags`. */
export async function tagsAsText({ requests, bucket }: CopyContext, key: string, signal: AbortSignal | undefined): Promise<string> {
  return queryString(await readTags({ requests, bucket }, key, signal));
}

function queryString(tags: readonly Tag[]): string {
  return new URLSearchParams(tags.map(({ Key = "", Value = "" }): [string, string] => [Key, Value])).toString();
}

function readTags({ requests, bucket }: Pick<CopyContext, "requests" | "bucket">, key: string, signal: AbortSignal | undefined) {
  return requests.run({
    operation: "GetObjectTagging",
    key,
    lane: "control",
    signal,
    attempt: async (client, call): Promise<Tag[]> =>
      (await client.send(withCall(new GetObjectTaggingCommand({ ...bucket, Key: key }), call))).TagSet ?? [],
  });
}

/** The source's tags; without the right to read them the copy goes on and says so. */
async function tagsOf(context: CopyContext, key: string, signal: AbortSignal | undefined): Promise<{ tags: Tag[]; warning?: string }> {
  try {
    return { tags: await readTags(context, key, signal) };
  } catch (error) {
    if (!(error instanceof StoreError) || (error.code !== "access-denied" && error.code !== "unsupported")) throw error;
    return error.code === "unsupported" ? { tags: [] } : { tags: [], warning: "its tags were not copied: grant s3:GetObjectTagging" };
  }
}

async function putTags({ context, to, options }: CrossCopy, tags: readonly Tag[]): Promise<void> {
  try {
    await context.requests.run({
      operation: "PutObjectTagging",
      key: to,
      lane: "control",
      signal: options.signal,
      attempt: (client, call) =>
        client.send(withCall(new PutObjectTaggingCommand({ ...context.bucket, Key: to, Tagging: { TagSet: [...tags] } }), call)),
    });
  } catch (error) {
    // A copy without its tags would look finished to the next run.
    await context.discard(to);
    throw error;
  }
}

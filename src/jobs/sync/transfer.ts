/**
 * Brings one object from one store to another: by the store itself where it can, else streamed with bounded memory, and
 * always the version that was listed or, if that has changed, the one after it. Knows no listing.
 */
import type { ByteBudget } from "../../byte-budget.ts";
import { StoreError } from "../../errors.ts";
import type { ListedObject, ObjectInfo, ObjectProperties, ObjectStore } from "../../objectstore/objectstore.ts";
import { ObjectWriter } from "../object-writer.ts";

const MIB = 1024 ** 2;
const PART_SIZE = 8 * MIB;
/** What S3 says of objects that were stored without a type: the destination may know better by the name. */
const S3_DEFAULT_TYPE = "binary/octet-stream";
/** Longest tags that go along in a header, as S3 takes them. */
const MAX_TAG_HEADER = 2_000;
/** How often an object may change between being looked at and being copied. */
const MAX_CHANGES = 3;

/** The stores, and how to copy between them. */
export interface TransferOptions {
  readonly source: ObjectStore;
  readonly destination: ObjectStore;
  /** Memory of all streamed copies together. */
  readonly budget: ByteBudget;
  /** Larger objects are copied in parts by the store (default: the store's own idea). */
  readonly partThreshold?: number | undefined;
  readonly signal: AbortSignal;
}

/** What became of it. `vanished`: the source was gone before it could be copied. */
export type TransferResult =
  | {
      readonly kind: "copied";
      readonly size: number;
      /** ETags of the version that was copied and of the copy. */
      readonly source: string;
      readonly destination: string;
      readonly warning?: string | undefined;
    }
  | { readonly kind: "vanished" };

/** True if the stores copy among themselves. */
export function copiesServerSide({ source, destination }: Pick<TransferOptions, "source" | "destination">): boolean {
  return source.copyOrigin !== undefined && source.copyOrigin.reach === destination.copyOrigin?.reach;
}

/** Copies `object` of the source to the key `to`. Rejects with a StoreError. */
export async function transferObject(object: ListedObject, to: string, options: TransferOptions): Promise<TransferResult> {
  let version: Version = object;
  for (let change = 0; ; change++) {
    try {
      const { etag, warning } = await (copiesServerSide(options) ? copyOnServer(version, to, options) : stream(version, to, options));
      return { kind: "copied", size: version.size, source: version.etag, destination: etag, warning };
    } catch (error) {
      if (!(error instanceof StoreError) || (error.code !== "not-found" && error.code !== "precondition-failed")) throw error;
      const next = await currentVersion(object.key, options);
      if (next === undefined) return { kind: "vanished" };
      if (error.code === "not-found" || change >= MAX_CHANGES) throw error;
      version = next;
    }
  }
}

/** A copy that was made. */
interface Copied {
  readonly etag: string;
  readonly warning?: string | undefined;
}

type Version = Pick<ListedObject, "key" | "size" | "etag" | "lastModifiedMs">;

async function currentVersion(key: string, { source, signal }: TransferOptions): Promise<Version | undefined> {
  try {
    return await source.head(key, signal);
  } catch (error) {
    if (error instanceof StoreError && error.code === "not-found") return undefined;
    throw error;
  }
}

async function copyOnServer(version: Version, to: string, options: TransferOptions): Promise<Copied> {
  const { source, destination, partThreshold, signal } = options;
  if (!source.copyOrigin || !destination.copyFrom) throw new StoreError("unsupported", "these stores do not copy among themselves");
  return destination.copyFrom(source.copyOrigin, version.key, to, {
    sourceIfMatch: version.etag,
    sourceSize: version.size,
    ...(partThreshold === undefined ? {} : { partThreshold }),
    signal,
  });
}

async function stream(version: Version, to: string, options: TransferOptions): Promise<Copied> {
  const { source, destination, budget, signal } = options;
  const { limits } = destination;
  const partSize = Math.max(PART_SIZE, limits.minPartSize, Math.ceil(version.size / limits.maxParts));
  // One part being filled and, with the chunk that fills it, a little more.
  const held = Math.min(version.size, partSize) + 64 * 1024;
  await budget.take(held, signal);
  try {
    const read = await source.get(version.key, { ifMatch: version.etag, signal });
    // Its requests are not given up half-way: an upload whose id nobody learns cannot be aborted.
    let writer: ObjectWriter | undefined;
    let size = 0;
    try {
      const { tags, warning } = await tagsOf(read.info, options);
      writer = new ObjectWriter(destination, { key: to, properties: { ...propertiesOf(read.info, version), ...tags }, partSize });
      for await (const chunk of read.body) {
        signal.throwIfAborted();
        size += chunk.length;
        await writer.write(chunk);
      }
      if (size !== read.info.size) throw new StoreError("io", `${size} of ${read.info.size} bytes of '${version.key}' arrived`);
      signal.throwIfAborted();
      const { etag } = await writer.commit();
      return { etag, warning };
    } catch (error) {
      read.destroy();
      // The failure that matters is the first; what abort cannot remove, the sweep finds.
      await writer?.abort().catch(() => undefined);
      throw error;
    }
  } finally {
    budget.release(held);
  }
}

/** The tags go along between buckets; without the right to read them the copy is made all the same, and says so. */
async function tagsOf(
  { key, tagCount }: ObjectInfo,
  { source, destination, signal }: TransferOptions,
): Promise<{ readonly tags?: { readonly tags: string }; readonly warning?: string }> {
  if (tagCount === undefined || !source.tags || !destination.tags) return {};
  try {
    const tags = await source.tags(key, signal);
    return tags.length > MAX_TAG_HEADER ? { warning: "its tags were not copied: they are too long" } : { tags: { tags } };
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "access-denied") throw error;
    return { warning: "its tags were not copied: grant s3:GetObjectTagging" };
  }
}

/** Type, headers and metadata go along. Objects without a time of their own get the one they were listed with, as aws-cli does. */
function propertiesOf({ metadata, headers, ...info }: ObjectInfo, version: Version): ObjectProperties {
  const contentType = info.contentType === S3_DEFAULT_TYPE ? undefined : info.contentType;
  const mtime = metadata.mtime ?? String(Math.floor(version.lastModifiedMs / 1000));
  return { ...(contentType === undefined ? {} : { contentType }), ...(headers && { headers }), metadata: { ...metadata, mtime } };
}

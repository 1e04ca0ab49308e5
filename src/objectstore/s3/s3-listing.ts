/**
 * Listings of an S3 bucket as the port wants them: objects and prefixes merged in key order, names decoded, the next
 * page asked for while the last one is used. Knows nothing of other operations.
 */
import { ListMultipartUploadsCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import type { CommonPrefix, ListMultipartUploadsCommandOutput, ListObjectsV2CommandOutput, _Object } from "@aws-sdk/client-s3";
import { compareKeys } from "../key-order.ts";
import type { ListedObject, ListEntry, ListOptions, UnfinishedUpload } from "../objectstore.ts";
import { checkPageSize, MAX_PAGE_SIZE } from "../request-checks.ts";
import { withCall } from "./s3-http.ts";
import { parseListing } from "./s3-list-xml.ts";
import { MalformedAnswer } from "./s3-errors.ts";
import { type AskPage, rangedPages, type StorePage } from "./ranged-pages.ts";
import type { S3Requests } from "./s3-requests.ts";

/** Fields every request to the bucket carries. */
export interface BucketFields {
  readonly Bucket: string;
  readonly ExpectedBucketOwner?: string;
}

/** Pages of keys below `prefix`: see `ObjectStore.list`. */
export async function* listObjects(
  requests: S3Requests,
  bucket: BucketFields,
  prefix: string,
  options: ListOptions,
): AsyncGenerator<ListEntry[]> {
  const pageSize = checkPageSize(options.pageSize);
  const abandoned = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, abandoned.signal]) : abandoned.signal;
  const ask: AskPage = async (from) => {
    const page = await listPage({ requests, bucket, prefix, options, pageSize, from, signal });
    const after = "after" in from ? from.after : options.after;
    return { entries: mergePage(page, after), token: page.IsTruncated === true ? page.NextContinuationToken : undefined };
  };
  try {
    // Whoever asks for small pages most likely needs one only.
    if (pageSize < MAX_PAGE_SIZE) yield* pagesOnDemand(ask, options.after);
    // Exact numbers of requests matter more to jobs, which read whole trees, than time does.
    else yield* rangedPages(ask, options.after, { pageSize, mayGuess: options.sideBySide ?? options.delimiter !== undefined });
  } finally {
    abandoned.abort();
  }
}

async function* pagesOnDemand(ask: AskPage, after: string | undefined): AsyncGenerator<ListEntry[]> {
  let page: StorePage = await ask({ after });
  yield [...page.entries];
  while (page.token !== undefined) {
    page = await ask({ token: page.token });
    yield [...page.entries];
  }
}

interface PageQuery {
  readonly requests: S3Requests;
  readonly bucket: BucketFields;
  readonly prefix: string;
  readonly options: ListOptions;
  readonly pageSize: number;
  readonly from: Parameters<AskPage>[0];
  readonly signal: AbortSignal;
}

function listPage({ requests, bucket, prefix, options, pageSize, from, signal }: PageQuery): Promise<ListObjectsV2CommandOutput> {
  return requests.run({
    operation: "ListObjectsV2",
    key: prefix,
    lane: "control",
    signal,
    attempt: async (client, call) => {
      const command = new ListObjectsV2Command({
        ...bucket,
        Prefix: prefix,
        Delimiter: options.delimiter,
        MaxKeys: pageSize,
        EncodingType: "url",
        ...("token" in from ? { ContinuationToken: from.token } : { StartAfter: from.after }),
      });
      const page = await client.send(withCall(command, { ...call, parse: parseListing }));
      // An error inside a 200 that the SDK did not see reads as an empty listing, and an empty listing would be believed.
      if (page.IsTruncated === undefined && page.Name === undefined) throw new MalformedAnswer("the listing has no head");
      if (page.IsTruncated === true && page.NextContinuationToken === undefined)
        throw new MalformedAnswer("the listing has no continuation");
      return page;
    },
  });
}

/** Contents and common prefixes of one page in key order, both of which come sorted. */
function mergePage(page: ListObjectsV2CommandOutput, after: string | undefined): ListEntry[] {
  const decode = page.EncodingType === "url" ? decodeName : keepName;
  const objects = page.Contents ?? [];
  const prefixes = page.CommonPrefixes ?? [];
  const entries: ListEntry[] = [];
  let object = nextObject(objects, 0, decode);
  let folded = nextPrefix(prefixes, 0, decode);
  while (object.entry || folded.entry) {
    const objectFirst = object.entry && (!folded.entry || compareKeys(object.entry.key, folded.entry.prefix) <= 0);
    const name = objectFirst ? object.entry?.key : folded.entry?.prefix;
    const entry = objectFirst ? object.entry : folded.entry;
    // Stores disagree on whether a prefix that contains `after` is listed: it is not.
    if (entry && name !== undefined && (after === undefined || compareKeys(name, after) > 0)) entries.push(entry);
    if (objectFirst) object = nextObject(objects, object.next, decode);
    else folded = nextPrefix(prefixes, folded.next, decode);
  }
  return entries;
}

interface Cursor<T> {
  readonly entry: T | undefined;
  readonly next: number;
}

type DecodeName = (name: string) => string | undefined;

function nextObject(objects: readonly _Object[], from: number, decode: DecodeName): Cursor<ListedObject> {
  for (let index = from; index < objects.length; index++) {
    const object = objects[index];
    const key = object?.Key === undefined ? undefined : decode(object.Key);
    if (object === undefined || key === undefined) continue;
    const { Size, ETag, LastModified, StorageClass } = object;
    const entry: ListedObject = {
      kind: "object",
      key,
      size: Size ?? 0,
      etag: ETag?.replaceAll('"', "") ?? "",
      lastModifiedMs: LastModified?.getTime() ?? 0,
      ...(StorageClass === undefined ? {} : { storageClass: StorageClass }),
    };
    return { entry, next: index + 1 };
  }
  return { entry: undefined, next: objects.length };
}

function nextPrefix(prefixes: readonly CommonPrefix[], from: number, decode: DecodeName): Cursor<ListEntry & { kind: "prefix" }> {
  for (let index = from; index < prefixes.length; index++) {
    const name = prefixes[index]?.Prefix;
    const prefix = name === undefined ? undefined : decode(name);
    if (prefix !== undefined) return { entry: { kind: "prefix", prefix }, next: index + 1 };
  }
  return { entry: undefined, next: prefixes.length };
}

/** Undoes `encoding-type=url`, in which Amazon writes a space as `+` and others as `%20`. Undefined for a key that is no UTF-8. */
function decodeName(name: string): string | undefined {
  if (!/[%+]/.test(name)) return name;
  try {
    return decodeURIComponent(name.replaceAll("+", " "));
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}

function keepName(name: string): string {
  return name;
}

/** Unfinished uploads below `prefix`: see `ObjectStore.listUploads`. */
export async function* listUnfinishedUploads(
  requests: S3Requests,
  bucket: BucketFields,
  prefix: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<UnfinishedUpload> {
  let markers: { KeyMarker?: string | undefined; UploadIdMarker?: string | undefined } | undefined = {};
  while (markers) {
    const page: ListMultipartUploadsCommandOutput = await listUploadsPage({ requests, bucket, prefix, signal, markers });
    const decode = page.EncodingType === "url" ? decodeName : keepName;
    for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
      const key = Key === undefined ? undefined : decode(Key);
      if (key === undefined || UploadId === undefined || !key.startsWith(prefix)) continue;
      yield { key, uploadId: UploadId, initiatedMs: Initiated?.getTime() ?? 0 };
    }
    const nextKey = page.NextKeyMarker === undefined ? undefined : decode(page.NextKeyMarker);
    markers =
      page.IsTruncated === true && nextKey !== undefined ? { KeyMarker: nextKey, UploadIdMarker: page.NextUploadIdMarker } : undefined;
  }
}

interface UploadsQuery extends Pick<PageQuery, "requests" | "bucket" | "prefix"> {
  readonly signal: AbortSignal | undefined;
  readonly markers: { readonly KeyMarker?: string | undefined; readonly UploadIdMarker?: string | undefined };
}

function listUploadsPage({ requests, bucket, prefix, signal, markers }: UploadsQuery): Promise<ListMultipartUploadsCommandOutput> {
  return requests.run({
    operation: "ListMultipartUploads",
    key: prefix,
    lane: "control",
    signal,
    attempt: async (client, call) => {
      const page = await client.send(
        withCall(new ListMultipartUploadsCommand({ ...bucket, Prefix: prefix, EncodingType: "url", ...markers }), call),
      );
      if (page.IsTruncated === undefined && page.Bucket === undefined && page.Uploads === undefined) {
        throw new MalformedAnswer("the listing of uploads has no head");
      }
      return page;
    },
  });
}

/** Listings: objects (both API versions) and unfinished uploads, in UTF-8 byte order, page by page. */
import type { Bucket, StoredObject, UnfinishedUpload } from "./bucket.ts";
import { afterPrefix, compareUtf8, lowerBound } from "./byte-order.ts";
import { type Exchange, isoTime, type Reply, xmlReply } from "./exchange.ts";
import { countOf, type S3Request } from "./s3-request.ts";
import { S3Error } from "./s3-error.ts";
import { document, element, escapeXml, textElement } from "./xml.ts";

const MAX_PAGE = 1000;

interface Page {
  readonly objects: readonly string[];
  readonly prefixes: readonly string[];
  readonly isTruncated: boolean;
  /** The last key or common prefix of the page. */
  readonly last: string;
}

/** ListObjectsV2 and ListObjects. */
export function listObjects({ request, bucket }: Exchange): Reply {
  const isV2 = request.operation === "ListObjectsV2";
  const prefix = request.query.get("prefix") ?? "";
  const delimiter = request.query.get("delimiter") || undefined;
  const max = countOf(request, "max-keys", MAX_PAGE, MAX_PAGE);
  const after = isV2 ? afterV2(request) : (request.query.get("marker") ?? "");
  const page = readPage(bucket, { prefix, delimiter, max, after });
  const encode = encoderOf(request);
  const content = [
    element("Name", escapeXml(bucket.name)),
    element("Prefix", encode(prefix)),
    textElement("MaxKeys", max),
    delimiter === undefined ? "" : element("Delimiter", encode(delimiter)),
    request.query.has("encoding-type") ? textElement("EncodingType", "url") : "",
    textElement("IsTruncated", page.isTruncated),
    isV2 ? v2Fields(request, page, encode) : v1Fields(page, after, delimiter, encode),
    ...page.objects.map((key) => objectElement(key, bucket.get(key), encode)),
    ...page.prefixes.map((one) => element("CommonPrefixes", element("Prefix", encode(one)))),
  ];
  return xmlReply(document("ListBucketResult", ...content));
}

type Encoder = (key: string) => string;

function encoderOf(request: S3Request): Encoder {
  return request.query.get("encoding-type") === "url" ? urlEncode : escapeXml;
}

/** Like S3's: everything but unreserved characters and `/`. */
function urlEncode(key: string): string {
  return encodeURIComponent(key)
    .replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(/%2F/g, "/");
}

function afterV2(request: S3Request): string {
  const token = request.query.get("continuation-token");
  if (token === undefined) return request.query.get("start-after") ?? "";
  const text = Buffer.from(token, "base64url").toString("utf8");
  if (!text.startsWith("1:")) throw new S3Error(400, "InvalidArgument", "The continuation token provided is incorrect");
  return text.slice(2);
}

function v2Fields(request: S3Request, page: Page, encode: Encoder): string {
  const token = request.query.get("continuation-token");
  const startAfter = request.query.get("start-after");
  return [
    textElement("KeyCount", page.objects.length + page.prefixes.length),
    token === undefined ? "" : textElement("ContinuationToken", token),
    page.isTruncated ? textElement("NextContinuationToken", Buffer.from(`1:${page.last}`).toString("base64url")) : "",
    startAfter === undefined ? "" : element("StartAfter", encode(startAfter)),
  ].join("");
}

function v1Fields(page: Page, marker: string, delimiter: string | undefined, encode: Encoder): string {
  const next = page.isTruncated && delimiter !== undefined ? element("NextMarker", encode(page.last)) : "";
  return element("Marker", encode(marker)) + next;
}

function objectElement(key: string, object: StoredObject | undefined, encode: Encoder): string {
  if (!object) return "";
  return element(
    "Contents",
    element("Key", encode(key)),
    textElement("LastModified", isoTime(object.lastModifiedMs)),
    textElement("ETag", `"${object.etag}"`),
    textElement("Size", object.size),
    textElement("StorageClass", object.system["x-amz-storage-class"] ?? "STANDARD"),
  );
}

interface PageQuery {
  readonly prefix: string;
  readonly delimiter: string | undefined;
  readonly max: number;
  readonly after: string;
}

function readPage(bucket: Bucket, { prefix, delimiter, max, after }: PageQuery): Page {
  const keys = bucket.sortedKeys();
  let position = compareUtf8(after, prefix) < 0 ? lowerBound(keys, prefix) : lowerBound(keys, after, true);
  const started = delimiter === undefined ? undefined : commonPrefix(after, prefix, delimiter);
  if (started !== undefined) position = afterPrefix(keys, started, position); // that prefix was on an earlier page
  const objects: string[] = [];
  const prefixes: string[] = [];
  let last = "";
  while (position < keys.length && objects.length + prefixes.length < max) {
    const key = keys[position] ?? "";
    if (!key.startsWith(prefix)) break;
    const folded = delimiter === undefined ? undefined : commonPrefix(key, prefix, delimiter);
    if (folded === undefined) objects.push(key);
    else prefixes.push(folded);
    last = folded ?? key;
    position = folded === undefined ? position + 1 : afterPrefix(keys, folded, position);
  }
  const isTruncated = max > 0 && position < keys.length && (keys[position] ?? "").startsWith(prefix);
  return { objects, prefixes, isTruncated, last };
}

/** `key` up to and including the first delimiter after `prefix`; undefined if there is none. */
function commonPrefix(key: string, prefix: string, delimiter: string): string | undefined {
  if (!key.startsWith(prefix)) return undefined;
  const found = key.indexOf(delimiter, prefix.length);
  return found < 0 ? undefined : key.slice(0, found + delimiter.length);
}

/** ListMultipartUploads: by key, then by the time the upload began. */
export function listMultipartUploads({ request, bucket }: Exchange): Reply {
  const prefix = request.query.get("prefix") ?? "";
  const max = countOf(request, "max-uploads", MAX_PAGE, MAX_PAGE);
  const keyMarker = request.query.get("key-marker") ?? "";
  const idMarker = request.query.get("upload-id-marker") ?? "";
  const encode = encoderOf(request);
  const all = [...bucket.uploads.values()].filter((upload) => upload.key.startsWith(prefix)).sort(uploadOrder);
  const start = keyMarker === "" ? 0 : firstAfter(all, keyMarker, idMarker);
  const page = all.slice(start, start + max);
  const isTruncated = start + max < all.length;
  const last = page.at(-1);
  const content = [
    textElement("Bucket", bucket.name),
    element("Prefix", encode(prefix)),
    element("KeyMarker", encode(keyMarker)),
    textElement("UploadIdMarker", idMarker),
    isTruncated && last ? element("NextKeyMarker", encode(last.key)) + textElement("NextUploadIdMarker", last.uploadId) : "",
    request.query.has("encoding-type") ? textElement("EncodingType", "url") : "",
    textElement("MaxUploads", max),
    textElement("IsTruncated", isTruncated),
    ...page.map((upload) =>
      element(
        "Upload",
        element("Key", encode(upload.key)),
        textElement("UploadId", upload.uploadId),
        textElement("Initiated", new Date(upload.initiatedMs).toISOString()),
      ),
    ),
  ];
  return xmlReply(document("ListMultipartUploadsResult", ...content));
}

function uploadOrder(a: UnfinishedUpload, b: UnfinishedUpload): number {
  return compareUtf8(a.key, b.key) || a.initiatedMs - b.initiatedMs;
}

function firstAfter(uploads: readonly UnfinishedUpload[], keyMarker: string, idMarker: string): number {
  const exact = idMarker === "" ? -1 : uploads.findIndex((upload) => upload.key === keyMarker && upload.uploadId === idMarker);
  if (exact >= 0) return exact + 1;
  const next = uploads.findIndex((upload) => compareUtf8(upload.key, keyMarker) > 0);
  return next < 0 ? uploads.length : next;
}

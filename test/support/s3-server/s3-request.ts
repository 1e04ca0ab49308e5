/** What an HTTP request means in S3's API (path-style addressing). Knows names and parameters, not what they do. */
import type { IncomingHttpHeaders } from "node:http";
import { S3Error } from "./s3-error.ts";

/** The S3 operations this server knows, under their names in the API reference. */
export type Operation =
  | "ListBuckets"
  | "CreateBucket"
  | "HeadBucket"
  | "DeleteBucket"
  | "GetBucketLocation"
  | "GetBucketVersioning"
  | "ListObjects"
  | "ListObjectsV2"
  | "ListMultipartUploads"
  | "DeleteObjects"
  | "PutObject"
  | "CopyObject"
  | "GetObject"
  | "HeadObject"
  | "DeleteObject"
  | "GetObjectAttributes"
  | "GetObjectTagging"
  | "PutObjectTagging"
  | "CreateMultipartUpload"
  | "UploadPart"
  | "UploadPartCopy"
  | "CompleteMultipartUpload"
  | "AbortMultipartUpload"
  | "ListParts";

/** A request of the S3 API. `key` is empty for bucket operations, `bucket` for ListBuckets. */
export interface S3Request {
  readonly operation: Operation;
  readonly method: string;
  readonly bucket: string;
  readonly key: string;
  readonly query: ReadonlyMap<string, string>;
  readonly headers: IncomingHttpHeaders;
  readonly rawPath: string;
  readonly rawQuery: string;
}

const MAX_KEY_BYTES = 1024;

/** Reads method, path and query; throws an S3Error for what S3 would not understand. */
export function parseS3Request(method: string, url: string, headers: IncomingHttpHeaders): S3Request {
  const mark = url.indexOf("?");
  const rawPath = mark < 0 ? url : url.slice(0, mark);
  const rawQuery = mark < 0 ? "" : url.slice(mark + 1);
  const path = decode(rawPath);
  const slash = path.indexOf("/", 1);
  const bucket = slash < 0 ? path.slice(1) : path.slice(1, slash);
  const key = slash < 0 ? "" : path.slice(slash + 1);
  const query = new Map<string, string>();
  for (const pair of rawQuery.split("&")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    query.set(decode(equals < 0 ? pair : pair.slice(0, equals)), equals < 0 ? "" : decode(pair.slice(equals + 1)));
  }
  if (Buffer.byteLength(key) > MAX_KEY_BYTES) throw new S3Error(400, "KeyTooLongError", "Your key is too long");
  const operation = operationOf(method, bucket, key, query, headers);
  if (!operation) {
    throw new S3Error(501, "NotImplemented", `A header or query you provided implies functionality that is not implemented: ${method}`);
  }
  return { operation, method, bucket, key, query, headers, rawPath, rawQuery };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new S3Error(400, "InvalidURI", `Couldn't parse the specified URI (${String(cause)}).`);
  }
}

type Query = ReadonlyMap<string, string>;

function operationOf(method: string, bucket: string, key: string, query: Query, headers: IncomingHttpHeaders): Operation | undefined {
  if (bucket === "") return method === "GET" ? "ListBuckets" : undefined;
  return key === "" ? bucketOperation(method, query) : objectOperation(method, query, headers);
}

const UNSUPPORTED = ["acl", "policy", "lifecycle", "versions", "versioning", "object-lock", "retention", "legal-hold", "torrent", "cors"];

function bucketOperation(method: string, query: Query): Operation | undefined {
  if (method === "GET" && query.has("versioning")) return "GetBucketVersioning";
  if (UNSUPPORTED.some((name) => query.has(name))) return undefined;
  switch (method) {
    case "PUT":
      return "CreateBucket";
    case "HEAD":
      return "HeadBucket";
    case "DELETE":
      return "DeleteBucket";
    case "POST":
      return query.has("delete") ? "DeleteObjects" : undefined;
    case "GET":
      if (query.has("location")) return "GetBucketLocation";
      if (query.has("uploads")) return "ListMultipartUploads";
      return query.get("list-type") === "2" ? "ListObjectsV2" : "ListObjects";
    default:
      return undefined;
  }
}

function objectOperation(method: string, query: Query, headers: IncomingHttpHeaders): Operation | undefined {
  if (UNSUPPORTED.some((name) => query.has(name))) return undefined;
  const isCopy = headers["x-amz-copy-source"] !== undefined;
  const isUpload = query.has("uploadId");
  switch (method) {
    case "PUT":
      if (query.has("tagging")) return "PutObjectTagging";
      if (isUpload) return isCopy ? "UploadPartCopy" : "UploadPart";
      return isCopy ? "CopyObject" : "PutObject";
    case "GET":
      if (isUpload) return "ListParts";
      if (query.has("attributes")) return "GetObjectAttributes";
      return query.has("tagging") ? "GetObjectTagging" : "GetObject";
    case "HEAD":
      return "HeadObject";
    case "DELETE":
      return isUpload ? "AbortMultipartUpload" : "DeleteObject";
    case "POST":
      if (isUpload) return "CompleteMultipartUpload";
      return query.has("uploads") ? "CreateMultipartUpload" : undefined;
    default:
      return undefined;
  }
}

/** A header's value as one string, or undefined. */
export function headerOf(request: S3Request, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(",") : value;
}

/** A query parameter that must be a whole number from `min` to `max`; larger values are cut to `max`. */
export function countOf(request: S3Request, name: string, fallback: number, max: number): number {
  const text = request.query.get(name);
  if (text === undefined || text === "") return fallback;
  if (!/^\d{1,9}$/.test(text)) {
    throw new S3Error(400, "InvalidArgument", `Argument ${name} must be an integer between 0 and 2147483647`);
  }
  return Math.min(Number(text), max);
}

/** Conditional reads and writes (RFC 9110 §13 as S3 applies it). */
import type { Bucket, StoredObject } from "./bucket.ts";
import { noSuchKey, preconditionFailed, S3Error } from "./s3-error.ts";
import { headerOf, type S3Request } from "./s3-request.ts";

/** An ETag without its quotes. */
export function unquote(etag: string): string {
  return etag.trim().replace(/^"|"$/g, "");
}

function matches(condition: string, etag: string): boolean {
  return condition.split(",").some((one) => one.trim() === "*" || unquote(one) === etag);
}

/** Throws unless the request's `If-Match` / `If-None-Match` allow writing `key` now. */
export function checkWriteConditions(request: S3Request, bucket: Bucket, key: string): void {
  const current = bucket.get(key);
  const ifNoneMatch = headerOf(request, "if-none-match");
  const ifMatch = headerOf(request, "if-match");
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch !== "*") throw new S3Error(501, "NotImplemented", "If-None-Match is implemented for * only");
    if (current) throw preconditionFailed("If-None-Match");
  }
  if (ifMatch !== undefined) {
    if (!current) throw noSuchKey(key);
    if (!matches(ifMatch, current.etag)) throw preconditionFailed("If-Match");
  }
}

/** Throws unless the conditions for reading hold. `prefix` is `x-amz-copy-source-` for sources of copies, else empty. */
export function checkReadConditions(request: S3Request, object: StoredObject, prefix = ""): void {
  const ifMatch = headerOf(request, `${prefix}if-match`);
  const ifNoneMatch = headerOf(request, `${prefix}if-none-match`);
  const unmodifiedSince = headerOf(request, `${prefix}if-unmodified-since`);
  const modifiedSince = headerOf(request, `${prefix}if-modified-since`);
  const changed = Math.floor(object.lastModifiedMs / 1000) * 1000;
  if (ifMatch !== undefined) {
    if (!matches(ifMatch, object.etag)) throw preconditionFailed("If-Match");
  } else if (unmodifiedSince !== undefined && changed > Date.parse(unmodifiedSince)) {
    throw preconditionFailed("If-Unmodified-Since");
  }
  const notModified =
    ifNoneMatch !== undefined ? matches(ifNoneMatch, object.etag) : modifiedSince !== undefined && changed <= Date.parse(modifiedSince);
  if (notModified) {
    if (prefix !== "") throw preconditionFailed("x-amz-copy-source-If-None-Match");
    throw new S3Error(304, "NotModified", "Not Modified", { headers: { etag: `"${object.etag}"` } });
  }
}

/** Which bytes of an object of `size` a Range header asks for: `end` is exclusive; undefined: all of it. */
export function parseRange(header: string | undefined, size: number): { start: number; end: number } | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return undefined;
  const suffix = match[1] === "";
  const start = suffix ? Math.max(0, size - Number(match[2])) : Number(match[1]);
  const end = suffix || match[2] === "" ? size : Math.min(size, Number(match[2]) + 1);
  if (!suffix && match[2] !== "" && Number(match[2]) < start) return undefined; // RFC 9110 §14.1.1: an invalid range is ignored
  if (start >= size || start >= end) {
    throw new S3Error(416, "InvalidRange", "The requested range is not satisfiable", {
      details: { RangeRequested: header ?? "", ActualObjectSize: String(size) },
      headers: { "content-range": `bytes */${size}` },
    });
  }
  return { start, end };
}

/**
 * Where a user's files lie, as the configuration writes it: `s3://bucket/prefix` or `file:///folder`. Parses, normalises
 * and compares locations; opens nothing. The rules for S3 are those of the asset server's settings (facts: L01), so that
 * a location that is accepted here is read the same way there.
 */

/** A bucket and the prefix below which everything lies: empty or ending in `/`. */
export interface S3Location {
  readonly kind: "s3";
  readonly bucket: string;
  readonly prefix: string;
}

/** A folder of the local disk: absolute, ending in `/`. */
export interface FileLocation {
  readonly kind: "file";
  readonly folder: string;
}

/** Where files lie. */
export type StorageLocation = S3Location | FileLocation;

/** The bucket-name rule (3 to 63 characters) that S3 documents for general purpose buckets. */
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const MAX_PREFIX_BYTES = 900;

function hasControlCharacter(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit < 0x20 || (unit >= 0x7f && unit < 0xa0)) return true;
  }
  return false;
}

function checkSegments(path: string): string | undefined {
  for (const segment of path.split("/")) {
    if (segment === "") return "has an empty path segment (`//`): write single slashes";
    if (segment === "." || segment === "..") return `has a \`${segment}\` segment: write the path without it`;
  }
  return undefined;
}

/** Says what is wrong with a bucket's name, or undefined. */
export function checkBucket(bucket: string): string | undefined {
  if (BUCKET.test(bucket) && !bucket.includes("..")) return undefined;
  return `"${bucket}" is not a bucket name: 3 to 63 lower-case letters, digits, dots and dashes`;
}

function parseS3(text: string): S3Location | string {
  const rest = text.slice("s3://".length);
  const slash = rest.indexOf("/");
  const bucket = slash < 0 ? rest : rest.slice(0, slash);
  const path = slash < 0 ? "" : rest.slice(slash + 1).replace(/\/$/, "");
  const badBucket = checkBucket(bucket);
  if (badBucket) return badBucket;
  if (/[?#'"]/.test(path)) return `"${text}" contains one of ? # ' ": other tools cut or misread such a path, choose another`;
  const badSegments = path === "" ? undefined : checkSegments(path);
  if (badSegments) return `"${text}" ${badSegments}`;
  if (Buffer.byteLength(path) > MAX_PREFIX_BYTES)
    return `"${bucket}": the path is longer than ${MAX_PREFIX_BYTES} bytes, no room for file names`;
  return { kind: "s3", bucket, prefix: path === "" ? "" : `${path}/` };
}

function parseFile(text: string): FileLocation | string {
  const path = text.slice("file://".length);
  if (!path.startsWith("/")) return `"${text}" is not absolute: write file:///folder with three slashes`;
  const trimmed = path.replace(/^\/+/, "").replace(/\/+$/, "");
  if (trimmed === "") return `"${text}" is the whole disk: write a folder`;
  const badSegments = checkSegments(trimmed);
  if (badSegments) return `"${text}" ${badSegments}`;
  return { kind: "file", folder: `/${trimmed}/` };
}

/** The location `text` names, or a sentence that says what is wrong with it. Nothing in it is percent-decoded. */
export function parseStorageLocation(text: string): StorageLocation | string {
  if (/\p{Surrogate}/u.test(text) || hasControlCharacter(text)) return "the storage contains control characters or broken Unicode";
  if (text.startsWith("s3://")) return parseS3(text);
  if (text.startsWith("file://")) return parseFile(text);
  return `"${text}" is not a storage: write s3://bucket/path or file:///folder`;
}

/** The location as a URI in its normal form, with a trailing slash. */
export function formatStorageLocation(location: StorageLocation): string {
  return location.kind === "s3" ? `s3://${location.bucket}/${location.prefix}` : `file://${location.folder}`;
}

/** True if one location lies in the other or they are the same. `a` and `b` must be on the same endpoint. */
export function overlaps(a: StorageLocation, b: StorageLocation): boolean {
  if (a.kind === "s3" && b.kind === "s3") {
    return a.bucket === b.bucket && (a.prefix.startsWith(b.prefix) || b.prefix.startsWith(a.prefix));
  }
  if (a.kind === "file" && b.kind === "file") return a.folder.startsWith(b.folder) || b.folder.startsWith(a.folder);
  return false;
}

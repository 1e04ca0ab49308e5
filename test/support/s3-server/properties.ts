/** Which request headers become properties of an object, and how they come back. */
import type { Content, Properties, StoredObject } from "./bucket.ts";
import { CHECKSUM_ALGORITHMS, type ChecksumAlgorithm } from "./checksums.ts";
import { S3Error } from "./s3-error.ts";
import { headerOf, type S3Request } from "./s3-request.ts";
import { textElement } from "./xml.ts";

const MAX_METADATA_BYTES = 2048;
const META = "x-amz-meta-";
const SYSTEM = [
  "content-type",
  "cache-control",
  "content-disposition",
  "content-language",
  "expires",
  "x-amz-storage-class",
  "x-amz-server-side-encryption",
  "x-amz-server-side-encryption-aws-kms-key-id",
  "x-amz-tagging",
  "x-amz-acl",
];
/** Kept for the tests to look at, never sent back by GET and HEAD. */
const SILENT = new Set(["x-amz-tagging", "x-amz-acl"]);

/** User metadata and system properties of a write; throws MetadataTooLarge above 2 KiB. */
export function propertiesOf(request: S3Request): Properties {
  const metadata: Record<string, string> = {};
  let bytes = 0;
  for (const [name, value] of Object.entries(request.headers)) {
    if (!name.startsWith(META)) continue;
    const text = Buffer.from(String(value), "latin1").toString("utf8");
    metadata[name.slice(META.length)] = text;
    bytes += name.length - META.length + Buffer.byteLength(text);
  }
  if (bytes > MAX_METADATA_BYTES) {
    throw new S3Error(400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size");
  }
  const system: Record<string, string> = {};
  for (const name of SYSTEM) {
    const value = headerOf(request, name);
    if (value !== undefined) system[name] = value;
  }
  const encoding = headerOf(request, "content-encoding")?.replace(/,?\s*aws-chunked\s*,?/, "");
  if (encoding) system["content-encoding"] = encoding;
  return { metadata, system };
}

/** The headers GET and HEAD describe an object with, without length and range. */
export function objectHeaders(object: StoredObject, withChecksums: boolean): Record<string, string> {
  const headers: Record<string, string> = {
    etag: `"${object.etag}"`,
    "last-modified": new Date(object.lastModifiedMs).toUTCString(),
    "accept-ranges": "bytes",
    "content-type": "binary/octet-stream",
  };
  for (const [name, value] of Object.entries(object.system)) if (!SILENT.has(name)) headers[name] = value;
  const tags = new URLSearchParams(object.system["x-amz-tagging"] ?? "").size;
  if (tags > 0) headers["x-amz-tagging-count"] = String(tags);
  if (headers["x-amz-storage-class"] === "STANDARD") delete headers["x-amz-storage-class"];
  for (const [name, value] of Object.entries(object.metadata)) {
    headers[META + name] = Buffer.from(value, "utf8").toString("latin1");
  }
  return withChecksums ? { ...headers, ...checksumHeaders(object, object.checksumType) } : headers;
}

/** `x-amz-checksum-…` headers of stored checksums. */
export function checksumHeaders(content: Pick<Content, "checksums">, type?: string): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(content.checksums)) headers[`x-amz-checksum-${name}`] = value;
  if (type && Object.keys(headers).length > 0) headers["x-amz-checksum-type"] = type;
  return headers;
}

/** `<ChecksumCRC32>…` elements of stored checksums. */
export function checksumElements(content: Pick<Content, "checksums">): string {
  return Object.entries(content.checksums)
    .map(([name, value]) => textElement(`Checksum${name.toUpperCase()}`, value))
    .join("");
}

/** The algorithm `x-amz-checksum-algorithm` asks for; throws InvalidRequest for one this server does not know. */
export function requestedAlgorithm(request: S3Request): ChecksumAlgorithm | undefined {
  const name = headerOf(request, "x-amz-checksum-algorithm")?.toLowerCase();
  if (name === undefined) return undefined;
  const known = CHECKSUM_ALGORITHMS.find((one) => one === name);
  if (!known) throw new S3Error(400, "InvalidRequest", `Checksum algorithm provided is unsupported by this test server: ${name}`);
  return known;
}

/**
 * Between the port's words for an object and the fields of S3 requests and answers: properties, conditions, versions,
 * and the headers that copies must state again. Makes no requests.
 */
import type { CopyObjectCommandInput, PutObjectCommandInput } from "@aws-sdk/client-s3";
import type { ContentHeaders, ObjectInfo, ObjectProperties, WriteCondition } from "../objectstore.ts";
import type { ObjectHead } from "./direct-requests.ts";
import { MalformedAnswer } from "./s3-errors.ts";
import type { S3StoreOptions } from "./s3-options.ts";

/** Objects whose special headers are remembered at once. */
const MAX_KEPT = 10_000;

/** Header values that S3 takes as they are: visible ASCII and single spaces inside. */
const PLAIN_VALUE = /^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/;
const ENCODED_WORD = /^=\?UTF-8\?([BQ])\?([^?]*)\?=$/i;

/** The etag without quotes; throws `MalformedAnswer` where the store gave none. */
export function etagOf(etag: string | undefined): string {
  const bare = etag?.replace(/^W\//, "").replaceAll('"', "");
  if (bare === undefined || bare === "") throw new MalformedAnswer("the store's answer has no ETag");
  return bare;
}

/** Fields for the properties of a new object. */
export function propertyFields({ contentType, metadata, headers }: ObjectProperties): PropertyFields {
  const encoded: Record<string, string> = {};
  for (const [name, value] of Object.entries(metadata ?? {})) encoded[name] = encodeMetadata(value);
  return { ContentType: contentType, Metadata: encoded, ...(headers && headerFields(headers)) };
}

type HeaderFields = Pick<PutObjectCommandInput, "CacheControl" | "ContentDisposition" | "ContentEncoding" | "ContentLanguage" | "Expires">;
type PropertyFields = HeaderFields & Pick<PutObjectCommandInput, "ContentType" | "Metadata">;

function headerFields(headers: ContentHeaders): HeaderFields {
  const { cacheControl, contentDisposition, contentEncoding, contentLanguage } = headers;
  const expires = Date.parse(headers.expires ?? "");
  return {
    ...(cacheControl === undefined ? {} : { CacheControl: cacheControl }),
    ...(contentDisposition === undefined ? {} : { ContentDisposition: contentDisposition }),
    ...(contentEncoding === undefined ? {} : { ContentEncoding: contentEncoding }),
    ...(contentLanguage === undefined ? {} : { ContentLanguage: contentLanguage }),
    ...(Number.isNaN(expires) ? {} : { Expires: new Date(expires) }),
  };
}

function contentHeaders(output: ObjectHead): ContentHeaders | undefined {
  const { CacheControl, ContentDisposition, ContentEncoding, ContentLanguage, ExpiresString } = output;
  const headers = {
    ...(CacheControl === undefined ? {} : { cacheControl: CacheControl }),
    ...(ContentDisposition === undefined ? {} : { contentDisposition: ContentDisposition }),
    ...(ContentEncoding === undefined ? {} : { contentEncoding: ContentEncoding }),
    ...(ContentLanguage === undefined ? {} : { contentLanguage: ContentLanguage }),
    ...(ExpiresString === undefined ? {} : { expires: ExpiresString }),
  };
  return Object.keys(headers).length === 0 ? undefined : headers;
}

/** Fields that the store's configuration adds to each new object. */
export function storageFields(
  options: S3StoreOptions,
): Pick<CopyObjectCommandInput, "StorageClass" | "ServerSideEncryption" | "SSEKMSKeyId" | "ACL"> {
  const { storageClass, sse, acl } = options;
  return {
    ...(storageClass === undefined ? {} : { StorageClass: storageClass as CopyObjectCommandInput["StorageClass"] }),
    ...(sse === undefined ? {} : encryptionFields(sse)),
    ...(acl === undefined ? {} : { ACL: acl as CopyObjectCommandInput["ACL"] }),
  };
}

function encryptionFields(sse: NonNullable<S3StoreOptions["sse"]>): Pick<CopyObjectCommandInput, "ServerSideEncryption" | "SSEKMSKeyId"> {
  if (typeof sse === "string") return { ServerSideEncryption: sse };
  return { ServerSideEncryption: sse.algorithm, ...(sse.kmsKeyId === undefined ? {} : { SSEKMSKeyId: sse.kmsKeyId }) };
}

/** Fields for a condition on the object that is written. */
export function conditionFields({ ifMatch, ifNoneMatch }: WriteCondition): { IfMatch?: string; IfNoneMatch?: string } {
  return {
    ...(ifMatch === undefined ? {} : { IfMatch: quoted(ifMatch) }),
    ...(ifNoneMatch === undefined ? {} : { IfNoneMatch: ifNoneMatch }),
  };
}

/** An etag as headers want it. */
export function quoted(etag: string): string {
  return `"${etag}"`;
}

/** `bucket/key` as x-amz-copy-source wants it. */
export function copySource(bucket: string, key: string): string {
  return `${bucket}/${key.split("/").map(encodeURIComponent).join("/")}`;
}

/** What HEAD or GET say about an object. Throws `MalformedAnswer` if that is not enough. */
export function objectInfo(key: string, output: ObjectHead): ObjectInfo {
  const size = totalSize(output);
  const metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(output.Metadata ?? {})) metadata[name.toLowerCase()] = decodeMetadata(value);
  const headers = contentHeaders(output);
  const tagCount = output.TagCount ?? 0;
  return {
    key,
    size,
    etag: etagOf(output.ETag),
    lastModifiedMs: output.LastModified?.getTime() ?? 0,
    ...(output.ContentType === undefined ? {} : { contentType: output.ContentType }),
    metadata,
    ...(output.StorageClass === undefined ? {} : { storageClass: output.StorageClass }),
    ...(output.VersionId === undefined || output.VersionId === "null" ? {} : { versionId: output.VersionId }),
    ...(headers && { headers }),
    ...(tagCount > 0 && { tagCount }),
  };
}

function totalSize({ ContentRange, ContentLength }: ObjectHead): number {
  const total = ContentRange === undefined ? ContentLength : Number(/\/(\d+)$/.exec(ContentRange)?.[1]);
  if (total === undefined || !Number.isSafeInteger(total)) throw new MalformedAnswer("the store's answer has no length");
  return total;
}

/** Headers carry ASCII only; S3 itself returns anything else as RFC 2047 encoded words. */
function encodeMetadata(value: string): string {
  if (PLAIN_VALUE.test(value) && !ENCODED_WORD.test(value)) return value;
  return value === "" ? "" : `=?UTF-8?B?${Buffer.from(value).toString("base64")}?=`;
}

function decodeMetadata(value: string): string {
  const [, encoding, text] = ENCODED_WORD.exec(value) ?? [];
  if (encoding === undefined || text === undefined) return value;
  if (encoding.toUpperCase() === "B") return Buffer.from(text, "base64").toString();
  const bytes = text.replaceAll("_", " ").replace(/=([0-9A-F]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, "latin1").toString();
}

/** Headers beyond content type and metadata, in the words of a copy request. */
export type SpecialHeaders = Pick<
  CopyObjectCommandInput,
  "CacheControl" | "ContentDisposition" | "ContentEncoding" | "ContentLanguage" | "Expires" | "StorageClass"
>;

/** The special headers in an answer; undefined if there are none, as with nearly all objects. */
export function specialHeaders(output: ObjectHead): SpecialHeaders | undefined {
  const { CacheControl, ContentDisposition, ContentEncoding, ContentLanguage, StorageClass } = output;
  const expires = output.ExpiresString === undefined ? Number.NaN : Date.parse(output.ExpiresString);
  const storageClass = StorageClass === "STANDARD" ? undefined : StorageClass;
  if (
    [CacheControl, ContentDisposition, ContentEncoding, ContentLanguage, storageClass].every((value) => value === undefined) &&
    Number.isNaN(expires)
  ) {
    return undefined;
  }
  return {
    CacheControl,
    ContentDisposition,
    ContentEncoding,
    ContentLanguage,
    ...(Number.isNaN(expires) ? {} : { Expires: new Date(expires) }),
    ...(storageClass === undefined ? {} : { StorageClass: storageClass }),
  };
}

/**
 * Remembers special headers of objects seen lately: S3 forgets them in a copy that replaces metadata, and the storage
 * class in every copy, unless they are stated again.
 */
export class SpecialHeaderMemory {
  readonly #kept = new Map<string, { readonly etag: string; readonly headers: SpecialHeaders }>();

  remember(key: string, etag: string, headers: SpecialHeaders | undefined): void {
    this.#kept.delete(key);
    if (headers === undefined) return;
    this.#kept.set(key, { etag, headers });
    if (this.#kept.size <= MAX_KEPT) return;
    const oldest = this.#kept.keys().next();
    if (!oldest.done) this.#kept.delete(oldest.value);
  }

  /** What is known of the object, of version `etag` where that is given. */
  recall(key: string, etag: string | undefined): SpecialHeaders | undefined {
    const kept = this.#kept.get(key);
    return kept !== undefined && (etag === undefined || kept.etag === etag) ? kept.headers : undefined;
  }

  /** Whether exactly this version is known. */
  knows(key: string, etag: string): boolean {
    return this.#kept.get(key)?.etag === etag;
  }
}

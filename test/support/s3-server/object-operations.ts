/** Operations on single objects: put, get, head, copy, delete. */
import { createHash, randomBytes } from "node:crypto";
import { type Bucket, type Checksums, type StoredObject, sliceChunks } from "./bucket.ts";
import { crc32OfChunks, crc32ToBase64 } from "./checksums.ts";
import { checkReadConditions, checkWriteConditions, parseRange } from "./conditions.ts";
import { type Exchange, emptyReply, isoTime, type Reply, xmlReply } from "./exchange.ts";
import { checksumHeaders, objectHeaders, propertiesOf, requestedAlgorithm } from "./properties.ts";
import { noSuchKey, preconditionFailed, S3Error } from "./s3-error.ts";
import { headerOf, type S3Request } from "./s3-request.ts";
import { document, textElement } from "./xml.ts";

/** The source of a copy: found, and its conditions hold. */
export interface CopySource {
  readonly bucket: Bucket;
  readonly key: string;
  readonly object: StoredObject;
}

/** PutObject. */
export async function putObject({ request, state, bucket, receive }: Exchange): Promise<Reply> {
  const properties = propertiesOf(request);
  const content = await receive();
  if (content.size > state.maxPutSize) throw new S3Error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size");
  checkWriteConditions(request, bucket, request.key);
  const etag = content.digest.toString("hex");
  const object: StoredObject = { ...content, ...properties, etag, lastModifiedMs: state.now(), checksumType: "FULL_OBJECT" };
  bucket.put(request.key, object);
  return emptyReply(200, { etag: `"${etag}"`, ...checksumHeaders(object, object.checksumType) });
}

/** GetObject and HeadObject. */
export function getObject({ request, bucket }: Exchange): Reply {
  const object = existing(bucket, request.key);
  checkReadConditions(request, object);
  const range = partRange(request, object) ?? parseRange(headerOf(request, "range"), object.size);
  const wantsChecksums = headerOf(request, "x-amz-checksum-mode")?.toUpperCase() === "ENABLED";
  const headers: Record<string, string | number> = objectHeaders(object, wantsChecksums && !range);
  if (range) headers["content-range"] = `bytes ${range.start}-${range.end - 1}/${object.size}`;
  if (object.partSizes && request.query.has("partNumber")) headers["x-amz-mp-parts-count"] = object.partSizes.length;
  headers["content-length"] = range ? range.end - range.start : object.size;
  const wantsBody = request.operation === "GetObject";
  const body = wantsBody ? (range ? sliceChunks(object.chunks, range.start, range.end) : object.chunks) : [];
  return { status: range ? 206 : 200, headers, body };
}

function partRange(request: S3Request, object: StoredObject): { start: number; end: number } | undefined {
  const text = request.query.get("partNumber");
  if (text === undefined || !object.partSizes) return undefined;
  const size = object.partSizes[Number(text) - 1];
  if (size === undefined) throw new S3Error(416, "InvalidPartNumber", "The requested partnumber is not satisfiable");
  const start = object.partSizes.slice(0, Number(text) - 1).reduce((sum, one) => sum + one, 0);
  return { start, end: start + size };
}

/** DeleteObject, with its conditions. */
export function deleteObject({ request, bucket }: Exchange): Reply {
  const ifMatch = headerOf(request, "if-match");
  if (ifMatch !== undefined) checkWriteConditions(request, bucket, request.key);
  bucket.delete(request.key);
  return emptyReply(204);
}

/** GetObjectAttributes (size, ETag and number of parts only). */
export function getObjectAttributes({ request, bucket }: Exchange): Reply {
  const object = existing(bucket, request.key);
  const parts = object.partSizes ? `<ObjectParts>${textElement("TotalPartsCount", object.partSizes.length)}</ObjectParts>` : "";
  const content = [textElement("ETag", object.etag), parts, textElement("ObjectSize", object.size)];
  return xmlReply(document("GetObjectAttributesResponse", ...content), 200, {
    "last-modified": new Date(object.lastModifiedMs).toUTCString(),
  });
}

/** GetObjectTagging, for tags that came with the object. */
export function getObjectTagging({ request, bucket }: Exchange): Reply {
  const tags = new URLSearchParams(existing(bucket, request.key).system["x-amz-tagging"] ?? "");
  const list = [...tags].map(([key, value]) => `<Tag>${textElement("Key", key)}${textElement("Value", value)}</Tag>`);
  return xmlReply(document("Tagging", `<TagSet>${list.join("")}</TagSet>`));
}

/** PutObjectTagging: replaces all tags; contents and ETag stay. */
export async function putObjectTagging({ request, bucket, receive }: Exchange): Promise<Reply> {
  const body = await receive({ isDocument: true });
  const object = existing(bucket, request.key);
  const tags = Buffer.concat(body.chunks)
    .toString()
    .matchAll(/<Key>([^<]*)<\/Key>\s*<Value>([^<]*)<\/Value>/g);
  const text = new URLSearchParams([...tags].map(([, key = "", value = ""]): [string, string] => [key, value])).toString();
  bucket.put(request.key, { ...object, system: { ...object.system, "x-amz-tagging": text } });
  return emptyReply(200);
}

/** CopyObject: COPY and REPLACE, onto itself only with REPLACE or other changed attributes. */
export function copyObject(exchange: Exchange): Reply {
  const { request, state, bucket } = exchange;
  const source = copySource(exchange);
  const replaces = headerOf(request, "x-amz-metadata-directive") === "REPLACE";
  const changes = replaces || ["x-amz-storage-class", "x-amz-server-side-encryption"].some((name) => headerOf(request, name) !== undefined);
  if (source.bucket === bucket && source.key === request.key && !changes) {
    const text =
      "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, " +
      "storage class, website redirect location or encryption attributes.";
    throw new S3Error(400, "InvalidRequest", text);
  }
  if (source.object.size > state.maxPutSize) {
    const text = `The specified copy source is larger than the maximum allowable size for a copy source: ${state.maxPutSize}`;
    throw new S3Error(400, "InvalidRequest", text);
  }
  const own = propertiesOf(request);
  const system = replaces ? own.system : { ...source.object.system, ...changedSystem(own.system) };
  const metadata = replaces ? own.metadata : source.object.metadata;
  checkWriteConditions(request, bucket, request.key);
  const { partSizes: _parts, ...rest } = source.object;
  const copy: StoredObject = {
    ...rest,
    metadata,
    system,
    etag: source.object.partSizes ? digestOf(source.object, state.md5) : source.object.etag,
    checksums: copiedChecksums(source.object, requestedAlgorithm(request) === "crc32"),
    checksumType: "FULL_OBJECT",
    lastModifiedMs: state.now(),
  };
  bucket.put(request.key, copy);
  const content = [textElement("ETag", `"${copy.etag}"`), textElement("LastModified", isoTime(copy.lastModifiedMs))];
  return xmlReply(document("CopyObjectResult", ...content));
}

/** With the directive COPY only these of the request's own attributes count. */
function changedSystem(system: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(system).filter(([name]) => name.startsWith("x-amz-storage-class") || name.startsWith("x-amz-server-side")),
  );
}

function digestOf(object: StoredObject, md5: boolean): string {
  if (!md5) return randomBytes(16).toString("hex");
  const hash = createHash("md5");
  for (const chunk of object.chunks) hash.update(chunk);
  return hash.digest("hex");
}

function copiedChecksums(object: StoredObject, wantsCrc32: boolean): Checksums {
  const isWhole = object.checksumType === "FULL_OBJECT";
  if (isWhole && (object.checksums.crc32 !== undefined || !wantsCrc32)) return object.checksums;
  return object.checksums.crc32 !== undefined || wantsCrc32 ? { crc32: crc32ToBase64(crc32OfChunks(object.chunks)) } : {};
}

/** Finds the object `x-amz-copy-source` names and checks its conditions. */
export function copySource({ request, state }: Exchange): CopySource {
  const text = headerOf(request, "x-amz-copy-source") ?? "";
  const path = decodeURIComponent(text.replace(/\?versionId=.*$/, "")).replace(/^\//, "");
  const slash = path.indexOf("/");
  const bucket = state.buckets.get(path.slice(0, slash));
  if (slash < 1 || !bucket) throw new S3Error(404, "NoSuchBucket", "The specified bucket does not exist");
  const key = path.slice(slash + 1);
  const object = existing(bucket, key);
  try {
    checkReadConditions(request, object, "x-amz-copy-source-");
  } catch (error) {
    if (error instanceof S3Error && error.status === 304) throw preconditionFailed("x-amz-copy-source");
    throw error;
  }
  return { bucket, key, object };
}

function existing(bucket: Bucket, key: string): StoredObject {
  const object = bucket.get(key);
  if (!object) throw noSuchKey(key);
  return object;
}

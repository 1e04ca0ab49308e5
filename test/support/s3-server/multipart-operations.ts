/** Multipart uploads: create, parts, copies of ranges as parts, complete, abort, list. */
import { createHash, randomBytes } from "node:crypto";
import { type Content, type StoredObject, sliceChunks, type UnfinishedUpload, type UploadedPart } from "./bucket.ts";
import { combineCrc32, crc32FromBase64, crc32OfChunks, crc32ToBase64 } from "./checksums.ts";
import { checkWriteConditions, unquote } from "./conditions.ts";
import { type Exchange, emptyReply, isoTime, type Reply, xmlReply } from "./exchange.ts";
import { copySource } from "./object-operations.ts";
import { checksumElements, checksumHeaders, propertiesOf, requestedAlgorithm } from "./properties.ts";
import { noSuchUpload, S3Error } from "./s3-error.ts";
import { countOf, headerOf, type S3Request } from "./s3-request.ts";
import { document, elementsOf, textElement, textOf } from "./xml.ts";

const MAX_PARTS = 10_000;

/** CreateMultipartUpload. */
export function createMultipartUpload({ request, state, bucket }: Exchange): Reply {
  const algorithm = requestedAlgorithm(request);
  const wholeObject = headerOf(request, "x-amz-checksum-type") === "FULL_OBJECT";
  if (wholeObject && algorithm !== "crc32") {
    throw new S3Error(400, "InvalidRequest", "The FULL_OBJECT checksum type cannot be used with this checksum algorithm.");
  }
  const upload: UnfinishedUpload = {
    ...propertiesOf(request),
    uploadId: randomBytes(24).toString("base64url"),
    key: request.key,
    initiatedMs: state.now(),
    parts: new Map(),
    ...(algorithm && { checksumAlgorithm: algorithm, checksumType: wholeObject ? "FULL_OBJECT" : "COMPOSITE" }),
  };
  bucket.uploads.set(upload.uploadId, upload);
  const names = [textElement("Bucket", bucket.name), textElement("Key", request.key), textElement("UploadId", upload.uploadId)];
  const headers: Record<string, string> = {};
  if (algorithm) {
    headers["x-amz-checksum-algorithm"] = algorithm.toUpperCase();
    headers["x-amz-checksum-type"] = upload.checksumType ?? "";
  }
  return xmlReply(document("InitiateMultipartUploadResult", ...names), 200, headers);
}

/** UploadPart. */
export async function uploadPart(exchange: Exchange): Promise<Reply> {
  const { request, state, receive } = exchange;
  const number = partNumberOf(request);
  const upload = uploadOf(exchange);
  const content = await receive({ computed: upload.checksumAlgorithm });
  if (content.size > state.maxPutSize) throw new S3Error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size");
  uploadOf(exchange); // it may have been aborted while the bytes came
  const etag = content.digest.toString("hex");
  upload.parts.set(number, { ...content, etag, lastModifiedMs: state.now() });
  return emptyReply(200, { etag: `"${etag}"`, ...checksumHeaders(content) });
}

/** UploadPartCopy. */
export function uploadPartCopy(exchange: Exchange): Reply {
  const { request, state } = exchange;
  const number = partNumberOf(request);
  const upload = uploadOf(exchange);
  const { object } = copySource(exchange);
  const { start, end } = copyRange(headerOf(request, "x-amz-copy-source-range"), object.size);
  if (end - start > state.maxPutSize) throw new S3Error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size");
  const chunks = sliceChunks(object.chunks, start, end);
  const digest = state.md5 ? md5Of(chunks) : randomBytes(16);
  const crc32 = (state.copiesSourceChecksum && object.checksums.crc32) || crc32ToBase64(crc32OfChunks(chunks));
  const checksums = upload.checksumAlgorithm === "crc32" ? { crc32 } : {};
  const part: UploadedPart = { chunks, size: end - start, digest, checksums, etag: digest.toString("hex"), lastModifiedMs: state.now() };
  upload.parts.set(number, part);
  const times = [textElement("ETag", `"${part.etag}"`), textElement("LastModified", isoTime(part.lastModifiedMs))];
  return xmlReply(document("CopyPartResult", ...times, checksumElements(part)));
}

function copyRange(header: string | undefined, size: number): { start: number; end: number } {
  if (header === undefined) return { start: 0, end: size };
  const match = /^bytes=(\d+)-(\d+)$/.exec(header);
  const [start, last] = [Number(match?.[1]), Number(match?.[2])];
  if (!match || start > last || last >= size) {
    throw new S3Error(400, "InvalidArgument", `Range specified is not valid for source object of size: ${size}`);
  }
  return { start, end: last + 1 };
}

/** CompleteMultipartUpload. */
export async function completeMultipartUpload(exchange: Exchange): Promise<Reply> {
  const { request, state, bucket, receive } = exchange;
  const uploadId = request.query.get("uploadId") ?? "";
  const remembered = state.completed.get(uploadId);
  const body = await receive({ isDocument: true });
  if (remembered) return completeReply(exchange, remembered);
  const upload = uploadOf(exchange);
  const wantsChecksums = upload.checksumAlgorithm === "crc32" && (upload.checksumType === "COMPOSITE" || state.wantsChecksumsAgain);
  const parts = listedParts(upload, Buffer.concat(body.chunks).toString("utf8"), wantsChecksums);
  checkParts(parts, state.minPartSize);
  checkWriteConditions(request, bucket, request.key);
  const object = assemble(request, upload, parts, state.now());
  bucket.put(request.key, object);
  bucket.uploads.delete(uploadId);
  if (state.rememberCompleted) state.completed.set(uploadId, object);
  return completeReply(exchange, object);
}

function completeReply({ request, bucket }: Exchange, object: StoredObject): Reply {
  const content = [
    textElement("Location", `http://${headerOf(request, "host")}${request.rawPath}`),
    textElement("Bucket", bucket.name),
    textElement("Key", request.key),
    textElement("ETag", `"${object.etag}"`),
    checksumElements(object),
    object.checksumType && Object.keys(object.checksums).length > 0 ? textElement("ChecksumType", object.checksumType) : "",
  ];
  return xmlReply(document("CompleteMultipartUploadResult", ...content));
}

/** The parts a Complete names, checked against those stored; `wantsChecksums`: each must come with its own. */
function listedParts(upload: UnfinishedUpload, xml: string, wantsChecksums: boolean): UploadedPart[] {
  let last = 0;
  const parts: UploadedPart[] = [];
  for (const item of elementsOf(xml, "Part")) {
    const number = Number(textOf(item, "PartNumber"));
    if (!Number.isInteger(number) || number < 1) throw new S3Error(400, "MalformedXML", "The XML you provided was not well-formed");
    if (number <= last) throw new S3Error(400, "InvalidPartOrder", "The list of parts was not in ascending order.");
    last = number;
    const part = upload.parts.get(number);
    const checksum = textOf(item, "ChecksumCRC32");
    if (!part || part.etag !== unquote(textOf(item, "ETag") ?? "") || (checksum !== undefined && checksum !== part.checksums.crc32)) {
      throw new S3Error(400, "InvalidPart", "One or more of the specified parts could not be found.", {
        details: { PartNumber: String(number) },
      });
    }
    if (wantsChecksums && checksum === undefined) {
      const text = `The upload was created using a crc32 checksum. The complete request must include the checksum for each part. It was missing for part ${number} in the request.`;
      throw new S3Error(400, "InvalidRequest", text);
    }
    parts.push(part);
  }
  if (parts.length === 0) throw new S3Error(400, "MalformedXML", "The XML you provided did not list any part");
  return parts;
}

function checkParts(parts: readonly UploadedPart[], minPartSize: number): void {
  for (const part of parts.slice(0, -1)) {
    if (part.size < minPartSize) {
      throw new S3Error(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size", {
        details: { ProposedSize: String(part.size), MinSizeAllowed: String(minPartSize) },
      });
    }
  }
}

function assemble(request: S3Request, upload: UnfinishedUpload, parts: readonly UploadedPart[], now: number): StoredObject {
  const size = parts.reduce((sum, part) => sum + part.size, 0);
  const announcedSize = headerOf(request, "x-amz-mp-object-size");
  if (announcedSize !== undefined && Number(announcedSize) !== size) {
    throw new S3Error(400, "InvalidRequest", `The provided 'x-amz-mp-object-size' header does not match what was computed: ${size}`);
  }
  const digest = md5Of(parts.map((part) => part.digest));
  const crc32 = crc32Of(upload, parts);
  const announced = headerOf(request, "x-amz-checksum-crc32");
  if (announced !== undefined && upload.checksumType === "FULL_OBJECT" && announced !== crc32) {
    throw new S3Error(400, "BadDigest", "The CRC32 you specified did not match the calculated checksum.");
  }
  return {
    chunks: parts.flatMap((part) => part.chunks),
    size,
    digest,
    checksums: crc32 === undefined ? {} : { crc32 },
    metadata: upload.metadata,
    system: upload.system,
    etag: `${digest.toString("hex")}-${parts.length}`,
    lastModifiedMs: now,
    partSizes: parts.map((part) => part.size),
    ...(upload.checksumType && { checksumType: upload.checksumType }),
  };
}

function crc32Of(upload: UnfinishedUpload, parts: readonly UploadedPart[]): string | undefined {
  if (upload.checksumAlgorithm !== "crc32") return undefined;
  const values = parts.map((part) => Buffer.from(part.checksums.crc32 ?? crc32ToBase64(crc32OfChunks(part.chunks)), "base64"));
  if (upload.checksumType === "COMPOSITE") return `${crc32ToBase64(crc32OfChunks(values))}-${parts.length}`;
  let combined = 0;
  parts.forEach((part, index) => {
    combined = combineCrc32(combined, crc32FromBase64((values[index] ?? Buffer.alloc(4)).toString("base64")), part.size);
  });
  return crc32ToBase64(combined);
}

/** AbortMultipartUpload. */
export function abortMultipartUpload(exchange: Exchange): Reply {
  exchange.bucket.uploads.delete(uploadOf(exchange).uploadId);
  return emptyReply(204);
}

/** ListParts. */
export function listParts(exchange: Exchange): Reply {
  const { request, bucket } = exchange;
  const upload = uploadOf(exchange);
  const after = countOf(request, "part-number-marker", 0, MAX_PARTS);
  const max = countOf(request, "max-parts", 1000, 1000);
  const rest = [...upload.parts].filter(([number]) => number > after).sort(([a], [b]) => a - b);
  const page = rest.slice(0, max);
  const isTruncated = rest.length > page.length;
  const content = [
    textElement("Bucket", bucket.name),
    textElement("Key", request.key),
    textElement("UploadId", upload.uploadId),
    textElement("PartNumberMarker", after),
    isTruncated ? textElement("NextPartNumberMarker", page.at(-1)?.[0] ?? after) : "",
    textElement("MaxParts", max),
    textElement("IsTruncated", isTruncated),
    ...page.map(([number, part]) => partElement(number, part)),
  ];
  return xmlReply(document("ListPartsResult", ...content));
}

function partElement(number: number, part: UploadedPart): string {
  const fields = [
    textElement("PartNumber", number),
    textElement("LastModified", isoTime(part.lastModifiedMs)),
    textElement("ETag", `"${part.etag}"`),
    textElement("Size", part.size),
    checksumElements(part satisfies Content),
  ];
  return `<Part>${fields.join("")}</Part>`;
}

function uploadOf({ request, bucket }: Exchange): UnfinishedUpload {
  const id = request.query.get("uploadId") ?? "";
  const upload = bucket.uploads.get(id);
  if (upload?.key !== request.key) throw noSuchUpload(id);
  return upload;
}

function partNumberOf(request: S3Request): number {
  const number = Number(request.query.get("partNumber"));
  if (!Number.isInteger(number) || number < 1 || number > MAX_PARTS) {
    throw new S3Error(400, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive");
  }
  return number;
}

function md5Of(chunks: readonly Uint8Array[]): Buffer {
  const hash = createHash("md5");
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest();
}

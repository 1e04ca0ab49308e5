/**
 * What every adapter checks before it acts, so that all of them refuse the same requests with the same code. Pure; knows
 * no adapter.
 */
import { StoreError } from "../errors.ts";
import type { ByteRange, ObjectProperties, PartBody, PartPosition, PartSource, StoredPart, StoreLimits } from "./objectstore.ts";

/** Longest key in UTF-8 bytes (Amazon S3 User Guide, "Naming Amazon S3 objects"). */
export const MAX_KEY_BYTES = 1024;

/** Most user metadata of one object, names and values together, in bytes (Amazon S3 User Guide, "Working with object metadata"). */
export const MAX_METADATA_BYTES = 2048;

/** Most entries of one listing page. */
export const MAX_PAGE_SIZE = 1000;

/** A lone surrogate: the string is not well-formed Unicode and has no UTF-8. */
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Throws `invalid-key` unless `key` is well-formed and 1 to 1,024 UTF-8 bytes long. */
export function checkKey(key: string): void {
  if (key.length === 0) throw new StoreError("invalid-key", "the key is empty");
  if (LONE_SURROGATE.test(key)) throw new StoreError("invalid-key", `key ${JSON.stringify(key)} is not well-formed Unicode`);
  if (key.length * 3 <= MAX_KEY_BYTES) return;
  const bytes = Buffer.byteLength(key);
  if (bytes > MAX_KEY_BYTES)
    throw new StoreError("invalid-key", `key ${JSON.stringify(key)} has ${bytes} bytes; at most ${MAX_KEY_BYTES} are possible`);
}

/** Throws `aborted` (cause: the signal's reason) if `signal` is aborted. */
export function checkNotAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new StoreError("aborted", "the request was given up by its caller", { cause: signal.reason });
}

/** Throws `invalid-argument` if metadata is over the limit or has a name that is not lower case. */
export function checkProperties(properties: ObjectProperties | undefined): void {
  let bytes = 0;
  for (const [name, value] of Object.entries(properties?.metadata ?? {})) {
    if (name !== name.toLowerCase()) throw new StoreError("invalid-argument", `metadata name ${JSON.stringify(name)} is not lower case`);
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  if (bytes > MAX_METADATA_BYTES) {
    throw new StoreError("invalid-argument", `user metadata has ${bytes} bytes; at most ${MAX_METADATA_BYTES} are possible`);
  }
}

/** The range's bytes within an object of `size` bytes: `end` is exclusive here. Throws `invalid-argument` as the port says. */
export function resolveRange(range: ByteRange | undefined, size: number): { start: number; end: number } {
  if (range === undefined) return { start: 0, end: size };
  checkRange(range);
  const { start, end } = range;
  if (start >= size) throw new StoreError("invalid-argument", `range starts at ${start}, the object has ${size} bytes`);
  return { start, end: end === undefined ? size : Math.min(end + 1, size) };
}

/** Throws `invalid-argument` unless the range is made of safe integers with 0 ≤ start ≤ end. */
export function checkRange({ start, end }: ByteRange): void {
  if (!Number.isSafeInteger(start) || start < 0 || (end !== undefined && (!Number.isSafeInteger(end) || end < start))) {
    throw new StoreError("invalid-argument", `byte range ${start}-${end ?? ""} is not valid`);
  }
}

/** Bytes of a chunk list. */
export function totalLength(chunks: readonly Uint8Array[]): number {
  let total = 0;
  for (const chunk of chunks) total += chunk.byteLength;
  return total;
}

/** Bytes of a part. */
export function partLength(body: PartBody): number {
  return "read" in body ? body.size : totalLength(body);
}

/** The bytes of a part, piece by piece. */
export function partPieces(body: PartBody): AsyncIterable<Uint8Array> | Iterable<Uint8Array> {
  return "read" in body ? body.read() : body;
}

/** Throws `too-large` if one `put` cannot take `size` bytes. */
export function checkPutSize(size: number, limits: StoreLimits): void {
  if (size > limits.maxPutSize) throw new StoreError("too-large", `${size} bytes are over the limit of one put (${limits.maxPutSize})`);
}

/** Throws unless the position is within limits (`invalid-argument`) and the size is (`too-large`). */
export function checkPart(position: PartPosition, size: number, limits: StoreLimits): void {
  const { partNumber, offset } = position;
  if (!Number.isSafeInteger(partNumber) || partNumber < 1 || partNumber > limits.maxParts) {
    throw new StoreError("invalid-argument", `part number ${partNumber} is not between 1 and ${limits.maxParts}`);
  }
  if (!Number.isSafeInteger(offset) || offset < 0) throw new StoreError("invalid-argument", `part offset ${offset} is not valid`);
  if (size > limits.maxPartSize) throw new StoreError("too-large", `part of ${size} bytes is over the limit (${limits.maxPartSize})`);
  if (offset + size > limits.maxObjectSize) throw new StoreError("too-large", `object is over the limit (${limits.maxObjectSize} bytes)`);
}

/** Throws `invalid-argument` unless the source is a range of at least one byte. */
export function checkPartSource(source: PartSource): void {
  checkKey(source.key);
  const { start, length } = source;
  if (!Number.isSafeInteger(start) || start < 0 || !Number.isSafeInteger(length) || length < 1) {
    throw new StoreError("invalid-argument", `source range of ${length} bytes from ${start} is not valid`);
  }
}

/** Size of the object the parts form. Throws `invalid-argument` unless there are some, in order, and large enough. */
export function checkPartList(parts: readonly StoredPart[], limits: StoreLimits): number {
  if (parts.length === 0) throw new StoreError("invalid-argument", "an upload cannot be completed without parts");
  let previous = 0;
  let size = 0;
  for (const [index, part] of parts.entries()) {
    if (part.partNumber <= previous) throw new StoreError("invalid-argument", "parts are not in ascending order");
    if (index < parts.length - 1 && part.size < limits.minPartSize) {
      throw new StoreError("invalid-argument", `part ${part.partNumber} has ${part.size} bytes, less than ${limits.minPartSize}`);
    }
    previous = part.partNumber;
    size += part.size;
  }
  return size;
}

/** The page size asked for, within 1 to 1,000. Throws `invalid-argument` if it is not. */
export function checkPageSize(pageSize: number | undefined): number {
  if (pageSize === undefined) return MAX_PAGE_SIZE;
  if (!Number.isSafeInteger(pageSize) || pageSize < 1 || pageSize > MAX_PAGE_SIZE) {
    throw new StoreError("invalid-argument", `page size ${pageSize} is not between 1 and ${MAX_PAGE_SIZE}`);
  }
  return pageSize;
}

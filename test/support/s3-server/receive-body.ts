/** Reads a request body into chunks and checks everything the client announced about it. */
import { createHash, randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { AwsChunkedDecoder } from "./aws-chunked.ts";
import type { Content } from "./bucket.ts";
import { CHECKSUM_ALGORITHMS, type ChecksumAlgorithm, startChecksum } from "./checksums.ts";
import { S3Error } from "./s3-error.ts";

/** Slices of a network buffer keep the whole of it alive; objects smaller than this are copied out. */
const COPY_BELOW = 32 * 1024;

/** How a body is to be taken. */
export interface ReceiveOptions {
  /** Compute MD5 (for ETag); without it the digest is random. */
  readonly md5: boolean;
  /** A checksum to compute whether or not the client sent one. */
  readonly computed?: ChecksumAlgorithm | undefined;
  /** The body is a document, and `x-amz-checksum-…` headers speak of the object it makes, not of it. */
  readonly isDocument?: boolean;
  /** Called before each piece is taken: the place to stall or slow down. */
  readonly pace?: ((size: number) => Promise<void> | undefined) | undefined;
}

/** Reads the body; throws IncompleteBody, BadDigest, XAmzContentSHA256Mismatch or InvalidRequest if it is not as announced. */
export async function receiveBody(request: IncomingMessage, options: ReceiveOptions): Promise<Content> {
  const { headers } = request;
  const announced = announcedChecksums(request, options.isDocument ?? false);
  const running = new Map([...announced.keys()].map((name) => [name, startChecksum(name)]));
  if (options.computed && !running.has(options.computed)) running.set(options.computed, startChecksum(options.computed));
  const payloadHash = String(headers["x-amz-content-sha256"] ?? "");
  const sha256 = /^[0-9a-f]{64}$/.test(payloadHash) ? createHash("sha256") : undefined;
  const md5 = options.md5 || headers["content-md5"] !== undefined ? createHash("md5") : undefined;
  const chunks: Buffer[] = [];
  let size = 0;
  const take = (chunk: Buffer): void => {
    chunks.push(chunk);
    size += chunk.length;
    md5?.update(chunk);
    sha256?.update(chunk);
    for (const checksum of running.values()) checksum.update(chunk);
  };
  const trailers = payloadHash.startsWith("STREAMING-")
    ? await receiveChunked(request, take, options)
    : await receivePlain(request, take, options);
  checkLength(request, size);
  const digest = md5?.digest() ?? randomBytes(16);
  if (headers["content-md5"] !== undefined && headers["content-md5"] !== digest.toString("base64")) {
    throw new S3Error(400, "BadDigest", "The Content-MD5 you specified did not match what we received.");
  }
  if (sha256 && sha256.digest("hex") !== payloadHash) {
    throw new S3Error(400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.");
  }
  const checksums: Partial<Record<ChecksumAlgorithm, string>> = {};
  for (const [name, checksum] of running) {
    const value = checksum.base64();
    const wanted = announced.get(name) ?? trailers.get(`x-amz-checksum-${name}`);
    if (announced.has(name) && wanted !== value) {
      throw new S3Error(400, "BadDigest", `The ${name.toUpperCase()} you specified did not match the calculated checksum.`);
    }
    checksums[name] = value;
  }
  return { chunks: size < COPY_BELOW && size > 0 ? [Buffer.concat(chunks)] : chunks, size, digest, checksums };
}

/** Checksums the client sends in headers (with value) or announces as trailers (value still undefined). */
function announcedChecksums(request: IncomingMessage, isDocument: boolean): Map<ChecksumAlgorithm, string | undefined> {
  const announced = new Map<ChecksumAlgorithm, string | undefined>();
  if (isDocument) return announced;
  for (const name of CHECKSUM_ALGORITHMS) {
    const value = request.headers[`x-amz-checksum-${name}`];
    if (value !== undefined) announced.set(name, String(value));
    else if (String(request.headers["x-amz-trailer"] ?? "").includes(`x-amz-checksum-${name}`)) announced.set(name, undefined);
  }
  return announced;
}

async function receivePlain(
  request: IncomingMessage,
  take: (chunk: Buffer) => void,
  options: ReceiveOptions,
): Promise<Map<string, string>> {
  for await (const chunk of request as AsyncIterable<Buffer>) {
    await options.pace?.(chunk.length);
    take(chunk);
  }
  return new Map();
}

async function receiveChunked(
  request: IncomingMessage,
  take: (chunk: Buffer) => void,
  options: ReceiveOptions,
): Promise<ReadonlyMap<string, string>> {
  const decoder = new AwsChunkedDecoder(take);
  for await (const chunk of request as AsyncIterable<Buffer>) {
    await options.pace?.(chunk.length);
    decoder.push(chunk);
  }
  return decoder.end();
}

function checkLength(request: IncomingMessage, size: number): void {
  const isChunked = String(request.headers["x-amz-content-sha256"] ?? "").startsWith("STREAMING-");
  const announced = isChunked ? request.headers["x-amz-decoded-content-length"] : request.headers["content-length"];
  if (announced === undefined) {
    if (isChunked || size > 0) throw new S3Error(411, "MissingContentLength", "You must provide the Content-Length HTTP header.");
  } else if (Number(announced) !== size) {
    throw new S3Error(400, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header");
  }
}

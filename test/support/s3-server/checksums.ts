/** The checksums S3 verifies and stores, computed over chunks. */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";

/** Checksum algorithms this server knows, as in `x-amz-checksum-…`. */
export const CHECKSUM_ALGORITHMS = ["crc32", "sha1", "sha256"] as const;
/** One of them. */
export type ChecksumAlgorithm = (typeof CHECKSUM_ALGORITHMS)[number];

/** A running checksum; `base64` ends it. */
export interface RunningChecksum {
  update(chunk: Uint8Array): void;
  base64(): string;
}

/** Starts a checksum. */
export function startChecksum(algorithm: ChecksumAlgorithm): RunningChecksum {
  if (algorithm === "crc32") {
    let value = 0;
    return {
      update: (chunk) => {
        value = crc32(chunk, value);
      },
      base64: () => crc32ToBase64(value),
    };
  }
  const hash = createHash(algorithm);
  return {
    update: (chunk) => {
      hash.update(chunk);
    },
    base64: () => hash.digest("base64"),
  };
}

/** CRC-32 of a chunk list. */
export function crc32OfChunks(chunks: readonly Uint8Array[]): number {
  let value = 0;
  for (const chunk of chunks) value = crc32(chunk, value);
  return value;
}

/** S3's text form of a CRC-32: base64 of the four bytes, big end first. */
export function crc32ToBase64(value: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes.toString("base64");
}

/** The inverse of `crc32ToBase64`. */
export function crc32FromBase64(text: string): number {
  return Buffer.from(text, "base64").readUInt32BE(0);
}

function times(matrix: Uint32Array, vector: number): number {
  let sum = 0;
  for (let bit = 0, rest = vector; rest !== 0; bit++, rest >>>= 1) {
    if (rest & 1) sum ^= matrix[bit] ?? 0;
  }
  return sum >>> 0;
}

function square(matrix: Uint32Array): Uint32Array {
  return matrix.map((column) => times(matrix, column));
}

/**
 * CRC-32 of the concatenation of A and B from the CRC-32 of each and the length of B in bytes: advancing a CRC over one
 * zero bit is a linear map over GF(2), so advancing it over B's length is a power of that matrix.
 */
export function combineCrc32(a: number, b: number, lengthOfB: number): number {
  let matrix = new Uint32Array(32);
  matrix[0] = 0xedb88320;
  for (let bit = 1; bit < 32; bit++) matrix[bit] = 2 ** (bit - 1);
  for (let i = 0; i < 3; i++) matrix = new Uint32Array(square(matrix)); // one zero bit → eight
  let value = a;
  for (let rest = lengthOfB; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) value = times(matrix, value);
    matrix = new Uint32Array(square(matrix));
  }
  return (value ^ b) >>> 0;
}

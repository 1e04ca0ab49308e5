/**
 * The three checksums of a run (rsync checksum.c): of a whole transferred file, of a block, and of a file in the file
 * list; and the rolling sum. MD5 from protocol 30 on, MD4 below. Knows nothing of files.
 */
import { createHash } from "node:crypto";
import { Md4 } from "./md4.ts";

/** Bytes of every strong checksum. */
export const CHECKSUM_LENGTH = 16;

/** A computation in progress. */
export interface Digest {
  update(data: Uint8Array): unknown;
  digest(): Uint8Array;
}

/** What the handshake settled about checksums. */
export interface ChecksumRules {
  readonly protocol: number;
  readonly seed: number;
  /** The seed goes before the block instead of after it (compat flag 0x20). */
  readonly seedFirst: boolean;
}

function newDigest(protocol: number): Digest {
  return protocol >= 30 ? createHash("md5") : new Md4();
}

function seedBytes(seed: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(seed | 0);
  return bytes;
}

/** The checksum sent after each file's data. */
export function transferDigest(rules: ChecksumRules): Digest {
  const digest = newDigest(rules.protocol);
  if (rules.protocol < 30) digest.update(seedBytes(rules.seed));
  return digest;
}

/** The checksum of a whole file in the file list (`-c`). */
export function listDigest(rules: ChecksumRules): Digest {
  return newDigest(rules.protocol);
}

/** Computes the strong sum of the block given as `pieces`. */
export function blockSum(rules: ChecksumRules, ...pieces: readonly Uint8Array[]): Uint8Array {
  const digest = newDigest(rules.protocol);
  const seed = rules.seed === 0 ? undefined : seedBytes(rules.seed);
  const first = rules.seedFirst && rules.protocol >= 30;
  if (seed && first) digest.update(seed);
  for (const piece of pieces) digest.update(piece);
  if (seed && !first) digest.update(seed);
  return digest.digest();
}

/** The rolling sum of `block` as an unsigned 32-bit number (rsync checksum.c `get_checksum1`). */
export function rollingSum(block: Uint8Array): number {
  const signed = new Int8Array(block.buffer, block.byteOffset, block.byteLength);
  let s1 = 0;
  let s2 = 0;
  for (let index = 0; index < signed.length; index++) {
    s1 = (s1 + (signed[index] ?? 0)) | 0;
    s2 = (s2 + s1) | 0;
  }
  return ((s1 & 0xffff) | (s2 << 16)) >>> 0;
}

/** True if two checksums are the same bytes. */
export function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

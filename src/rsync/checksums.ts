/**
 * The three checksums of a run (rsync checksum.c): of a whole transferred file, of a block, and of a file in the file
 * list; and the rolling sum. MD5 from protocol 30 on, MD4 below. Knows nothing of files.
 */
import { createHash } from "node:crypto";
import { Md4 } from "./md4.ts";
import { Md5 } from "./md5.ts";
import { DATA_AT, DATA_SIZE, ROLLING_AT, sumModule } from "./sum-module.ts";

/** Bytes of every strong checksum. */
export const CHECKSUM_LENGTH = 16;

/** A computation in progress. */
export interface Digest {
  update(data: Uint8Array): unknown;
  digest(): Uint8Array;
}

/** A computation that can go on in another run. */
export interface SavableDigest extends Digest {
  /** The computation so far; its length depends on the number of bytes only. */
  save(): Uint8Array;
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

/** As `transferDigest`; with `saved`, what `save` gave after `length` bytes of the file, it goes on there. */
export function savableTransferDigest(rules: ChecksumRules, saved?: Uint8Array, length = 0): SavableDigest {
  if (saved) return rules.protocol >= 30 ? Md5.restore(saved, length) : Md4.restore(saved, length + 4);
  if (rules.protocol >= 30) return new Md5();
  return new Md4().update(seedBytes(rules.seed));
}

/** Bytes that `save` of a transfer digest gives after `length` bytes of a file. */
export function savedLength(rules: ChecksumRules, length: number): number {
  return CHECKSUM_LENGTH + (rules.protocol >= 30 ? length % 64 : (length + 4) % 64);
}

/** The checksum of a whole file in the file list (`-c`). */
export function listDigest(rules: ChecksumRules): Digest {
  return newDigest(rules.protocol);
}

/** Computes the strong sum of a block. */
export function blockSum(rules: ChecksumRules, block: Uint8Array): Uint8Array {
  const sum = newBlockSum(rules);
  sum.update(block);
  return sum.digest();
}

/** The strong sum of a block that comes in pieces. */
export function newBlockSum(rules: ChecksumRules): Digest {
  const digest = newDigest(rules.protocol);
  if (rules.seed === 0) return digest;
  if (rules.seedFirst && rules.protocol >= 30) {
    digest.update(seedBytes(rules.seed));
    return digest;
  }
  return {
    update: (data) => digest.update(data),
    digest: () => {
      digest.update(seedBytes(rules.seed));
      return digest.digest();
    },
  };
}

/** The rolling sum of `block` as an unsigned 32-bit number (rsync checksum.c `get_checksum1`). */
export function rollingSum(block: Uint8Array): number {
  const sums = new RollingSum();
  sums.add(block);
  return sums.value;
}

/** The rolling sum of bytes that come in pieces. */
export class RollingSum {
  #s1 = 0;
  #s2 = 0;

  add(bytes: Uint8Array): void {
    const { memory, rolling } = sumModule();
    const words = new DataView(memory.buffer, ROLLING_AT, 8);
    words.setInt32(0, this.#s1, true);
    words.setInt32(4, this.#s2, true);
    for (let offset = 0; offset < bytes.length; offset += DATA_SIZE) {
      const piece = bytes.subarray(offset, offset + DATA_SIZE);
      memory.set(piece, DATA_AT);
      rolling(piece.length);
    }
    this.#s1 = words.getInt32(0, true);
    this.#s2 = words.getInt32(4, true);
  }

  /** The sum so far as an unsigned 32-bit number. */
  get value(): number {
    return ((this.#s1 & 0xffff) | (this.#s2 << 16)) >>> 0;
  }

  /** Begins anew. */
  reset(): void {
    this.#s1 = 0;
    this.#s2 = 0;
  }
}

/** True if two checksums are the same bytes. */
export function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

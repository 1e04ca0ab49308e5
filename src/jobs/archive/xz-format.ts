/**
 * The .xz container (the .xz file format specification 1.2.1): stream header, blocks with their sizes in the header,
 * index, footer; SHA-256 as check. Blocks hold LZMA2 data that is either stored as it is or was compressed elsewhere.
 * Pure, no I/O.
 */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";

/** Check id of SHA-256 (§2.1.1.2). */
const CHECK_SHA256 = 0x0a;
/** LZMA2 chunks that are not compressed hold at most 64 KiB (LZMA2, control bytes 1 and 2). */
const STORED_CHUNK = 65_536;
/** LZMA2 dictionary size byte: 1 MiB, for stored blocks; 8 MiB, for compressed ones (§5.3.1). */
export const DICTIONARY_1_MIB = 0x10;
export const DICTIONARY_8_MIB = 0x16;

/** What the index says about one block: bytes without padding, and bytes of the data in it. */
export interface BlockRecord {
  readonly unpaddedSize: number;
  readonly uncompressedSize: number;
}

/** A finished block: bytes to write, in order, and its line in the index. */
export interface EncodedBlock {
  readonly chunks: readonly Uint8Array[];
  readonly record: BlockRecord;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

/** Variable-length integer (§1.2): 7 bits a byte, least significant first. `value` is a safe integer ≥ 0. */
function variableLength(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}

function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}

/** Stream header (§2.1.1). */
export function streamHeader(): Uint8Array {
  const flags = Buffer.of(0, CHECK_SHA256);
  return Buffer.concat([Buffer.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0), flags, uint32(crc32(flags))]);
}

/** Block header with both sizes and the one filter LZMA2 (§3.1). */
function blockHeader(compressedSize: number, uncompressedSize: number, dictionary: number): Buffer {
  const fields = Buffer.concat([
    Buffer.of(0xc0),
    variableLength(compressedSize),
    variableLength(uncompressedSize),
    Buffer.of(0x21, 1, dictionary),
  ]);
  const size = Math.ceil((1 + fields.length + 4) / 4) * 4;
  const body = Buffer.concat([Buffer.of(size / 4 - 1), fields, Buffer.alloc(size - 5 - fields.length)]);
  return Buffer.concat([body, uint32(crc32(body))]);
}

function block(data: readonly Uint8Array[], compressed: readonly Uint8Array[], dictionary: number): EncodedBlock {
  const check = createHash("sha256");
  let uncompressedSize = 0;
  for (const chunk of data) {
    check.update(chunk);
    uncompressedSize += chunk.length;
  }
  const compressedSize = compressed.reduce((sum, chunk) => sum + chunk.length, 0);
  const header = blockHeader(compressedSize, uncompressedSize, dictionary);
  const digest = check.digest();
  return {
    chunks: [header, ...compressed, padding(compressedSize), digest],
    record: { unpaddedSize: header.length + compressedSize + digest.length, uncompressedSize },
  };
}

/** A block whose data is stored as it is, in LZMA2 chunks of at most 64 KiB. `data` is not copied. */
export function storedBlock(data: readonly Uint8Array[]): EncodedBlock {
  const stored: Uint8Array[] = [];
  for (const chunk of data) {
    for (let at = 0; at < chunk.length; at += STORED_CHUNK) {
      const piece = chunk.subarray(at, at + STORED_CHUNK);
      // 1 resets the dictionary and must come first; 2 goes on.
      stored.push(Buffer.of(stored.length === 0 ? 1 : 2, (piece.length - 1) >> 8, (piece.length - 1) & 0xff), piece);
    }
  }
  stored.push(Buffer.of(0));
  return block(data, stored, DICTIONARY_1_MIB);
}

/** A block of raw LZMA2 data that was compressed elsewhere from `data` with a dictionary of at most 8 MiB. */
export function compressedBlock(data: readonly Uint8Array[], lzma2: readonly Uint8Array[]): EncodedBlock {
  return block(data, lzma2, DICTIONARY_8_MIB);
}

/** Index and footer (§4, §2.1.2) after the last block. */
export function streamFooter(records: readonly BlockRecord[]): Uint8Array {
  const fields = records.flatMap((r) => [variableLength(r.unpaddedSize), variableLength(r.uncompressedSize)]);
  const unpadded = Buffer.concat([Buffer.of(0), variableLength(records.length), ...fields]);
  const index = Buffer.concat([unpadded, padding(unpadded.length)]);
  const backwardSize = uint32((index.length + 4) / 4 - 1);
  const flags = Buffer.of(0, CHECK_SHA256);
  const footer = Buffer.concat([backwardSize, flags]);
  return Buffer.concat([index, uint32(crc32(index)), uint32(crc32(footer)), footer, Buffer.of(0x59, 0x5a)]);
}

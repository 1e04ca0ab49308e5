/**
 * Sum headers and block sums (rsync `struct sum_struct`): how a basis file is cut into blocks and how that is written
 * on the wire. Pure.
 */
import type { ByteBuilder } from "./byte-builder.ts";
import type { ByteCursor } from "./byte-cursor.ts";
import { CHECKSUM_LENGTH } from "./checksums.ts";
import { ProtocolError } from "../errors.ts";

/** How a basis file is cut into blocks. All zero: there is no basis. */
export interface SumHeader {
  /** Number of blocks. */
  readonly count: number;
  /** Length of every block but perhaps the last. */
  readonly blockLength: number;
  /** Bytes of each strong sum that are sent. */
  readonly strongLength: number;
  /** Length of the last block if it is shorter, else 0. */
  readonly remainder: number;
}

/** No basis: the whole file is wanted. */
export const NO_SUMS: SumHeader = { count: 0, blockLength: 0, strongLength: 0, remainder: 0 };

const DEFAULT_BLOCK = 700;
const MAX_BLOCKS = 2 ** 25;

/** Longest block a protocol allows. */
function maxBlockLength(protocol: number): number {
  return protocol >= 30 ? 2 ** 17 : 2 ** 29;
}

/** Reads and checks a sum header. Throws `ProtocolError`. */
export function decodeSumHeader(cursor: ByteCursor, protocol: number): SumHeader {
  const header = { count: cursor.i32(), blockLength: cursor.i32(), strongLength: cursor.i32(), remainder: cursor.i32() };
  const sane =
    header.count >= 0 &&
    header.count <= MAX_BLOCKS &&
    header.blockLength >= 0 &&
    header.blockLength <= maxBlockLength(protocol) &&
    (header.count === 0 || header.blockLength > 0) &&
    header.strongLength >= 0 &&
    header.strongLength <= CHECKSUM_LENGTH &&
    header.remainder >= 0 &&
    header.remainder <= header.blockLength;
  if (!sane) throw new ProtocolError(`invalid sum header: ${Object.values(header).join(", ")}`);
  return header;
}

/** Writes a sum header. */
export function encodeSumHeader(out: ByteBuilder, header: SumHeader): void {
  out.i32(header.count);
  out.i32(header.blockLength);
  out.i32(header.strongLength);
  out.i32(header.remainder);
}

/** Length of the basis a header describes. */
export function basisLength(header: SumHeader): number {
  return header.count * header.blockLength - (header.remainder ? header.blockLength - header.remainder : 0);
}

/** Length of block `index`. */
export function lengthOfBlock(header: SumHeader, index: number): number {
  return index === header.count - 1 && header.remainder > 0 ? header.remainder : header.blockLength;
}

/** Cuts a basis of `length` bytes as rsync does (generator.c `sum_sizes_sqroot`). `wanted`: the `--block-size`, or 0. */
export function sumHeaderFor(length: number, protocol: number, wanted: number): SumHeader {
  const blockLength = wanted > 0 ? Math.min(wanted, maxBlockLength(protocol)) : defaultBlockLength(length, protocol);
  return {
    count: Math.ceil(length / blockLength),
    blockLength,
    strongLength: strongLength(length, blockLength),
    remainder: length % blockLength,
  };
}

/** The integer square root, found bit by bit down to 8. */
function defaultBlockLength(length: number, protocol: number): number {
  if (length <= DEFAULT_BLOCK * DEFAULT_BLOCK) return DEFAULT_BLOCK;
  let bit = 1;
  for (let rest = Math.floor(length / 4); rest > 0; rest = Math.floor(rest / 4)) bit *= 2;
  let blockLength = 0;
  for (; bit >= 8; bit /= 2) {
    if (length >= (blockLength + bit) ** 2) blockLength += bit;
  }
  return Math.min(Math.max(blockLength, DEFAULT_BLOCK), maxBlockLength(protocol));
}

function strongLength(length: number, blockLength: number): number {
  const bits = Math.max(0, 10 + 2 * Math.floor(Math.log2(Math.max(1, length))) - Math.floor(Math.log2(blockLength)));
  return Math.min(CHECKSUM_LENGTH, Math.max(2, Math.floor((bits + 1 - 32 + 7) / 8)));
}

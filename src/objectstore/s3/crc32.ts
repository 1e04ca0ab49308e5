/**
 * CRC-32 as S3 writes it, and of objects made of parts whose CRCs are known. Pure; knows no store.
 */
import { crc32 } from "node:zlib";

/** The reflected generator polynomial of CRC-32 (ISO 3309). */
const POLYNOMIAL = 0xedb88320;

/** CRC-32 of the chunks one after the other; `initial` continues an earlier value. */
export function crc32Of(chunks: readonly Uint8Array[], initial = 0): number {
  let value = initial;
  // Node 20's crc32 forgets `value` when an empty buffer has no memory behind it.
  for (const chunk of chunks) if (chunk.byteLength > 0) value = crc32(chunk, value);
  return value;
}

/** As S3 writes it in headers: base64 of the four bytes, most significant first. */
export function encodeCrc32(value: number): string {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes.toString("base64");
}

/** The value of a header as S3 writes it; undefined for anything else, such as the composite `…-3` of multipart uploads. */
export function decodeCrc32(text: string | undefined): number | undefined {
  if (text === undefined || !/^[A-Za-z0-9+/]{6}==$/.test(text)) return undefined;
  return Buffer.from(text, "base64").readUInt32BE(0);
}

/** CRC-32 of two byte sequences one after the other, from the CRC-32 of each and the length of the second in bytes. */
export function combineCrc32(first: number, second: number, secondLength: number): number {
  // Appending zeros multiplies by x^8 for each byte, modulo the polynomial: square and multiply over the length.
  let factor = 0x80000000;
  let power = 0x00800000;
  for (let left = secondLength; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) factor = multiply(factor, power);
    power = multiply(power, power);
  }
  return (multiply(first >>> 0, factor) ^ second) >>> 0;
}

/** Product of two polynomials over GF(2) modulo the generator; the highest bit is the coefficient of x^0. */
function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = b;
  for (let bit = 0x80000000; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= shifted;
    shifted = (shifted & 1) !== 0 ? (shifted >>> 1) ^ POLYNOMIAL : shifted >>> 1;
  }
  return product >>> 0;
}

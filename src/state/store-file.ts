/**
 * Looks at a data file of lmdb before it is opened: the library maps the file and a damaged one ends the process
 * (lmdb 3.5.6; SIGSEGV for wrong meta pages, SIGBUS for a file that was cut; test: upload-state.test.ts). Finds what a
 * full disk, a lost power or a stranger's file leave behind, not every flipped bit.
 */
import { closeSync, fstatSync, openSync, readSync, renameSync } from "node:fs";

/** `MDB_meta` after the page header of lmdb-js (24 bytes): magic, page size, last page, transaction. */
const magic = 0xbeefc0de;
const headerLength = 24;
const pageSizeAt = headerLength + 24;
const lastPageAt = headerLength + 120;
const transactionAt = headerLength + 128;
const metaLength = headerLength + 136;

/**
 * Puts a data file aside that lmdb would crash on; lmdb then begins a new one. Returns where it is now, or undefined if
 * all is well or there is no file. Throws the system's error if it cannot be renamed.
 */
export function putBrokenStoreAside(dataFile: string): string | undefined {
  if (isSound(dataFile)) return undefined;
  const aside = `${dataFile}.broken-${Date.now()}`;
  renameSync(dataFile, aside);
  return aside;
}

function isSound(dataFile: string): boolean {
  let file: number;
  try {
    file = openSync(dataFile, "r");
  } catch {
    // Not there, or not readable: lmdb says so itself.
    return true;
  }
  try {
    const { size } = fstatSync(file);
    return size === 0 || isSoundContent(file, size);
  } finally {
    closeSync(file);
  }
}

function isSoundContent(file: number, size: number): boolean {
  const first = readMeta(file, 0);
  const pageSize = first?.readUInt32LE(pageSizeAt) ?? 0;
  if (!first || pageSize < 512 || pageSize > 65_536) return false;
  const second = readMeta(file, pageSize);
  if (!second) return false;
  const newest = first.readBigUInt64LE(transactionAt) >= second.readBigUInt64LE(transactionAt) ? first : second;
  const expected = (Number(newest.readBigUInt64LE(lastPageAt)) + 1) * pageSize;
  // The last pages may be free and never have been written; a file that lacks more has been cut.
  return size >= expected - Math.max(expected / 10, 64 * pageSize);
}

function readMeta(file: number, position: number): Buffer | undefined {
  const bytes = Buffer.alloc(metaLength);
  const isWhole = readSync(file, bytes, 0, metaLength, position) === metaLength;
  return isWhole && bytes.readUInt32LE(headerLength) === magic ? bytes : undefined;
}

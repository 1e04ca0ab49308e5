/**
 * Reading and writing of files by descriptor: nothing here follows a link or trusts a name. Knows nothing of keys.
 */
import {
  close,
  closeSync,
  constants,
  copyFile as copyFileByPath,
  existsSync,
  fchmodSync,
  fstat,
  fstatSync,
  fsync,
  ftruncate,
  link,
  lstat,
  open,
  read,
  readlink,
  rename,
  unlink,
  writev,
} from "node:fs";
import type { Stats } from "node:fs";
import { promisify } from "node:util";
import { StoreError } from "../errors.ts";
import { SlabPool } from "../slab-pool.ts";
import { systemCode } from "./local-errors.ts";

/** Asynchronous calls on plain descriptors; cheaper than `node:fs/promises`, whose handles are objects. */
export const openFile = promisify(open);
export const closeFile = promisify(close);
export const statFile = promisify(fstat);
export const statPath = promisify(lstat) as (path: string) => Promise<Stats>;
export const syncFile = promisify(fsync);
export const truncateFile = promisify(ftruncate);
export const renamePath = promisify(rename);
export const unlinkPath = promisify(unlink);
export const linkPath = promisify(link);
export const readLink = promisify(readlink) as (path: string) => Promise<string>;
const readFrom = promisify(read);
const writeVector = promisify(writev);

const copyFile = promisify(copyFileByPath);

/** Linux: names that lead to what open descriptors mean. */
export const HAS_PROC = existsSync("/proc/self/fd");

/** Permissions of new files where nothing is said. */
export const NEW_FILE_MODE = 0o644;

/** The name of an open descriptor; only where `HAS_PROC`. */
export function descriptorPath(fd: number): string {
  return `/proc/self/fd/${fd}`;
}

/** Bytes read at once. */
export const READ_SIZE = 256 * 1024;
/** Bytes copied at once. */
const COPY_SIZE = 1024 * 1024;

/** Without O_NONBLOCK, opening a FIFO that somebody planted would wait for its other end. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** An open file whose descriptor is closed once: one that is to be published, or its journal. */
export class StagedFile {
  readonly fd: number;
  readonly path: string;
  /** Has its mode, and every write to it is durable when it ends: needs no sync. */
  readonly isSynchronous: boolean;
  #closed = false;

  constructor(fd: number, path: string, isSynchronous = false) {
    this.fd = fd;
    this.path = path;
    this.isSynchronous = isSynchronous;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Closes the descriptor, once: its number may be another file's afterwards. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.fd);
  }
}

/** Opens a regular file for reading; undefined if something else is there. Throws what the operating system does. */
export async function openRegular(path: string): Promise<{ fd: number; stats: Stats } | undefined> {
  let fd: number;
  try {
    fd = await openFile(path, READ_FLAGS);
  } catch (error) {
    // A socket, or a device without its hardware.
    if (systemCode(error) === "ENXIO" || systemCode(error) === "ENODEV") return undefined;
    throw error;
  }
  const stats = fstatSync(fd);
  if (stats.isFile()) return { fd, stats };
  closeSync(fd);
  return undefined;
}

/** Writes all chunks from `offset` on, without joining them. */
export async function writeChunks(fd: number, chunks: readonly Uint8Array[], offset: number): Promise<void> {
  let left = chunks.filter((chunk) => chunk.byteLength > 0);
  let position = offset;
  while (left.length > 0) {
    const { bytesWritten } = await writeVector(fd, left, position);
    if (bytesWritten === 0) throw new StoreError("io", "the disk took no more bytes and gave no reason");
    position += bytesWritten;
    left = dropBytes(left, bytesWritten);
  }
}

function dropBytes(chunks: Uint8Array[], bytes: number): Uint8Array[] {
  let left = bytes;
  let index = 0;
  for (let chunk = chunks[index]; chunk !== undefined && left >= chunk.byteLength; chunk = chunks[index]) {
    left -= chunk.byteLength;
    index++;
  }
  const rest = chunks.slice(index);
  const first = rest[0];
  if (first !== undefined && left > 0) rest[0] = first.subarray(left);
  return rest;
}

const readSlabs = new SlabPool(READ_SIZE, 4 * 1024 * 1024);

/** Up to `length` bytes from `position`; fewer only at the end of the file. */
export function readChunk(fd: number, position: number, length: number): Promise<Uint8Array> {
  return fill(fd, position, Buffer.allocUnsafeSlow(length));
}

/** As `readChunk` with `READ_SIZE`, in a slab of which the caller is the one holder. */
export function readSlab(fd: number, position: number): Promise<Uint8Array> {
  return fill(fd, position, readSlabs.take());
}

async function fill(fd: number, position: number, buffer: Buffer): Promise<Uint8Array> {
  const { length } = buffer;
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await readFrom(fd, buffer, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled === length ? buffer : buffer.subarray(0, filled);
}

/** Copies a range of one file into another. Throws `io` if the source is shorter. */
export async function copyRange(from: { fd: number; start: number; length: number }, to: { fd: number; offset: number }): Promise<void> {
  for (let done = 0; done < from.length; ) {
    const chunk = await readChunk(from.fd, from.start + done, Math.min(COPY_SIZE, from.length - done));
    if (chunk.byteLength === 0) throw new StoreError("io", "the source file became shorter while it was copied");
    await writeChunks(to.fd, [chunk], to.offset + done);
    done += chunk.byteLength;
  }
}

/** Copies a whole file into an empty staged one; blocks are shared where the file system can. Times and mode are not copied. */
export async function copyContent(from: { readonly fd: number; readonly size: number }, to: StagedFile): Promise<void> {
  if (HAS_PROC) {
    await copyFile(descriptorPath(from.fd), descriptorPath(to.fd), constants.COPYFILE_FICLONE);
    fchmodSync(to.fd, NEW_FILE_MODE);
  } else await copyRange({ fd: from.fd, start: 0, length: from.size }, { fd: to.fd, offset: 0 });
}

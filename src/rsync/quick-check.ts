/**
 * Whether a file at the destination is what the list says (rsync generator.c `quick_check_ok`): by size and time, by
 * size alone, or by checksum. Also the full computation of checksums where none is stored. Knows no wire.
 */
import { type ChecksumRules, type Digest, listDigest, sameBytes } from "./checksums.ts";
import type { Existing } from "./destination-index.ts";
import type { FileList } from "./file-list.ts";
import type { Run } from "./run.ts";
import type { FileHandle, FileSystem } from "../vfs/file-system.ts";

/** How much is read at once. Bytes. */
export const READ_SIZE = 1024 * 1024;

/** Whether two times count as different. Below protocol 30 times have 32 bits. */
export function timesDiffer(run: Run, listTime: number, existing: number): boolean {
  const wire = run.protocol < 30 ? existing >>> 0 : existing;
  return Math.abs(listTime - wire) > run.options.modifyWindow;
}

/** Reads a file from `from` up to `to` in order and passes the pieces on; returns how many bytes there were. */
export async function readThrough(
  handle: FileHandle,
  from: number,
  to: number,
  use: (chunks: readonly Uint8Array[]) => void | Promise<void>,
): Promise<number> {
  let offset = from;
  while (offset < to) {
    const chunks = await handle.read(offset, Math.min(READ_SIZE, to - offset));
    if (chunks.length === 0) break;
    for (const chunk of chunks) offset += chunk.length;
    await use(chunks);
  }
  return offset - from;
}

/** Feeds a whole file to `digest`. */
export async function digestFile(fileSystem: FileSystem, path: string, digest: Digest): Promise<Uint8Array> {
  const handle = await fileSystem.open(path, { read: true });
  try {
    await readThrough(handle, 0, Number.MAX_SAFE_INTEGER, (chunks) => {
      for (const chunk of chunks) digest.update(chunk);
    });
  } finally {
    await handle.close();
  }
  return digest.digest();
}

/** The checksum of a file as the list carries it: a stored one if that costs nothing, else of its bytes. */
export async function listChecksum(fileSystem: FileSystem, rules: ChecksumRules, path: string): Promise<Uint8Array> {
  const stored = rules.protocol >= 30 ? await fileSystem.storedChecksum(path, "md5") : undefined;
  if (stored !== undefined && /^[0-9a-f]{32}$/.test(stored)) return Buffer.from(stored, "hex");
  return digestFile(fileSystem, path, listDigest(rules));
}

/** True if the content at the destination counts as the one in the list. */
export function isUnchanged(run: Run, list: FileList, position: number, existing: Existing, path: string): boolean | Promise<boolean> {
  const { options } = run;
  if (existing.size !== list.size(position)) return false;
  const wanted = list.checksum(position);
  if (options.checksum && wanted) {
    return listChecksum(run.fileSystem, run.checksums, path).then((found) => sameBytes(found, wanted));
  }
  if (options.sizeOnly) return true;
  if (options.ignoreTimes) return false;
  return !timesDiffer(run, list.mtime(position), existing.mtime);
}

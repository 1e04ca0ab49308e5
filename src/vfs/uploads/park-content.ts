/**
 * A file that waits, whole, for its rename (`parked`, see upload-life.ts), or is given up: brings its bytes to where they
 * survive this process. Knows nothing of names and rows.
 */
import { FsError } from "../../errors.ts";
import type { ReadyContent } from "./content-options.ts";
import type { PartAssembler, Remains } from "./part-assembler.ts";
import type { Spool } from "./spool.ts";
import type { UploadVolume } from "./upload-volume.ts";

/**
 * Brings all bytes to this node's disk, from where the rename publishes them by one request, or else to the store in
 * parts. False: they are not all here, and `onlyHere` was asked for. Rejects with the store's error.
 */
export async function makeSafe(volume: UploadVolume, assembler: PartAssembler, onlyHere: boolean): Promise<boolean> {
  if (await isHeldHere(volume, assembler)) return true;
  if (onlyHere) return false;
  await assembler.storeAll();
  return true;
}

/** Ends a file that is safe; rejects `io` unless all of it is. */
export async function keepWhole({ assembler, size }: ReadyContent, path: string): Promise<Remains> {
  const remains = await assembler.keep({ withLast: true });
  if (remains.length !== size) throw new FsError("io", `${path}: the gateway could not keep the file for its rename`);
  return remains;
}

/** Ends a file that was not written in order, and keeps it unless it has holes or is an edit. */
export async function keepSpooled(spool: Spool): Promise<Remains | undefined> {
  const tail = await spool.intoFile();
  await spool.discard();
  return tail && { uploadId: undefined, parts: [], tail: { ...tail, start: 0 }, length: tail.length };
}

async function isHeldHere({ store, log }: UploadVolume, assembler: PartAssembler): Promise<boolean> {
  if (assembler.isBegun || assembler.length > store.limits.maxPutSize) return false;
  try {
    await assembler.sync();
    return true;
  } catch (error) {
    log.warn({ err: error }, "no room to keep a file for its rename: it goes to the store in parts");
    return false;
  }
}

/** Writes that are refused, and what the client is told. */
import { FsError } from "../../errors.ts";
import { toFsError } from "../store-fault.ts";
import type { PartAssembler } from "./part-assembler.ts";

/** Nobody uploads more zeros than this for a customer. */
const maxHole = 64 * 1024 * 1024;

/** Throws `invalid-argument` if a hole of so many bytes would have to be filled; a negative number is no hole. */
export function requireSmallHole(hole: number, path: string): void {
  if (hole <= maxHole) return;
  throw new FsError("invalid-argument", `${path}: more than ${maxHole / 1024 ** 2} MiB of the file would be a hole`);
}

/** Throws `invalid-argument` unless `start` and `end` are an offset and an end that a file of at most `maxSize` can have. */
export function requirePossible(start: number, end: number, { maxSize, path }: { readonly maxSize: number; readonly path: string }): void {
  if (Number.isSafeInteger(start) && start >= 0 && end <= maxSize) return;
  throw new FsError("invalid-argument", `${path}: no file can be that large`);
}

/** What a client is told that goes back to bytes which are at the store only. */
export function outOfReach({ mirrorFault }: PartAssembler, path: string): FsError {
  if (mirrorFault !== undefined) return toFsError(mirrorFault, path);
  return new FsError("unsupported", `${path}: what was sent before has left for the storage; send the file again from the start`);
}

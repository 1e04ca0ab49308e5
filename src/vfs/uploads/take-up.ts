/** Taking up an interrupted upload: from where its client may go on, with what this node and the store have of it. */
import { FsError } from "../../errors.ts";
import type { UploadRow } from "../../state/upload-table.ts";
import { interrupted, type Resumable } from "./opening.ts";
import type { AssembledSoFar } from "./part-assembler.ts";
import { soFarOf } from "./upload-record.ts";
import type { UploadVolume } from "./upload-volume.ts";

/** An upload that is to be continued from byte `at`. */
export interface TakenUp {
  readonly row: UploadRow;
  readonly at: number;
  readonly soFar: AssembledSoFar;
}

/**
 * Takes `pending` from whoever holds it, to go on at `offset` (undefined: where it ended). Rejects `stale` with what the
 * client should do instead if that cannot be done.
 */
export async function takeUp(volume: UploadVolume, pending: Resumable, offset: number | undefined, path: string): Promise<TakenUp> {
  const row = await pending.take();
  const at = offset ?? row?.length ?? 0;
  // Only what no part holds yet can be cut off.
  if (!row || at > row.length || (at < row.length && at < (row.tail?.start ?? row.length))) {
    throw interrupted(path, row?.length ?? 0);
  }
  const soFar = await soFarOf(volume, row);
  if (!soFar) throw new FsError("stale", `${path}: the received part of this upload is lost; send the file again from the start`);
  return { row, at, soFar };
}

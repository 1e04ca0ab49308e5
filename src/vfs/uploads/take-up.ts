/** Taking up an interrupted upload: from where its client may go on, with what this node and the store have of it. */
import { FsError } from "../../errors.ts";
import type { UploadRow } from "../../state/upload-table.ts";
import { shownLength, type WithheldByte } from "./end-signs.ts";
import type { WriteRequest } from "../pending-uploads.ts";
import { interrupted, type Resumable } from "./opening.ts";
import type { AssembledSoFar } from "./part-assembler.ts";
import { soFarOf } from "./upload-record.ts";
import type { UploadVolume } from "./upload-volume.ts";

/** An upload that is to be continued from byte `at`. */
export interface TakenUp {
  readonly row: UploadRow;
  readonly at: number;
  readonly soFar: AssembledSoFar;
  /** What lies before `at`, but was not shown: the client may send it again. */
  readonly withheld: WithheldByte | undefined;
}

/**
 * Takes `pending` from whoever holds it, to go on at `offset` (undefined: where it ended; what was not shown stays as well).
 * Rejects `stale` with what the client should do instead if that cannot be done.
 */
export async function takeUp(
  volume: UploadVolume,
  pending: Resumable,
  offset: number | undefined,
  { path, flags }: WriteRequest,
): Promise<TakenUp> {
  const row = await pending.take();
  const end = row?.length ?? 0;
  // A client that names the upload knows what it has, and checks it itself.
  const keepsAll = flags.resume === undefined && row !== undefined && offset === shownLength(row);
  const at = keepsAll ? end : (offset ?? end);
  // Only what no part holds yet can be cut off.
  if (!row || at > row.length || (at < row.length && at < (row.tail?.start ?? row.length))) {
    throw interrupted(path, row ? shownLength(row) : 0);
  }
  const soFar = await soFarOf(volume, row);
  if (!soFar) throw new FsError("stale", `${path}: the received part of this upload is lost; send the file again from the start`);
  return { row, at, soFar, withheld: flags.resume || at < end ? undefined : await withheldOf(row, soFar) };
}

async function withheldOf(row: UploadRow, { tail }: AssembledSoFar): Promise<WithheldByte | undefined> {
  const offset = shownLength(row);
  if (offset === row.length) return undefined;
  // An unreadable file shows when it is used.
  const read = tail?.file.read(tail.length - 1, 1).then(
    ([value]) => value,
    () => undefined,
  );
  return { offset, value: await read };
}

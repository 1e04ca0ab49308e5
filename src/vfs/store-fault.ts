/**
 * The one translation from errors of the object store to errors of the file system. What a client reads names the
 * virtual path and the reason; key, bucket and host stay in `cause` for the log.
 */
import { FsError, type FsErrorCode, StoreError, type StoreErrorCode } from "../errors.ts";

/** What each failure of a store means to the user of a file. */
const faults: Readonly<Record<StoreErrorCode, { readonly code: FsErrorCode; readonly text: string }>> = {
  "not-found": { code: "not-found", text: "no such file" },
  "precondition-failed": { code: "stale", text: "the file was changed by somebody else meanwhile; try again" },
  "no-such-upload": { code: "stale", text: "the unfinished upload is gone from the storage; send the file again" },
  "access-denied": { code: "permission-denied", text: "storage is refusing access; tell your administrator" },
  "no-such-bucket": { code: "io", text: "the storage does not exist; tell your administrator" },
  "wrong-region": { code: "io", text: "the storage is configured with the wrong region; tell your administrator" },
  "expired-credentials": { code: "unavailable", text: "the gateway's access to the storage has expired; tell your administrator" },
  "slow-down": { code: "unavailable", text: "storage is overloaded; try again later" },
  "too-large": { code: "no-space", text: "the file is larger than the storage can hold" },
  "invalid-key": { code: "invalid-argument", text: "the storage cannot hold a file of this name" },
  "invalid-argument": { code: "io", text: "the storage did not accept the request; tell your administrator" },
  unsupported: { code: "unsupported", text: "the storage does not support this operation" },
  "no-space": { code: "no-space", text: "the storage is full" },
  "checksum-mismatch": { code: "io", text: "the data was damaged on the way to the storage; try again" },
  aborted: { code: "io", text: "the operation was interrupted" },
  unavailable: { code: "unavailable", text: "storage is not reachable; try again later" },
  io: { code: "io", text: "storage failed; try again later" },
};

/** The error to show for `error`, which came up while working on the virtual path `path`. An `FsError` stays as it is. */
export function toFsError(error: unknown, path: string): FsError {
  if (error instanceof FsError) return error;
  if (error instanceof StoreError) {
    const fault = faults[error.code];
    return new FsError(fault.code, `${path}: ${fault.text}`, { cause: error });
  }
  if (error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT")) {
    return new FsError("no-space", `${path}: the gateway has no room to keep the data`, { cause: error });
  }
  if (error instanceof Error && error.name === "TailSpaceError") {
    return new FsError("no-space", `${path}: the gateway has no room left for files that are not written in order`, { cause: error });
  }
  return new FsError("io", `${path}: the gateway failed; try again later`, { cause: error });
}

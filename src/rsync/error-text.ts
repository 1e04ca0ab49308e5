/** File system errors in the words of rsync's messages: the text and number of the errno a POSIX system would have. */
import { FsError, type FsErrorCode } from "../errors.ts";

const ERRNO: Record<FsErrorCode, string> = {
  "not-found": "No such file or directory (2)",
  "not-a-directory": "Not a directory (20)",
  "is-a-directory": "Is a directory (21)",
  "not-empty": "Directory not empty (39)",
  exists: "File exists (17)",
  "permission-denied": "Permission denied (13)",
  "invalid-argument": "Invalid argument (22)",
  unsupported: "Operation not supported (95)",
  "no-space": "No space left on device (28)",
  quota: "Disk quota exceeded (122)",
  stale: "Stale file handle (116)",
  unavailable: "Input/output error (5)",
  io: "Input/output error (5)",
};

/** Codes whose message says more than the errno does. */
const TELLING: ReadonlySet<FsErrorCode> = new Set<FsErrorCode>(["quota", "unavailable", "io", "permission-denied", "unsupported"]);

/** The reason of a failure for the client, one line. Errors of no file system are told as an input/output error only. */
export function reasonText(error: unknown): string {
  if (!(error instanceof FsError)) return ERRNO.io;
  const text = ERRNO[error.code];
  return TELLING.has(error.code) ? `${text}: ${error.message.replaceAll("\n", " ")}` : text;
}

/** True if `error` says that there is nothing under the path. */
export function isMissing(error: unknown): boolean {
  return error instanceof FsError && (error.code === "not-found" || error.code === "not-a-directory");
}

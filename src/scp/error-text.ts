/** File system errors in the words of scp's messages: the path as the client wrote it, and what a POSIX system says. */
import type { FsError, FsErrorCode } from "../errors.ts";

/** Other codes have a message that says more. */
const TEXTS: Partial<Record<FsErrorCode, string>> = {
  "not-found": "No such file or directory",
  "not-a-directory": "Not a directory",
  "is-a-directory": "Is a directory",
};

/** One line about what failed at `path`. */
export function errorText(path: string, error: FsError): string {
  const text = TEXTS[error.code];
  return `scp: ${text === undefined ? error.message : `${path}: ${text}`}`;
}

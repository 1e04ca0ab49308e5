/**
 * From a failed file operation to the status a client gets. Knows no request and no channel.
 */
import { FsError, type FsErrorCode, isAbort, ProtocolError } from "../errors.ts";
import { StatusCode } from "./wire/constants.ts";

const STATUS_OF: Record<FsErrorCode, StatusCode> = {
  "not-found": StatusCode.NO_SUCH_FILE,
  "not-a-directory": StatusCode.NO_SUCH_FILE,
  "permission-denied": StatusCode.PERMISSION_DENIED,
  exists: StatusCode.FAILURE,
  "is-a-directory": StatusCode.FAILURE,
  "not-empty": StatusCode.FAILURE,
  stale: StatusCode.FAILURE,
  "invalid-argument": StatusCode.BAD_MESSAGE,
  unsupported: StatusCode.OP_UNSUPPORTED,
  "no-space": StatusCode.FAILURE,
  quota: StatusCode.FAILURE,
  unavailable: StatusCode.FAILURE,
  io: StatusCode.FAILURE,
};

/** Longest status text in characters; a path may be longer than a client's screen. */
const MAX_TEXT_LENGTH = 1024;

/** What a client is told, and whether the failure is a defect that the log must have. */
export interface Failure {
  readonly code: StatusCode;
  readonly text: string;
  readonly unexpected: boolean;
}

/** The status for whatever an operation was rejected with. Text of unexpected errors stays inside. */
export function failureOf(error: unknown): Failure {
  if (error instanceof FsError) return { code: STATUS_OF[error.code], text: printable(error.message), unexpected: false };
  if (error instanceof ProtocolError) return { code: StatusCode.BAD_MESSAGE, text: printable(error.message), unexpected: false };
  return { code: StatusCode.FAILURE, text: "internal error", unexpected: !isAbort(error) };
}

/** `text` cut to a bearable length, control characters shown as `\xNN`: it may hold a hostile name and ends on a terminal. */
function printable(text: string): string {
  const cut = text.length > MAX_TEXT_LENGTH ? `${text.slice(0, MAX_TEXT_LENGTH)}…` : text;
  return cut.replace(/\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

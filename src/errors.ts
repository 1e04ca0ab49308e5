/**
 * The errors that cross module borders. Adapters translate what their library throws into one of these at their
 * boundary and keep the original as `cause`; protocols map them to their own status by one exhaustive table each.
 * Knows no protocol and no store.
 */

/** Why a file operation failed, in the words of file systems. */
export type FsErrorCode =
  | "not-found"
  | "not-a-directory"
  | "is-a-directory"
  | "not-empty"
  | "exists"
  | "permission-denied"
  | "invalid-argument"
  | "unsupported"
  | "no-space"
  | "quota"
  | "stale"
  | "unavailable"
  | "io";

/**
 * A file operation failed. `message` is shown to the client: it names the virtual path and the reason, never a key,
 * bucket, host or stack.
 */
export class FsError extends Error {
  override readonly name = "FsError";
  readonly code: FsErrorCode;
  constructor(code: FsErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Why a request to an object store failed. */
export type StoreErrorCode =
  | "not-found"
  | "precondition-failed"
  | "no-such-upload"
  | "access-denied"
  | "no-such-bucket"
  | "wrong-region"
  | "expired-credentials"
  | "slow-down"
  | "too-large"
  | "invalid-key"
  | "invalid-argument"
  | "unsupported"
  | "no-space"
  | "checksum-mismatch"
  | "aborted"
  | "unavailable"
  | "io";

/**
 * A store request failed. `message` is for the operator: it may name bucket and key and says what to do where there is
 * something to do. It is never shown to a client.
 */
export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly code: StoreErrorCode;
  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The peer broke the wire protocol; the channel or connection it came on cannot go on. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

/** Where in a configuration file a mistake is; line and column count from 1. */
export interface ConfigLocation {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** The configuration cannot be used. `message` says what is wrong and what to write instead. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly location: ConfigLocation | undefined;
  constructor(message: string, location?: ConfigLocation, options?: ErrorOptions) {
    super(location ? `${location.file}:${location.line}:${location.column}: ${message}` : message, options);
    this.location = location;
  }
}

/** True for the error an aborted `AbortSignal` leads to, whoever threw it. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && (error.name === "AbortError" || (error instanceof StoreError && error.code === "aborted"));
}

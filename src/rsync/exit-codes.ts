/**
 * How an rsync run ends: the exit statuses of rsync(1) and the error that ends a run with one of them. Knows nothing of
 * files or channels.
 */

/** Exit statuses of rsync(1), "EXIT VALUES". */
export const ExitStatus = {
  ok: 0,
  usage: 1,
  protocolVersion: 2,
  fileSelection: 3,
  unsupported: 4,
  fileIo: 11,
  stream: 12,
  interrupted: 20,
  outOfMemory: 22,
  partial: 23,
  vanished: 24,
  deleteLimit: 25,
  timeout: 30,
} as const;

const PHRASES: ReadonlyMap<number, string> = new Map([
  [ExitStatus.usage, "syntax or usage error"],
  [ExitStatus.protocolVersion, "protocol incompatibility"],
  [ExitStatus.fileSelection, "errors selecting input/output files, dirs"],
  [ExitStatus.unsupported, "requested action not supported"],
  [ExitStatus.fileIo, "error in file IO"],
  [ExitStatus.stream, "error in rsync protocol data stream"],
  [ExitStatus.interrupted, "received SIGINT, SIGTERM, or SIGHUP"],
  [ExitStatus.outOfMemory, "error allocating core memory buffers"],
  [ExitStatus.partial, "some files/attrs were not transferred (see previous errors)"],
  [ExitStatus.vanished, "some files vanished before they could be transferred"],
  [ExitStatus.deleteLimit, "the --max-delete limit stopped deletions"],
  [ExitStatus.timeout, "timeout in data send/receive"],
]);

/** The last line rsync prints for an exit status other than 0, without line feed. */
export function exitLine(status: number): string {
  return `rsync error: ${PHRASES.get(status) ?? "unexplained error"} (code ${status}) [server]`;
}

/** Ends the run with `status`; `message` is shown to the client, one or several lines without a line feed at the end. */
export class RsyncExit extends Error {
  override readonly name = "RsyncExit";
  readonly status: number;
  constructor(status: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

/** The channel ended before the run did: there is nobody left to tell. */
export class PeerGone extends Error {
  override readonly name = "PeerGone";
}

/** Bits of the I/O error word both sides exchange (file list end, IO_ERROR message). */
export const IoError = { general: 1, vanished: 2, deleteLimit: 4 } as const;

/** The exit status a finished run has for an I/O error word and whether an ERROR_XFER text was sent. */
export function statusOf(ioError: number, transferErrors: boolean): number {
  if (transferErrors || ioError & IoError.general) return ExitStatus.partial;
  if (ioError & IoError.vanished) return ExitStatus.vanished;
  if (ioError & IoError.deleteLimit) return ExitStatus.deleteLimit;
  return ExitStatus.ok;
}

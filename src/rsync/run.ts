/**
 * What all parts of one run share after the handshake: options, streams, file system, messages to the client and the
 * errors that decide the exit status. Knows no direction.
 */
import type { ByteBudget } from "../byte-budget.ts";
import type { FileSystem } from "../vfs/file-system.ts";
import type { ChecksumRules } from "./checksums.ts";
import { reasonText } from "./error-text.ts";
import { IoError, PeerGone, RsyncExit } from "./exit-codes.ts";
import type { FileListFormat } from "./file-list-receive.ts";
import { type InfoLevels, infoLevels } from "./info-levels.ts";
import type { MultiplexReader } from "./multiplex-reader.ts";
import type { MultiplexWriter } from "./multiplex-writer.ts";
import { Tag } from "./multiplex.ts";
import type { ServerOptions } from "./server-options.ts";
import type { UploadNotesStore } from "./upload-notes.ts";

/** What a run logs to; pino's shape. */
export interface RunLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** See `Run`. */
export interface RunParts {
  readonly options: ServerOptions;
  readonly format: FileListFormat;
  readonly checksums: ChecksumRules;
  readonly reader: MultiplexReader;
  readonly writer: MultiplexWriter;
  readonly fileSystem: FileSystem;
  readonly budget: ByteBudget | undefined;
  readonly hold: (textBytes: number) => void;
  /** Notes about interrupted uploads; none: they cannot be gone on with. */
  readonly notes: UploadNotesStore | undefined;
  readonly log: RunLog;
}

/** See the head of this file. */
export class Run {
  readonly options: ServerOptions;
  /** What the client wants to be told. */
  readonly levels: InfoLevels;
  readonly format: FileListFormat;
  readonly checksums: ChecksumRules;
  readonly reader: MultiplexReader;
  readonly writer: MultiplexWriter;
  readonly fileSystem: FileSystem;
  readonly budget: ByteBudget | undefined;
  /** Counts an entry of a list, or a rule, by the bytes of its text. Throws `RsyncExit` when there is no room for more. */
  readonly hold: (textBytes: number) => void;
  /** Notes about interrupted uploads; none: they cannot be gone on with. */
  readonly notes: UploadNotesStore | undefined;
  readonly log: RunLog;
  /** Bits of `IoError`. */
  ioError = 0;
  /** An ERROR_XFER was sent: the run is partial. */
  transferErrors = false;
  /** Called with the file index of each SUCCESS message (downloads with --remove-source-files). */
  onSuccess: (index: number) => void = () => undefined;
  /** The file list is complete: keep-alives disturb no client any more. */
  listed = false;

  constructor(parts: RunParts) {
    this.options = parts.options;
    this.levels = infoLevels(parts.options.verbose, parts.options.info);
    this.format = parts.format;
    this.checksums = parts.checksums;
    this.reader = parts.reader;
    this.writer = parts.writer;
    this.fileSystem = parts.fileSystem;
    this.budget = parts.budget;
    this.hold = parts.hold;
    this.notes = parts.notes;
    this.log = parts.log;
  }

  get protocol(): number {
    return this.format.protocol;
  }

  /** One line of normal output. */
  info(text: string): void {
    this.writer.text(Tag.info, text);
  }

  /** One line that is a warning to clients that know warnings. */
  warning(text: string): void {
    this.writer.text(this.protocol >= 30 ? Tag.warning : Tag.info, text);
  }

  /** One line that tells of an error which by itself makes no run partial. */
  error(text: string): void {
    this.writer.text(this.protocol >= 30 ? Tag.error : Tag.errorXfer, text);
  }

  /** An error that makes the run partial (exit status 23): one file failed, the run goes on. */
  problem(text: string): void {
    this.transferErrors = true;
    this.writer.text(Tag.errorXfer, text);
  }

  /**
   * As `problem`, for a failed operation on a path: `what "path" failed: reason`. A run that has no room or no right to
   * go on ends here: no space and spent quota throw.
   */
  failure(who: string, what: string, path: string, error: unknown): void {
    if (error instanceof PeerGone || error instanceof RsyncExit) throw error;
    this.log.debug({ err: error, path }, "rsync file operation failed");
    this.problem(`rsync: [${who}] ${what} "${path}" failed: ${reasonText(error)}`);
  }

  /** Tells the client the I/O error word, where the file list could not. */
  tellIoError(): void {
    if (this.protocol >= 30) this.writer.numberMessage(Tag.ioError, this.ioError);
  }

  /** Notes an I/O error that forbids deletions. */
  noteIoError(): void {
    this.ioError |= IoError.general;
  }
}

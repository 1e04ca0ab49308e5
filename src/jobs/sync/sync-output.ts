/**
 * A sync's lines: as aws-cli prints them, so that whatever reads the old cron mails reads these; or as JSON. Also the
 * report file. Runs nothing.
 */
import { createWriteStream, type WriteStream } from "node:fs";
import { finished } from "node:stream/promises";
import { formatSize } from "../../config/quantities.ts";
import { StoreError } from "../../errors.ts";
import type { SyncCounts, SyncEvent, SyncSummary } from "./sync-events.ts";
import type { SyncArguments } from "./sync-options.ts";

/** Where lines go. `progress` overwrites itself and is absent where nobody watches. */
export interface SyncTerminal {
  readonly print: (line: string) => void;
  readonly printError: (line: string) => void;
  readonly progress?: ((line: string) => void) | undefined;
}

/** What decides about lines. */
export type OutputOptions = Pick<SyncArguments, "output" | "json" | "report">;

/** See the head of this file. Whoever makes one owes `close`. */
export class SyncOutput {
  readonly #terminal: SyncTerminal;
  readonly #options: OutputOptions;
  readonly #report: WriteStream | undefined;
  #reportFault: Error | undefined;
  #lastProgressMs = 0;

  /** `options.report` is created or emptied; a fault of it shows in `close`. */
  constructor(terminal: SyncTerminal, options: OutputOptions) {
    this.#terminal = terminal;
    this.#options = options;
    this.#report = options.report === undefined ? undefined : createWriteStream(options.report);
    this.#report?.on("error", (error) => {
      this.#reportFault = error;
    });
  }

  /** Prints what happened. */
  event(event: SyncEvent): void {
    const record = this.#report || this.#options.json ? eventRecord(event) : undefined;
    if (record && this.#report && !this.#reportFault) this.#report.write(`${JSON.stringify(record)}\n`);
    const { output, json } = this.#options;
    if (json) {
      this.#terminal.print(JSON.stringify(record));
      return;
    }
    const isResult = event.kind === "copied" || event.kind === "deleted";
    // As with aws-cli, --only-show-errors does not hide what a dry run would do.
    if (output === "nothing" || (isResult && output === "errors" && !event.dryRun)) return;
    if (isResult) this.#terminal.print(eventLine(event));
    else this.#terminal.printError(eventLine(event));
  }

  /** Shows how far it is, a few times a second. */
  progress(counts: Readonly<SyncCounts>, nowMs: number, startedMs: number): void {
    if (!this.#terminal.progress || this.#options.output !== "all" || this.#options.json || nowMs - this.#lastProgressMs < 200) return;
    this.#lastProgressMs = nowMs;
    const rate = formatSize(Math.round(counts.bytes / Math.max(0.001, (nowMs - startedMs) / 1000)));
    const { scanned, copied, overwritten, bytes } = counts;
    this.#terminal.progress(`${scanned} scanned, ${copied + overwritten} copied, ${formatSize(bytes)} (${rate}/s)`);
  }

  /** Prints what ended the sync before its time, and the counts. */
  summary(summary: SyncSummary, name?: string): void {
    const { output, json } = this.#options;
    const record = summaryRecord(summary, name);
    if (this.#report && !this.#reportFault) this.#report.write(`${JSON.stringify(record)}\n`);
    if (summary.interrupted) this.#terminal.printError("cancelled: ctrl-c received");
    else if (summary.fatal !== undefined) this.fatal(summary.fatal);
    if (json) this.#terminal.print(JSON.stringify(record));
    else if (output === "all" || output === "no-progress") this.#terminal.print(summaryLine(summary, name));
    else if (summary.exitCode !== 0 && output === "errors") this.#terminal.printError(summaryLine(summary, name));
  }

  /** Prints an error that ends everything. */
  fatal(error: unknown): void {
    this.#terminal.printError(`fatal error: ${awsErrorText(error)}`);
  }

  /** Prints a line for people on standard error. */
  note(line: string): void {
    if (this.#options.output !== "nothing") this.#terminal.printError(line);
  }

  /** Resolves when the report is written; rejects if it could not be. */
  async close(): Promise<void> {
    if (this.#report) {
      this.#report.end();
      if (!this.#reportFault) await finished(this.#report);
      if (this.#reportFault) throw this.#reportFault;
    }
  }
}

/** A store's error in the words of aws-cli: code, operation and the store's own message; others as they are. */
export function awsErrorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const operation = error instanceof StoreError ? /^([A-Z][A-Za-z0-9]+) s3:\/\//.exec(error.message)?.[1] : undefined;
  const { cause } = error;
  if (operation === undefined || !(cause instanceof Error)) return error.message;
  return `An error occurred (${cause.name}) when calling the ${operation} operation: ${cause.message}`;
}

function eventLine(event: SyncEvent): string {
  switch (event.kind) {
    case "copied":
      return `${event.dryRun ? "(dryrun) " : ""}${event.verb}: ${event.source} to ${event.destination}`;
    case "deleted":
      return `${event.dryRun ? "(dryrun) " : ""}delete: ${event.destination}`;
    case "failed": {
      const to = event.destination === undefined ? "" : ` to ${event.destination}`;
      return `${event.verb} failed: ${event.source}${to} ${awsErrorText(event.error)}`;
    }
    case "vanished":
      return `warning: Skipping file ${event.source}. It was removed before it could be copied.`;
    case "glacier": {
      const advice = `You must restore the object to be able to perform the operation. See aws s3 ${event.verb} help`;
      const reason = `Object is of storage class GLACIER. Unable to perform ${event.verb} operations on GLACIER objects.`;
      return `warning: Skipping file ${event.source}. ${reason} ${advice} for additional parameter options to ignore or force these transfers.`;
    }
    case "warning":
      return `warning: ${event.source}: ${event.message}`;
    default:
      return unreachable(event);
  }
}

function unreachable(event: never): never {
  throw new Error(`unknown event ${JSON.stringify(event)}`);
}

function eventRecord(event: SyncEvent): object {
  if (event.kind !== "failed") return event;
  const { error, ...rest } = event;
  return { ...rest, error: awsErrorText(error), ...(error instanceof StoreError ? { code: error.code } : {}) };
}

function summaryRecord({ fatal, ...summary }: SyncSummary, name: string | undefined): object {
  return {
    kind: "summary",
    ...(name === undefined ? {} : { name }),
    ...summary,
    ...(fatal === undefined ? {} : { fatal: awsErrorText(fatal) }),
  };
}

/** The counts on one line. */
export function summaryLine(summary: SyncSummary, name?: string): string {
  const { scanned, copied, overwritten, unchanged, skipped, deleted, vanished, failed, bytes, seconds, requests } = summary;
  const kinds = Object.entries(requests)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([operation, count]) => `${operation} ${count}`);
  const total = Object.values(requests).reduce((sum, count) => sum + count, 0);
  const optional = [`skipped ${skipped}`, `deleted ${deleted}`, `vanished ${vanished}`].filter((text) => !text.endsWith(" 0"));
  const parts = [`scanned ${scanned}`, `copied ${copied}`, `overwritten ${overwritten}`, `unchanged ${unchanged}`, ...optional];
  const requestText = total === 0 ? "" : `, ${total} requests (${kinds.join(", ")})`;
  const head = `summary${name === undefined ? "" : ` of ${name}`}: ${parts.join(", ")}, failed ${failed}`;
  return `${head}, ${formatSize(bytes)} in ${seconds.toFixed(1)} s${requestText}`;
}

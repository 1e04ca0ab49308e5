/**
 * Shows how far a job has come: a bar with rate and remaining time on a terminal, plain lines elsewhere, JSON lines for
 * machines, or nothing. Also what a job logs while a person watches. Knows no job.
 */
import { Presets, SingleBar } from "cli-progress";
import { formatSize } from "../config/quantities.ts";
import type { JobLog, JobOutcome, JobProgress } from "../jobs/job.ts";
import { createLogger, type Logger } from "../log.ts";
import type { Terminal } from "./terminal.ts";

/** How a command shows what it does. */
export interface ShowOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** A plain line of progress at most so often. */
const LINE_EVERY_MS = 10_000;
const REDRAW_EVERY_MS = 200;

/** Shows progress until `done`. */
export interface Progress {
  report(progress: JobProgress): void;
  /** Prints a line that stays, above a bar if there is one. */
  line(text: string): void;
  done(): void;
}

function amount(value: number, unit: JobProgress["unit"]): string {
  return unit === "bytes" ? formatSize(value) : String(value);
}

class BarProgress implements Progress {
  readonly #bar = new SingleBar(
    {
      stream: process.stderr,
      format: "{label} [{bar}] {percentage}%  {amount}  {rate}  {eta_formatted} left",
      hideCursor: true,
      clearOnComplete: true,
      gracefulExit: false,
      etaBuffer: 100,
      fps: 1000 / REDRAW_EVERY_MS,
    },
    Presets.rect,
  );
  readonly #terminal: Terminal;
  #startedMs = 0;
  #label: string | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  report({ done, total, unit, label }: JobProgress): void {
    const fields = { label, amount: `${amount(done, unit)} of ${amount(total, unit)}`, rate: this.#rate(done, unit) };
    if (label !== this.#label) {
      this.done();
      this.#label = label;
      this.#startedMs = performance.now();
      this.#bar.start(Math.max(total, 1), done, fields);
    }
    this.#bar.update(done, fields);
  }

  line(text: string): void {
    this.done();
    this.#terminal.print(text);
  }

  done(): void {
    if (this.#label !== undefined) this.#bar.stop();
    this.#label = undefined;
  }

  #rate(done: number, unit: JobProgress["unit"]): string {
    const seconds = (performance.now() - this.#startedMs) / 1000;
    return seconds < 0.5 ? "" : `${amount(Math.round(done / seconds), unit)}/s`;
  }
}

class LineProgress implements Progress {
  readonly #terminal: Terminal;
  readonly #json: boolean;
  #nextMs = performance.now() + LINE_EVERY_MS;

  constructor(terminal: Terminal, json: boolean) {
    this.#terminal = terminal;
    this.#json = json;
  }

  report({ done, total, unit, label }: JobProgress): void {
    if (performance.now() < this.#nextMs) return;
    this.#nextMs = performance.now() + LINE_EVERY_MS;
    if (this.#json) this.#terminal.print(JSON.stringify({ event: "progress", label, done, total, unit }));
    else this.#terminal.print(`${label}: ${amount(done, unit)} of ${amount(total, unit)}`);
  }

  line(text: string): void {
    this.#terminal.print(text);
  }

  done(): void {}
}

/** What `options` ask for; a bar only where standard error is a terminal. */
export function createProgress(terminal: Terminal, options: ShowOptions): Progress {
  if (options.quiet) return { report: () => undefined, line: () => undefined, done: () => undefined };
  return process.stderr.isTTY && !options.json ? new BarProgress(terminal) : new LineProgress(terminal, options.json === true);
}

/** What a job logs, for a person: warnings and errors as lines on standard error, nothing else. JSON lines with `json`. */
export function createJobLog(terminal: Terminal, { json }: ShowOptions): JobLog {
  const say = (level: "warning" | "error") => (fields: object, message: string) => {
    if (json) {
      terminal.printError(JSON.stringify({ event: level, message, ...plain(fields) }));
      return;
    }
    const text = Object.entries(plain(fields)).map(([name, value]) => `${name} ${String(value)}`);
    terminal.printError(`${level}: ${message}${text.length > 0 ? `: ${text.join(", ")}` : ""}`);
  };
  return { debug: () => undefined, info: () => undefined, warn: say("warning"), error: say("error") };
}

/** Errors as their text, nothing that is not there. */
function plain(fields: object): Record<string, unknown> {
  const kept = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(
    kept.map(([name, value]) => [name === "err" ? "reason" : name, value instanceof Error ? value.message : value]),
  );
}

/** A log for what lies below the jobs: the stores' own errors are told by the jobs that meet them. */
export function silentLog(): Logger {
  return createLogger({ level: "silent", format: "json" });
}

/** Prints how a job ended. */
export function printOutcome(terminal: Terminal, progress: Progress, outcome: JobOutcome, options: ShowOptions): void {
  progress.done();
  if (options.json) terminal.print(JSON.stringify({ event: "end", ...outcome }));
  else if (outcome.exitCode === 1) terminal.printError(outcome.summary);
  else if (!options.quiet) terminal.print(outcome.summary);
}

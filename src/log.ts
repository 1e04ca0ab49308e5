/**
 * The log: pino, JSON lines by default, readable lines on a terminal. Messages are constant phrases, data are fields;
 * secrets are cut out wherever they might stand. Knows nothing of what is logged.
 */
import { writeSync } from "node:fs";
import { pino, type DestinationStream, type Logger as PinoLogger, stdSerializers } from "pino";
import { PinoPretty } from "pino-pretty";
import { Writable } from "node:stream";

/**
 * What everybody logs to. Levels: error = the operator must act, warn = degraded, info = login, logout, transfer end,
 * job end, reload; debug = each request.
 */
export type Logger = PinoLogger;

/** How the log looks; `level` is the least severe level written, `auto` is pretty on a terminal and JSON elsewhere. */
export interface LogOptions {
  readonly level?: string;
  readonly format?: "auto" | "json" | "pretty";
  /** Where lines go; default: standard output. */
  readonly destination?: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

const SECRET_KEYS = ["secretAccessKey", "accessKeyId", "sessionToken", "externalId", "password", "passphrase", "authorization"];
/** Errors are written whole, with cause and stack, under either name. */
const ERROR_SERIALIZERS = { err: stdSerializers.errWithCause, error: stdSerializers.errWithCause };
const REDACTED_PATHS = SECRET_KEYS.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]);

/** Lines that nobody reads are dropped beyond this, in bytes: a stuck log must not fill the memory. */
const MAX_UNREAD_BYTES = 8 * 1024 * 1024;

/** How long a line waits for others, in milliseconds, and how much is written together. */
const GATHERING_MS = 20;
const MAX_GATHERED = 16 * 1024;

/** A new root log. What is logged before the process ends by itself is written; one that is killed loses what it logged in its last 20 ms. */
export function createLogger(options: LogOptions = {}): Logger {
  const destination = options.destination ?? process.stdout;
  const pretty = options.format === "pretty" || ((options.format ?? "auto") === "auto" && destination.isTTY === true);
  const settings = {
    level: options.level ?? "info",
    redact: { paths: REDACTED_PATHS, censor: "[secret]" },
    base: null,
    serializers: ERROR_SERIALIZERS,
  };
  if (!pretty) {
    return pino(settings, destination === process.stdout ? standardOutput() : destination);
  }
  const sink = new Writable({
    write: (chunk, _encoding, done) => (destination.write(chunk) === false ? destination.once("drain", () => done()) : done()),
  });
  return pino(
    settings,
    PinoPretty({ destination: sink, colorize: destination.isTTY === true, ignore: "pid,hostname", translateTime: "SYS:HH:MM:ss" }),
  );
}

function standardOutput(): DestinationStream {
  const output = pino.destination({ dest: 1, sync: false, maxLength: MAX_UNREAD_BYTES });
  // A log whose reader is gone has nobody to tell so; the gateway goes on serving.
  output.on("error", () => undefined);
  return gathered((lines) => void output.write(lines));
}

/** Hands lines on together: each write goes through the thread pool, which costs as much as all the rest of a line. */
function gathered(pass: (lines: string) => void): DestinationStream {
  let waiting = "";
  const flush = (): void => {
    const lines = waiting;
    waiting = "";
    if (lines !== "") pass(lines);
  };
  process.once("exit", () => {
    if (waiting === "") return;
    try {
      writeSync(1, waiting);
    } catch {
      // a log whose reader is gone
    }
  });
  return {
    write: (line) => {
      if (waiting === "") setTimeout(flush, GATHERING_MS);
      waiting += line;
      if (waiting.length >= MAX_GATHERED) flush();
    },
  };
}

/**
 * The log: pino, JSON lines by default, readable lines on a terminal. Messages are constant phrases, data are fields;
 * secrets are cut out wherever they might stand. Knows nothing of what is logged.
 */
import { pino, type Logger as PinoLogger, stdSerializers } from "pino";
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

/** A new root log. What is logged before the process ends by itself is written; `process.exit` may lose the last lines. */
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

function standardOutput(): ReturnType<typeof pino.destination> {
  const output = pino.destination({ dest: 1, sync: false, maxLength: MAX_UNREAD_BYTES });
  // A log whose reader is gone has nobody to tell so; the gateway goes on serving.
  output.on("error", () => undefined);
  return output;
}

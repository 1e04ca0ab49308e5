/**
 * Reads the arguments of `rsync --server` (rsync options.c `server_options`): clustered or single short letters, long
 * options with `=` or a following word, further words from a secluded list. What cannot be honoured without losing
 * something is noted as a refusal and told to the client after the handshake. Knows no wire and no files.
 */
import type { Word } from "../exec/command-line.ts";
import { ExitStatus, RsyncExit } from "./exit-codes.ts";
import {
  LONG_IGNORED,
  LONG_REFUSED,
  LONG_SWITCHES,
  LONG_VALUES_IGNORED,
  SHORT_IGNORED,
  SHORT_REFUSED,
  SHORT_SWITCHES,
} from "./option-tables.ts";
import { type AlternateBasis, type Compression, type DeleteTiming, defaultOptions, type ServerOptions } from "./server-options.ts";

/** `N` with an optional unit suffix as in rsync(1) `--max-size`; undefined if it is none. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([bkmgtp]?)(i?b)?([+-]1)?$/i.exec(text);
  if (!match) return undefined;
  const power = "bkmgtp".indexOf((match[2] ?? "").toLowerCase() || "b");
  const base = match[3]?.length === 1 ? 1000 : 1024;
  const value = Math.floor(Number(match[1]) * base ** power) + Number(match[4] ?? 0);
  return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

/** Parses arguments one after the other; `options` is complete after `finish`. */
export class OptionParser {
  readonly options: ServerOptions = defaultOptions();
  /** The first thing that cannot be served, if any. */
  refusal: RsyncExit | undefined;
  #noRecurse = false;
  #noRelative = false;
  #noSpecials = false;
  #forceSpecials = false;
  #compressLevel: number | undefined;
  #compressFlag = false;
  #compressChoice: Compression | undefined;
  #deleteGiven = false;
  #onlySingleLetters = true;
  #pathsBegan = false;
  #first = true;

  /** Notes that something cannot be served; the first one counts. */
  refuse(status: number, message: string): void {
    this.refusal ??= new RsyncExit(status, message);
  }

  /** Adds words of the command line, or of the secluded list. */
  parse(words: readonly Word[]): void {
    for (let index = 0; index < words.length; index++) {
      const word = words[index];
      if (!word) break;
      if (this.#pathsBegan) this.options.paths.push(word);
      else index += this.#option(word.text, words[index + 1]?.text);
    }
  }

  /** Reads one option; returns how many further words it took. */
  #option(text: string, next: string | undefined): number {
    if (text === "." || text === "--") {
      this.#pathsBegan = text === ".";
      return 0;
    }
    if (text.startsWith("--")) return this.#long(text, next);
    if (text.startsWith("-") && text.length > 1) return this.#cluster(text, next);
    this.refuse(ExitStatus.usage, `rsync: unexpected argument: ${text}`);
    return 0;
  }

  #long(text: string, next: string | undefined): number {
    const equals = text.indexOf("=");
    const name = equals < 0 ? text.slice(2) : text.slice(2, equals);
    const switchName = LONG_SWITCHES.get(name);
    const refused = LONG_REFUSED.get(name);
    if (switchName) this.options[switchName] = true;
    else if (refused) this.refuse(ExitStatus.unsupported, `rsync: ${refused} not supported on this server`);
    else if (!LONG_IGNORED.has(name) && !this.#plain(name))
      return this.#longValue(name, equals < 0 ? undefined : text.slice(equals + 1), next);
    return 0;
  }

  /** Long options without a value that do more than set a switch. */
  #plain(name: string): boolean {
    const { options } = this;
    const timing = DELETE_TIMINGS.get(name);
    if (timing !== undefined) {
      this.#deleteGiven = true;
      if (timing !== "default") options.deleteTiming = timing;
    } else if (name === "no-r" || name === "no-recursive") this.#noRecurse = true;
    else if (name === "no-relative" || name === "no-R") this.#noRelative = true;
    else if (name === "no-dirs") options.dirs = false;
    else if (name === "no-implied-dirs") options.impliedDirs = false;
    else if (name === "specials") this.#forceSpecials = true;
    else if (name === "no-specials") this.#noSpecials = true;
    else if (name === "verbose") options.verbose++;
    else if (name === "compress") this.#compressFlag = true;
    else if (name === "new-compress") this.#compressChoice = "zlibx";
    else if (name === "old-compress") this.#compressChoice = "zlib";
    else if (name === "append") options.append = options.append === "no" ? "append" : "verify";
    else if (name === "append-verify") options.append = "verify";
    else return false;
    return true;
  }

  #longValue(name: string, inline: string | undefined, next: string | undefined): number {
    const known = VALUE_OPTIONS.get(name) ?? (LONG_VALUES_IGNORED.has(name) ? () => undefined : undefined);
    const value = inline ?? next;
    if (!known) this.refuse(ExitStatus.usage, `rsync: on remote machine: --${name}: unknown option`);
    else if (value === undefined) this.refuse(ExitStatus.usage, `rsync: on remote machine: --${name}: missing argument`);
    else known(this, value);
    return known && inline === undefined ? 1 : 0;
  }

  #cluster(text: string, next: string | undefined): number {
    if (text.length > 2 && this.#first) this.#onlySingleLetters = false;
    this.#first = false;
    for (let index = 1; index < text.length; index++) {
      const letter = text.charAt(index);
      if ("eB@T".includes(letter)) {
        const rest = text.slice(index + 1);
        this.#valued(letter, rest === "" ? (next ?? "") : rest);
        return rest === "" ? 1 : 0;
      }
      this.#letter(letter);
    }
    return 0;
  }

  #letter(letter: string): void {
    const name = SHORT_SWITCHES.get(letter);
    const refused = SHORT_REFUSED.get(letter);
    if (name) this.options[name] = true;
    else if (letter === "v") this.options.verbose++;
    else if (letter === "z") this.#compressFlag = true;
    else if (refused) this.refuse(ExitStatus.unsupported, `rsync: ${refused} not supported on this server`);
    else if (!SHORT_IGNORED.includes(letter)) this.refuse(ExitStatus.usage, `rsync: on remote machine: -${letter}: unknown option`);
  }

  #valued(letter: string, value: string): void {
    if (letter === "e") this.options.capabilities = value.slice(value.indexOf(".") + 1);
    else if (letter === "B") VALUE_OPTIONS.get("block-size")?.(this, value);
    else if (letter === "@") VALUE_OPTIONS.get("modify-window")?.(this, value);
  }

  /** Passes a size on, or notes that it is none. */
  number(text: string, name: string, set: (value: number) => void): void {
    const value = parseSize(text);
    if (value === undefined) this.refuse(ExitStatus.usage, `rsync: --${name}=${text} is invalid`);
    else set(value);
  }

  /** Passes a signed integer on, or notes that it is none. */
  integer(text: string, name: string, set: (value: number) => void): void {
    if (/^-?\d{1,15}$/.test(text)) set(Number(text));
    else this.refuse(ExitStatus.usage, `rsync: --${name}=${text} is invalid`);
  }

  setBlockSize(size: number): void {
    if (size > 2 ** 29) this.refuse(ExitStatus.usage, `rsync: --block-size=${size} is too large`);
    else this.options.blockSize = size;
  }

  setModifyWindow(window: number): void {
    this.options.modifyWindow = Math.max(0, window);
  }

  compress(choice: Compression): void {
    this.#compressChoice = choice;
  }

  compressLevel(level: number): void {
    this.#compressLevel = level;
  }

  alternate(kind: AlternateBasis["kind"], directory: string): void {
    const { options } = this;
    if (options.alternate && options.alternate.kind !== kind) {
      this.refuse(ExitStatus.usage, "rsync: You may not mix --compare-dest, --copy-dest, and --link-dest.");
      return;
    }
    options.alternate ??= { kind, directories: [] };
    options.alternate.directories.push(directory);
    if (options.alternate.directories.length > 20)
      this.refuse(ExitStatus.usage, "rsync: ERROR: at most 20 alternate directories may be given");
  }

  /** Derives what follows from several options together. */
  finish(): ServerOptions {
    const { options } = this;
    if (this.#noRecurse) options.recurse = false;
    if (options.filesFrom !== undefined) {
      if (!this.#noRelative) options.relative = true;
      options.dirs = true;
    }
    if (this.#noRelative) options.relative = false;
    options.specials = (options.devices && !this.#noSpecials) || this.#forceSpecials;
    const openrsyncQuirk = this.#onlySingleLetters && options.capabilities === undefined;
    if (options.deleteExcluded && !(openrsyncQuirk && !this.#deleteGiven)) this.#deleteGiven = true;
    if (options.sender || !this.#deleteGiven) options.deleteTiming = undefined;
    else options.deleteTiming ??= "during";
    options.compression = this.#compression();
    if (options.suffix === undefined && options.backup) options.suffix = options.backupDir === undefined ? "~" : "";
    if (!options.sender) this.#checkUpload();
    return options;
  }

  #compression(): Compression {
    const announced = this.options.capabilities !== undefined;
    if (this.#compressLevel === 0 && announced) return "none";
    if (this.#compressChoice) return this.#compressChoice;
    return this.#compressFlag || (this.#compressLevel !== undefined && announced) ? "zlib" : "none";
  }

  #checkUpload(): void {
    const { options } = this;
    if (options.paths.length > 1) this.refuse(ExitStatus.usage, "rsync: ERROR: only one destination may be given");
    if (options.backup && options.suffix?.includes("/")) this.refuse(ExitStatus.usage, "rsync: --suffix cannot contain slashes");
  }
}

const DELETE_TIMINGS: ReadonlyMap<string, DeleteTiming | "default"> = new Map<string, DeleteTiming | "default">([
  ["delete", "default"],
  ["delete-before", "before"],
  ["delete-during", "during"],
  ["del", "during"],
  ["delete-delay", "delay"],
  ["delete-after", "after"],
]);

type ValueOption = (parser: OptionParser, value: string) => void;

function compressChoice(parser: OptionParser, value: string): void {
  if (value === "zlib" || value === "zlibx" || value === "none") parser.compress(value);
  else if (value === "auto") parser.compress("zlib");
  else parser.refuse(ExitStatus.unsupported, `rsync: compression "${value}" is not supported on this server`);
}

function checksumChoice(parser: OptionParser, value: string): void {
  if (!value.split(",").every((name) => name === "auto" || name === "md5")) {
    parser.refuse(ExitStatus.unsupported, `rsync: checksum "${value}" is not supported on this server`);
  }
}

function iconv(parser: OptionParser, value: string): void {
  parser.options.iconv = true;
  const charset = value.split(",").at(-1) ?? "";
  if (!/^(\.|utf-?8)$/i.test(charset)) parser.refuse(ExitStatus.unsupported, `rsync: --iconv=${value} is not supported on this server`);
}

/** A size option that is stored as it is. */
function size(name: string, key: "maxSize" | "minSize" | "blockSize"): [string, ValueOption] {
  const set = (options: ServerOptions, value: number): void => {
    options[key] = value;
  };
  return [name, (parser, value) => parser.number(value, name, (number) => set(parser.options, number))];
}

/** An integer option; negative values count as `floor`. */
function integer(
  name: string,
  key: "maxDelete" | "timeout" | "modifyWindow" | "checksumSeed",
  floor = Number.NEGATIVE_INFINITY,
): [string, ValueOption] {
  const set = (options: ServerOptions, value: number): void => {
    options[key] = Math.max(floor, value);
  };
  return [name, (parser, value) => parser.integer(value, name, (number) => set(parser.options, number))];
}

function text(name: string, key: "backupDir" | "suffix" | "filesFrom"): [string, ValueOption] {
  const set = (options: ServerOptions, value: string): void => {
    options[key] = value;
  };
  return [name, (parser, value) => set(parser.options, value)];
}

function logFormat(parser: OptionParser, value: string): void {
  if (/%i/.test(value)) parser.options.itemize = true;
  if (value.includes("%I")) parser.options.reportUnchanged = true;
}

const VALUE_OPTIONS: ReadonlyMap<string, ValueOption> = new Map<string, ValueOption>([
  ["compress-choice", compressChoice],
  ["zc", compressChoice],
  ["compress-level", (parser, value) => parser.integer(value, "compress-level", (level) => parser.compressLevel(level))],
  ["checksum-choice", checksumChoice],
  ["cc", checksumChoice],
  integer("checksum-seed", "checksumSeed"),
  integer("max-delete", "maxDelete", 0),
  integer("modify-window", "modifyWindow", 0),
  integer("timeout", "timeout", 0),
  size("max-size", "maxSize"),
  size("min-size", "minSize"),
  size("block-size", "blockSize"),
  text("backup-dir", "backupDir"),
  text("suffix", "suffix"),
  text("files-from", "filesFrom"),
  [
    "partial-dir",
    (parser) => {
      parser.options.partial = true;
    },
  ],
  ["info", (parser, value) => void parser.options.info.push(value)],
  ["compare-dest", (parser, value) => parser.alternate("compare", value)],
  ["copy-dest", (parser, value) => parser.alternate("copy", value)],
  ["link-dest", (parser, value) => parser.alternate("link", value)],
  ["iconv", iconv],
  ["log-format", logFormat],
  ["out-format", logFormat],
  ["only-write-batch", (parser) => parser.refuse(ExitStatus.unsupported, "rsync: --only-write-batch is not supported on this server")],
]);

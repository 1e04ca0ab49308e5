/**
 * What the options of `rsync --server` mean: the settled choices of a run. Knows nothing of how they are written
 * (`option-parser.ts`) or of the wire.
 */
import type { Word } from "../exec/command-line.ts";

/** When extraneous files go. */
export type DeleteTiming = "before" | "during" | "delay" | "after";

/** Token stream format. */
export type Compression = "none" | "zlib" | "zlibx";

/** What `--compare-dest`, `--copy-dest` and `--link-dest` name. */
export interface AlternateBasis {
  readonly kind: "compare" | "copy" | "link";
  readonly directories: string[];
}

/** Options as they were given, with their derived settings. Sizes in bytes, times in seconds. Names as in rsync(1). */
export interface ServerOptions {
  sender: boolean;
  daemon: boolean;
  verbose: number;
  /** `--info` values in order; with `verbose` they make `infoLevels`. */
  info: string[];
  /** `-s`: further arguments come on the channel. */
  secluded: boolean;
  /** Letters after the `.` of `-e`; undefined: the client is older than protocol 30. */
  capabilities: string | undefined;
  recurse: boolean;
  dirs: boolean;
  relative: boolean;
  impliedDirs: boolean;
  links: boolean;
  owner: boolean;
  group: boolean;
  devices: boolean;
  specials: boolean;
  perms: boolean;
  executability: boolean;
  times: boolean;
  hardLinks: boolean;
  numericIds: boolean;
  checksum: boolean;
  dryRun: boolean;
  ignoreTimes: boolean;
  sizeOnly: boolean;
  update: boolean;
  wholeFile: boolean;
  existing: boolean;
  ignoreExisting: boolean;
  maxSize: number | undefined;
  minSize: number | undefined;
  modifyWindow: number;
  blockSize: number;
  timeout: number;
  deleteTiming: DeleteTiming | undefined;
  deleteExcluded: boolean;
  maxDelete: number | undefined;
  ignoreErrors: boolean;
  force: boolean;
  pruneEmptyDirs: boolean;
  append: "no" | "append" | "verify";
  inplace: boolean;
  partial: boolean;
  compression: Compression;
  backup: boolean;
  backupDir: string | undefined;
  suffix: string | undefined;
  alternate: AlternateBasis | undefined;
  filesFrom: string | undefined;
  from0: boolean;
  /** `--iconv` was given: file indexes count in the order sent. */
  iconv: boolean;
  checksumSeed: number;
  removeSourceFiles: boolean;
  /** `%i`: the client itemises what is done. */
  itemize: boolean;
  /** `%I`: unchanged items are reported, too. */
  reportUnchanged: boolean;
  mkpath: boolean;
  ignoreMissingArgs: boolean;
  cvsExclude: boolean;
  /** Arguments after the lone `.`. */
  paths: Word[];
}

/** All options at their defaults. */
export function defaultOptions(): ServerOptions {
  return {
    sender: false,
    daemon: false,
    verbose: 0,
    info: [],
    secluded: false,
    capabilities: undefined,
    recurse: false,
    dirs: false,
    relative: false,
    impliedDirs: true,
    links: false,
    owner: false,
    group: false,
    devices: false,
    specials: false,
    perms: false,
    executability: false,
    times: false,
    hardLinks: false,
    numericIds: false,
    checksum: false,
    dryRun: false,
    ignoreTimes: false,
    sizeOnly: false,
    update: false,
    wholeFile: false,
    existing: false,
    ignoreExisting: false,
    maxSize: undefined,
    minSize: undefined,
    modifyWindow: 0,
    blockSize: 0,
    timeout: 0,
    deleteTiming: undefined,
    deleteExcluded: false,
    maxDelete: undefined,
    ignoreErrors: false,
    force: false,
    pruneEmptyDirs: false,
    append: "no",
    inplace: false,
    partial: false,
    compression: "none",
    backup: false,
    backupDir: undefined,
    suffix: undefined,
    alternate: undefined,
    filesFrom: undefined,
    from0: false,
    iconv: false,
    checksumSeed: 0,
    removeSourceFiles: false,
    itemize: false,
    reportUnchanged: false,
    mkpath: false,
    ignoreMissingArgs: false,
    cvsExclude: false,
    paths: [],
  };
}

/** True if a filter rule list comes at the start of the client's stream (rsync exclude.c `recv_filter_list`). */
export function expectsFilterList(options: ServerOptions, protocol: number): boolean {
  if (options.sender) return true;
  return options.pruneEmptyDirs || (options.deleteTiming !== undefined && (!options.deleteExcluded || protocol >= 29));
}

/** True if the client's stream is cut in frames after the handshake. */
export function clientMultiplexes(options: ServerOptions, protocol: number): boolean {
  return protocol >= 30 || (options.sender && options.removeSourceFiles);
}

/** The compat-flags byte of protocol ≥ 30: only what the client announced and we do (rsync compat.c `CF_*`). */
export function compatFlags(options: ServerOptions): number {
  const letters = options.capabilities ?? "";
  return (letters.includes("f") ? 0x08 : 0) | (letters.includes("C") ? 0x20 : 0) | (matchesInPlace(options) ? 0x40 : 0);
}

/** True if what an interrupted upload brought is to be kept. */
export function keepsInterrupted({ partial, inplace, append }: ServerOptions): boolean {
  return partial || inplace || append !== "no";
}

/**
 * True if the client, which sends, can be told file by file that its file is put together in place (rsync 3.2, protocol ≥
 * 30). Runs that keep nothing do without.
 */
export function matchesInPlace(options: ServerOptions): boolean {
  return !options.sender && keepsInterrupted(options) && options.capabilities?.includes("I") === true;
}

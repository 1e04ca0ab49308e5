/**
 * The options of `rsync --server` that only set a switch, that are accepted without effect, and that are refused, by
 * name (rsync options.c). Data only.
 */
import type { ServerOptions } from "./server-options.ts";

/** Names of the boolean fields of `ServerOptions`. */
export type Switch = { [K in keyof ServerOptions]: ServerOptions[K] extends boolean ? K : never }[keyof ServerOptions];

/** Single letters that set a switch. */
export const SHORT_SWITCHES: ReadonlyMap<string, Switch> = new Map<string, Switch>([
  ["r", "recurse"],
  ["d", "dirs"],
  ["l", "links"],
  ["o", "owner"],
  ["g", "group"],
  ["D", "devices"],
  ["p", "perms"],
  ["E", "executability"],
  ["t", "times"],
  ["n", "dryRun"],
  ["c", "checksum"],
  ["I", "ignoreTimes"],
  ["u", "update"],
  ["W", "wholeFile"],
  ["R", "relative"],
  ["s", "secluded"],
  ["H", "hardLinks"],
  ["m", "pruneEmptyDirs"],
  ["b", "backup"],
  ["C", "cvsExclude"],
]);

/** Single letters without effect on a server that keeps objects. */
export const SHORT_IGNORED = "qh8iyKkLOJSxFP0";

/** Single letters that are refused, with what they are about. */
export const SHORT_REFUSED: ReadonlyMap<string, string> = new Map([
  ["A", "ACLs are"],
  ["X", "extended attributes are"],
  ["U", "atimes are"],
  ["N", "crtimes are"],
]);

/** Long options that set a switch. */
export const LONG_SWITCHES: ReadonlyMap<string, Switch> = new Map<string, Switch>([
  ["sender", "sender"],
  ["daemon", "daemon"],
  ["dirs", "dirs"],
  ["relative", "relative"],
  ["numeric-ids", "numericIds"],
  ["devices", "devices"],
  ["times", "times"],
  ["perms", "perms"],
  ["links", "links"],
  ["executability", "executability"],
  ["recursive", "recurse"],
  ["checksum", "checksum"],
  ["dry-run", "dryRun"],
  ["inplace", "inplace"],
  ["partial", "partial"],
  ["whole-file", "wholeFile"],
  ["remove-source-files", "removeSourceFiles"],
  ["remove-sent-files", "removeSourceFiles"],
  ["delete-excluded", "deleteExcluded"],
  ["ignore-errors", "ignoreErrors"],
  ["force", "force"],
  ["prune-empty-dirs", "pruneEmptyDirs"],
  ["size-only", "sizeOnly"],
  ["ignore-times", "ignoreTimes"],
  ["update", "update"],
  ["existing", "existing"],
  ["ignore-non-existing", "existing"],
  ["ignore-existing", "ignoreExisting"],
  ["backup", "backup"],
  ["from0", "from0"],
  ["mkpath", "mkpath"],
  ["ignore-missing-args", "ignoreMissingArgs"],
  ["hard-links", "hardLinks"],
  ["cvs-exclude", "cvsExclude"],
]);

/** Long options without a value and without effect. */
export const LONG_IGNORED: ReadonlySet<string> = new Set([
  "server",
  "delay-updates",
  "sparse",
  "no-sparse",
  "preallocate",
  "fsync",
  "super",
  "fake-super",
  "no-super",
  "safe-links",
  "copy-unsafe-links",
  "munge-links",
  "no-munge-links",
  "stats",
  "msgs2stderr",
  "no-msgs2stderr",
  "use-qsort",
  "open-noatime",
  "fuzzy",
  "no-W",
  "no-whole-file",
  "cache",
  "no-cache",
  "omit-dir-times",
  "omit-link-times",
  "list-only",
  "no-perms",
  "no-times",
  "no-owner",
  "no-group",
  "progress",
  "human-readable",
  "copy-links",
  "copy-dirlinks",
  "keep-dirlinks",
  "one-file-system",
  "no-inc-recursive",
  "no-i-r",
  "quiet",
  "itemize-changes",
  "blocking-io",
  "no-blocking-io",
  "trust-sender",
  "old-args",
  "no-old-args",
  "no-mkpath",
]);

/** Long options with a value and without effect. */
export const LONG_VALUES_IGNORED: ReadonlySet<string> = new Set([
  "temp-dir",
  "usermap",
  "groupmap",
  "chown",
  "chmod",
  "skip-compress",
  "max-alloc",
  "debug",
  "bwlimit",
  "outbuf",
  "stop-at",
  "stop-after",
  "time-limit",
  "copy-as",
  "stderr",
  "contimeout",
  "compress-threads",
]);

/** Long options that are refused, with what they are about. */
export const LONG_REFUSED: ReadonlyMap<string, string> = new Map([
  ["acls", "ACLs are"],
  ["xattrs", "extended attributes are"],
  ["extended-attributes", "extended attributes are"],
  ["atimes", "atimes are"],
  ["crtimes", "crtimes are"],
  ["copy-devices", "--copy-devices is"],
  ["write-devices", "--write-devices is"],
  ["delete-missing-args", "--delete-missing-args is"],
]);

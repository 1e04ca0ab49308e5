/**
 * The words after `sync`: aws-cli's own options with their meaning, and the guards it lacks. Used by the command line and
 * by the `options:` of scheduled jobs. Opens nothing.
 */
import { parseArgs } from "node:util";
import type { CompareMode } from "./decision.ts";
import { type MaxDelete, parseMaxDelete } from "./deletion-guard.ts";

/** The words make no sense together; ends with exit code 252, as aws-cli does. */
export class SyncUsageError extends Error {
  override readonly name = "SyncUsageError";
}

/** `--exclude` or `--include`; later ones win. */
export interface NameFilter {
  readonly include: boolean;
  readonly pattern: string;
}

/** How a bucket that the configuration does not know is reached, and what overrides the configuration where it does. */
export interface ConnectionFlags {
  readonly profile: string | undefined;
  readonly region: string | undefined;
  readonly sourceRegion: string | undefined;
  readonly endpointUrl: string | undefined;
}

/** How new objects are stored. */
export interface StorageFlags {
  readonly storageClass: string | undefined;
  readonly acl: string | undefined;
  readonly sse: "AES256" | "aws:kms" | undefined;
  readonly sseKmsKeyId: string | undefined;
}

/** A command line, understood. */
export interface SyncArguments {
  /** Source and destination as written; one region; or none with `all`. */
  readonly places: readonly string[];
  readonly all: boolean;
  readonly compare: CompareMode;
  readonly dryRun: boolean;
  readonly delete: boolean;
  readonly force: boolean;
  readonly maxDelete: MaxDelete;
  readonly filters: readonly NameFilter[];
  readonly markers: boolean;
  readonly includePartial: boolean;
  readonly fastList: boolean;
  readonly forceGlacier: boolean;
  readonly ignoreGlacierWarnings: boolean;
  readonly output: "all" | "no-progress" | "errors" | "nothing";
  readonly json: boolean;
  readonly report: string | undefined;
  /** File of `--etag`'s memory, where it is not the usual one. */
  readonly journal: string | undefined;
  readonly configFile: string | undefined;
  readonly connection: ConnectionFlags;
  readonly storage: StorageFlags;
}

const FLAGS = {
  "size-only": { type: "boolean" },
  "exact-timestamps": { type: "boolean" },
  etag: { type: "boolean" },
  dryrun: { type: "boolean" },
  delete: { type: "boolean" },
  force: { type: "boolean" },
  "max-delete": { type: "string" },
  exclude: { type: "string", multiple: true },
  include: { type: "string", multiple: true },
  markers: { type: "boolean" },
  "include-partial": { type: "boolean" },
  "fast-list": { type: "boolean" },
  "force-glacier-transfer": { type: "boolean" },
  "ignore-glacier-warnings": { type: "boolean" },
  "only-show-errors": { type: "boolean" },
  quiet: { type: "boolean" },
  "no-progress": { type: "boolean" },
  progress: { type: "boolean" },
  json: { type: "boolean" },
  report: { type: "string" },
  journal: { type: "string" },
  all: { type: "boolean" },
  config: { type: "string" },
  profile: { type: "string" },
  region: { type: "string" },
  "source-region": { type: "string" },
  "endpoint-url": { type: "string" },
  "storage-class": { type: "string" },
  acl: { type: "string" },
  sse: { type: "string" },
  "sse-kms-key-id": { type: "string" },
  "copy-props": { type: "string" },
  "page-size": { type: "string" },
  "follow-symlinks": { type: "boolean" },
} as const;

/** Reads the words after `sync`. Throws `SyncUsageError`. */
export function parseSyncArguments(words: readonly string[]): SyncArguments {
  const { values, positionals, tokens } = parse(words);
  const places = positionals;
  const all = values.all === true;
  checkPlaces(places, all);
  checkValues(values);
  const filters: NameFilter[] = [];
  for (const token of tokens) {
    if (token.kind !== "option" || (token.name !== "exclude" && token.name !== "include")) continue;
    filters.push({ include: token.name === "include", pattern: token.value ?? "" });
  }
  return {
    places,
    all,
    compare: compareMode(values),
    dryRun: values.dryrun === true,
    delete: values.delete === true,
    force: values.force === true,
    maxDelete: maxDelete(values["max-delete"]),
    filters,
    markers: values.markers === true,
    includePartial: values["include-partial"] === true,
    fastList: values["fast-list"] === true,
    forceGlacier: values["force-glacier-transfer"] === true,
    ignoreGlacierWarnings: values["ignore-glacier-warnings"] === true,
    output: outputOf(values),
    json: values.json === true,
    report: values.report,
    journal: values.journal,
    configFile: values.config,
    connection: {
      profile: values.profile,
      region: values.region,
      sourceRegion: values["source-region"],
      endpointUrl: values["endpoint-url"],
    },
    storage: {
      storageClass: values["storage-class"],
      acl: values.acl,
      sse: sseOf(values.sse),
      sseKmsKeyId: values["sse-kms-key-id"],
    },
  };
}

type Parsed = ReturnType<typeof parseStrictly>;
type Values = Parsed["values"];

function parseStrictly(args: string[]) {
  return parseArgs({ args, options: FLAGS, allowPositionals: true, strict: true, tokens: true });
}

function parse(words: readonly string[]): Parsed {
  // `--sse` alone means AES256, as aws-cli has it; `--no-…` and `--dry-run` are words of their own.
  const args = words.map((word) => (word === "--dry-run" ? "--dryrun" : word));
  const bare = args.findIndex((word, index) => word === "--sse" && !["AES256", "aws:kms"].includes(args[index + 1] ?? ""));
  if (bare >= 0) args[bare] = "--sse=AES256";
  try {
    return parseStrictly(args.filter((word) => word !== "--no-follow-symlinks"));
  } catch (error) {
    throw new SyncUsageError(error instanceof Error ? error.message : String(error));
  }
}

function checkPlaces(places: readonly string[], all: boolean): void {
  if (all && places.length > 0) throw new SyncUsageError("--all takes no source and destination: it copies every region to its backup");
  if (!all && (places.length === 0 || places.length > 2))
    throw new SyncUsageError("write SOURCE and DESTINATION, or the name of one region, or --all");
}

function checkValues(values: Values): void {
  const modes = [values["size-only"], values["exact-timestamps"], values.etag].filter(Boolean);
  if (modes.length > 1) throw new SyncUsageError("write one of --size-only, --exact-timestamps and --etag");
  if (values.journal !== undefined && values.etag !== true) throw new SyncUsageError("--journal belongs to --etag");
  const { "page-size": pageSize, "copy-props": copyProps, "endpoint-url": endpoint } = values;
  if (pageSize !== undefined && !/^[1-9]\d{0,5}$/.test(pageSize)) throw new SyncUsageError("--page-size: write a whole number");
  if (copyProps !== undefined && !["none", "metadata-directive", "default"].includes(copyProps))
    throw new SyncUsageError("--copy-props: write none, metadata-directive or default");
  if (endpoint !== undefined && !/^https?:\/\/[^/\s]+/.test(endpoint))
    throw new SyncUsageError("--endpoint-url: write an address such as https://s3.example.org");
}

function compareMode(values: Values): CompareMode {
  if (values["size-only"] === true) return "size-only";
  if (values["exact-timestamps"] === true) return "exact-timestamps";
  return values.etag === true ? "etag" : "size-or-newer";
}

function outputOf(values: Values): SyncArguments["output"] {
  if (values.quiet === true) return "nothing";
  if (values["only-show-errors"] === true) return "errors";
  return values["no-progress"] === true ? "no-progress" : "all";
}

function maxDelete(text: string | undefined): MaxDelete {
  const limit = parseMaxDelete(text);
  if (!limit) throw new SyncUsageError("--max-delete: write a number of objects such as 500, a share such as 10%, or both: 10%,500");
  return limit;
}

function sseOf(text: string | undefined): StorageFlags["sse"] {
  if (text === undefined || text === "AES256" || text === "aws:kms") return text;
  throw new SyncUsageError("--sse: write AES256 or aws:kms");
}

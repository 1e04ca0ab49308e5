/** What `backup run`, `list`, `verify` and `restore` do. Loaded only for them: the other commands start in half the time without. */
import { resolve } from "node:path";
import type { GatewayConfig, UserConfig } from "../config/gateway-config.ts";
import { loadConfig } from "../config/load.ts";
import { formatSize } from "../config/quantities.ts";
import { formatStorageLocation, parseStorageLocation } from "../storage-location.ts";
import { JobServices } from "../gateway/job-services.ts";
import { openUserStorage } from "../gateway/storages.ts";
import { type ArchiveRecord, type Catalog, chainOf, readCatalog } from "../jobs/backup-catalog.ts";
import { type BackupDestination, openDestination } from "../jobs/backup-destination.ts";
import { restoreArchives } from "../jobs/backup-restore.ts";
import { verifyArchive } from "../jobs/backup-verify.ts";
import { interruptible } from "./interruptible.ts";
import { createJobLog, createProgress, printOutcome, type ShowOptions, silentLog } from "./progress.ts";
import { EXIT_FAILURE, EXIT_OK, formatTable, type Terminal, UsageError } from "./terminal.ts";

/** Options of the command line. */
export interface CommonOptions extends ShowOptions {
  readonly config: string;
}

/** Options of the command line. */
export interface RunOptions extends CommonOptions {
  readonly all?: boolean;
  readonly full?: boolean;
  readonly allowEmpty?: boolean;
}

/** Options of the command line. */
export interface RestoreCommandOptions extends CommonOptions {
  readonly to: string;
  readonly archive?: string;
  readonly force?: boolean;
}

function userOf({ users, file }: GatewayConfig, name: string): UserConfig {
  const user = users.get(name);
  if (!user) throw new UsageError(`user "${name}" is not defined in ${file}; there are ${[...users.keys()].join(", ") || "none"}`);
  return user;
}

function usersOf(config: GatewayConfig, name: string | undefined, all: boolean | undefined): UserConfig[] {
  if (!config.backups) throw new UsageError(`${config.file} does not say where backups go: write backups: { to: … }`);
  if ((name === undefined) === (all !== true)) throw new UsageError("write either a user's name or --all");
  if (name === undefined) return [...config.users.values()].filter(({ backup }) => backup !== undefined);
  const user = userOf(config, name);
  if (!user.backup) throw new UsageError(`user "${name}" has backup: false`);
  return [user];
}

/** Makes archives, or runs a job now: returns the exit code. Rejects with a UsageError or ConfigError for what cannot be meant. */
export async function run(name: string | undefined, options: RunOptions, terminal: Terminal): Promise<number> {
  const { config } = await loadConfig(resolve(options.config));
  const users = usersOf(config, name, options.all);
  const services = new JobServices({ config, log: silentLog() });
  const progress = createProgress(terminal, options);
  const done: string[] = [];
  const work = async (signal: AbortSignal): Promise<number> => {
    const context = { signal, log: createJobLog(terminal, options), onProgress: progress.report.bind(progress) };
    const { full, allowEmpty } = options;
    const request = { users, ...(full === undefined ? {} : { full }), ...(allowEmpty === undefined ? {} : { allowEmpty }) };
    const outcome = await services.backup(
      {
        ...request,
        onUser: (user, one) => {
          done.push(user);
          if (users.length > 1) printOutcome(terminal, progress, one, options);
        },
      },
      context,
    );
    printOutcome(terminal, progress, outcome, options);
    return outcome.exitCode;
  };
  const said = (): string =>
    `interrupted: ${done.length === 0 ? "nothing was published" : `finished ${done.join(", ")}`}; earlier archives stay`;
  try {
    return await interruptible(terminal, work, said);
  } finally {
    progress.done();
  }
}

/** Opens a user's archives for as long as `work` takes. */
async function withArchives<T>(
  options: CommonOptions,
  name: string,
  work: (opened: { config: GatewayConfig; user: UserConfig; destination: BackupDestination; catalog: Catalog }) => Promise<T>,
): Promise<T> {
  const { config } = await loadConfig(resolve(options.config));
  const user = userOf(config, name);
  if (!config.backups) throw new UsageError(`${config.file} does not say where backups go: write backups: { to: … }`);
  const destination = await openDestination(config.backups.storage, name, silentLog());
  try {
    const catalog = await readCatalog(destination.store, destination.prefix);
    return await work({ config, user, destination, catalog });
  } finally {
    await destination.close();
  }
}

/** Prints the list: returns the exit code. Rejects with a UsageError or ConfigError for what cannot be meant. */
export async function list(name: string, options: CommonOptions, terminal: Terminal): Promise<number> {
  return withArchives(options, name, async ({ catalog, destination }) => {
    if (options.json) {
      terminal.print(JSON.stringify(catalog.archives, null, 2));
      return EXIT_OK;
    }
    if (catalog.archives.length === 0) terminal.print(`there is no archive of ${name} in ${destination.uri}`);
    const rows = catalog.archives.map((archive) => [
      archive.name,
      archive.kind,
      new Date(archive.publishedMs).toISOString().slice(0, 16).replace("T", " "),
      formatSize(archive.volumes.reduce((sum, { size }) => sum + size, 0)),
      `${archive.files} files`,
      Object.entries(archive.warnings)
        .map(([status, count]) => `${count} ${status}`)
        .join(", "),
    ]);
    for (const line of formatTable(rows)) terminal.print(line.trimEnd());
    return EXIT_OK;
  });
}

function archiveOf({ archives }: Catalog, user: string, name: string | undefined): ArchiveRecord {
  const archive = name === undefined ? archives.at(-1) : archives.find((one) => one.name === name);
  if (archive) return archive;
  const known = archives.map((one) => one.name).join(", ");
  throw new UsageError(name === undefined ? `there is no archive of ${user}` : `there is no archive ${name}; there are ${known || "none"}`);
}

/** Verifies an archive: returns the exit code. Rejects with a UsageError or ConfigError for what cannot be meant. */
export async function verify(name: string, archiveName: string | undefined, options: CommonOptions, terminal: Terminal): Promise<number> {
  return withArchives(options, name, async ({ catalog, destination }) => {
    const archive = archiveOf(catalog, name, archiveName);
    const progress = createProgress(terminal, options);
    const work = async (signal: AbortSignal): Promise<number> => {
      const result = await verifyArchive({ destination, archive, signal, onProgress: progress.report.bind(progress) });
      progress.done();
      if (options.json) terminal.print(JSON.stringify({ archive: archive.name, ...result }));
      else {
        for (const fault of result.faults) terminal.printError(fault);
        const verdict = result.faultCount === 0 ? "as the manifest says" : `${result.faultCount} faults`;
        if (!options.quiet) terminal.print(`${archive.name}: ${result.files} files, ${formatSize(result.bytes)}, ${verdict}`);
      }
      return result.faultCount === 0 ? EXIT_OK : EXIT_FAILURE;
    };
    return interruptible(terminal, work, () => `interrupted: ${archive.name} was not read to its end`);
  });
}

/** Where files are restored to: a folder's path, `file://`, or a prefix of a bucket by the user's own connection. */
function targetOf(text: string, { storage }: UserConfig): UserConfig["storage"] {
  const location = parseStorageLocation(text.includes("://") ? text : `file://${resolve(text)}`);
  if (typeof location === "string") throw new UsageError(`--to: ${location}`);
  if (location.kind === "s3" && !storage.connection)
    throw new UsageError("--to: this user's storage is a folder, so no connection to a bucket is known");
  return { uri: formatStorageLocation(location), location, connection: location.kind === "s3" ? storage.connection : undefined };
}

/** Restores files: returns the exit code. Rejects with a UsageError or ConfigError for what cannot be meant. */
export async function restore(name: string, path: string | undefined, options: RestoreCommandOptions, terminal: Terminal): Promise<number> {
  return withArchives(options, name, async ({ catalog, destination, user }) => {
    const chain = chainOf(catalog, archiveOf(catalog, name, options.archive).name);
    const progress = createProgress(terminal, options);
    await using target = await openUserStorage(targetOf(options.to, user));
    const work = async (signal: AbortSignal): Promise<number> => {
      const result = await restoreArchives({
        user: name,
        destination,
        chain,
        target,
        path,
        force: options.force === true,
        signal,
        onProgress: progress.report.bind(progress),
      });
      progress.done();
      const from = chain.map((archive) => archive.name);
      if (options.json) terminal.print(JSON.stringify({ ...result, archives: from, to: options.to }));
      else if (!options.quiet) {
        terminal.print(`${result.files} files, ${formatSize(result.bytes)} restored to ${options.to} from ${from.join(", ")}`);
      }
      return EXIT_OK;
    };
    try {
      return await interruptible(terminal, work, () => `interrupted: ${options.to} holds a part of the files; run it again with --force`);
    } finally {
      progress.done();
    }
  });
}

/** `usage`: bytes and files by user and region, for bills. */
import type { Command } from "commander";
import { resolve } from "node:path";
import type { UserConfig } from "../config/gateway-config.ts";
import { loadConfig } from "../config/load.ts";
import { formatSize } from "../config/quantities.ts";
import type { StorageUsage } from "../jobs/layout/storage-usage.ts";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";
import { EXIT_FAILURE, EXIT_OK, formatTable, type Terminal, UsageError } from "./terminal.ts";

const AT_ONCE = 4;

interface UsageOptions {
  readonly config: string;
  readonly all?: boolean;
  readonly json?: boolean;
  readonly csv?: boolean;
}

interface UserUsage {
  readonly user: string;
  readonly region: string;
  readonly storage: string;
  readonly usage: StorageUsage | undefined;
  readonly error: string | undefined;
}

async function count({ name, region = "", storage }: UserConfig): Promise<UserUsage> {
  const { countUsage } = await import("../jobs/layout/storage-usage.ts");
  const { openUserStorage } = await import("../gateway/storages.ts");
  const who = { user: name, region, storage: storage.uri };
  try {
    await using opened = await openUserStorage(storage);
    return { ...who, usage: await countUsage(opened.store, opened.prefix), error: undefined };
  } catch (error) {
    return { ...who, usage: undefined, error: error instanceof Error ? error.message : String(error) };
  }
}

/** In the order of `users`, a few at a time. */
async function countAll(users: readonly UserConfig[]): Promise<UserUsage[]> {
  const results: UserUsage[] = [];
  const waiting = [...users.entries()];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) results[next[0]] = await count(next[1]);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return results;
}

async function usage(names: readonly string[], options: UsageOptions, terminal: Terminal): Promise<number> {
  const { config } = await loadConfig(resolve(options.config));
  for (const name of names) if (!config.users.has(name)) throw new UsageError(`user "${name}" is not defined in ${options.config}`);
  const chosen = [...config.users.values()].filter(({ name }) => names.length === 0 || names.includes(name));
  const results = await countAll(chosen);
  if (options.json) terminal.print(JSON.stringify(results.map(record), null, 2));
  else if (options.csv) await printCsv(results, terminal);
  else printTable(results, terminal);
  for (const { user, error } of results) if (error !== undefined) terminal.printError(`${user}: ${error}`);
  return results.some(({ error }) => error !== undefined) ? EXIT_FAILURE : EXIT_OK;
}

function record({ user, region, storage, usage: counted, error }: UserUsage): object {
  return { user, region, storage, ...(counted ?? {}), ...(error === undefined ? {} : { error }) };
}

async function printCsv(results: readonly UserUsage[], terminal: Terminal): Promise<void> {
  const { csvField } = await import("../jobs/layout/manifest-lines.ts");
  terminal.print("user,region,storage,files,bytes,original_files,original_bytes,thumbnail_files,thumbnail_bytes");
  for (const { user, region, storage, usage: counted } of results) {
    if (!counted) continue;
    const { total, originals, thumbnails } = counted;
    const numbers = [total, originals, thumbnails].flatMap(({ files, bytes }) => [String(files), String(bytes)]);
    terminal.print([user, region, storage, ...numbers].map(csvField).join(","));
  }
}

function printTable(results: readonly UserUsage[], terminal: Terminal): void {
  const rows: string[][] = [["USER", "REGION", "FILES", "BYTES", "SIZE", "STORAGE"]];
  const regions = new Map<string, { files: number; bytes: number }>();
  for (const { user, region, storage, usage: counted } of results) {
    const { files, bytes } = counted?.total ?? { files: 0, bytes: 0 };
    rows.push([user, region || "-", ...(counted ? [String(files), String(bytes), formatSize(bytes)] : ["?", "?", "?"]), storage]);
    const sum = regions.get(region) ?? { files: 0, bytes: 0 };
    regions.set(region, { files: sum.files + files, bytes: sum.bytes + bytes });
  }
  if (results.length > 1) {
    for (const [region, { files, bytes }] of regions) {
      rows.push(["total", region || "-", String(files), String(bytes), formatSize(bytes), ""]);
    }
  }
  for (const line of formatTable(rows)) terminal.print(line.trimEnd());
}

/** Adds `usage` to the program; `exit` takes the exit code. */
export function registerUsage(program: Command, terminal: Terminal, exit: (code: number) => void): void {
  program
    .command("usage")
    .description("count bytes and files by user and region, with one listing each")
    .argument("[users...]", "login names; default: all")
    .option("--all", "all users")
    .option("--json", "as JSON")
    .option("--csv", "as CSV")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE)
    .action(async (names: string[], options: UsageOptions) => exit(await usage(names, options, terminal)));
}

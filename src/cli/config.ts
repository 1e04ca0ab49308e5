/** `config check` and `config schema`. */
import type { Command } from "commander";
import { resolve } from "node:path";
import type { GatewayConfig, UserConfig } from "../config/gateway-config.ts";
import { formatConfigJsonSchema } from "../config/json-schema.ts";
import { loadConfig } from "../config/load.ts";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";
import { checkRegions } from "./region-check.ts";
import { probeStorage } from "./storage-probe.ts";
import { EXIT_FAILURE, EXIT_OK, type Terminal } from "./terminal.ts";

const PROBES_AT_ONCE = 8;

interface CheckOptions {
  readonly config: string;
  readonly offline?: boolean;
}

/** A storage that is tried, and what it is. */
interface Place {
  readonly name: string;
  readonly storage: UserConfig["storage"];
  readonly readOnly: boolean;
}

/** One line about a storage; true if everything the gateway needs works. */
async function checkPlace({ name, storage, readOnly }: Place, terminal: Terminal): Promise<boolean> {
  const head = `${name}  ${storage.uri}`;
  try {
    const { openUserStorage } = await import("../gateway/storages.ts");
    await using opened = await openUserStorage(storage);
    const { failures } = await probeStorage(opened.store, opened.prefix, { readOnly });
    if (failures.length === 0) {
      terminal.print(`ok      ${head}  ${readOnly ? "list" : "list, put, read, delete, multipart"}`);
      return true;
    }
    terminal.print(`FAILED  ${head}  ${failures.map(({ step, reason }) => `${step}: ${reason}`).join("; ")}`);
  } catch (error) {
    terminal.print(`FAILED  ${head}  open: ${error instanceof Error ? error.message : String(error)}`);
  }
  return false;
}

async function checkStorages(config: GatewayConfig, terminal: Terminal): Promise<string[]> {
  const waiting: Place[] = [...config.users.values()].map(({ name, storage, readOnly }) => ({ name: `user ${name}`, storage, readOnly }));
  if (config.backups) waiting.push({ name: "backups", storage: config.backups.storage, readOnly: false });
  const failed: string[] = [];
  const work = async (): Promise<void> => {
    for (let place = waiting.shift(); place; place = waiting.shift()) {
      if (!(await checkPlace(place, terminal))) failed.push(place.name.replace(/^user /, ""));
    }
  };
  await Promise.all(Array.from({ length: PROBES_AT_ONCE }, work));
  return failed;
}

async function check(options: CheckOptions, terminal: Terminal): Promise<number> {
  const { config, dependencies } = await loadConfig(resolve(options.config));
  for (const user of config.users.values()) {
    if (user.keys.length === 0) terminal.print(`note    user ${user.name}  has no key and cannot log in`);
  }
  terminal.print(
    `ok      ${config.file}: ${config.users.size} users, ${config.regions.size} regions, ${dependencies.size} files and folders watched`,
  );
  if (options.offline) return EXIT_OK;
  const [failed, failedRegions] = [await checkStorages(config, terminal), await checkRegions(config, terminal)];
  if (failedRegions.length > 0) terminal.printError(`buckets are missing or cannot be reached: ${failedRegions.join(", ")}`);
  if (failed.length === 0) return failedRegions.length === 0 ? EXIT_OK : EXIT_FAILURE;
  const places = failed.includes("backups") ? config.users.size + 1 : config.users.size;
  terminal.printError(`the storage of ${failed.length} of ${places} users does not work: ${failed.join(", ")}`);
  return EXIT_FAILURE;
}

/** Adds `config` and its commands to the program; `exit` takes the exit code. */
export function registerConfig(program: Command, terminal: Terminal, exit: (code: number) => void): void {
  const config = program.command("config").description("check the configuration, or print its JSON Schema");
  config
    .command("check")
    .description("check the file, then try every user's storage (list, put, read, delete a canary, multipart) and every region's backup")
    .option("--offline", "check the file only")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE)
    .action(async (options: CheckOptions) => exit(await check(options, terminal)));
  config
    .command("schema")
    .description("print the JSON Schema that editors use")
    .action(() => terminal.print(formatConfigJsonSchema().trimEnd()));
}

/** `config check` and `config schema`. */
import type { Command } from "commander";
import { resolve } from "node:path";
import type { GatewayConfig, UserConfig } from "../config/gateway-config.ts";
import { formatConfigJsonSchema } from "../config/json-schema.ts";
import { loadConfig } from "../config/load.ts";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";
import { probeStorage } from "./storage-probe.ts";
import { EXIT_FAILURE, EXIT_OK, type Terminal } from "./terminal.ts";

const PROBES_AT_ONCE = 8;

interface CheckOptions {
  readonly config: string;
  readonly offline?: boolean;
}

/** One line about a user's storage; true if everything the gateway needs works. */
async function checkUser(user: UserConfig, terminal: Terminal): Promise<boolean> {
  const head = `user ${user.name}  ${user.storage.uri}`;
  try {
    const { openUserStorage } = await import("../gateway/storages.ts");
    await using opened = await openUserStorage(user.storage);
    const { failures } = await probeStorage(opened.store, opened.prefix, { readOnly: user.readOnly });
    if (failures.length === 0) {
      terminal.print(`ok      ${head}  ${user.readOnly ? "list" : "list, put, read, delete, multipart"}`);
      return true;
    }
    terminal.print(`FAILED  ${head}  ${failures.map(({ step, reason }) => `${step}: ${reason}`).join("; ")}`);
  } catch (error) {
    terminal.print(`FAILED  ${head}  open: ${error instanceof Error ? error.message : String(error)}`);
  }
  return false;
}

async function checkStorages(config: GatewayConfig, terminal: Terminal): Promise<string[]> {
  const waiting = [...config.users.values()];
  const failed: string[] = [];
  const work = async (): Promise<void> => {
    for (let user = waiting.shift(); user; user = waiting.shift()) {
      if (!(await checkUser(user, terminal))) failed.push(user.name);
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
  const failed = await checkStorages(config, terminal);
  if (failed.length === 0) return EXIT_OK;
  terminal.printError(`the storage of ${failed.length} of ${config.users.size} users does not work: ${failed.join(", ")}`);
  return EXIT_FAILURE;
}

/** Adds `config` and its commands to the program; `exit` takes the exit code. */
export function registerConfig(program: Command, terminal: Terminal, exit: (code: number) => void): void {
  const config = program.command("config").description("check the configuration, or print its JSON Schema");
  config
    .command("check")
    .description("check the file, then try every user's storage: list, put, read, delete a canary, multipart create and abort")
    .option("--offline", "check the file only")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE)
    .action(async (options: CheckOptions) => exit(await check(options, terminal)));
  config
    .command("schema")
    .description("print the JSON Schema that editors use")
    .action(() => terminal.print(formatConfigJsonSchema().trimEnd()));
}

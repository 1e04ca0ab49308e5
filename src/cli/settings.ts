/** `settings print` and `settings add`: the asset server's map of collections. */
import type { Command } from "commander";
import { readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { GatewayConfig, UserConfig } from "../config/gateway-config.ts";
import { loadConfig } from "../config/load.ts";
import { addSettings, settingsLine } from "../jobs/layout/asset-settings.ts";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";
import { EXIT_FAILURE, EXIT_OK, type Terminal, UsageError } from "./terminal.ts";

interface SettingsOptions {
  readonly config: string;
  readonly all?: boolean;
  readonly user?: readonly string[];
}

/** The users meant; `named` says whether each was asked for by name. */
async function usersOf(names: readonly string[], all: boolean, file: string): Promise<{ users: UserConfig[]; named: boolean }> {
  const { config }: { config: GatewayConfig } = await loadConfig(resolve(file));
  if (all === names.length > 0) throw new UsageError("write a user's name, or --all");
  if (all) return { users: [...config.users.values()], named: false };
  const users = names.map((name) => {
    const user = config.users.get(name);
    if (!user) throw new UsageError(`user "${name}" is not defined in ${file}`);
    return user;
  });
  return { users, named: true };
}

/** Lines by user. Users whose line cannot be written are told of; 1 if there are any that were asked for. */
function linesOf(
  { users, named }: { users: UserConfig[]; named: boolean },
  terminal: Terminal,
): { lines: Map<string, string>; code: number } {
  const lines = new Map<string, string>();
  let code = EXIT_OK;
  for (const { name, storage } of users) {
    try {
      lines.set(name, settingsLine(name, storage.location));
    } catch (error) {
      terminal.printError(error instanceof Error ? error.message : String(error));
      if (named || storage.location.kind === "s3") code = EXIT_FAILURE;
    }
  }
  return { lines, code };
}

async function print(names: readonly string[], options: SettingsOptions, terminal: Terminal): Promise<number> {
  const { lines, code } = linesOf(await usersOf(names, options.all === true, options.config), terminal);
  for (const line of lines.values()) terminal.print(line);
  return code;
}

async function add(file: string, options: SettingsOptions, terminal: Terminal): Promise<number> {
  const { lines, code } = linesOf(await usersOf(options.user ?? [], options.user === undefined, options.config), terminal);
  if (code !== EXIT_OK) return code;
  const { text, changes } = addSettings(await readFile(file, "utf8"), lines);
  for (const [name, change] of changes) terminal.print(`${change.padEnd(7)} ${lines.get(name)?.trim() ?? name}`);
  if ([...changes.values()].some((change) => change !== "same")) await replaceFile(file, text);
  return EXIT_OK;
}

/** In one step, so that the asset server never reads half a file. */
async function replaceFile(file: string, text: string): Promise<void> {
  const staged = join(dirname(file), `.${process.pid}.settings.new`);
  try {
    await writeFile(staged, text, { flag: "wx", mode: (await stat(file)).mode & 0o777, flush: true });
    await rename(staged, file);
  } catch (error) {
    await rm(staged, { force: true });
    throw error;
  }
}

/** Adds `settings` and its commands to the program; `exit` takes the exit code. */
export function registerSettings(program: Command, terminal: Terminal, exit: (code: number) => void): void {
  const settings = program.command("settings").description("the lines that the asset server's settings.py wants");
  settings
    .command("print")
    .description("print the lines of users; refused where the asset server would misread one")
    .argument("[users...]", "login names, which are the collections' names")
    .option("--all", "all users with a bucket")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE)
    .action(async (names: string[], options: SettingsOptions) => exit(await print(names, options, terminal)));
  settings
    .command("add")
    .description("add or replace the lines in a settings.py; everything else in it stays")
    .argument("<file>", "the asset server's settings.py")
    .option("--user <name...>", "these users only; default: all with a bucket")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE)
    .action(async (file: string, options: SettingsOptions) => exit(await add(file, options, terminal)));
}

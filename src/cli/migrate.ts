/** `migrate linux` and `migrate compare`: from Linux accounts and s3fs mounts to the gateway. Changes nothing on the old server. */
import type { Command } from "commander";
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { loadConfig } from "../config/load.ts";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";
import { EXIT_FAILURE, EXIT_OK, type Terminal, UsageError } from "./terminal.ts";

interface LinuxOptions {
  readonly root: string;
  readonly output?: string;
  readonly json?: boolean;
}

async function linux(options: LinuxOptions, terminal: Terminal): Promise<void> {
  const { parseAuthorizedKeys } = await import("../auth/authorized-keys.ts");
  const { readOldServer } = await import("../jobs/migrate/old-server.ts");
  const { proposeConfig } = await import("../jobs/migrate/proposal.ts");
  const server = await readOldServer(resolve(options.root), (line) => void parseAuthorizedKeys(line));
  const { yaml, notes, mountPoints } = proposeConfig(server);
  if (options.json) {
    terminal.print(JSON.stringify({ yaml, notes, mountPoints: Object.fromEntries(mountPoints), hostKeys: server.hostKeys }, null, 2));
    return;
  }
  if (options.output === undefined) terminal.print(yaml.trimEnd());
  else await writeFile(options.output, yaml, { flag: "wx", mode: 0o600 });
  for (const { file, line, text } of notes) terminal.printError(`${file}${line > 0 ? `:${line}` : ""}: ${text}`);
  for (const [user, folder] of mountPoints) terminal.printError(`compare before the switch: migrate compare ${user} --mount ${folder}`);
}

interface CompareOptions {
  readonly config: string;
  readonly mount: string;
  readonly times?: boolean;
  readonly json?: boolean;
}

async function compare(name: string, options: CompareOptions, terminal: Terminal): Promise<number> {
  const { config } = await loadConfig(resolve(options.config));
  const user = config.users.get(name);
  if (!user) throw new UsageError(`user "${name}" is not defined in ${options.config}`);
  const { openUserStorage } = await import("../gateway/storages.ts");
  const { compareViews } = await import("../jobs/migrate/compare-views.ts");
  await using opened = await openUserStorage(user.storage);
  const { same, differences } = await compareViews(resolve(options.mount), opened.store, opened.prefix, { times: options.times === true });
  const kinds = Object.entries(differences);
  const isEqual = kinds.every(([, { count }]) => count === 0);
  if (options.json)
    terminal.print(JSON.stringify({ user: name, mount: options.mount, storage: user.storage.uri, same, differences }, null, 2));
  else {
    terminal.print(`${same} files are the same under ${options.mount} and ${user.storage.uri}`);
    for (const [kind, { count, examples }] of kinds) if (count > 0) terminal.print(`${kind}: ${count}, such as ${examples.join(", ")}`);
  }
  return isEqual ? EXIT_OK : EXIT_FAILURE;
}

/** Adds `migrate` and its commands to the program; `exit` takes the exit code. */
export function registerMigrate(program: Command, terminal: Terminal, exit: (code: number) => void): void {
  const migrate = program.command("migrate").description("move from Linux accounts and s3fs mounts");
  migrate
    .command("linux")
    .description("read accounts, keys, s3fs mounts, crontabs and host keys, and propose a configuration; changes nothing")
    .option("--root <folder>", "root of the old server's file system, or of a copy of it", "/")
    .option("--output <file>", "write the proposal there instead of printing it")
    .option("--json", "proposal and notes as JSON")
    .action((options: LinuxOptions) => linux(options, terminal));
  migrate
    .command("compare")
    .description("compare a customer's old mount with the new storage: 0 equal, 1 not")
    .argument("<user>", "a user of the configuration")
    .requiredOption("--mount <folder>", "the old mount")
    .option("--times", "compare times, too (one request a file)")
    .option("--json", "as JSON")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE)
    .action(async (name: string, options: CompareOptions) => exit(await compare(name, options, terminal)));
}

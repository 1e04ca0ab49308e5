/** `host-keys`: the server's keys as clients see them; makes them when there are none. */
import type { Command } from "commander";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { loadConfig } from "../config/load.ts";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";
import { formatTable, type Terminal } from "./terminal.ts";

interface HostKeysOptions {
  readonly config: string;
  readonly folder?: string;
  readonly knownHosts?: string;
}

async function folderOf(options: HostKeysOptions): Promise<string> {
  if (options.folder !== undefined) return resolve(options.folder);
  // Keys are needed before the configuration is complete: without a file, the default folder counts.
  if (options.config === DEFAULT_CONFIG_FILE && !existsSync(options.config)) return resolve("keys");
  return (await loadConfig(resolve(options.config))).config.server.hostKeys;
}

async function hostKeys(options: HostKeysOptions, terminal: Terminal): Promise<void> {
  const { loadHostKeys } = await import("../ssh/host-keys.ts");
  const keys = await loadHostKeys(await folderOf(options));
  if (options.knownHosts !== undefined) {
    for (const { publicKey } of keys) terminal.print(`${options.knownHosts} ${publicKey}`);
    return;
  }
  for (const line of formatTable(keys.map(({ fingerprint, type, path }) => [fingerprint, type, path]))) terminal.print(line);
}

/** Adds `host-keys` to the program. */
export function registerHostKeys(program: Command, terminal: Terminal): void {
  program
    .command("host-keys")
    .description("list the fingerprints of the server's keys; generates Ed25519 and RSA keys when there are none")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE)
    .option("--folder <folder>", "folder of the keys instead of the configuration's")
    .option("--known-hosts <host>", 'print lines for clients\' known_hosts, for example with "[files.example.org]:2022"')
    .action((options: HostKeysOptions) => hostKeys(options, terminal));
}

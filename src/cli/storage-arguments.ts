/** What commands about one storage share: their options, and the configuration where there is one. */
import type { Command } from "commander";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { GatewayConfig } from "../config/gateway-config.ts";
import { loadConfig } from "../config/load.ts";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";

/** Options as commander gives them. */
export interface StorageFlagValues {
  readonly config?: string;
  readonly endpointUrl?: string;
  readonly region?: string;
  readonly profile?: string;
}

/** Adds `--config` and the options that say how an unconfigured bucket is reached. */
export function withStorageFlags(command: Command): Command {
  return command
    .option("--endpoint-url <url>", "store of a bucket that the configuration does not know")
    .option("--region <name>", "its region")
    .option("--profile <name>", "profile of the AWS configuration files")
    .option("--config <file>", `configuration file (default: ${DEFAULT_CONFIG_FILE} if it is there)`);
}

/** The configuration; undefined if none is named and the default file is not there. */
export async function optionalConfig(file: string | undefined): Promise<GatewayConfig | undefined> {
  if (file === undefined && !existsSync(DEFAULT_CONFIG_FILE)) return undefined;
  return (await loadConfig(resolve(file ?? DEFAULT_CONFIG_FILE))).config;
}

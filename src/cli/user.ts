/** `user add`, `user list`, `user remove`: edits the YAML and keeps its comments and order. */
import type { Command } from "commander";
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { text as readAll } from "node:stream/consumers";
import { type AuthorizedKey, parseAuthorizedKeys } from "../auth/authorized-keys.ts";
import { addUser, removeUser, type UserEntry } from "../config/edit.ts";
import type { GatewayConfig, UserConfig } from "../config/gateway-config.ts";
import { loadConfig } from "../config/load.ts";
import { checkName } from "../config/resolve.ts";
import { ConfigError } from "../errors.ts";
import { editConfigFile } from "./config-writer.ts";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";
import { formatTable, type Terminal, UsageError } from "./terminal.ts";

interface AddOptions {
  readonly config: string;
  readonly key: readonly string[];
  readonly region?: string;
  readonly storage?: string;
  readonly s3?: readonly string[];
  readonly layout?: string;
  readonly readOnly?: boolean;
  readonly check?: boolean;
  readonly createFolders?: boolean;
  readonly host?: string;
}

function oneLine(key: AuthorizedKey): string {
  return `${key.algorithm} ${key.blob.toString("base64")}${key.comment ? ` ${key.comment.replaceAll(/\s+/g, " ")}` : ""}`;
}

/** The keys of one file as lines for the YAML: as they are with their options, RFC 4716 blocks as OpenSSH lines. */
async function keyLines(file: string): Promise<string[]> {
  let text: string;
  try {
    text = file === "-" ? await readAll(process.stdin) : await readFile(file, "utf8");
  } catch (error) {
    throw new UsageError(`--key ${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
  try {
    const keys = parseAuthorizedKeys(text);
    if (text.includes("BEGIN SSH2")) return keys.map(oneLine);
    return text
      .split(/\r\n|\n|\r/)
      .map((line) => line.trim())
      .filter((line) => line !== "" && !line.startsWith("#"));
  } catch (error) {
    throw new UsageError(`--key ${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The region of a new user; the only one there is, if nothing is said. */
function chooseRegion(config: GatewayConfig, options: AddOptions): string | undefined {
  if (options.region !== undefined || options.storage !== undefined) return options.region;
  const [first, ...others] = [...config.regions.keys()];
  if (first !== undefined && others.length === 0) return first;
  const regions = first === undefined ? "" : ` (regions: ${[first, ...others].join(", ")})`;
  throw new UsageError(`write --region NAME or --storage URI${regions}`);
}

function describe(user: UserConfig): string {
  const flags = [user.readOnly ? "read-only" : "", user.shared ? "shared" : ""].filter((flag) => flag !== "");
  return flags.length > 0 ? ` (${flags.join(", ")})` : "";
}

async function add(name: string, options: AddOptions, terminal: Terminal): Promise<void> {
  const wrongName = checkName(name);
  if (wrongName) throw new UsageError(wrongName);
  const file = resolve(options.config);
  const { config } = await loadConfig(file);
  const existing = config.users.get(name);
  if (existing) {
    const { file: where, line, column } = existing.definedAt;
    throw new ConfigError(`user "${name}" is already defined: remove it first, or add the key there`, { file: where, line, column });
  }
  const keys = (await Promise.all(options.key.map(keyLines))).flat();
  const region = chooseRegion(config, options);
  const entry: UserEntry = {
    ...(region === undefined ? {} : { region }),
    ...(options.storage === undefined ? {} : { storage: options.storage }),
    ...(options.s3 === undefined ? {} : { s3: connectionOf(options.s3) }),
    ...(options.layout === undefined ? {} : { layout: options.layout }),
    ...(options.readOnly ? { readOnly: true } : {}),
    keys,
  };
  const { config: next, welcome } = options.check
    ? await addChecked(file, name, entry, options, terminal)
    : { config: (await editConfigFile(file, file, (text) => addUser(text, file, name, entry))).config, welcome: [] };
  const user = next.users.get(name);
  if (!user) throw new Error(`user "${name}" was written to ${file} but is not found in it`);
  terminal.print(`user ${name} added to ${file}${describe(user)}`);
  terminal.print(`  storage  ${user.storage.uri}`);
  for (const key of user.keys) terminal.print(`  key      ${key.fingerprint} ${key.algorithm} ${key.comment}`.trimEnd());
  terminal.print("A running gateway that watches this file lets the user in from now on.");
  for (const line of welcome) terminal.print(line);
}

/** `--s3 KEY=VALUE`. */
function connectionOf(pairs: readonly string[]): Record<string, string | boolean> {
  const connection: Record<string, string | boolean> = {};
  for (const pair of pairs) {
    const [, key = "", value = ""] = /^([A-Za-z0-9]+)=(.*)$/s.exec(pair) ?? [];
    if (key === "") throw new UsageError(`--s3 ${pair}: write KEY=VALUE, such as expectedBucketOwner=444455556666`);
    connection[key] = value === "true" || value === "false" ? value === "true" : value;
  }
  return connection;
}

/** Checks the storage with the configuration as it would be, and only then writes it: the last step that can fail. */
async function addChecked(
  file: string,
  name: string,
  entry: UserEntry,
  options: AddOptions,
  terminal: Terminal,
): Promise<{ readonly config: GatewayConfig; readonly welcome: readonly string[] }> {
  const planned = addUser(await readFile(file, "utf8"), file, name, entry);
  const { config } = await loadConfig(file, { replacements: new Map([[file, planned]]) });
  const user = config.users.get(name);
  if (!user) throw new Error(`user "${name}" cannot be added to ${file}`);
  const { checkNewUser, welcomeLines } = await import("./user-onboarding.ts");
  const { undo } = await checkNewUser(user, { createFolders: options.createFolders === true }, terminal);
  try {
    const welcome = await welcomeLines(user, config, options.host ?? hostname());
    return { config: (await editConfigFile(file, file, (text) => addUser(text, file, name, entry))).config, welcome };
  } catch (error) {
    await undo();
    throw error;
  }
}

async function list(options: { readonly config: string; readonly json?: boolean }, terminal: Terminal): Promise<void> {
  const { config } = await loadConfig(resolve(options.config));
  const users = [...config.users.values()];
  if (options.json) {
    const view = users.map(({ name, region, storage, keys, readOnly, shared, definedAt }) => ({
      name,
      ...(region === undefined ? {} : { region }),
      storage: storage.uri,
      keys: keys.map(({ algorithm, fingerprint, comment }) => ({ algorithm, fingerprint, comment })),
      readOnly,
      shared,
      file: definedAt.file,
      line: definedAt.line,
    }));
    terminal.print(JSON.stringify(view, null, 2));
    return;
  }
  const rows = users.map((user) => {
    const [first, ...others] = user.keys;
    const keys = first ? `${first.fingerprint} ${first.comment}${others.length > 0 ? ` and ${others.length} more` : ""}` : "no key";
    return [user.name, user.storage.uri + describe(user), keys];
  });
  for (const line of formatTable([["NAME", "STORAGE", "KEYS"], ...rows])) terminal.print(line.trimEnd());
}

async function remove(name: string, options: { readonly config: string }, terminal: Terminal): Promise<void> {
  const file = resolve(options.config);
  const { config } = await loadConfig(file);
  const user = config.users.get(name);
  if (!user) {
    const names = [...config.users.keys()];
    throw new ConfigError(`user "${name}" is not defined in ${file}${names.length > 0 ? `; there are ${names.join(", ")}` : ""}`);
  }
  const target = user.definedAt.file;
  await editConfigFile(file, target, (text) => removeUser(text, target, name));
  terminal.print(`user ${name} removed from ${target}; the files under ${user.storage.uri} stay`);
  terminal.print("A running gateway that watches this file ends the user's sessions.");
}

/** Adds `user` and its commands to the program. */
export function registerUser(program: Command, terminal: Terminal): void {
  const user = program.command("user").description("add, list and remove users in the configuration file");
  user
    .command("add")
    .description("add a user with a public key")
    .argument("<name>", "login name: letters, digits, . _ @ + -")
    .requiredOption("--key <file...>", "public key file as people have it (.pub, authorized_keys, PuTTYgen's), - for standard input")
    .option("--region <name>", "region whose bucket holds the files under NAME/")
    .option("--storage <uri>", "s3://bucket/path or file:///folder")
    .option(
      "--s3 <key=value...>",
      "how the storage is reached, as in the file: awsRegion, expectedBucketOwner, roleArn, externalId, endpoint, …",
    )
    .option("--layout <name>", "specify, cas or free: where the user may put files (default: free)")
    .option("--read-only", "the user may not write")
    .option("--check", "first try the storage's rights and layout, then print what to send to the customer")
    .option("--create-folders", "with --check: make originals/ and thumbnails/ where they are missing")
    .option("--host <name>", "with --check: the host name that customers use")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE)
    .action((name: string, options: AddOptions) => add(name, options, terminal));
  user
    .command("list")
    .description("list the users with their storage and keys")
    .option("--json", "as JSON")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE)
    .action((options: { config: string; json?: boolean }) => list(options, terminal));
  user
    .command("remove")
    .description("remove a user; the files stay where they are")
    .argument("<name>", "login name")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE)
    .action((name: string, options: { config: string }) => remove(name, options, terminal));
}

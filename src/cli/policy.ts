/** `policy print` and `policy check`: the rights on a customer's bucket. */
import type { Command } from "commander";
import { loadConfig } from "../config/load.ts";
import { resolve } from "node:path";
import type { UserConfig } from "../config/gateway-config.ts";
import { parseStorageLocation } from "../storage-location.ts";
import {
  assumePolicy,
  bucketPolicy,
  identityPolicy,
  lifecycleRule,
  type PolicyTarget,
  trustPolicy,
} from "../jobs/policy/policy-documents.ts";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";
import { EXIT_FAILURE, formatTable, type Terminal, UsageError } from "./terminal.ts";

const ARN = /^arn:(aws|aws-cn|aws-us-gov):(?:iam|sts)::\d{12}:.+$/;
const DOCUMENTS = ["bucket", "identity", "role", "trust", "assume", "lifecycle"] as const;
type DocumentName = (typeof DOCUMENTS)[number];

interface PrintOptions {
  readonly config: string;
  readonly bucket?: string;
  readonly prefix?: string;
  readonly principal?: string;
  readonly role?: string | true;
  readonly externalId?: string;
  readonly kmsKey?: string;
  readonly versions?: boolean;
  readonly only?: string;
  readonly json?: boolean;
}

interface Document {
  readonly name: DocumentName;
  readonly title: string;
  readonly content: object;
}

async function findUser(name: string, file: string): Promise<UserConfig> {
  const { config } = await loadConfig(resolve(file));
  const user = config.users.get(name);
  if (!user) throw new UsageError(`user "${name}" is not defined in ${file}`);
  return user;
}

function targetOf(options: PrintOptions, user: UserConfig | undefined): PolicyTarget {
  const text = user ? user.storage.uri : `s3://${options.bucket ?? ""}/${(options.prefix ?? "").replace(/^\/+|\/+$/g, "")}`;
  const location = parseStorageLocation(text);
  if (typeof location === "string") throw new UsageError(location);
  if (location.kind === "file") throw new UsageError(`user "${user?.name}" has a folder, ${text}: only buckets have policies`);
  const { bucket, prefix } = location;
  const sse = user?.storage.connection?.sse;
  const kmsKeyArn = options.kmsKey ?? (typeof sse === "object" && sse.kmsKeyId?.startsWith("arn:") ? sse.kmsKeyId : undefined);
  const partition = ARN.exec(options.principal ?? "")?.[1] ?? "aws";
  return { bucket, prefix, partition, versions: options.versions === true, kmsKeyArn };
}

function documentsOf(options: PrintOptions, user: UserConfig | undefined): Document[] {
  const target = targetOf(options, user);
  const { principal } = options;
  if (principal !== undefined && !ARN.test(principal))
    throw new UsageError(`--principal: write the ARN of our identity, such as arn:aws:iam::123456789012:role/gateway`);
  const connection = user?.storage.connection;
  const roleArn = typeof options.role === "string" ? options.role : connection?.roleArn;
  const usesRole = options.role !== undefined || roleArn !== undefined;
  const who = principal ?? "arn:aws:iam::OUR-ACCOUNT:role/OUR-ROLE";
  const lifecycle: Document = {
    name: "lifecycle",
    title: "Lifecycle of the bucket (Management → Lifecycle rules): discards unfinished uploads after 7 days",
    content: lifecycleRule(target),
  };
  if (usesRole) {
    const externalId = options.externalId ?? connection?.externalId;
    return [
      { name: "role", title: "Permissions of the role in the customer's account", content: identityPolicy(target) },
      { name: "trust", title: "Trust policy of that role", content: trustPolicy(who, externalId) },
      { name: "assume", title: "Policy of our own identity", content: assumePolicy(roleArn ?? "arn:aws:iam::CUSTOMER-ACCOUNT:role/ROLE") },
      lifecycle,
    ];
  }
  return [
    { name: "bucket", title: "Policy of the customer's bucket (Permissions → Bucket policy)", content: bucketPolicy(target, who) },
    { name: "identity", title: "Policy of our own identity", content: identityPolicy(target) },
    lifecycle,
  ];
}

async function print(name: string | undefined, options: PrintOptions, terminal: Terminal): Promise<void> {
  if ((name === undefined) === (options.bucket === undefined)) throw new UsageError("write a user's name, or --bucket and --prefix");
  const user = name === undefined ? undefined : await findUser(name, options.config);
  if (user === undefined && options.principal === undefined) throw new UsageError("--principal: write the ARN of our identity");
  const documents = documentsOf(options, user);
  if (options.json) {
    terminal.print(JSON.stringify(Object.fromEntries(documents.map(({ name: document, content }) => [document, content])), null, 2));
    return;
  }
  const wanted = options.only ?? documents[0]?.name;
  const main = documents.find((document) => document.name === wanted);
  if (!main) throw new UsageError(`--only: write one of ${documents.map((document) => document.name).join(", ")}`);
  // Standard output is what is pasted; the rest is for the eye.
  if (options.only === undefined) terminal.printError(`# ${main.title}`);
  terminal.print(JSON.stringify(main.content, null, 2));
  if (options.only !== undefined) return;
  for (const { title, content } of documents.slice(1)) {
    terminal.printError(`\n# ${title}`);
    terminal.printError(JSON.stringify(content, null, 2));
  }
  if (options.principal === undefined) terminal.printError("\nReplace OUR-ACCOUNT and OUR-ROLE, or write --principal ARN.");
}

interface CheckOptions {
  readonly config: string;
  readonly json?: boolean;
}

async function check(name: string, options: CheckOptions, terminal: Terminal): Promise<number> {
  const user = await findUser(name, options.config);
  const { location, connection, uri } = user.storage;
  if (location.kind === "file" || !connection) throw new UsageError(`user "${name}" has a folder, ${uri}: only buckets have policies`);
  const { checkPolicy } = await import("../jobs/policy/check-policy.ts");
  const awsRegion = connection.awsRegion ?? process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION;
  const { probes, exitCode } = await checkPolicy({ ...connection, awsRegion, bucket: location.bucket }, location.prefix);
  if (options.json) {
    terminal.print(JSON.stringify({ user: name, storage: uri, exitCode, probes }, null, 2));
    return exitCode;
  }
  const words = { ok: "ok", missing: "MISSING", wide: "TOO WIDE", unknown: "FAILED", skipped: "skipped" } as const;
  terminal.print(`${name}  ${uri}`);
  for (const line of formatTable(probes.map(({ status, step, action }) => [words[status], step, action]))) terminal.print(line.trimEnd());
  for (const advice of new Set(probes.map((probe) => probe.advice).filter((text) => text !== ""))) terminal.print(`- ${advice}`);
  if (exitCode === EXIT_FAILURE) terminal.printError(`the gateway cannot work fully with ${uri}`);
  return exitCode;
}

/** Adds `policy` and its commands to the program; `exit` takes the exit code. */
export function registerPolicy(program: Command, terminal: Terminal, exit: (code: number) => void): void {
  const policy = program.command("policy").description("print and check the rights on a customer's bucket");
  policy
    .command("print")
    .description("print what the customer and we paste at AWS: the bucket's policy on standard output, the rest beside it")
    .argument("[user]", "a user of the configuration; or --bucket and --prefix")
    .option("--bucket <name>", "the bucket")
    .option("--prefix <path>", "the path in it; absent: all of it")
    .option("--principal <arn>", "our identity")
    .option("--role [arn]", "for a role that the customer lets us assume, instead of a bucket policy")
    .option("--external-id <id>", "what we name when we assume the role")
    .option("--kms-key <arn>", "the customer's key that encrypts the objects")
    .option("--versions", "also grant reading old versions")
    .option("--only <document>", `print one of ${DOCUMENTS.join(", ")} only`)
    .option("--json", "all as one JSON object")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE)
    .action((name: string | undefined, options: PrintOptions) => print(name, options, terminal));
  policy
    .command("check")
    .description("try every right below the path: 0 all granted, 2 more than needed, 1 something missing")
    .argument("<user>", "a user of the configuration")
    .option("--json", "as JSON")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE)
    .action(async (name: string, options: CheckOptions) => exit(await check(name, options, terminal)));
}

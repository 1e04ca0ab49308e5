/** Runs `sync` in this process against the S3 test server, and plants trees in buckets and folders. */
import { mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { runCommandLine } from "../../../../src/cli/program.ts";
import type { S3Server } from "../../../support/s3-server/s3-server.ts";

/** How a command ended, and what it printed. */
export interface CommandResult {
  readonly code: number;
  readonly out: readonly string[];
  readonly err: readonly string[];
}

/** The environment in which both aws-cli and the SDK find the server. */
export function awsEnvironment(server: S3Server): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: server.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: server.credentials.secretAccessKey,
    AWS_DEFAULT_REGION: server.region,
    AWS_ENDPOINT_URL: server.endpoint,
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_CONFIG_FILE: "/nonexistent/config",
    AWS_SHARED_CREDENTIALS_FILE: "/nonexistent/credentials",
  };
}

/** Runs one command line of the program. */
export async function runCommand(...args: string[]): Promise<CommandResult> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await runCommandLine(args, {
    print: (text) => out.push(...text.split("\n")),
    printError: (text) => err.push(...text.split("\n")),
  });
  return { code, out, err };
}

/** A file or object of a tree. */
export interface TreeEntry {
  readonly name: string;
  readonly bytes: string;
  readonly mtimeMs: number;
}

/** Puts a tree below a prefix of a bucket. */
export function plantBucket(server: S3Server, bucket: string, prefix: string, tree: readonly TreeEntry[]): void {
  for (const { name, bytes, mtimeMs } of tree) server.contents.put(bucket, prefix + name, bytes, { lastModifiedMs: mtimeMs });
}

/** Puts a tree into a folder. */
export function plantFolder(folder: string, tree: readonly TreeEntry[]): void {
  mkdirSync(folder, { recursive: true });
  for (const { name, bytes, mtimeMs } of tree) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), bytes);
    utimesSync(join(folder, name), mtimeMs / 1000, mtimeMs / 1000);
  }
}

/** Names and contents below a prefix. */
export function bucketTree(server: S3Server, bucket: string, prefix = ""): Record<string, string> {
  return Object.fromEntries(server.contents.objects(bucket, prefix).map((object) => [object.key, object.bytes().toString()]));
}

/**
 * The S3 server behind all peers that need one: versitygw on the bench's folder if it is here (`$VERSITYGW_BIN`, `$VERSITYGW`
 * or the PATH), else the repository's test server in a process of its own. Each peer has its own bucket.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { freePort, stopProcess } from "../support/processes.ts";
import { findTool } from "../support/require-tool.ts";
import { firstLine } from "./first-line.ts";
import type { BucketPlace } from "./storage.ts";

const S3_CLI = fileURLToPath(new URL("../support/s3-server/cli.ts", import.meta.url));
const REGION = "us-east-1";

/** A running S3 server. */
export interface S3Backend {
  readonly name: string;
  readonly port: number;
  /** Makes a bucket with an empty home in it. */
  makeBucket(bucket: string): Promise<BucketPlace>;
  stop(): Promise<void>;
}

interface Started {
  readonly name: string;
  readonly port: number;
  readonly credentials: BucketPlace["credentials"];
  readonly child: ChildProcess;
  readonly folder?: string;
}

/** Starts the S3 server; its data lie below `dir`. */
export async function startS3Backend(dir: string): Promise<S3Backend> {
  const program = process.env.VERSITYGW_BIN ?? process.env.VERSITYGW ?? findTool("versitygw");
  const { name, port, credentials, child, folder } = program ? await startVersitygw(program, dir) : await startTestServer();
  const endpoint = `http://127.0.0.1:${port}`;
  const client = new S3Client({ endpoint, region: REGION, credentials: { ...credentials }, forcePathStyle: true });
  return {
    name,
    port,
    makeBucket: async (bucket) => {
      await client.send(new CreateBucketCommand({ Bucket: bucket }));
      const place = { endpoint, region: REGION, credentials, bucket, prefix: "home/" };
      if (folder === undefined) return place;
      mkdirSync(join(folder, bucket, place.prefix));
      return { ...place, folder: join(folder, bucket) };
    },
    stop: async () => {
      client.destroy();
      await stopProcess(child, "SIGKILL");
    },
  };
}

async function startVersitygw(program: string, dir: string): Promise<Started> {
  const folder = join(dir, "s3");
  mkdirSync(folder);
  const port = await freePort();
  const credentials = { accessKeyId: "benchaccess", secretAccessKey: "bench-secret-0123456789" };
  const keys = ["--access", credentials.accessKeyId, "--secret", credentials.secretAccessKey];
  const child = spawn(program, ["--port", `127.0.0.1:${port}`, ...keys, "--region", REGION, "--quiet", "--keep-alive", "posix", folder], {
    stdio: "ignore",
  });
  for (let tries = 0; tries < 200; tries++) {
    const answer = await fetch(`http://127.0.0.1:${port}`).catch((error: unknown) => error);
    if (answer instanceof Response) return { name: "versitygw", port, credentials, child, folder };
    await sleep(50); // another program gives no event to wait for
  }
  throw new Error(`${program} does not answer`);
}

async function startTestServer(): Promise<Started> {
  process.stderr.write("versitygw is not here (VERSITYGW_BIN): measuring on the slower test server\n");
  const child = spawn(process.execPath, ["--import", "tsx", S3_CLI, "--fast", "--bucket", "unused"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const line = await firstLine(child, (text) => JSON.parse(text) as Record<string, string>);
  const { endpoint = "", accessKeyId = "", secretAccessKey = "" } = line;
  return { name: "test server", port: Number(new URL(endpoint).port), credentials: { accessKeyId, secretAccessKey }, child };
}

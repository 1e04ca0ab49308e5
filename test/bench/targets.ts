/**
 * What the bench measures: the built gateway on a local folder, the same on the S3 test server (a process of its own),
 * and OpenSSH's sshd with internal-sftp on a local folder. One interface, so that workloads know no target.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { freePort, runOk, stopProcess } from "../support/processes.ts";

/** A server under test. */
export interface Target {
  readonly name: string;
  readonly port: number;
  readonly user: string;
  readonly keyFile: string;
  /** The writable folder as the client sees it. */
  readonly folder: string;
  /** Processes whose CPU and memory count. */
  readonly pid: number;
  stop(): Promise<void>;
}

const MAIN = fileURLToPath(new URL("../../dist/main.js", import.meta.url));
const S3_CLI = fileURLToPath(new URL("../support/s3-server/cli.ts", import.meta.url));

interface Folder {
  readonly dir: string;
  readonly keyFile: string;
  readonly hostKey: string;
}

async function makeFolder(): Promise<Folder> {
  const dir = mkdtempSync(join(tmpdir(), "bench-"));
  const [keyFile, hostKey] = [join(dir, "id_ed25519"), join(dir, "keys/ssh_host_ed25519_key")];
  mkdirSync(join(dir, "keys"));
  mkdirSync(join(dir, "files"));
  for (const file of [keyFile, hostKey]) await runOk("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", file]);
  return { dir, keyFile, hostKey };
}

/** Waits for the first line of a program's output that `wanted` makes something of. */
async function firstLine<T>(child: ChildProcess, wanted: (line: string) => T | undefined): Promise<T> {
  if (!child.stdout) throw new Error("no output to read");
  for await (const line of createInterface({ input: child.stdout })) {
    const found = wanted(line);
    if (found !== undefined) {
      child.stdout.resume();
      return found;
    }
  }
  throw new Error("the program ended before it was ready");
}

/** The gateway; `storage` are the lines of the user's storage. */
async function startGateway(name: string, storage: (folder: Folder) => readonly string[], onStop: () => Promise<void>): Promise<Target> {
  const folder = await makeFolder();
  const config = join(folder.dir, "gateway.yaml");
  const publicKey = readFileSync(`${folder.keyFile}.pub`, "utf8").trim();
  const lines = [
    "server:",
    '  listen: ["127.0.0.1:0"]',
    `  hostKeys: ${join(folder.dir, "keys")}`,
    `  state: ${join(folder.dir, "state")}`,
    "users:",
    "  bench:",
    ...storage(folder).map((line) => `    ${line}`),
    "    keys:",
    `      - ${publicKey}`,
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  const child = spawn(process.execPath, [MAIN, "serve", "--config", config], { cwd: folder.dir, stdio: ["ignore", "pipe", "inherit"] });
  const address = await firstLine(child, (line) => /"address":"([^"]+)".*"msg":"listening"/.exec(line)?.[1]);
  return {
    name,
    port: Number(address.split(":").at(-1)),
    user: "bench",
    keyFile: folder.keyFile,
    folder: "attachments",
    pid: child.pid ?? 0,
    stop: async () => {
      await stopProcess(child, "SIGTERM", 20_000);
      await onStop();
      rmSync(folder.dir, { recursive: true });
    },
  };
}

/** The gateway on a local folder. */
export function gatewayOnDisk(): Promise<Target> {
  return startGateway(
    "gateway, disk",
    ({ dir }) => [`storage: file://${join(dir, "files")}`],
    async () => undefined,
  );
}

/** The gateway on the S3 test server. */
export async function gatewayOnS3(): Promise<Target> {
  const server = spawn(process.execPath, ["--import", "tsx", S3_CLI, "--bucket", "bench", "--fast"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const s3 = await firstLine(server, (line) => JSON.parse(line) as Record<string, string>);
  const connection = {
    endpoint: s3.endpoint,
    pathStyle: true,
    awsRegion: s3.region,
    accessKeyId: s3.accessKeyId,
    secretAccessKey: s3.secretAccessKey,
  };
  return startGateway(
    "gateway, S3",
    () => ["storage: s3://bench/home", `s3: ${JSON.stringify(connection)}`],
    async () => {
      await stopProcess(server, "SIGTERM", 10_000);
    },
  );
}

/** OpenSSH's sshd with internal-sftp on a local folder: the transport's limit. */
export async function sshdOnDisk(): Promise<Target> {
  const folder = await makeFolder();
  const port = await freePort();
  const config = join(folder.dir, "sshd_config");
  writeFileSync(join(folder.dir, "authorized_keys"), readFileSync(`${folder.keyFile}.pub`));
  const lines = [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${folder.hostKey}`,
    `AuthorizedKeysFile ${join(folder.dir, "authorized_keys")}`,
    "StrictModes no",
    "PidFile none",
    "PermitRootLogin yes",
    "Subsystem sftp internal-sftp",
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  mkdirSync("/run/sshd", { recursive: true });
  const child = spawn("/usr/sbin/sshd", ["-D", "-e", "-f", config], { stdio: ["ignore", "ignore", "pipe"] });
  await once(child.stderr, "data");
  child.stderr.resume();
  return {
    name: "sshd, disk",
    port,
    user: userInfo().username,
    keyFile: folder.keyFile,
    folder: join(folder.dir, "files"),
    pid: child.pid ?? 0,
    stop: async () => {
      await stopProcess(child, "SIGTERM", 10_000);
      rmSync(folder.dir, { recursive: true });
    },
  };
}

/** OpenSSH's sshd with internal-sftp: on a local folder (what the transport can do), and on a bucket mounted by s3fs. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { run } from "../../support/processes.ts";
import type { S3Backend } from "../s3-backend.ts";
import { FolderStorage } from "../storage.ts";
import { type Ground, makeBucket, makeGround, untilAccepting } from "./ground.ts";
import { Peer } from "./peer.ts";
import { isMounted, mountS3fs } from "./s3fs-mount.ts";

/** sshd on a local folder. */
export async function sshdOnDisk(dir: string, program: string): Promise<Peer> {
  const ground = await makeGround(dir, "sshd");
  const home = join(ground.dir, "files");
  return new Peer({
    name: "sshd",
    kind: "limit",
    storageKind: "disk",
    version: await sshVersion(),
    login: { port: ground.port, user: userInfo().username, keyFile: ground.keyFile },
    folder: home,
    storage: new FolderStorage(home),
    hasRsync: true,
    launch: async () => [await startSshd(program, ground)],
  });
}

/** sshd on a bucket mounted by s3fs, with s3fs' caches at their defaults. */
export async function sshdOnS3fs(dir: string, backend: S3Backend, sshd: string, s3fs: string): Promise<Peer> {
  const ground = await makeGround(dir, "sshd-s3fs");
  const { place, proxy, storage } = await makeBucket(backend, "s3fs");
  const home = join(ground.dir, "files");
  mkdirSync(home);
  const first = (await run(s3fs, ["--version"])).stdout.split("\n")[0] ?? "";
  return new Peer({
    name: "sshd-s3fs",
    kind: "peer",
    storageKind: "S3",
    version: `${await sshVersion()}, s3fs ${/V?(\d[\d.]+)/.exec(first)?.[1] ?? "?"}`,
    login: { port: ground.port, user: userInfo().username, keyFile: ground.keyFile },
    folder: home,
    storage,
    proxy,
    hasRsync: true,
    launch: async () => [await mountS3fs(s3fs, ground.dir, place, home), await startSshd(sshd, ground)],
    cleanUp: async () => {
      // Lazily: after a row was given up s3fs is gone, and its mount answers nothing but an error.
      if (isMounted(home)) await run("fusermount", ["-uz", home]);
    },
  });
}

async function sshVersion(): Promise<string> {
  return (await run("ssh", ["-V"])).stderr.split(",")[0] ?? "OpenSSH";
}

async function startSshd(program: string, ground: Ground): Promise<ChildProcess> {
  const config = join(ground.dir, "sshd_config");
  const lines = [
    `Port ${ground.port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${ground.hostKey}`,
    `AuthorizedKeysFile ${ground.authorizedKeys}`,
    "StrictModes no",
    "PidFile none",
    "PermitRootLogin yes",
    "PrintMotd no",
    "MaxStartups 2000:30:4000",
    "MaxSessions 2000",
    "Subsystem sftp internal-sftp",
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  mkdirSync("/run/sshd", { recursive: true });
  const child = spawn(program, ["-D", "-f", config], { stdio: "ignore" });
  await untilAccepting(ground.port, "sshd");
  return child;
}

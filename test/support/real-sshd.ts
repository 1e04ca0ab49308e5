/** OpenSSH's own server on a free port, for whoever runs the tests: what a real `rsync` or `scp` at the other end would do. */
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { freePort, runOk, stopProcess } from "./processes.ts";
import { findTool } from "./require-tool.ts";

/** A running sshd; whoever starts it calls `stop`. */
export interface RealSshd {
  readonly port: number;
  readonly user: string;
  /** What `ssh` needs beside port and user. */
  readonly sshOptions: readonly string[];
  stop(): Promise<void>;
}

/** Starts one that lets the caller in with a key made for it. */
export async function startRealSshd(): Promise<RealSshd> {
  const dir = mkdtempSync(join(tmpdir(), "sshd-"));
  const [hostKey, userKey] = [join(dir, "host"), join(dir, "user")];
  for (const file of [hostKey, userKey]) await runOk("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file]);
  copyFileSync(`${userKey}.pub`, join(dir, "authorized"));
  chmodSync(userKey, 0o600);
  const port = await freePort();
  const lines = [`Port ${port}`, "ListenAddress 127.0.0.1", `HostKey ${hostKey}`, `AuthorizedKeysFile ${join(dir, "authorized")}`];
  lines.push("StrictModes no", "PidFile none", "PermitRootLogin yes", "PrintMotd no", "Subsystem sftp internal-sftp");
  writeFileSync(join(dir, "config"), `${lines.join("\n")}\n`);
  // Only root's sshd wants it, and only root can make it.
  if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true });
  const child = spawn(findTool("sshd") ?? "sshd", ["-D", "-f", join(dir, "config")], { stdio: "ignore" });
  await untilAccepting(port, child);
  return {
    port,
    user: userInfo().username,
    sshOptions: [
      "-i",
      userKey,
      "-F",
      "none",
      "-o",
      "StrictHostKeyChecking=no",
      "-o",
      "UserKnownHostsFile=/dev/null",
      "-o",
      "LogLevel=ERROR",
    ],
    stop: async () => {
      await stopProcess(child);
      rmSync(dir, { recursive: true });
    },
  };
}

async function untilAccepting(port: number, child: ChildProcess): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    if (child.exitCode !== null) throw new Error(`sshd ended with ${child.exitCode}`);
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = createConnection(port, "127.0.0.1", () => socket.end(() => resolve(true)));
      socket.on("error", () => resolve(false));
    });
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("sshd does not listen");
}

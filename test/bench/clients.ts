/** The real clients that talk to a peer. Each rejects unless the program ends with 0. */
import { join } from "node:path";
import { run } from "../support/processes.ts";
import type { Peer } from "./peers/peer.ts";

/** The cipher of the rows that say so; the others use the client's own choice. */
export const GCM = "aes128-gcm@openssh.com";

/** Variations of a login. */
export interface LoginOptions {
  readonly cipher?: string | undefined;
  /** Another port than the peer's, of a proxy in front of it. */
  readonly port?: number;
  readonly timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 600_000;

/** Options of OpenSSH's programs for a peer. */
export function sshOptions(peer: Peer, { cipher, port }: LoginOptions = {}): string[] {
  const options = {
    Port: port ?? peer.parts.login.port,
    IdentityFile: peer.parts.login.keyFile,
    IdentitiesOnly: "yes",
    BatchMode: "yes",
    StrictHostKeyChecking: "no",
    UserKnownHostsFile: "/dev/null",
    LogLevel: "ERROR",
    ...(cipher && { Ciphers: cipher }),
  };
  return ["-F", "none", ...Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`])];
}

/** `user@host` of a peer. */
export function address(peer: Peer): string {
  return `${peer.parts.login.user}@127.0.0.1`;
}

/** OpenSSH's sftp with a batch of commands. Resolves to what it printed. */
export function sftp(peer: Peer, commands: readonly string[], options: LoginOptions = {}): Promise<string> {
  const args = ["-q", ...sshOptions(peer, options), "-b", "-", address(peer)];
  return succeed("sftp", args, { input: `${commands.join("\n")}\n`, timeoutMs: options.timeoutMs });
}

/** rclone as a client; `{r}` in an argument stands for `folder` on the peer. */
export function rclone(peer: Peer, program: string, args: readonly string[], folder: string): Promise<string> {
  const { port, user, keyFile } = peer.parts.login;
  const env = {
    RCLONE_CONFIG: "",
    RCLONE_CONFIG_T_TYPE: "sftp",
    RCLONE_CONFIG_T_HOST: "127.0.0.1",
    RCLONE_CONFIG_T_PORT: String(port),
    RCLONE_CONFIG_T_USER: user,
    RCLONE_CONFIG_T_KEY_FILE: keyFile,
    // No md5sum and the like over exec: the same dialogue with every peer.
    RCLONE_CONFIG_T_SHELL_TYPE: "none",
  };
  const remote = `T:${peer.remote(folder)}`;
  const all = ["--retries", "1", "--low-level-retries", "1", ...args.map((arg) => arg.replace("{r}", remote))];
  return succeed(program, all, { env });
}

/** lftp with a script. */
export function lftp(peer: Peer, script: string): Promise<string> {
  const { port, user } = peer.parts.login;
  const connect = ["ssh", "-a", "-x", ...sshOptions(peer)].join(" ");
  const settings = [
    "set cmd:fail-exit yes",
    "set net:max-retries 1",
    "set net:timeout 60",
    `set sftp:connect-program "${connect}"`,
    `open -p ${port} -u ${user},none sftp://127.0.0.1`,
  ];
  return succeed("lftp", ["--norc", "-c", [...settings, script].join("; ")], {});
}

/** rsync from a local folder to one of the peer, through ssh. */
export function rsync(peer: Peer, source: string, folder: string): Promise<string> {
  const shell = ["ssh", ...sshOptions(peer)].join(" ");
  return succeed("rsync", ["-a", "-e", shell, join(source, "/"), `${address(peer)}:${peer.remote(folder)}/`], {});
}

interface SucceedOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number | undefined;
}

async function succeed(
  file: string,
  args: readonly string[],
  { input, env, timeoutMs = DEFAULT_TIMEOUT_MS }: SucceedOptions,
): Promise<string> {
  const { code, stdout, stderr } = await run(file, args, { ...(input && { input }), ...(env && { env }), timeoutMs });
  if (code === 0) return stdout;
  const last = stderr.trim().split("\n").at(-1) ?? "";
  throw new Error(`${file.split("/").at(-1)} ended with ${code}: ${last.slice(-200)}`);
}

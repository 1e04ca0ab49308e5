/**
 * The built gateway as a process of its own, with one user and a generated key, on a free port; and what real clients
 * need to log in. Stopped by its process id.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ensureBuilt, MAIN } from "./built-gateway.ts";
import { runOk, stopProcess } from "./processes.ts";
import type { ForeignS3 } from "./rgw.ts";
import type { S3Server } from "./s3-server/s3-server.ts";
import { localTestStore, s3TestStore, type TestStore } from "./test-store.ts";

/** Name of the user, bucket and prefix that tests use. */
export const USER = "alice";
export const BUCKET = "museum";
export const PREFIX = "collections/alice/";

/** How to start a gateway. */
export interface GatewayOptions {
  /** Store into this server; without it into a folder. */
  readonly s3?: S3Server;
  /** Store into this real server; the bucket is there. */
  readonly foreign?: { readonly server: ForeignS3; readonly store: TestStore };
  /** Lines of YAML for the user, `server:` and the top level, without indentation. */
  readonly userYaml?: readonly string[];
  readonly serverYaml?: readonly string[];
  readonly topYaml?: readonly string[];
  readonly logLevel?: string;
  /** Command before the gateway's own, such as `prlimit --nofile=64`; it must become the gateway (exec), not its parent. */
  readonly launcher?: readonly string[];
  /** State directory; default: below `dir`. */
  readonly state?: string;
  /** Folder of the local store; default: below `dir`. */
  readonly files?: string;
}

/** One line of the gateway's log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg?: string };

/** Starts a gateway; whoever starts it calls `dispose`. */
export async function startGateway(options: GatewayOptions = {}): Promise<TestGateway> {
  await ensureBuilt();
  const gateway = new TestGateway(options);
  await gateway.prepare();
  await gateway.start();
  return gateway;
}

/** A gateway under test: see `startGateway`. */
export class TestGateway {
  /** Everything of this gateway: keys, state, configuration, the local store. Removed by `dispose`. */
  readonly dir = mkdtempSync(join(tmpdir(), "gateway-"));
  readonly user = USER;
  readonly keyFile = join(this.dir, "id_ed25519");
  readonly knownHosts = join(this.dir, "known_hosts");
  readonly configFile = join(this.dir, "gateway.yaml");
  readonly store: TestStore;
  readonly log: LogLine[] = [];
  readonly #options: GatewayOptions;
  #child: ChildProcess | undefined;
  #port = 0;

  constructor(options: GatewayOptions) {
    this.#options = options;
    const files = this.#files();
    mkdirSync(files, { recursive: true });
    this.store = options.foreign?.store ?? (options.s3 ? s3TestStore(options.s3, BUCKET, PREFIX) : localTestStore(files));
  }

  get port(): number {
    return this.#port;
  }

  /** Process id; 0 while it does not run. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  #files(): string {
    return this.#options.files ?? join(this.dir, "files");
  }

  /** Makes keys and the configuration. */
  async prepare(): Promise<void> {
    const keys = join(this.dir, "keys");
    mkdirSync(keys);
    for (const file of [this.keyFile, join(keys, "ssh_host_ed25519_key")]) {
      await runOk("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", file]);
      chmodSync(file, 0o600);
    }
    this.writeConfig();
  }

  /** Writes the configuration; another one than at the start if lines are given. */
  writeConfig(options: GatewayOptions = this.#options): void {
    const s3 = this.#options.foreign?.server ?? this.#options.s3;
    const storage = s3
      ? [`storage: s3://${BUCKET}/${PREFIX}`, `s3: ${JSON.stringify({ ...connectionOf(s3), ...s3.credentials })}`]
      : [`storage: file://${this.#files()}`];
    const publicKey = readFileSync(`${this.keyFile}.pub`, "utf8").trim();
    const lines = [
      "server:",
      ...indent(
        2,
        `listen: ["127.0.0.1:${this.#port}"]`,
        `hostKeys: ${join(this.dir, "keys")}`,
        `state: ${this.#options.state ?? join(this.dir, "state")}`,
      ),
      ...indent(2, ...(options.serverYaml ?? [])),
      `log: { level: ${options.logLevel ?? "info"}, format: json }`,
      ...(options.topYaml ?? []),
      "users:",
      ...indent(2, `${USER}:`),
      ...indent(4, ...storage, "keys:", `  - ${publicKey}`, ...(options.userYaml ?? [])),
    ];
    writeFileSync(this.configFile, `${lines.join("\n")}\n`);
  }

  /** Starts the process and waits until it listens. After a stop: on the same port, with the same state and store. */
  async start(): Promise<void> {
    this.writeConfig();
    const [command = "", ...args] = [...(this.#options.launcher ?? []), process.execPath, MAIN, "serve", "--config", this.configFile];
    const child = spawn(command, args, {
      cwd: this.dir,
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env.PATH ?? "", HOME: this.dir, AWS_EC2_METADATA_DISABLED: "true", NODE_NO_WARNINGS: "1" },
    });
    this.#child = child;
    let errors = "";
    child.stderr.on("data", (chunk: Buffer) => {
      errors += chunk.toString();
    });
    const listening = new Promise<string>((resolve, reject) => {
      child.once("exit", (code) => reject(new Error(`the gateway ended with ${code}\n${this.logText()}\n${errors}`)));
      createInterface({ input: child.stdout }).on("line", (text) => {
        const line = parseLine(text);
        this.log.push(line);
        if (line.msg === "listening" && typeof line.address === "string") resolve(line.address);
      });
    });
    this.#port = Number((await listening).split(":").at(-1));
    const hostKey = readFileSync(join(this.dir, "keys/ssh_host_ed25519_key.pub"), "utf8");
    writeFileSync(this.knownHosts, `[127.0.0.1]:${this.#port} ${hostKey}`);
  }

  /** Ends the process with a signal and waits for it; SIGKILL follows if it takes more than 20 seconds. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    const child = this.#child;
    this.#child = undefined;
    return child ? stopProcess(child, signal, 20_000) : null;
  }

  /** Ends it as a power cut would, and waits. */
  async kill(): Promise<void> {
    await this.stop("SIGKILL");
  }

  /** Ends the process and removes everything. */
  async dispose(): Promise<void> {
    await this.stop("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** The last lines of the log, for the text of a failed test. */
  logText(lines = 40): string {
    return this.log
      .slice(-lines)
      .map((line) => JSON.stringify(line))
      .join("\n");
  }

  /** Waits until the process has ended by itself. */
  async ended(): Promise<void> {
    if (this.#child && this.#child.exitCode === null) await once(this.#child, "exit");
  }

  /** `-o` options for OpenSSH's programs and those that take its options (without port and user). */
  get sshOptions(): string[] {
    const options = {
      IdentityFile: this.keyFile,
      IdentitiesOnly: "yes",
      UserKnownHostsFile: this.knownHosts,
      StrictHostKeyChecking: "yes",
      BatchMode: "yes",
      ConnectTimeout: "10",
    };
    return ["-F", "none", ...Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`])];
  }
}

/** Connection keys of a server, as the configuration names them. */
function connectionOf(s3: S3Server | ForeignS3): Record<string, unknown> {
  return { endpoint: s3.endpoint, pathStyle: true, awsRegion: s3.region };
}

function indent(columns: number, ...lines: readonly string[]): string[] {
  return lines.map((line) => " ".repeat(columns) + line);
}

function parseLine(text: string): LogLine {
  try {
    return JSON.parse(text) as LogLine;
  } catch (error) {
    return { msg: text, notJson: String(error) };
  }
}

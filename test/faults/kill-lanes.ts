/**
 * Customers of a gateway that is killed again and again: each keeps a list of what every file may hold. What was
 * acknowledged must be there, what was under way may have happened or not, and nothing else may be there. Know nothing of
 * who kills.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { sample } from "../interop/samples.ts";
import type { TestGateway } from "../support/gateway.ts";
import { run } from "../support/processes.ts";
import type { Random } from "../support/random.ts";
import { SftpStatusError, SshSftpClient } from "../support/ssh-sftp-client.ts";
import { sha256 } from "../support/test-store.ts";

const FOLDER = "attachments/originals";
/** The same in the store. */
const STORED = "originals";
const NAMES = ["a", "b", "c", "d", "e"];
/** One packet, some packets, one part, several parts. */
const SIZES = [1, 70_000, 1_000_003, 9_000_000, 19_000_000];
/** What the store was still doing when the process died. */
const SETTLE_MS = 500;

/** How clients learn of a kill: their connection is gone, or a worker without its supervisor says why it goes. */
const CUT = /closed|connection|ECONNRESET|EPIPE|not open|ended|the gateway is shutting down|the operation was interrupted/i;

const ABSENT = "absent";

/** How a lane goes about it. */
export interface KillLaneOptions {
  /** It connects from there, so that lanes come to different workers. */
  readonly localAddress: string;
  readonly name: string;
  readonly random: Random;
}

/** A customer with uploads, new versions, renames, deletions and downloads in a folder of its own. */
export class KillLane {
  readonly findings: string[] = [];
  acknowledged = 0;
  cut = 0;
  readonly #gateway: TestGateway;
  readonly #options: KillLaneOptions;
  /** What each file may hold: SHA-256 or `absent`. */
  readonly #may = new Map<string, Set<string>>();
  #isOver = false;
  #sizes = 0;

  constructor(gateway: TestGateway, options: KillLaneOptions) {
    this.#gateway = gateway;
    this.#options = options;
    for (const name of NAMES) this.#may.set(name, new Set([ABSENT]));
  }

  /** Ends `run` after the operation under way. */
  stop(): void {
    this.#isOver = true;
  }

  /** Works until `stop`; reconnects whenever the connection is lost. Never rejects: see `findings`. */
  async run(): Promise<void> {
    while (!this.#isOver) {
      const client = await this.#connect();
      if (!client) continue;
      try {
        await client.mkdir(`${FOLDER}/${this.#options.name}`).catch((error: unknown) => this.#expectStatus(error));
        while (!this.#isOver) await this.#operate(client);
      } catch (error) {
        this.cut++;
        if (!CUT.test(String(error))) this.#find(String(error));
      } finally {
        client.destroy();
      }
      await sleep(SETTLE_MS);
      for (const name of NAMES) this.#look(name);
    }
    for (const name of NAMES) this.#look(name);
  }

  async #connect(): Promise<SshSftpClient | undefined> {
    const { port, user, keyFile } = this.#gateway;
    const client = await SshSftpClient.connect({ port, user, keyFile, localAddress: this.#options.localAddress }).catch(() => undefined);
    if (!client) await sleep(20);
    return client;
  }

  async #operate(client: SshSftpClient): Promise<void> {
    const { random } = this.#options;
    const name = random.pick(NAMES);
    const held = [...this.#of(name)];
    const choice = random.below(10);
    if (choice < 5) await this.#upload(client, name);
    else if (held.length !== 1 || held[0] === ABSENT) await this.#upload(client, name);
    else if (choice < 7) await this.#download(client, name, held[0] ?? ABSENT);
    else if (choice === 7) await this.#remove(client, name);
    else await this.#rename(client, name, random.pick(NAMES.filter((other) => other !== name)), held[0] ?? ABSENT);
    this.acknowledged++;
  }

  /** Sizes differ each time, so that versions do. */
  async #upload(client: SshSftpClient, name: string): Promise<void> {
    const data = sample(this.#options.random.pick(SIZES)).subarray();
    data[0] = this.#sizes++ % 256;
    const bytes = Buffer.from(data);
    const next = sha256(bytes);
    this.#of(name).add(next);
    await client.putFile(this.#path(name), bytes);
    this.#now(name, next);
  }

  async #download(client: SshSftpClient, name: string, held: string): Promise<void> {
    const found = sha256(await client.getFile(this.#path(name)));
    if (found !== held) this.#find(`read ${name}: not what was acknowledged`);
  }

  async #remove(client: SshSftpClient, name: string): Promise<void> {
    this.#of(name).add(ABSENT);
    await client.remove(this.#path(name));
    this.#now(name, ABSENT);
  }

  async #rename(client: SshSftpClient, from: string, to: string, held: string): Promise<void> {
    this.#of(from).add(ABSENT);
    this.#of(to).add(held);
    await client.posixRename(this.#path(from), this.#path(to));
    this.#now(from, ABSENT);
    this.#now(to, held);
  }

  /** What the store has now; afterwards the file may hold that, or what a request still under way brings. */
  #look(name: string): void {
    const found = this.#gateway.store.sha256(`${STORED}/${this.#options.name}/${name}`) ?? ABSENT;
    const may = this.#of(name);
    if (!may.has(found)) this.#find(`${name} holds ${found.slice(0, 8)}, not ${[...may].map((one) => one.slice(0, 8)).join(" or ")}`);
    this.#now(name, found);
  }

  #of(name: string): Set<string> {
    return this.#may.get(name) ?? new Set();
  }

  #now(name: string, hash: string): void {
    this.#may.set(name, new Set([hash]));
  }

  #path(name: string): string {
    return `${FOLDER}/${this.#options.name}/${name}`;
  }

  #find(what: string): void {
    this.findings.push(`${new Date().toISOString()} ${this.#options.name}: ${what}`);
  }

  /** The folder is there from the second life on. */
  #expectStatus(error: unknown): void {
    if (!(error instanceof SftpStatusError)) throw error;
  }
}

/** A customer whose rsync is repeated until it succeeds; then every file is compared. */
export class RsyncLane {
  readonly findings: string[] = [];
  acknowledged = 0;
  cut = 0;
  readonly #gateway: TestGateway;
  readonly #name: string;
  readonly #random: Random;
  #isOver = false;

  constructor(gateway: TestGateway, name: string, random: Random) {
    this.#gateway = gateway;
    this.#name = name;
    this.#random = random;
  }

  /** Ends `run` after the run under way. */
  stop(): void {
    this.#isOver = true;
  }

  /** Works until `stop`. Never rejects: see `findings`. */
  async run(): Promise<void> {
    const folder = mkdtempSync(join(tmpdir(), "kill-rsync-"));
    const gateway = this.#gateway;
    mkdirSync(join(folder, "sub"));
    while (!this.#isOver) {
      for (let n = 0; n < 5; n++)
        writeFileSync(join(folder, this.#random.pick(["", "sub/"]) + n), sample(1 + this.#random.below(3_000_000)));
      const shell = `ssh -p ${gateway.port} ${gateway.sshOptions.map((option) => `'${option}'`).join(" ")}`;
      const remote = `${gateway.user}@127.0.0.1:${FOLDER}/${this.#name}/`;
      const { code } = await run("rsync", ["-a", "--delete", "-e", shell, `${folder}/`, remote]).catch(() => ({ code: -1 }));
      if (code !== 0) {
        this.cut++;
        await sleep(50);
        continue;
      }
      this.acknowledged++;
      for (const file of readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())) {
        const local = join(file.parentPath, file.name);
        const found = gateway.store.sha256(`${STORED}/${this.#name}${local.slice(folder.length)}`);
        if (found !== sha256(readFileSync(local))) this.findings.push(`rsync said success, but ${local.slice(folder.length)} differs`);
      }
    }
    rmSync(folder, { recursive: true, force: true });
  }
}

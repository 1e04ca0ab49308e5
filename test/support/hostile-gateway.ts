/**
 * A built gateway with a customer `alice`, whose transfer never stops, and a hostile user `mallory`; and what must hold
 * after every attack: the same process, a moving transfer, a login in time, memory within its budget, an audit line.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { startGateway, type TestGateway } from "./gateway.ts";
import { runOk } from "./processes.ts";
import { type LoginTarget, SshSftpClient } from "./ssh-sftp-client.ts";

const MIB = 1024 * 1024;
const BUDGET_MIB = 64;
/** What each worker may take beside the budget: heaps grow and pools keep what they had. */
const SLACK_MIB = 64;
const LOGIN_MS = 3_000;
const SAMPLE_MS = 50;
const BLOCK = 128 * 1024;

/** What an attack cost the others. */
export interface Aftermath {
  readonly loginMs: number;
  readonly transferredBytes: number;
  readonly grownMib: number;
}

/** See the head of this file. Whoever starts one owes `dispose`. */
export class HostileGateway {
  readonly gateway: TestGateway;
  /** Who attacks. */
  readonly mallory: LoginTarget;
  readonly #pid: number;
  /** The supervisor and its workers: the same ones after every attack. */
  readonly #processes: readonly number[];
  readonly #baseMib: number;
  readonly #witness: SshSftpClient;
  #transferred = 0;
  #stop = false;
  #transfer: Promise<void> = Promise.resolve();
  #seen = 0;

  private constructor(gateway: TestGateway, witness: SshSftpClient) {
    this.gateway = gateway;
    this.mallory = { port: gateway.port, user: "mallory", keyFile: join(gateway.dir, "mallory") };
    this.#pid = gateway.pid;
    this.#witness = witness;
    this.#processes = [gateway.pid, ...childrenOf(gateway.pid)];
    this.#baseMib = residentMib(gateway.pid);
  }

  /** Starts the gateway and alice's transfer. */
  static async start(serverYaml: readonly string[] = []): Promise<HostileGateway> {
    const gateway = await startGateway({ serverYaml: [`memoryBudget: ${BUDGET_MIB}MiB`, ...serverYaml] });
    await gateway.stop();
    await runOk("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(gateway.dir, "mallory")]);
    for (const folder of ["users.d", "mallory-files"]) mkdirSync(join(gateway.dir, folder));
    const key = readFileSync(join(gateway.dir, "mallory.pub"), "utf8").trim();
    const user = `users:\n  mallory:\n    storage: file://${join(gateway.dir, "mallory-files")}\n    keys: ["${key}"]\n`;
    writeFileSync(join(gateway.dir, "users.d", "mallory.yaml"), user);
    await gateway.start();
    const witness = await SshSftpClient.connect(gateway);
    const warm = Buffer.alloc(8 * MIB, 1);
    // Every worker has its code compiled and its heap grown before memory is measured.
    const others = await Promise.all(Array.from({ length: 4 }, () => SshSftpClient.connect(gateway)));
    for (const client of [witness, ...others]) {
      for (let turn = 0; turn < 3; turn++) await client.putFile("attachments/shared", warm, BLOCK);
      for (let turn = 0; turn < 3; turn++) await client.getFile("attachments/shared", BLOCK);
    }
    await Promise.all(others.map((client) => client.end()));
    const hostile = new HostileGateway(gateway, witness);
    hostile.#transfer = hostile.#keepTransferring();
    return hostile;
  }

  /**
   * Runs one attack and checks what must hold after it. `audit`: what the reason of the line that names mallory must
   * match; undefined where the attack is allowed behaviour within its limits.
   */
  async survives(attack: () => Promise<void>, audit: RegExp | undefined): Promise<Aftermath> {
    const { gateway } = this;
    this.#seen = gateway.log.length;
    const before = this.#transferred;
    let peakMib = 0;
    const sampler = setInterval(() => {
      peakMib = Math.max(peakMib, residentMib(this.#pid));
    }, SAMPLE_MS);
    await attack().finally(() => clearInterval(sampler));
    const began = performance.now();
    const customer = await SshSftpClient.connect(gateway);
    const loginMs = performance.now() - began;
    expect((await customer.stat("attachments/shared")).size).toBe(8 * MIB);
    await customer.end();
    expect(loginMs).toBeLessThan(LOGIN_MS);
    while (this.#transferred === before) await new Promise((resolve) => setTimeout(resolve, 20));
    expect([gateway.pid, ...childrenOf(gateway.pid)]).toEqual(this.#processes);
    expect(this.#witness.isClosed).toBe(false);
    const grownMib = Math.max(peakMib, residentMib(this.#pid)) - this.#baseMib;
    expect(grownMib).toBeLessThan(BUDGET_MIB + SLACK_MIB * (this.#processes.length - 1));
    expect(gateway.log.slice(this.#seen).filter(({ msg }) => /unexpected|unhandled/i.test(String(msg)))).toEqual([]);
    if (audit) expect(await this.#audited(audit)).toMatchObject({ remoteAddress: "127.0.0.1" });
    return { loginMs, transferredBytes: this.#transferred - before, grownMib };
  }

  /** Ends everything. */
  async dispose(): Promise<void> {
    this.#stop = true;
    await this.#transfer.catch(() => undefined); // the checks have seen whether it lives
    this.#witness.destroy();
    await this.gateway.dispose();
  }

  async #keepTransferring(): Promise<void> {
    const handle = await this.#witness.open("attachments/shared", 1);
    for (let at = 0; !this.#stop; at = (at + BLOCK) % (8 * MIB)) {
      const block = await this.#witness.read(handle, at, BLOCK);
      if (block.length !== BLOCK || block[0] !== 1) throw new Error(`a block of ${block.length} bytes`);
      this.#transferred += block.length;
    }
  }

  async #audited(reason: RegExp): Promise<unknown> {
    for (let turn = 0; ; turn++) {
      const lines = this.gateway.log.slice(this.#seen).filter((line) => line.audit === true);
      const found = lines.find((line) => reason.test(`${String(line.msg)}: ${String(line.reason)}`));
      if (found) return found;
      if (turn === 100)
        throw new Error(`no audit line matches ${String(reason)}:\n${lines.map((line) => JSON.stringify(line)).join("\n")}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** Of the supervisor and its workers together. */
function residentMib(pid: number): number {
  let kib = 0;
  for (const each of [pid, ...childrenOf(pid)]) {
    kib += Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${each}/status`, "utf8"))?.[1] ?? 0);
  }
  return kib / 1024;
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
}

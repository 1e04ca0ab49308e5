/**
 * A built gateway with a customer `alice`, whose transfer never stops, and a hostile user `mallory`; and what must hold
 * after every attack: the same processes, a transfer that goes on at its rate, a login in time, memory within its budget, an
 * audit line. HOSTILE_REPORT=FILE appends a line of figures for each attack.
 */
import { type ChildProcess, fork } from "node:child_process";
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, vi } from "vitest";
import { type LogLine, startGateway, type TestGateway } from "./gateway.ts";
import { runOk } from "./processes.ts";
import { type LoginTarget, SshSftpClient } from "./ssh-sftp-client.ts";
import type { WitnessOrder, WitnessReport } from "./witness-process.ts";

const MIB = 1024 * 1024;
const BUDGET_MIB = 64;
/** What all processes together may take beside the budget: heaps grow and pools keep what they had. */
const SLACK_MIB = 64;
const LOGIN_MS = 3_000;
/** An audit line comes so soon at the latest. */
const AUDIT_MS = 20_000;
const SAMPLE_MS = 50;
const BLOCK = 128 * 1024;
/** The rate of alice's transfer is measured over so long at least. */
const RATE_MS = 1_000;
const USUAL_RATE_MS = 2_000;
/**
 * Part of its rate that a transfer keeps at least during every attack where attackers, gateway, customers and other tests have two
 * cores together; HOSTILE_RATE=0.9 asks for what a machine with nothing else to do gives.
 */
const RATE_KEPT = Number(process.env.HOSTILE_RATE ?? 0.1);
const WITNESS = fileURLToPath(new URL("./witness-process.ts", import.meta.url));

/** What an attack cost the others. */
export interface Aftermath {
  readonly loginMs: number;
  /** Part of the rate that alice's transfer has while nobody attacks. */
  readonly rateKept: number;
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
  readonly #witness: ChildProcess;
  #transferred = 0;
  #failure: string | undefined;
  #seen = 0;
  /** Bytes a millisecond while nobody attacks. */
  #usualRate = 0;

  private constructor(gateway: TestGateway) {
    this.gateway = gateway;
    this.mallory = { port: gateway.port, user: "mallory", keyFile: join(gateway.dir, "mallory") };
    this.#pid = gateway.pid;
    this.#processes = [gateway.pid, ...childrenOf(gateway.pid)];
    this.#baseMib = residentMib(gateway.pid);
    const { port, user, keyFile } = gateway;
    const order: WitnessOrder = { target: { port, user, keyFile }, path: "attachments/shared", size: 8 * MIB, fill: 1 };
    this.#witness = fork(WITNESS, [JSON.stringify(order)], { execArgv: ["--import", "tsx"] });
    this.#witness.on("message", (report) => {
      const said = report as WitnessReport;
      if ("bytes" in said) this.#transferred = said.bytes;
      else this.#failure = said.failure;
    });
    this.#witness.on("exit", (code) => {
      this.#failure ??= `alice's process ended with ${code}`;
    });
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
    const warm = Buffer.alloc(8 * MIB, 1);
    // Every worker has its code compiled and its heap grown before memory is measured.
    const others = await Promise.all(Array.from({ length: 5 }, () => SshSftpClient.connect(gateway)));
    for (const client of others) {
      for (let turn = 0; turn < 3; turn++) await client.putFile("attachments/shared", warm, BLOCK);
      for (let turn = 0; turn < 3; turn++) await client.getFile("attachments/shared", BLOCK);
    }
    await Promise.all(others.map((client) => client.end()));
    const hostile = new HostileGateway(gateway);
    await vi.waitFor(() => expect(hostile.#transferred).toBeGreaterThan(8 * MIB), 20_000);
    hostile.#usualRate = await hostile.#rate(performance.now(), hostile.#transferred, USUAL_RATE_MS);
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
    const attacked = performance.now();
    await attack().finally(() => clearInterval(sampler));
    const rate = await this.#rate(attacked, before);
    const rateKept = rate / this.#usualRate;
    const began = performance.now();
    const customer = await SshSftpClient.connect(gateway);
    const loginMs = performance.now() - began;
    expect((await customer.stat("attachments/shared")).size).toBe(8 * MIB);
    await customer.end();
    expect(loginMs).toBeLessThan(LOGIN_MS);
    expect([gateway.pid, ...childrenOf(gateway.pid)]).toEqual(this.#processes);
    expect(this.#failure).toBeUndefined();
    const grownMib = Math.max(peakMib, residentMib(this.#pid)) - this.#baseMib;
    expect(grownMib).toBeLessThan(BUDGET_MIB + SLACK_MIB);
    const report = process.env.HOSTILE_REPORT;
    const figures = [`${Math.round(rateKept * 100)} %`, `${Math.round(loginMs)} ms`, `${Math.round(grownMib)} MiB`];
    if (report) appendFileSync(report, `| ${[expect.getState().currentTestName, ...figures].join(" | ")} |\n`);
    expect(rateKept).toBeGreaterThan(RATE_KEPT);
    expect(gateway.log.slice(this.#seen).filter(({ msg }) => /unexpected|unhandled/i.test(String(msg)))).toEqual([]);
    if (audit) expect(await this.logged(audit)).toMatchObject({ remoteAddress: "127.0.0.1" });
    return { loginMs, rateKept, grownMib };
  }

  /** Ends everything. */
  async dispose(): Promise<void> {
    this.#witness.removeAllListeners("exit").disconnect();
    await this.gateway.dispose();
  }

  /** Bytes a millisecond since `since`, when `before` bytes had come; waits until that is long enough to tell. */
  async #rate(since: number, before: number, leastMs = RATE_MS): Promise<number> {
    const left = leastMs - (performance.now() - since);
    if (left > 0) await new Promise((resolve) => setTimeout(resolve, left));
    return (this.#transferred - before) / (performance.now() - since);
  }

  /** The audit line since the attack began whose message or reason matches; waits for it. */
  async logged(reason: RegExp): Promise<unknown> {
    const audited = (): readonly LogLine[] => this.gateway.log.slice(this.#seen).filter((line) => line.audit === true);
    return vi.waitFor(() => {
      const found = audited().find((line) => reason.test(`${String(line.msg)}: ${String(line.reason)}`));
      if (found) return found;
      throw new Error(
        `no audit line matches ${String(reason)}:\n${audited()
          .map((line) => JSON.stringify(line))
          .join("\n")}`,
      );
    }, AUDIT_MS);
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

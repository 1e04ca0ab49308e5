/**
 * `npx tsx test/faults/random-kills.ts [--kills 200] [--seed N] [--store s3|local]`: a gateway with two workers under a mixed
 * load (uploads, new versions, renames, deletions, downloads, rsync), and `kill -9` of a worker or of the supervisor at
 * random moments. After each kill somebody must be able to log in soon; nothing acknowledged is lost, nothing partial is
 * published; in the end the sweep leaves no unfinished upload. Takes some seconds for each kill; exit code 1 with findings.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { MAIN } from "../support/built-gateway.ts";
import { BUCKET, startGateway, type TestGateway } from "../support/gateway.ts";
import { runOk } from "../support/processes.ts";
import { Random } from "../support/random.ts";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";
import { SshSftpClient } from "../support/ssh-sftp-client.ts";
import { readyWorkers } from "../support/workers.ts";
import { KillLane, RsyncLane } from "./kill-lanes.ts";

/** Service must be back within this after a kill, on a busy machine. */
const BACK_MS = 20_000;
/** Of the supervisor instead of a worker: one kill in so many. */
const SUPERVISOR_SHARE = 4;
const SAMPLE_MS = 10;

/** What a run saw. */
export interface KillsResult {
  readonly kills: Readonly<Record<"worker" | "supervisor", number>>;
  readonly acknowledged: number;
  /** Operations that a kill left unanswered. */
  readonly cut: number;
  /** Longest time from a kill to the next login. */
  readonly slowestBackMs: number;
  readonly unfinishedBeforeSweep: number;
  readonly unfinishedAfterSweep: number;
  readonly findings: readonly string[];
}

/** Runs it all; see the head of this file. `progress` is told after each kill. */
export async function randomKills(
  options: { readonly kills: number; readonly seed: number; readonly onS3: boolean },
  progress: (line: string) => void = () => undefined,
): Promise<KillsResult> {
  const s3 = options.onS3 ? await startS3Server({ buckets: [BUCKET] }) : undefined;
  const gateway = await startGateway({
    ...(s3 && { s3 }),
    serverYaml: ["workers: 2", "limits: { maxSessionsPerUser: 100 }"],
    topYaml: ["uploads: { expiry: 60s }"],
  });
  try {
    return await new Run(gateway, s3, options).run(progress);
  } finally {
    await gateway.dispose();
    await s3?.close();
  }
}

class Run {
  readonly #gateway: TestGateway;
  readonly #s3: S3Server | undefined;
  readonly #options: { readonly kills: number; readonly seed: number };
  readonly #random: Random;
  readonly #kills = { worker: 0, supervisor: 0 };
  readonly #findings: string[] = [];
  #slowest = 0;

  constructor(gateway: TestGateway, s3: S3Server | undefined, options: { readonly kills: number; readonly seed: number }) {
    this.#gateway = gateway;
    this.#s3 = s3;
    this.#options = options;
    this.#random = new Random(options.seed);
  }

  async run(progress: (line: string) => void): Promise<KillsResult> {
    const { kills, seed } = this.#options;
    const addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"];
    const lanes = addresses.map(
      (localAddress, index) => new KillLane(this.#gateway, { localAddress, name: `lane${index}`, random: new Random(seed * 100 + index) }),
    );
    const rsync = new RsyncLane(this.#gateway, "lane-rsync", new Random(seed * 100 + 50));
    const running = [...lanes, rsync].map((lane) => lane.run());
    for (let kill = 0; kill < kills; kill++) {
      await this.#untilServing();
      await sleep(this.#random.below(1_200));
      await this.#kill();
      const acknowledged = lanes.reduce((sum, lane) => sum + lane.acknowledged, rsync.acknowledged);
      progress(`${kill + 1} kills, ${acknowledged} acknowledged, back after ${this.#slowest.toFixed(0)} ms at most`);
    }
    await this.#untilServing();
    for (const lane of [...lanes, rsync]) lane.stop();
    await Promise.all(running);
    for (const lane of [...lanes, rsync]) this.#findings.push(...lane.findings);
    const errors = this.#gateway.log.filter(({ msg }) => /unexpected|unhandled/i.test(String(msg)));
    this.#findings.push(...errors.map((line) => `log: ${JSON.stringify(line)}`));
    const unfinishedBeforeSweep = this.#unfinished();
    await this.#sweep();
    if (this.#unfinished() > 0) this.#findings.push(`${this.#unfinished()} unfinished uploads after the sweep`);
    return {
      kills: this.#kills,
      acknowledged: lanes.reduce((sum, lane) => sum + lane.acknowledged, rsync.acknowledged),
      cut: lanes.reduce((sum, lane) => sum + lane.cut, rsync.cut),
      slowestBackMs: Math.round(this.#slowest),
      unfinishedBeforeSweep,
      unfinishedAfterSweep: this.#unfinished(),
      findings: this.#findings,
    };
  }

  #unfinished(): number {
    return this.#s3?.contents.uploads(BUCKET).length ?? 0;
  }

  async #untilServing(): Promise<void> {
    const began = performance.now();
    while (readyWorkers(this.#gateway).length < 2 || readyWorkers(this.#gateway).some(({ pid }) => !isAlive(pid))) {
      if (performance.now() - began > BACK_MS) {
        this.#findings.push(`no two workers ${BACK_MS} ms after a kill`);
        return;
      }
      await sleep(SAMPLE_MS);
    }
  }

  async #kill(): Promise<void> {
    const gateway = this.#gateway;
    const began = performance.now();
    if (this.#random.below(SUPERVISOR_SHARE) === 0) {
      this.#kills.supervisor++;
      await gateway.kill();
      gateway.log.length = 0;
      await gateway.start();
    } else {
      this.#kills.worker++;
      const victim = this.#random.pick(readyWorkers(gateway));
      process.kill(victim.pid, "SIGKILL");
      while (isAlive(victim.pid) && performance.now() - began < BACK_MS) await sleep(1);
    }
    for (;;) {
      const client = await SshSftpClient.connect(gateway).catch(() => undefined);
      client?.destroy();
      if (client) break;
      if (performance.now() - began > BACK_MS) {
        this.#findings.push(`no login ${BACK_MS} ms after a kill`);
        break;
      }
      await sleep(SAMPLE_MS);
    }
    this.#slowest = Math.max(this.#slowest, performance.now() - began);
  }

  async #sweep(): Promise<void> {
    await sleep(61_000); // what is left may be swept after a minute at the earliest
    await runOk(process.execPath, [MAIN, "sweep", "--yes", "--config", this.#gateway.configFile], { timeoutMs: 120_000 });
  }
}

/** Zombies count as gone. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      kills: { type: "string", default: "200" },
      seed: { type: "string", default: "1" },
      store: { type: "string", default: "s3" },
      json: { type: "string" },
    },
  });
  const began = performance.now();
  const result = await randomKills({ kills: Number(values.kills), seed: Number(values.seed), onS3: values.store === "s3" }, (line) =>
    process.stdout.write(`${line}\n`),
  );
  const text = JSON.stringify({ ...values, minutes: (performance.now() - began) / 60_000, ...result }, undefined, 1);
  process.stdout.write(`${text}\n`);
  if (values.json) writeFileSync(values.json, text);
  process.exit(result.findings.length > 0 ? 1 : 0);
}

if (import.meta.url === `file://${process.argv[1]}`) await main();

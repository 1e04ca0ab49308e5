/**
 * `npx tsx test/faults/attack-rates.ts [--seconds 3] [--attackers 1] [--workers 1] [--only NAME]... [--json FILE]`: what
 * attacks that go on and on leave a customer. The gateway has one core to itself, its clients share another, on which the
 * customer goes first: what is measured is how the gateway divides its time, not how the machine does. The customer reads
 * at the rate of a good line, then as fast as it goes; the attack "spinning" sends nothing and shows what the attackers
 * take from the customer's own process.
 */
import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setPriority } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { setTimeout as delay } from "node:timers/promises";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { runOk } from "../support/processes.ts";
import { type LoginTarget, SshSftpClient } from "../support/ssh-sftp-client.ts";
import type { WitnessOrder, WitnessReport } from "../support/witness-process.ts";
import { ATTACKS } from "./attackers.ts";

const MIB = 1024 * 1024;
const FILE_BYTES = 8 * MIB;
const WITNESS = fileURLToPath(new URL("../support/witness-process.ts", import.meta.url));
const SELF = fileURLToPath(import.meta.url);
/** 170 Mbit/s. */
const LINE_RATE = 20 * MIB;
const UNLIMITED = 1e12;

if (process.argv[2] === "attack") {
  const { name, target } = JSON.parse(process.argv[3] ?? "{}") as { name: string; target: LoginTarget };
  process.on("disconnect", () => process.exit());
  for (;;) {
    try {
      await ATTACKS[name]?.(target);
    } catch (error) {
      process.send?.(String(error));
      await delay(10);
    }
  }
}

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "3" },
    attackers: { type: "string", default: "1" },
    workers: { type: "string", default: "1" },
    only: { type: "string", multiple: true },
    /** Before everything else that runs on the machine; takes root. */
    urgent: { type: "boolean", default: false },
    json: { type: "string" },
  },
});
const seconds = Number(values.seconds);
if (values.urgent) setPriority(0, -10);
const gateway = await startGateway({ serverYaml: [`workers: ${values.workers}`, "memoryBudget: 64MiB"] });
const mallory = await addMallory(gateway);
pin(0, gateway.pid);
pin(1, process.pid);
const warm = await SshSftpClient.connect(gateway);
await warm.putFile("attachments/shared", Buffer.alloc(FILE_BYTES, 1), 128 * 1024);
await warm.end();
const own = await SshSftpClient.connect(mallory);
await own.putFile("attachments/x", Buffer.from("x"));
await own.end();

const rows: object[] = [];
for (const name of values.only ?? Object.keys(ATTACKS)) {
  const row: Record<string, unknown> = { attack: name };
  for (const rate of [LINE_RATE, UNLIMITED]) {
    const witness = startWitness(rate);
    await witness.until(2 * FILE_BYTES);
    await delay(500);
    const calm = await witness.measure(seconds);
    const attackers = Array.from({ length: Number(values.attackers) }, () => startAttack(name));
    await delay(500);
    const cpuBefore = cpuSeconds(gateway.pid);
    const attacked = await witness.measure(seconds);
    const cpu = cpuSeconds(gateway.pid) - cpuBefore;
    const began = performance.now();
    const client = await SshSftpClient.connect(gateway);
    await client.stat("attachments/shared");
    const loginMs = performance.now() - began;
    await client.end();
    for (const each of attackers) each.kill();
    witness.stop();
    const kind = rate === LINE_RATE ? "line" : "full";
    row[`${kind} MiB/s`] = Math.round(calm / MIB);
    row[`${kind} kept %`] = Math.round((attacked / calm) * 100);
    row[`${kind} cpu %`] = Math.round((cpu / seconds) * 100);
    row[`${kind} login ms`] = Math.round(loginMs);
  }
  rows.push(row);
  process.stdout.write(`${JSON.stringify(row)}\n`);
}
if (values.json) writeFileSync(values.json, JSON.stringify(rows, undefined, 1));
await gateway.dispose();
process.exit(0);

function startAttack(name: string): { kill(): void } {
  const child = fork(SELF, ["attack", JSON.stringify({ name, target: mallory })], { execArgv: ["--import", "tsx"] });
  if (child.pid !== undefined) setPriority(child.pid, values.urgent ? -5 : 15);
  child.on("message", (text) => process.stderr.write(`${name}: ${String(text)}\n`));
  return { kill: () => void child.kill("SIGKILL") };
}

function startWitness(rate: number): { until(bytes: number): Promise<void>; measure(s: number): Promise<number>; stop(): void } {
  const { port, user, keyFile } = gateway;
  const order: WitnessOrder = {
    target: { port, user, keyFile },
    path: "attachments/shared",
    size: FILE_BYTES,
    fill: 1,
    rate,
  };
  const child: ChildProcess = fork(WITNESS, [JSON.stringify(order)], { execArgv: ["--import", "tsx"] });
  let read = 0;
  child.on("message", (report) => {
    const said = report as WitnessReport;
    if ("bytes" in said) read = said.bytes;
    else throw new Error(said.failure);
  });
  return {
    until: async (bytes) => {
      while (read < bytes) await delay(20);
    },
    measure: async (s) => {
      const [before, began] = [read, performance.now()];
      await delay(s * 1000);
      return ((read - before) / (performance.now() - began)) * 1000;
    },
    stop: () => child.removeAllListeners("exit").disconnect(),
  };
}

async function addMallory(to: TestGateway): Promise<LoginTarget> {
  await to.stop();
  await runOk("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(to.dir, "mallory")]);
  for (const folder of ["users.d", "mallory-files"]) mkdirSync(join(to.dir, folder));
  const key = readFileSync(join(to.dir, "mallory.pub"), "utf8").trim();
  const user = `users:\n  mallory:\n    storage: file://${join(to.dir, "mallory-files")}\n    keys: ["${key}"]\n`;
  writeFileSync(join(to.dir, "users.d", "mallory.yaml"), user);
  await to.start();
  return { port: to.port, user: "mallory", keyFile: join(to.dir, "mallory") };
}

/** A process with all of its threads and children, on one core. */
function pin(core: number, pid: number): void {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
  for (const each of [String(pid), ...children]) execFileSync("taskset", ["-a", "-c", "-p", String(core), each], { stdio: "ignore" });
}

function cpuSeconds(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
  let ticks = 0;
  for (const each of [String(pid), ...children]) {
    const fields = readFileSync(`/proc/${each}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / 100;
}

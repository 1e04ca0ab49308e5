/**
 * `npm run bench -- [--size MiB] [--files N] [--runs N] [--json FILE]`: OpenSSH's sftp moves one big file and many small
 * ones to and from each target, the targets taking turns. Prints a Markdown table of medians: MiB/s or seconds, server
 * CPU, and ratios to sshd in the same run. Contents are compared. It measures; it does not judge.
 */
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { run } from "../support/processes.ts";
import { cpuSeconds, peakMiB } from "./process-figures.ts";
import { gatewayOnDisk, gatewayOnS3, sshdOnDisk, type Target } from "./targets.ts";

const { values } = parseArgs({
  options: {
    size: { type: "string", default: "512" },
    files: { type: "string", default: "1000" },
    runs: { type: "string", default: "3" },
    json: { type: "string" },
  },
});
const sizeMiB = Number(values.size);
const fileCount = Number(values.files);
const CIPHERS = { gcm: "aes128-gcm@openssh.com", default: undefined } as const;

interface Sample {
  readonly workload: string;
  readonly target: string;
  readonly seconds: number;
  readonly cpu: number;
}

const dir = mkdtempSync(join(tmpdir(), "bench-client-"));
const samples: Sample[] = [];

function makeInput(): void {
  mkdirSync(join(dir, "small"));
  writeFileSync(join(dir, "big"), randomBytes(sizeMiB * 1024 * 1024));
  for (let i = 0; i < fileCount; i++) writeFileSync(join(dir, "small", `f${i}`), randomBytes(10_240));
}

async function sftp(target: Target, commands: string, cipher: string | undefined): Promise<void> {
  const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "IdentitiesOnly=yes"];
  if (cipher) options.push(`Ciphers=${cipher}`);
  const args = [
    "-b",
    "-",
    "-P",
    String(target.port),
    "-i",
    target.keyFile,
    ...options.flatMap((o) => ["-o", o]),
    `${target.user}@127.0.0.1`,
  ];
  const { code, stderr } = await run("sftp", args, { input: commands, timeoutMs: 600_000 });
  if (code !== 0) throw new Error(`${target.name}: ${commands.trim()}: ${stderr}`);
}

async function measure(target: Target, workload: string, commands: string, cipher?: string): Promise<void> {
  const cpuBefore = cpuSeconds(target.pid);
  const began = performance.now();
  await sftp(target, commands, cipher);
  const seconds = (performance.now() - began) / 1000;
  samples.push({ workload, target: target.name, seconds, cpu: cpuSeconds(target.pid) - cpuBefore });
}

const digest = (file: string): string => createHash("sha256").update(readFileSync(file)).digest("hex");

/** One round of all workloads on one target. */
async function round(target: Target, index: number): Promise<void> {
  for (const [label, cipher] of Object.entries(CIPHERS)) {
    await measure(target, `put ${sizeMiB} MiB, ${label} cipher`, `put ${dir}/big ${target.folder}/big\n`, cipher);
    await measure(target, `get ${sizeMiB} MiB, ${label} cipher`, `get ${target.folder}/big ${dir}/back\n`, cipher);
    if (digest(join(dir, "back")) !== digest(join(dir, "big"))) throw new Error(`${target.name} returned other bytes`);
  }
  await measure(target, `put -r ${fileCount} × 10 KiB`, `put -r ${dir}/small ${target.folder}/small${index}\n`);
  await measure(target, `get -r ${fileCount} × 10 KiB`, `get -r ${target.folder}/small${index} ${dir}/small-back\n`);
  for (const name of readdirSync(join(dir, "small"))) {
    if (digest(join(dir, "small", name)) !== digest(join(dir, "small-back", name))) throw new Error(`${target.name}: ${name} differs`);
  }
  rmSync(join(dir, "small-back"), { recursive: true });
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function report(targets: readonly Target[]): string {
  const names = targets.map((t) => t.name);
  const lines = [
    `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? "?"}; client, server and store share them. Medians of ${values.runs} runs.`,
    "",
    `| workload | ${names.map((n) => `${n}: s | CPU s | CPU ÷ sshd`).join(" | ")} |`,
    `| --- ${"| --- ".repeat(names.length * 3)}|`,
  ];
  for (const workload of new Set(samples.map((s) => s.workload))) {
    const of = (name: string, key: "seconds" | "cpu"): number =>
      median(samples.filter((s) => s.workload === workload && s.target === name).map((s) => s[key]));
    const cells = names.map(
      (n) => `${of(n, "seconds").toFixed(2)} | ${of(n, "cpu").toFixed(2)} | ${(of(n, "cpu") / of("sshd, disk", "cpu")).toFixed(2)}`,
    );
    lines.push(`| ${workload} | ${cells.join(" | ")} |`);
  }
  lines.push("", ...targets.map((t) => `Peak memory of ${t.name} (main process): ${peakMiB(t.pid)} MiB`));
  return lines.join("\n");
}

makeInput();
const targets: Target[] = [];
try {
  for (const start of [sshdOnDisk, gatewayOnDisk, gatewayOnS3]) targets.push(await start());
  // The first round warms compilers and caches and does not count.
  for (const target of targets) await round(target, 0);
  samples.length = 0;
  for (let index = 1; index <= Number(values.runs); index++) for (const target of targets) await round(target, index);
  process.stdout.write(`${report(targets)}\n`);
  if (values.json) writeFileSync(values.json, `${JSON.stringify(samples, undefined, 2)}\n`);
} finally {
  for (const target of targets) await target.stop();
  rmSync(dir, { recursive: true });
}

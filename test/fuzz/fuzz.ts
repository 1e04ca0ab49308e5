/**
 * `npm run fuzz -- [TARGET…] [--minutes N] [--seed S] [--runs N]`: fuzzes the named targets, or all of them, in turn. A
 * finding names its target and seed: `npm run fuzz -- TARGET --seed SEED --runs 1` shows it again. Exit code 1 if there
 * was one.
 */
import { parseArgs } from "node:util";
import { configFuzz } from "./config-fuzz.ts";
import type { FuzzRunner, FuzzTarget } from "./fuzz-target.ts";
import { keyFuzz } from "./key-fuzz.ts";
import { preauthFuzz } from "./preauth-fuzz.ts";
import { rsyncFuzz } from "./rsync-fuzz.ts";
import { scpFuzz } from "./scp-fuzz.ts";
import { fuzzSftp } from "./sftp-fuzz.ts";

/** How long a target runs before the next has its turn. */
const TURN_MS = 5_000;
const PACKETS_A_CASE = 3_000;

function sftpFuzz(name: string, behind: "model" | "stored"): FuzzTarget {
  const run = async (seed: number): Promise<number> => {
    const { packets, findings } = await fuzzSftp(PACKETS_A_CASE, seed, behind);
    if (findings.length > 0) throw new Error(findings.join("; "));
    return packets;
  };
  return { name, unit: "packets", open: () => Promise.resolve({ run, close: () => Promise.resolve() }) };
}

/** Everything there is to fuzz. */
export const TARGETS: readonly FuzzTarget[] = [
  preauthFuzz,
  sftpFuzz("sftp", "model"),
  sftpFuzz("sftp-stored", "stored"),
  scpFuzz,
  rsyncFuzz,
  keyFuzz,
  configFuzz,
];

interface Running {
  readonly target: FuzzTarget;
  readonly runner: FuzzRunner;
  seed: number;
  cases: number;
  units: number;
}

/** Fuzzes until `until` (ms, as performance.now) or until each target has run `cases`; resolves to the findings. */
export async function fuzz(targets: readonly FuzzTarget[], first: number, until: number, cases: number): Promise<string[]> {
  const findings: string[] = [];
  const running: Running[] = [];
  for (const target of targets) running.push({ target, runner: await target.open(), seed: first, cases: 0, units: 0 });
  const isOver = (each: Running): boolean => each.cases >= cases || performance.now() >= until;
  while (!running.every(isOver)) {
    for (const each of running) {
      const turnEnds = performance.now() + TURN_MS;
      while (!isOver(each) && performance.now() < turnEnds) {
        try {
          each.units += await each.runner.run(each.seed);
        } catch (error) {
          findings.push(
            `${each.target.name} --seed ${each.seed}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
          );
        }
        each.seed++;
        each.cases++;
      }
    }
  }
  for (const { target, runner, seed, units } of running) {
    await runner.close();
    console.log(`${target.name}: ${units} ${target.unit}, seeds ${first} to ${seed - 1}`);
  }
  return findings;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { minutes: { type: "string", default: "1" }, seed: { type: "string" }, runs: { type: "string" } },
  });
  const unknown = positionals.filter((name) => !TARGETS.some((target) => target.name === name));
  if (unknown.length > 0) throw new Error(`no target ${unknown.join(", ")}; there are ${TARGETS.map(({ name }) => name).join(", ")}`);
  const targets = positionals.length > 0 ? TARGETS.filter(({ name }) => positionals.includes(name)) : TARGETS;
  const seed = Number(values.seed ?? Date.now() % 1_000_000_000);
  const cases = Number(values.runs ?? Number.POSITIVE_INFINITY);
  const until = values.runs === undefined ? performance.now() + Number(values.minutes) * 60_000 : Number.POSITIVE_INFINITY;
  const alive = setInterval(() => undefined, 1000); // some targets' timers do not keep the process alive
  const findings = await fuzz(targets, seed, until, cases);
  clearInterval(alive);
  for (const finding of findings) console.log(`FINDING ${finding}`);
  console.log(findings.length === 0 ? "no finding" : `${findings.length} findings`);
  process.exitCode = findings.length > 0 ? 1 : 0;
}

if (import.meta.url === `file://${process.argv[1]}`) await main();

/**
 * `npx tsx test/bench/model/simulate.ts`: prints the table of docs/scaling.md, what the model of request rates says about
 * sessions that all upload small files at once. A model, not a measurement.
 */
import { DEFAULT_RETRY_POLICY } from "../../../src/objectstore/s3/retry-policy.ts";
import { type Outcome, type Scene, simulate } from "./request-rates.ts";

/** What S3 takes for each prefix: PUT, COPY, POST and DELETE, or GET and HEAD, a second. */
const WRITES_PER_PREFIX = 3500;
const READS_PER_PREFIX = 5500;

const BASE: Scene = {
  sessions: 10_000,
  prefixes: 1,
  ratePerPrefix: WRITES_PER_PREFIX,
  processes: 8,
  socketsPerProcess: 128,
  storeMs: 40,
  refusalMs: 10,
  clientMs: 30,
  policy: DEFAULT_RETRY_POLICY,
  isPaced: true,
  seconds: 60,
  seed: 1,
};

const AT_ONCE = { ...DEFAULT_RETRY_POLICY, throttledBaseMs: 0 };

const SCENES: ReadonlyMap<string, Partial<Scene>> = new Map([
  ["100 sessions, 1 prefix", { sessions: 100 }],
  ["1,000 sessions, 1 prefix", { sessions: 1000 }],
  ["10,000 sessions, 1 prefix", {}],
  ["10,000 sessions, 1 prefix, each request backs off alone", { isPaced: false }],
  ["1,000 sessions, 1 prefix, retries at once", { sessions: 1000, policy: AT_ONCE, isPaced: false }],
  ["10,000 sessions, 10 prefixes", { prefixes: 10 }],
  ["10,000 sessions, 50 prefixes", { prefixes: 50 }],
  ["10,000 sessions, 50 prefixes, 32 processes", { prefixes: 50, processes: 32 }],
  ["10,000 sessions reading, 1 prefix", { ratePerPrefix: READS_PER_PREFIX }],
]);

function lineOf(name: string, { perSecond, refused, completed, failed, medianMs, p99Ms, mostAttempts }: Outcome): string {
  const share = ((refused / Math.max(1, completed)) * 100).toFixed(0);
  const times = `${medianMs.toFixed(0)} | ${p99Ms.toFixed(0)}`;
  return `| ${name} | ${perSecond.toFixed(0)} | ${share} % | ${times} | ${mostAttempts} | ${failed} |`;
}

process.stdout.write(
  "| scene | files/s | 503s per file | median ms | p99 ms | most attempts | given up |\n| --- | --- | --- | --- | --- | --- | --- |\n",
);
for (const [name, change] of SCENES) process.stdout.write(`${lineOf(name, simulate({ ...BASE, ...change }))}\n`);

/**
 * `npm run soak -- [--minutes 20] [--seed N] [--json FILE]`: the built gateway on the S3 test server, used by real
 * clients for a long time while clients are killed, the store stumbles and the gateway itself is killed once. Fails if a
 * byte is wrong, if memory, descriptors, unfinished uploads or locks grow, if a client fails while the store is well, or if
 * the sweep in the end leaves an unfinished upload.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { MAIN } from "../support/built-gateway.ts";
import { BUCKET, startGateway } from "../support/gateway.ts";
import { runOk } from "../support/processes.ts";
import { Random } from "../support/random.ts";
import { startS3Server } from "../support/s3-server/s3-server.ts";
import { judge } from "./judgement.ts";
import { type Lane, LANES } from "./lanes.ts";
import { sampleOf, type Sample, unheard } from "./samples.ts";
import { Troubles } from "./troubles.ts";

const SAMPLES = 60;
/** What is left in the end may be swept after so long. */
const EXPIRY_S = 60;

const { values } = parseArgs({
  options: { minutes: { type: "string", default: "20" }, seed: { type: "string", default: "1" }, json: { type: "string" } },
});
const minutes = Number(values.minutes);
const seed = Number(values.seed);
if (!(minutes > 0) || !Number.isSafeInteger(seed)) {
  process.stderr.write("usage: npm run soak -- [--minutes N] [--seed N] [--json FILE]\n");
  process.exit(2);
}

const s3 = await startS3Server({ buckets: [BUCKET] });
const gateway = await startGateway({ s3 });
const started = performance.now();
const until = started + minutes * 60_000;
const random = new Random(seed);
const troubles = new Troubles({ s3, gateway, random, started, until });
const samples: Sample[] = [];
const problems: string[] = [];

/** Repeats a lane's round until the time is over; what fails is a problem only if nothing was wrong meanwhile. */
async function drive(lane: Lane, laneSeed: number): Promise<number> {
  const chance = new Random(laneSeed);
  for (let round = 0; ; round++) {
    if (performance.now() >= until) return round;
    const began = performance.now();
    try {
      await lane.round({ gateway, s3, random: chance, round, name: `${lane.name.replaceAll(/\W+/g, "-")}-${laneSeed}` });
    } catch (error) {
      const text = `${lane.name}, round ${round}, ${((began - started) / 1000).toFixed(0)} s: ${String(error)}`;
      if (/WRONG BYTES/.test(text) || !troubles.within(began, performance.now())) problems.push(text);
    }
  }
}

const timer = setInterval(
  () => {
    const sample = sampleOf({ gateway, s3, seconds: (performance.now() - started) / 1000, life: troubles.life });
    if (!sample) return;
    samples.push(sample);
    const { seconds, rssMiB, descriptors, unfinished, locks } = sample;
    process.stdout.write(
      `${seconds.toFixed(0).padStart(6)} s  ${rssMiB.toFixed(0).padStart(5)} MiB  ${descriptors} descriptors  ${unfinished} unfinished  ${locks} locks\n`,
    );
  },
  (minutes * 60_000) / SAMPLES,
);
const chaos = troubles.run();
const rounds = await Promise.all(LANES.map((lane, index) => drive(lane, seed * 100 + index)));
await chaos;
clearInterval(timer);
const left = s3.contents.uploads(BUCKET).length;
process.stdout.write(`${left} unfinished uploads, ${unheard(s3)} of them begun without the gateway hearing of it; sweeping\n`);
gateway.writeConfig({ s3, topYaml: [`uploads: { expiry: ${EXPIRY_S}s }`] });
await new Promise((resolve) => setTimeout(resolve, (EXPIRY_S + 1) * 1000));
await runOk(process.execPath, [MAIN, "sweep", "--yes", "--config", gateway.configFile], { timeoutMs: 120_000 });
const unswept = s3.contents.uploads(BUCKET).length;
if (unswept > 0) problems.push(`${unswept} unfinished uploads after the sweep`);
const verdict = judge(samples, problems);
for (const [index, lane] of LANES.entries()) process.stdout.write(`${lane.name}: ${rounds[index]} rounds\n`);
process.stdout.write(`troubles: ${troubles.summary}\n${verdict.map((line) => `FAILED ${line}\n`).join("")}`);
if (values.json) writeFileSync(values.json, JSON.stringify({ minutes, seed, samples, rounds, verdict }, undefined, 1));
await gateway.dispose();
await s3.close();
process.stdout.write(verdict.length === 0 ? "soak passed\n" : "soak failed\n");
process.exit(verdict.length === 0 ? 0 : 1);

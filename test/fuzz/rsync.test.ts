/** `FUZZ_RUNS` sets the number of runs, `FUZZ_SEED` the first seed. */
import { expect, it } from "vitest";
import { fuzzRsync } from "./rsync-fuzz.ts";

const RUNS = Number(process.env.FUZZ_RUNS ?? 2000);
const FIRST_SEED = Number(process.env.FUZZ_SEED ?? 1);

it(`hostile rsync clients end by themselves (${RUNS} runs)`, async () => {
  const statuses = new Map<number, number>();
  for (let seed = FIRST_SEED; seed < FIRST_SEED + RUNS; seed++) {
    const status = await fuzzRsync(seed);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
  // The edits reach all stages: some runs succeed, most break the protocol.
  expect(statuses.get(0) ?? 0).toBeGreaterThan(0);
  expect(statuses.get(12) ?? 0).toBeGreaterThan(0);
}, 3_600_000);

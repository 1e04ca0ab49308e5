/** Memory and bandwidth of several workers, and how many workers there are. */
import { describe, expect, it } from "vitest";
import { Answers } from "../../../src/supervisor/answers.ts";
import { BudgetShares } from "../../../src/supervisor/budget-shares.ts";
import { SharedRates } from "../../../src/supervisor/shared-rates.ts";
import { cpuQuota, workerCount } from "../../../src/supervisor/worker-count.ts";

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

it("gives one worker all of the memory budget", () => {
  const granted: number[] = [];
  const shares = new BudgetShares<string>({ total: 256 * MIB, workers: 1, grant: (_, limit) => granted.push(limit) });
  shares.add("a");
  shares.report("a", 200 * MIB, true);
  expect(granted).toEqual([256 * MIB]);
});

it("lends half of the budget to whom it is short, never more than there is, and takes it back", () => {
  const limits = new Map<string, number>();
  const shares = new BudgetShares<string>({ total: 256 * MIB, workers: 4, grant: (worker, limit) => limits.set(worker, limit) });
  const sum = (): number => [...limits.values()].reduce((a, b) => a + b, 0);
  for (const worker of ["a", "b", "c", "d"]) shares.add(worker);
  expect(limits.get("a")).toBe(32 * MIB);
  for (let i = 0; i < 10; i++) shares.report("a", 30 * MIB, true);
  expect(limits.get("a")).toBe(160 * MIB);
  shares.report("b", 30 * MIB, true);
  expect(limits.get("b")).toBe(32 * MIB);
  expect(sum()).toBe(256 * MIB);
  shares.report("a", 10 * MIB, false);
  expect(limits.get("a")).toBe(32 * MIB);
  shares.report("b", 30 * MIB, true);
  expect(limits.get("b")).toBe(96 * MIB);
  shares.remove("b");
  limits.delete("b");
  for (let i = 0; i < 10; i++) shares.report("c", 30 * MIB, true);
  expect(sum()).toBeLessThanOrEqual(256 * MIB);
  expect(limits.get("c")).toBe(192 * MIB);
});

it("holds two workers to one rate together", () => {
  let now = 0;
  const rates = new SharedRates(() => now);
  const MB = 1000 * 1000;
  let waited = 0;
  for (let second = 0; second < 10; second++) {
    for (const _worker of ["a", "b"]) waited = rates.spent("alice", { up: MB }, { up: MB, down: 5 * MB }).up;
    now += 1000;
  }
  // 20 MB at 1 MB/s take 20 s, of which 10 have passed and a quarter is a burst.
  expect(waited).toBeGreaterThan(10_000);
  expect(waited).toBeLessThan(11_001);
  expect(rates.spent("alice", { up: MB }, { up: 0, down: MB }).down).toBe(0);
});

it("gives up on an answer that does not come", async () => {
  const answers = new Answers<string>();
  let asked = 0;
  const answer = answers.ask(1_000, (request) => {
    asked = request;
  });
  answers.answer(asked, "yes");
  answers.answer(asked, "late");
  expect(await answer).toBe("yes");
  expect(await answers.ask(5, () => undefined)).toBeUndefined();
});

describe("the number of workers", () => {
  const auto = { workers: "auto", memoryBudget: 256 * MIB } as const;
  it.each([
    ["what the file says", { ...auto, workers: 3 } as const, { cores: 1, memoryBytes: GIB }, 3],
    ["one per core but the last", auto, { cores: 4, memoryBytes: 16 * GIB }, 3],
    ["one on two cores", auto, { cores: 2, memoryBytes: 16 * GIB }, 1],
    ["one on a tiny machine", auto, { cores: 4, memoryBytes: 400 * MIB }, 1],
    ["no more than memory allows", auto, { cores: 8, memoryBytes: 768 * MIB }, 5],
    ["no more than share the budget", { ...auto, memoryBudget: 64 * MIB }, { cores: 16, memoryBytes: 16 * GIB }, 2],
  ])("is %s", (_, server, machine, workers) => {
    expect(workerCount(server, machine)).toBe(workers);
  });

  it("knows a container's quota", () => {
    expect(cpuQuota("150000 100000\n")).toBe(2);
    expect(cpuQuota("50000 100000")).toBe(1);
    expect(cpuQuota("max 100000")).toBe(Number.POSITIVE_INFINITY);
    expect(cpuQuota("")).toBe(Number.POSITIVE_INFINITY);
  });
});

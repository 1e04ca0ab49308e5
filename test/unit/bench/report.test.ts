import { describe, expect, it } from "vitest";
import { againstBest, type Column, ratios, report } from "../../bench/report.ts";
import { countingSamples, ratioOf, type Sample, spreadOf } from "../../bench/sample.ts";

const COLUMNS: readonly Column[] = [
  { name: "gateway", kind: "gateway", storageKind: "S3", answersEarly: false },
  { name: "gateway-disk", kind: "gateway", storageKind: "disk", answersEarly: false },
  { name: "sshd", kind: "limit", storageKind: "disk", answersEarly: false },
  { name: "slow", kind: "peer", storageKind: "S3", answersEarly: false },
  { name: "fast", kind: "peer", storageKind: "S3", answersEarly: false },
  { name: "early", kind: "peer", storageKind: "S3", answersEarly: true },
];
const ROW = { workload: "W3", title: "files", unit: "s" } as const;
const sample = (peer: string, value: number, more: Partial<Sample> = {}): Sample => ({
  ...ROW,
  peer,
  run: 0,
  value,
  cpuSeconds: 1,
  ...more,
});
const SAMPLES = [
  ...[3, 1, 2].map((value) => sample("gateway", value, { cpuSeconds: value / 2 })),
  sample("gateway-disk", 1),
  sample("sshd", 4, { cpuSeconds: 2 }),
  sample("slow", 8),
  sample("fast", 5, { cpuSeconds: 2 }),
  sample("early", 1),
];

describe("the report", () => {
  it("compares with every rival on the same kind of storage", () => {
    const found = ratios(SAMPLES, COLUMNS).map(({ column, rival, value, cpu }) => [column, rival, value, cpu]);
    expect(found).toEqual([
      ["gateway", "slow", 4, 1],
      ["gateway", "fast", 2.5, 0.5],
      ["gateway", "early", 0.5, 1],
      ["gateway-disk", "sshd", 4, 0.5],
    ]);
  });

  it("does not take a rival that answers early for the best", () => {
    const [gateway] = COLUMNS;
    if (!gateway) throw new Error("no column");
    expect(againstBest(ratios(SAMPLES, COLUMNS), ROW, gateway, COLUMNS)?.rival).toBe("fast");
  });

  it("shows median and range, failures by their reason, and only peers that ran", () => {
    const failed: Sample = { ...ROW, peer: "slow", run: 0, failure: "no end | at all" };
    const text = report([...SAMPLES.filter(({ peer }) => peer !== "slow" && peer !== "early"), failed], COLUMNS);
    expect(text).toContain("2.00 (1.00–3.00)");
    expect(text).toContain("failed: no end / at all");
    expect(text).toContain("5.00 (×2.50)");
    expect(text).not.toContain("early");
  });
});

describe("samples", () => {
  it("have a median that was measured", () => {
    expect(spreadOf([4, 1, 3, 2])).toEqual({ min: 1, median: 2, max: 4, count: 4 });
    expect(spreadOf([])).toBeUndefined();
  });

  it("are better when faster, whatever the unit", () => {
    expect(ratioOf("MiB/s", 200, 100)).toBe(2);
    expect(ratioOf("s", 1, 2)).toBe(2);
    expect(ratioOf("MiB", 50, 100)).toBe(2);
  });

  it("count undisturbed ones, and disturbed ones only where there is nothing else", () => {
    const [calm, disturbed, failed] = [sample("a", 1), sample("a", 2, { isDisturbed: true }), { ...ROW, peer: "a", run: 0, failure: "x" }];
    expect(countingSamples([calm, disturbed, failed])).toEqual([calm]);
    expect(countingSamples([disturbed, failed])).toEqual([disturbed]);
  });
});

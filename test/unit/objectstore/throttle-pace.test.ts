import { describe, expect, it } from "vitest";
import { ThrottlePace } from "../../../src/objectstore/s3/throttle-pace.ts";

/** A store that took so many a second for two seconds, then refused one at 2,000 ms. */
function refusedAt(perSecond: number): ThrottlePace {
  const pace = new ThrottlePace();
  for (let i = 0; i < 2 * perSecond; i++) pace.taken((i * 1000) / perSecond);
  pace.refused(2000);
  return pace;
}

describe("the pace of requests to a store that throttles", () => {
  it("holds nothing back while nothing is refused", () => {
    const pace = new ThrottlePace();
    for (let i = 0; i < 10_000; i++) {
      expect(pace.reserve(i / 10)).toBe(0);
      pace.taken(i / 10);
    }
  });

  it("lets requests leave in line, a little slower than the store took them", () => {
    const pace = refusedAt(1000);
    const waits = Array.from({ length: 850 }, () => pace.reserve(2000));
    expect(waits[0]).toBe(0);
    expect(waits).toEqual([...waits].sort((a, b) => a - b));
    expect(waits.at(-1)).toBeCloseTo(1000, -1);
  });

  it("counts refusals that come together once", () => {
    const [one, many] = [refusedAt(1000), refusedAt(1000)];
    for (let i = 0; i < 100; i++) many.refused(2000 + i);
    for (let i = 0; i < 10; i++) expect(many.reserve(2100)).toBe(one.reserve(2100));
  });

  it("grows with what is taken, and ends when all was calm for a while", () => {
    const pace = refusedAt(1000);
    const before = [pace.reserve(3000), pace.reserve(3000)];
    for (let i = 0; i < 5000; i++) pace.taken(3000 + i);
    const after = [pace.reserve(8000), pace.reserve(8000)];
    const gap = ([a = 0, b = 0]: readonly number[]): number => b - a;
    expect(gap(after)).toBeLessThan(gap(before));
    expect([pace.reserve(20_000), pace.reserve(20_000), pace.reserve(20_000)]).toEqual([0, 0, 0]);
  });

  it("never gets slower than fifty a second", () => {
    const pace = new ThrottlePace();
    for (let i = 0; i < 20; i++) pace.refused(i * 1000);
    expect(pace.reserve(20_000)).toBe(0);
    expect(pace.reserve(20_000)).toBeCloseTo(20, 5);
  });
});

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type BudgetShare, type Holder, shareOf } from "../../src/budget-share.ts";
import { ByteBudget } from "../../src/byte-budget.ts";

const MIB = 1024 * 1024;
let whole: ByteBudget;
beforeEach(() => {
  whole = new ByteBudget(64 * MIB);
});

/** Takes as much as is given, in steps. */
function takeAll(share: ByteBudget): void {
  while (share.tryTake(64 * 1024));
}

describe("what a user may hold", () => {
  it("is half of the budget alone, a third beside another greedy one, so that some is always free", () => {
    const [a, b, c] = [shareOf(whole, "a"), shareOf(whole, "b"), shareOf(whole, "c")];
    takeAll(a);
    expect(a.used).toBe(32 * MIB);
    takeAll(b);
    expect(b.used).toBe(16 * MIB);
    takeAll(c);
    expect(c.used).toBe(8 * MIB);
    expect(whole.used).toBe(56 * MIB);
    expect(a.underPressure).toBe(true);
    expect(shareOf(whole, "d").underPressure).toBe(false);
    a.release(a.used);
    takeAll(c);
    expect(c.used).toBe(24 * MIB);
  });

  it("is the same share for the same name, counted in the whole", async () => {
    expect(shareOf(whole, "a")).toBe(shareOf(whole, "a"));
    const share = shareOf(whole, "a");
    await share.take(MIB);
    share.force(MIB);
    expect([share.used, whole.used]).toEqual([2 * MIB, 2 * MIB]);
    share.release(2 * MIB);
    expect([share.used, whole.used]).toEqual([0, 0]);
    expect(() => share.release(1)).toThrow();
  });

  it("follows the budget when that gets another size", () => {
    const share = shareOf(whole, "a");
    takeAll(share);
    whole.resize(128 * MIB);
    takeAll(share);
    expect([share.limit, share.used]).toEqual([128 * MIB, 64 * MIB]);
    expect(share.allowance).toBe(64 * MIB);
  });

  it("leaves each of many channels a small window", () => {
    const share = shareOf(whole, "a");
    expect(share.fairWindow).toBe(8 * MIB);
    share.openChannels = 64;
    expect(share.fairWindow).toBe(MIB / 8);
  });

  it("is an eighth whatever the others do, and one request of any size for who holds nothing", () => {
    whole.force(63 * MIB);
    expect(shareOf(whole, "a").tryTake(MIB)).toBe(true);
    expect(whole.tryTake(1)).toBe(false);
    whole.release(63 * MIB);
    expect(shareOf(whole, "b").tryTake(60 * MIB)).toBe(true);
  });
});

describe("an overdrawn share", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  function holders(share: BudgetShare, sizes: readonly number[], idleMs: () => number): string[] {
    const dropped: string[] = [];
    const left = new Map(sizes.map((bytes, index) => [index, bytes]));
    share.register(() =>
      [...left].map(
        ([index, heldBytes]): Holder => ({
          heldBytes,
          idleMs: idleMs(),
          drop: () => {
            left.delete(index);
            share.release(heldBytes);
            dropped.push(`${index}`);
          },
        }),
      ),
    );
    for (const bytes of sizes) share.force(bytes);
    return dropped;
  }

  it("drops what stands still, the largest first, until it is in order", () => {
    const share = shareOf(whole, "a");
    let idle = 0;
    const dropped = holders(share, [8 * MIB, 20 * MIB, 12 * MIB, 0], () => idle);
    vi.advanceTimersByTime(4_000);
    expect(dropped).toEqual([]);
    idle = 5_000;
    vi.advanceTimersByTime(300);
    expect(dropped).toEqual(["1"]);
    expect(whole.used).toBe(20 * MIB);
    vi.advanceTimersByTime(60_000);
    expect(dropped).toEqual(["1"]);
  });

  it("drops moving ones too once the budget is exceeded by far", () => {
    const dropped = holders(shareOf(whole, "a"), [40 * MIB, 41 * MIB, 20 * MIB], () => 0);
    vi.advanceTimersByTime(300);
    expect(dropped).toEqual(["1"]);
    expect(whole.used).toBe(60 * MIB);
  });

  it("never touches another user's", () => {
    const small = holders(shareOf(whole, "small"), [4 * MIB], () => 100_000);
    const large = holders(shareOf(whole, "large"), [30 * MIB, 30 * MIB], () => 100_000);
    vi.advanceTimersByTime(10_000);
    expect(large.length).toBeGreaterThan(0);
    expect(small).toEqual([]);
  });
});

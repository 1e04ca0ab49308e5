import { describe, expect, it, vi } from "vitest";
import { holdSlab, releaseSlab, SlabPool } from "../../src/slab-pool.ts";

describe("a slab", () => {
  it("is used again once its last holder has released it, whichever view that was", () => {
    const pool = new SlabPool(1024, 4096);
    const slab = pool.take();
    const view = slab.subarray(10, 20);
    holdSlab(view);
    releaseSlab(slab);
    expect(pool.take()).not.toBe(slab);
    releaseSlab(view);
    expect(pool.take()).toBe(slab);
  });

  it("cannot be released once more than it is held", () => {
    const pool = new SlabPool(1024, 4096);
    const slab = pool.take();
    releaseSlab(slab);
    expect(() => releaseSlab(slab)).toThrow("more often");
    const other = pool.take();
    expect(other).toBe(slab);
    releaseSlab(other);
  });

  it("is kept for the next burst, and left to the garbage collector when none comes", () => {
    vi.useFakeTimers();
    const pool = new SlabPool(1024, 2048);
    const take = (): Buffer[] => Array.from({ length: 5 }, () => pool.take());
    const slabs = take();
    for (const slab of slabs) releaseSlab(slab);
    const soon = take();
    expect(soon.filter((slab) => slabs.includes(slab))).toHaveLength(5);
    for (const slab of soon) releaseSlab(slab);
    vi.advanceTimersByTime(10_000);
    expect(take().filter((slab) => slabs.includes(slab))).toHaveLength(2);
    vi.useRealTimers();
  });

  it("is no matter for bytes that lie in none", () => {
    const plain = Buffer.alloc(10);
    holdSlab(plain);
    releaseSlab(plain);
    releaseSlab(plain);
    expect(plain).toHaveLength(10);
  });
});

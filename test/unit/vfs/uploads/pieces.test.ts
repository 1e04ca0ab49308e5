import fc from "../../../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { ByteBudget } from "../../../../src/byte-budget.ts";
import { createMemoryStore } from "../../../../src/objectstore/memory-store.ts";
import { SlabPool } from "../../../../src/slab-pool.ts";
import { ChunkList, slabLength } from "../../../../src/vfs/uploads/chunk-list.ts";
import { Extents } from "../../../../src/vfs/uploads/extents.ts";
import { ReorderBuffer, reorderWindow } from "../../../../src/vfs/uploads/reorder-buffer.ts";
import { TemporaryNames } from "../../../../src/vfs/uploads/temporary-names.ts";
import { UploadLife } from "../../../../src/vfs/uploads/upload-life.ts";
import { UploadMemory } from "../../../../src/vfs/uploads/upload-memory.ts";
import { KIB, MIB, pattern, same } from "./upload-fixture.ts";

describe("a list of chunks", () => {
  it("holds what was pushed, whatever the sizes, also in slabs that others have used", () => {
    const pool = new SlabPool(slabLength, 8 * slabLength);
    const sizes = fc.array(fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 200 * KIB })), { maxLength: 12 });
    fc.assert(
      fc.property(sizes, fc.double({ min: 0, max: 1, noNaN: true }), (lengths, cut) => {
        const list = new ChunkList(pool);
        const chunks = lengths.map((length, index) => pattern(length, index + 1));
        for (const chunk of chunks) list.push(chunk);
        const whole = Buffer.concat(chunks);
        expect(list.length).toBe(whole.length);
        expect(same(Buffer.concat(list.chunks), whole)).toBe(true);
        const kept = Math.floor(cut * whole.length);
        list.truncate(kept);
        list.push(pattern(1000, 99));
        expect(same(Buffer.concat(list.chunks), Buffer.concat([whole.subarray(0, kept), pattern(1000, 99)]))).toBe(true);
        list.recycle();
        expect(list.length).toBe(0);
      }),
      { numRuns: 200 },
    );
  });

  it("does not keep the large buffer that a tiny slice is part of", () => {
    const list = new ChunkList(new SlabPool(slabLength, 8 * slabLength));
    const large = Buffer.alloc(64 * KIB);
    for (let index = 0; index < 100; index += 1) list.push(large.subarray(index, index + 1));
    expect(list.chunks.some((chunk) => chunk.buffer === large.buffer)).toBe(false);
    expect(list.chunks).toHaveLength(1);
  });
});

describe("extents", () => {
  it("know what was written, as an array of flags does", () => {
    const range = fc.record({ start: fc.nat(60), length: fc.nat(20), cut: fc.boolean() });
    fc.assert(
      fc.property(fc.array(range, { maxLength: 20 }), fc.nat(80), fc.nat(80), (ranges, from, length) => {
        const extents = new Extents();
        const flags: boolean[] = Array<boolean>(200).fill(false);
        for (const { start, length, cut } of ranges) {
          if (cut) extents.cut(start);
          else extents.add(start, start + length);
          flags.fill(!cut, start, cut ? flags.length : start + length);
        }
        const found: boolean[] = [];
        for (const piece of extents.within(from, from + length)) {
          expect(piece.end).toBeGreaterThan(piece.start);
          for (let at = piece.start; at < piece.end; at += 1) found.push(piece.written);
        }
        expect(found).toEqual(flags.slice(from, from + length));
      }),
    );
  });
});

describe("the reorder buffer", () => {
  function buffer(): { readonly early: ReorderBuffer; readonly budget: ByteBudget } {
    const budget = new ByteBudget(8 * MIB);
    return { early: new ReorderBuffer(UploadMemory.of(budget)), budget };
  }

  it("gives writes back in order, and their memory", () => {
    const { early, budget } = buffer();
    for (const offset of [300, 100, 200]) {
      expect(early.accept({ offset, chunks: [pattern(100, offset)], length: 100 }, 0)).toBe(true);
    }
    expect(budget.used).toBe(300);
    expect(early.end).toBe(400);
    expect(early.take(0)).toBeUndefined();
    expect([100, 200, 300].map((offset) => early.take(offset)?.offset)).toEqual([100, 200, 300]);
    expect(budget.used).toBe(0);
  });

  it("refuses overlaps, what is too far ahead, and more than there is memory for", () => {
    const { early, budget } = buffer();
    const write = (offset: number, length: number) => early.accept({ offset, chunks: [Buffer.alloc(length)], length }, 0);
    expect(write(1000, 100)).toBe(true);
    expect([write(950, 100), write(1050, 100), write(1000, 100), write(900, 300)]).toEqual([false, false, false, false]);
    expect(write(reorderWindow, 1)).toBe(false);
    expect(write(5000, 6 * MIB)).toBe(false);
    expect(Array.from({ length: 400 }, (_, index) => write(10_000 + index * 2, 1)).filter(Boolean).length).toBeLessThan(300);
    early.clear();
    expect(budget.used).toBe(0);
  });
});

describe("temporary names", () => {
  it("lead to the final key", () => {
    const names = new TemporaryNames(["*.filepart", ".~tmp-*"]);
    expect(names.finalKey("u/a/x.jpg.filepart")).toBe("u/a/x.jpg");
    expect(names.finalKey("x.filepart")).toBe("x");
    expect(names.finalKey("u/.~tmp-x.jpg")).toBe("u/x.jpg");
    for (const key of ["u/a/.filepart", "u/x.jpg", "u.filepart/x", "u/.~tmp-"]) expect(names.finalKey(key)).toBeUndefined();
  });

  it("are refused where they mean nothing", () => {
    for (const pattern of ["*", "x", "*a*", "a/*", ""]) expect(() => new TemporaryNames([pattern])).toThrow(RangeError);
  });
});

describe("the sizes of parts", () => {
  const memory = UploadMemory.of(new ByteBudget(256 * MIB));
  const S3_LIMITS = createMemoryStore().limits;
  const sizeOf = (partNumber: number, announced = 0): number => memory.partSize(S3_LIMITS, { partNumber, offset: 0, announced });

  it("begin as the store prefers and grow", () => {
    expect([1, 1000, 1001, 2001, 4001, 9000].map((part) => sizeOf(part) / MIB)).toEqual([8, 8, 16, 32, 128, 2048]);
  });

  it("reach 5 TiB, or more if announced, with the parts there are, however many uploads begin at once, and are never too large", () => {
    for (const announced of [0, 100 * 1024 ** 3, S3_LIMITS.maxObjectSize]) {
      for (const others of [0, 100]) {
        for (let index = 0; index < others; index += 1) memory.enter();
        let offset = 0;
        for (let partNumber = 1; partNumber <= S3_LIMITS.maxParts; partNumber += 1) {
          const size = memory.partSize(S3_LIMITS, { partNumber, offset, announced });
          expect(size).toBeLessThanOrEqual(S3_LIMITS.maxPartSize);
          offset += size;
        }
        expect(offset).toBeGreaterThanOrEqual(Math.max(announced, 5 * 1024 ** 4));
        for (let index = 0; index < others; index += 1) memory.leave();
      }
    }
    expect(sizeOf(1, 1024 ** 4)).toBe(memory.largestPart);
  });

  it("are smaller while many uploads share the memory, and fewer are under way", () => {
    expect(memory.inFlight(8 * MIB, false)).toBe(4);
    for (let index = 0; index < 64; index += 1) memory.enter();
    expect(sizeOf(1)).toBe(5 * MIB);
    expect(memory.inFlight(5 * MIB, false)).toBe(1);
    for (let index = 0; index < 64; index += 1) memory.leave();
    expect(sizeOf(1)).toBe(8 * MIB);
  });
});

describe("the life of an upload", () => {
  it("has no way back from its ends", () => {
    const life = new UploadLife("open");
    for (const state of ["closing", "dropped", "open", "closing", "parked", "published"] as const) life.become(state);
    expect(() => life.become("open")).toThrow("cannot become open from published");
    expect(() => new UploadLife("dropped").become("published")).toThrow();
  });
});

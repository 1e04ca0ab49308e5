import { afterEach, expect, it } from "vitest";
import { MemoryTidy } from "../../src/memory-tidy.ts";

const MIB = 1024 * 1024;
const tidies: MemoryTidy[] = [];
afterEach(() => {
  for (const tidy of tidies.splice(0)) tidy.close();
});

/** A process whose program takes 60 MiB, in MiB; what a collection brings is told by the test. */
function setUp() {
  const clock = { ms: 0 };
  const memory = { heap: 40, buffers: 30, kept: 60 };
  const after: { heap?: number; buffers?: number; kept?: number } = {};
  const collected: number[] = [];
  const tidy = new MemoryTidy({
    collect: () => {
      collected.push(clock.ms);
      Object.assign(memory, after);
    },
    usage: () => ({
      rss: (memory.heap + memory.buffers + memory.kept) * MIB,
      heapTotal: memory.heap * MIB,
      external: memory.buffers * MIB,
      arrayBuffers: memory.buffers * MIB,
    }),
    now: () => clock.ms,
  });
  tidies.push(tidy);
  tidy.check();
  const pass = (ms: number): void => {
    clock.ms += ms;
    tidy.check();
  };
  return { clock, memory, after, collected, pass };
}

it("leaves a process alone whose memory grows little", () => {
  const { memory, collected, pass } = setUp();
  Object.assign(memory, { heap: 70, kept: 90, buffers: 90 });
  for (let at = 0; at < 100; at++) pass(1_000);
  expect(collected).toEqual([]);
});

it.each([
  ["pages are kept that nobody uses", { kept: 100 }],
  ["the heap is much larger", { heap: 110 }],
  ["there are many more buffers", { buffers: 100 }],
])("collects when %s, once", (_what, more) => {
  const { memory, after, collected, pass } = setUp();
  Object.assign(after, memory);
  Object.assign(memory, more);
  pass(1_000);
  expect(collected).toEqual([1_000]);
  for (let at = 0; at < 100; at++) pass(1_000);
  expect(collected).toHaveLength(1);
});

it("tries for what it cannot bring back ever less often, but soon for what comes on top of it", () => {
  const { memory, collected, pass } = setUp();
  memory.kept = 200;
  for (let at = 0; at < 3_600; at++) pass(1_000);
  expect(collected.slice(0, 4)).toEqual([1_000, 7_000, 19_000, 43_000]);
  const tried = collected.length;
  expect(tried).toBeLessThan(18);
  memory.kept = 240;
  pass(3_000);
  memory.kept = 280;
  pass(2_999); // too soon
  expect(collected).toHaveLength(tried + 1);
  pass(1);
  expect(collected).toHaveLength(tried + 2);
});

it("tries as often as in the beginning once it brought something", () => {
  const { memory, after, collected, pass } = setUp();
  memory.kept = 200;
  for (let at = 0; at < 100; at++) pass(1_000);
  after.kept = 60;
  pass(600_000);
  expect(memory.kept).toBe(60);
  delete after.kept;
  const tried = collected.length;
  memory.kept = 200;
  pass(3_000);
  pass(6_000);
  expect(collected).toHaveLength(tried + 2);
});

it("takes a twentieth of the time at most", () => {
  const { clock, memory, after, collected, pass } = setUp();
  Object.defineProperty(after, "took", { enumerable: true, get: () => (clock.ms += 200) }); // what a collection takes
  for (let at = 0; at < 60; at++) {
    memory.kept += 40;
    pass(100);
  }
  expect(collected).toHaveLength(2);
  expect((collected[1] ?? 0) - (collected[0] ?? 0)).toBeGreaterThanOrEqual(4_000);
});

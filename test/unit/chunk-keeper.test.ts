/** Chunks of a channel that are kept until they are read. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { ChunkKeeper } from "../../src/chunk-keeper.ts";

it("keeps all bytes in order, whatever is lent and taken meanwhile", () => {
  const step = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 40 }),
    fc.integer({ min: 4000, max: 40_000 }).map((size) => new Uint8Array(size).fill(7)),
    fc.constantFrom("take" as const, "halve" as const),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const keeper = new ChunkKeeper();
      const chunks: Uint8Array[] = [];
      const given: Buffer[] = [];
      const taken: Uint8Array[] = [];
      for (const each of steps) {
        const first = chunks[0];
        if (each === "take" && first) taken.push(chunks.shift() as Uint8Array);
        else if (each === "halve" && first && first.length > 1) {
          const half = first.length >> 1;
          taken.push(first.subarray(0, half));
          chunks[0] = first.subarray(half);
        } else if (typeof each !== "string") {
          given.push(Buffer.from(each));
          const lent = Uint8Array.from(each);
          keeper.keep(chunks, lent);
          lent.fill(0);
        }
      }
      expect(Buffer.compare(Buffer.concat([...taken, ...chunks]), Buffer.concat(given))).toBe(0);
    }),
  );
});

it("makes few chunks of a million single bytes", () => {
  const keeper = new ChunkKeeper();
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < 1_000_000; at++) keeper.keep(chunks, Uint8Array.of(at & 0xff));
  expect(chunks.length).toBeLessThan(40);
  expect(chunks.reduce((sum, { length }) => sum + length, 0)).toBe(1_000_000);
});

/** The order of keys is that of their UTF-8 bytes. */
import fc from "../../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { compareKeys, lowerBound } from "../../../src/objectstore/key-order.ts";

describe("key order", () => {
  it("is that of UTF-8 bytes for all strings", () => {
    const text = fc.string({ unit: "binary", maxLength: 8 });
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(Math.sign(compareKeys(a, b))).toBe(Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(b))));
      }),
      { numRuns: 5_000 },
    );
  });

  it("differs from JavaScript's where surrogates meet the end of the basic plane", () => {
    expect("\uffee" < "\u{1f600}").toBe(false);
    expect(compareKeys("\uffee", "\u{1f600}")).toBeLessThan(0);
    expect(compareKeys("a\u{10ffff}", "a\ue000")).toBeGreaterThan(0);
  });

  it("finds places in sorted keys", () => {
    const keys = ["a", "b", "b", "d"];
    expect(lowerBound(keys, (key) => key >= "b")).toBe(1);
    expect(lowerBound(keys, (key) => key > "b")).toBe(3);
    expect(lowerBound(keys, () => false)).toBe(4);
    expect(lowerBound([], () => true)).toBe(0);
  });
});

import fc from "../../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { compareKeys } from "../../../src/objectstore/key-order.ts";
import type { ListEntry } from "../../../src/objectstore/objectstore.ts";
import { growthOf, nextRange } from "../../../src/objectstore/s3/key-ranges.ts";
import { type AskPage, rangedPages } from "../../../src/objectstore/s3/ranged-pages.ts";

const PAGE = 10;

/** A store of these names, with what it was asked. */
function storeOf(names: readonly string[]): { ask: AskPage; asked: string[]; mostAtOnce(): number } {
  const sorted = [...new Set(names)].sort(compareKeys);
  const asked: string[] = [];
  let [active, most] = [0, 0];
  const ask: AskPage = async (from) => {
    const place = "token" in from ? from.token : from.after;
    asked.push(place ?? "");
    active++;
    most = Math.max(most, active);
    await new Promise((resolve) => setImmediate(resolve));
    active--;
    const rest = place === undefined ? sorted : sorted.filter((name) => compareKeys(name, place) > 0);
    const page = rest.slice(0, PAGE);
    const entries = page.map((name): ListEntry => {
      if (name.endsWith("/")) return { kind: "prefix", prefix: name };
      return { kind: "object", key: name, size: 1, etag: "e", lastModifiedMs: 0 };
    });
    return { entries, token: rest.length > PAGE ? page.at(-1) : undefined };
  };
  return { ask, asked, mostAtOnce: () => most };
}

async function namesOf(ask: AskPage, mayGuess = true): Promise<string[]> {
  const names: string[] = [];
  for await (const page of rangedPages(ask, undefined, { pageSize: PAGE, mayGuess })) {
    names.push(...page.map((entry) => (entry.kind === "object" ? entry.key : entry.prefix)));
  }
  return names;
}

const numbered = (count: number, width = 6): string[] =>
  Array.from({ length: count }, (_, i) => `d/img-${String(i).padStart(width, "0")}.jpg`);

describe("the pages of a long listing", () => {
  it("hold everything, as it comes, from a store that lists in another order", async () => {
    const names = numbered(300).reverse();
    const ask: AskPage = async (from) => {
      const at = "token" in from ? Number(from.token) : 0;
      const entries = names.slice(at, at + PAGE).map((key): ListEntry => ({ kind: "object", key, size: 1, etag: "e", lastModifiedMs: 0 }));
      return { entries, token: at + PAGE < names.length ? String(at + PAGE) : undefined };
    };
    for (const mayGuess of [true, false]) expect(await namesOf(ask, mayGuess)).toEqual(names);
  });

  it("are asked for side by side where names are numbered, at five percent more requests", async () => {
    const store = storeOf(numbered(1000));
    expect(await namesOf(store.ask)).toEqual(numbered(1000));
    expect(store.mostAtOnce()).toBeGreaterThan(4);
    // Ranges of nine keys on pages of ten.
    expect(store.asked.length).toBeLessThan(1000 / 9 + 8);
  });

  it("are asked for one after the other, and not one too many, where the listing is short or must not be guessed", async () => {
    const short = storeOf(numbered(75));
    expect(await namesOf(short.ask)).toHaveLength(75);
    expect(short.asked).toHaveLength(8);
    const plain = storeOf(numbered(1000));
    expect(await namesOf(plain.ask, false)).toHaveLength(1000);
    expect(plain.asked).toHaveLength(100);
    expect(plain.mostAtOnce()).toBe(1);
  });

  it("end guessing where guesses bring nothing", async () => {
    const names = [...numbered(150), ...Array.from({ length: 400 }, (_, i) => `d/jpg-${String(i).padStart(4, "0")}`)];
    const store = storeOf(names);
    expect(await namesOf(store.ask)).toEqual([...new Set(names)].sort(compareKeys));
    expect(store.asked.length).toBeLessThan(names.length / PAGE + 16);
  });

  it("hold every name once and in order, whatever the names are", async () => {
    const name = fc.oneof(
      fc.integer({ min: 0, max: 999_999 }).map((n) => `d/${String(n).padStart(6, "0")}`),
      fc.integer({ min: 0, max: 0xffff }).map((n) => `d/${n.toString(16).padStart(4, "0")}-x`),
      fc.integer({ min: 0, max: 3000 }).map((n) => `d/IMG_${n}.JPG`),
      fc.integer({ min: 0, max: 500 }).map((n) => `d/${String(n).padStart(3, "0")}/`),
      fc.string({ minLength: 1, maxLength: 8 }).map((text) => `d/${text}`),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(name, { maxLength: 600, size: "max" }), async (names) => {
        expect(await namesOf(storeOf(names).ask)).toEqual([...new Set(names)].sort(compareKeys));
      }),
      { numRuns: 60 },
    );
  });

  it("fail as the store fails, also ahead of the reader", async () => {
    const store = storeOf(numbered(1000));
    const ask: AskPage = async (from) => {
      if (store.asked.length === 40) throw new Error("the store is gone");
      return store.ask(from);
    };
    await expect(namesOf(ask)).rejects.toThrow("the store is gone");
  });
});

describe("how names grow", () => {
  it("is read out of decimal and hexadecimal numbers", () => {
    expect(growthOf("d/a000.jpg", "d/a199.jpg", 200, 100)).toEqual({ head: "d/a", alphabet: "0123456789", width: 3, step: 94 });
    expect(growthOf("d/00aa", "d/01ff", 10, 100)?.alphabet).toBe("0123456789abcdef");
    expect(growthOf("d/alpha", "d/zulu", 10, 100)).toBeUndefined();
    // A thousand names of one number cannot be cut.
    expect(growthOf("d/1-a", "d/2-b", 5000, 1000)).toBeUndefined();
  });

  it("says where the next range begins, and ends with the largest number", () => {
    const growth = { head: "d/", alphabet: "0123456789ABCDEF", width: 2, step: 0x10 };
    expect(nextRange(growth, "d/9A.jpg")).toBe("d/AA");
    expect(nextRange(growth, "d/F5")).toBeUndefined();
    expect(nextRange(growth, "e/00")).toBeUndefined();
    expect(nextRange(growth, "d/zz")).toBeUndefined();
  });
});

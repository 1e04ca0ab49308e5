import { expect, it } from "vitest";
import { fuzz, TARGETS } from "./fuzz.ts";

const CASES: Readonly<Record<string, number>> = { preauth: 60, scp: 1500, keys: 20, config: 60 };

it.each(TARGETS.filter(({ name }) => name in CASES))("$name: no finding", async (target) => {
  expect(await fuzz([target], 1, Number.POSITIVE_INFINITY, CASES[target.name] ?? 1)).toEqual([]);
});

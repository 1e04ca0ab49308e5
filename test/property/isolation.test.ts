/** One user against the objects of others. `npx tsx test/property/isolation.ts 1000000` tries a million paths. */
import { expect, it } from "vitest";
import { tryPaths } from "./isolation.ts";

it("6,000 paths, every protocol: no key outside of the prefix, no word of others", async () => {
  const { storeCalls, findings } = await tryPaths(6_000, 1);
  expect(findings).toEqual([]);
  expect(storeCalls).toBeGreaterThan(1_000);
});

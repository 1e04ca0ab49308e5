/** One user against the objects of others. `npx tsx test/property/isolation.ts 1000000` tries a million paths. */
import { expect, it } from "vitest";
import { tryPaths } from "./isolation.ts";

it("6,000 paths, every protocol: no key outside of the prefix, no word of others", async () => {
  const { storeCalls, findings } = await tryPaths(6_000, 1);
  expect(findings).toEqual([]);
  expect(storeCalls).toBeGreaterThan(1_000);
});

it("the store is asked the same whether others have files or not: no answer takes longer for what is theirs", async () => {
  const asked = async (hasOthers: boolean): Promise<string[]> => {
    const calls: string[] = [];
    const options = { hasOthers, onCall: (text: string) => void calls.push(text.replaceAll(/[0-9a-f-]{36}/g, "ID")) };
    expect((await tryPaths(4_000, 7, options)).findings).toEqual([]);
    return calls;
  };
  const [withOthers, alone] = [await asked(true), await asked(false)];
  expect(withOthers.length).toBeGreaterThan(500);
  expect(withOthers).toEqual(alone);
});

import { expect, it } from "vitest";
import { Admission } from "../../../src/ssh/admission.ts";

let now = 0;
const limits = { total: 4, perAddress: 3, evictableAfterMs: 1000 };

function setUp() {
  now = 0;
  const evicted: string[] = [];
  const admission = new Admission(limits, () => now);
  const admit = (name: string, address = "192.0.2.1") => admission.admit({ address, evict: () => void evicted.push(name) });
  return { admission, evicted, admit };
}

it("lets the silent give way first, then the oldest of those that only said who they are", () => {
  const { admission, evicted, admit } = setUp();
  admit("greeted", "a")?.advance(1);
  admit("silent", "b");
  admit("later greeted", "c")?.advance(1);
  admit("keyed", "d")?.advance(2);
  for (const name of ["n1", "n2"]) admit(name, "e")?.advance(2);
  expect(evicted).toEqual(["silent", "greeted"]);
  expect(admission.size).toBe(4);
});

it("pushes out an address's own connections when it has too many, nobody else's", () => {
  const { evicted, admit } = setUp();
  admit("other", "192.0.2.9");
  for (const name of ["a", "b", "c", "d"]) admit(name);
  expect(evicted).toEqual(["a"]);
});

it("keeps connections with keys for a while, then lets them give way", () => {
  const { admission, evicted, admit } = setUp();
  for (const name of ["a", "b", "c"]) admit(name, "::ffff:192.0.2.1")?.advance(2);
  expect(admit("d")).toBeUndefined();
  now = 1000;
  const place = admit("d");
  expect(evicted).toEqual(["a"]);
  place?.release();
  place?.release();
  place?.advance(2);
  expect(admission.size).toBe(2);
});

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DEFAULT_PENALTIES, MAX_SOURCES, SourcePenalties, sourceOf } from "../../../src/ssh/source-penalties.ts";
import { PenaltyFile } from "../../../src/state/penalty-file.ts";

const LIMITS = { ...DEFAULT_PENALTIES, threshold: 20_000, max: 60_000 };
let now = 1_000_000;
const clock = (): number => now;

beforeEach(() => {
  now = 1_000_000;
});

describe("penalties", () => {
  it("add up, shut out at the threshold, and pass with time", () => {
    const penalties = new SourcePenalties(LIMITS, clock);
    for (let at = 0; at < 3; at++) penalties.offence("192.0.2.1", "auth-failed");
    expect(penalties.refusal("192.0.2.1")).toBeUndefined();
    penalties.offence("192.0.2.1", "auth-failed");
    expect(penalties.refusal("192.0.2.1")).toBe("too many failed logins or errors from your address, try again in 20 seconds");
    expect(penalties.refusal("192.0.2.2")).toBeUndefined();
    now += 19_000;
    expect(penalties.refusal("::ffff:192.0.2.1")).toContain("in 1 seconds");
    now += 1_000;
    expect(penalties.refusal("192.0.2.1")).toBeUndefined();
    expect(penalties.refusedCount).toBe(0);
  });

  it("decay between offences, so a rare mistake never shuts out", () => {
    const penalties = new SourcePenalties(LIMITS, clock);
    for (let at = 0; at < 1000; at++) {
      penalties.offence("192.0.2.1", "auth-failed");
      expect(penalties.refusal("192.0.2.1")).toBeUndefined();
      now += 5_000;
    }
  });

  it("never exceed the maximum, whatever the clock does", () => {
    const penalties = new SourcePenalties(LIMITS, clock);
    for (let at = 0; at < 1000; at++) penalties.offence("192.0.2.1", "violation");
    expect(penalties.refusal("192.0.2.1")).toContain("in 60 seconds");
    now -= 500_000;
    expect(penalties.refusal("192.0.2.1")).toContain("in 60 seconds");
    now += 561_000;
    expect(penalties.refusal("192.0.2.1")).toBeUndefined();
  });

  it("spare an address from which somebody logged in: its offences count a tenth, and a login clears them", () => {
    const penalties = new SourcePenalties(LIMITS, clock);
    penalties.loggedIn("198.51.100.1");
    for (let at = 0; at < 39; at++) penalties.offence("198.51.100.1", "auth-failed");
    expect(penalties.refusal("198.51.100.1")).toBeUndefined();
    penalties.loggedIn("198.51.100.1");
    for (let at = 0; at < 39; at++) penalties.offence("198.51.100.1", "auth-failed");
    expect(penalties.refusal("198.51.100.1")).toBeUndefined();
    penalties.offence("198.51.100.1", "auth-failed");
    expect(penalties.refusal("198.51.100.1")).toBeTypeOf("string");
    now += LIMITS.knownFor + 1;
    for (let at = 0; at < 4; at++) penalties.offence("198.51.100.1", "auth-failed");
    expect(penalties.refusal("198.51.100.1")).toBeTypeOf("string");
  });

  it("are not counted for allowed addresses and networks", () => {
    const penalties = new SourcePenalties({ ...LIMITS, allow: ["10.0.0.0/8", "2001:db8::/32", "192.0.2.9"] }, clock);
    for (const address of ["10.1.2.3", "2001:db8:1::1", "192.0.2.9", "::ffff:192.0.2.9"]) {
      for (let at = 0; at < 100; at++) penalties.offence(address, "violation");
      expect(penalties.refusal(address)).toBeUndefined();
    }
    expect(penalties.size).toBe(0);
    expect(() => new SourcePenalties({ ...LIMITS, allow: ["10.0.0.0/33"] })).toThrow(RangeError);
    expect(() => new SourcePenalties({ ...LIMITS, allow: ["museum.example"] })).toThrow(RangeError);
  });

  it("count IPv6 by /64", () => {
    const penalties = new SourcePenalties(LIMITS, clock);
    for (let at = 0; at < 10; at++) penalties.offence(`2001:db8:1:2::${at}`, "violation");
    expect(penalties.refusal("2001:db8:1:2:ffff::1")).toBeTypeOf("string");
    expect(penalties.refusal("2001:db8:1:3::1")).toBeUndefined();
  });

  it("remember a bounded number of addresses", () => {
    const penalties = new SourcePenalties(LIMITS, clock);
    for (let at = 0; at < MAX_SOURCES + 1000; at++) penalties.offence(`10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`, "violation");
    expect(penalties.size).toBe(MAX_SOURCES);
  });

  it("tell when an address begins to be refused, once", () => {
    const penalties = new SourcePenalties(LIMITS, clock);
    const told: unknown[] = [];
    penalties.onRefused = (...about) => void told.push(about);
    for (let at = 0; at < 5; at++) penalties.offence("192.0.2.1", "violation");
    expect(told).toEqual([["192.0.2.1", 20_000, "violation"]]);
  });
});

it.each([
  ["192.0.2.1", "192.0.2.1"],
  ["::ffff:192.0.2.1", "192.0.2.1"],
  ["2001:db8:0:1::5", "2001:db8:0:1::/64"],
  ["2001:DB8::1", "2001:db8:0:0::/64"],
  ["fe80::1%eth0", "fe80:0:0:0::/64"],
  ["::1", "0:0:0:0::/64"],
  ["1:2:3:4:5:6:7:8", "1:2:3:4::/64"],
  ["1::4:5:6:7:8", "1:0:0:4::/64"],
  ["64:ff9b::192.0.2.1", "64:ff9b:0:0::/64"],
])("%s counts as %s", (address, source) => expect(sourceOf(address)).toBe(source));

describe("the file of penalties", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "penalties-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const fail = (error: Error): never => {
    throw error;
  };

  it("brings penalties and known addresses over a restart, readable by nobody else", async () => {
    const before = new SourcePenalties(LIMITS, clock);
    const file = new PenaltyFile(folder, before, fail);
    for (let at = 0; at < 4; at++) before.offence("192.0.2.1", "auth-failed");
    before.loggedIn("198.51.100.1");
    await file.close();
    expect(statSync(join(folder, "penalties.json")).mode & 0o777).toBe(0o600);

    now += 5_000;
    const after = new SourcePenalties(LIMITS, clock);
    await new PenaltyFile(folder, after, fail).close();
    expect(after.refusal("192.0.2.1")).toContain("in 15 seconds");
    for (let at = 0; at < 39; at++) after.offence("198.51.100.1", "auth-failed");
    expect(after.refusal("198.51.100.1")).toBeUndefined();
  });

  it("begins anew from a file that is none, and says so", async () => {
    for (const text of ["not JSON", '{"a":1}', '[{"source":"192.0.2.1","until":"x"},5,null]']) {
      writeFileSync(join(folder, "penalties.json"), text);
      const errors: Error[] = [];
      const penalties = new SourcePenalties(LIMITS, clock);
      const file = new PenaltyFile(folder, penalties, (error) => void errors.push(error));
      expect(penalties.size).toBe(0);
      expect(errors).toHaveLength(text.startsWith("[") ? 0 : 1);
      penalties.offence("192.0.2.1", "violation");
      await file.close();
      expect(JSON.parse(readFileSync(join(folder, "penalties.json"), "utf8"))).toHaveLength(1);
    }
  });

  it("survives a folder that is gone", async () => {
    const errors: Error[] = [];
    const penalties = new SourcePenalties(LIMITS, clock);
    const file = new PenaltyFile(join(folder, "gone"), penalties, (error) => void errors.push(error));
    penalties.offence("192.0.2.1", "violation");
    await file.close();
    expect(errors).toHaveLength(1);
  });
});

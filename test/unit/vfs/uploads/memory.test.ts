import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { Fixture, hastyClock, KIB, ManualClock, MIB, pattern, same, writeAll } from "./upload-fixture.ts";

let fixture: Fixture;

afterEach(async () => {
  await fixture.close();
  expect(fixture.budget.used).toBe(0);
});

describe("64 uploads onto a slow store", () => {
  for (const budgetBytes of [MIB, 2 * MIB, 64 * MIB]) {
    it(`with a budget of ${budgetBytes / MIB} MiB all finish within it`, async () => {
      fixture = await Fixture.create({ budgetBytes, clock: hastyClock });
      let peak = 0;
      fixture.watched.onRequest = async () => {
        peak = Math.max(peak, fixture.budget.used);
        await delay(3);
      };
      const names = Array.from({ length: 64 }, (_, index) => `many/${index}`);
      await Promise.all(
        names.map(async (key, index) => {
          const handle = await fixture.open({ key });
          await writeAll(handle, pattern(600 * KIB, index));
          peak = Math.max(peak, fixture.budget.used);
          await handle.close();
        }),
      );
      for (const [index, key] of names.entries()) expect(same(await fixture.read(key), pattern(600 * KIB, index))).toBe(true);
      expect(await fixture.unfinished()).toEqual([]);
      expect(peak).toBeLessThanOrEqual(budgetBytes + 128 * KIB);
    });
  }

  it("finish although others hold the whole budget and let go only when their writes are accepted", async () => {
    fixture = await Fixture.create({ budgetBytes: MIB, clock: hastyClock });
    const names = Array.from({ length: 16 }, (_, index) => `held/${index}`);
    await Promise.all(
      names.map(async (key, index) => {
        const bytes = pattern(400 * KIB, index);
        const handle = await fixture.open({ key });
        for (let at = 0; at < bytes.length; at += 100 * KIB) {
          // As a protocol does: what has arrived is counted until the file has taken it.
          fixture.budget.force(100 * KIB);
          await handle.write(at, [bytes.subarray(at, at + 100 * KIB)]);
          fixture.budget.release(100 * KIB);
        }
        await handle.close();
        expect(same(await fixture.read(key), bytes)).toBe(true);
      }),
    );
  });
});

describe("an idle upload", () => {
  it("gives its memory to others who wait, and goes on", async () => {
    const clock = new ManualClock();
    fixture = await Fixture.create({ budgetBytes: MIB, clock });
    const bytes = pattern(300 * KIB);
    const handle = await fixture.open();
    await writeAll(handle, bytes.subarray(0, 100 * KIB));
    expect(fixture.budget.used).toBeGreaterThanOrEqual(100 * KIB);
    const waiting = fixture.budget.take(MIB);
    clock.pass(1_000);
    await waiting;
    expect(fixture.budget.used).toBe(MIB);
    fixture.budget.release(MIB);
    await writeAll(handle, bytes.subarray(100 * KIB), 100 * KIB);
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
  });
});

describe("a connection that is lost while its upload waits for memory", () => {
  it("ends the wait and keeps what was accepted", async () => {
    const clock = new ManualClock();
    fixture = await Fixture.create({ budgetBytes: MIB, clock });
    const handle = await fixture.open();
    await handle.write(0, [pattern(10 * KIB)]);
    fixture.budget.force(MIB);
    const blocked = handle.write(10 * KIB, [pattern(MIB)]);
    const refused = expect(blocked).rejects.toMatchObject({ code: "io" });
    await handle.abort(new Error("connection lost"));
    await refused;
    fixture.budget.release(MIB);
    // The first part took what it had memory for.
    expect(await fixture.view("two").find("a/file.bin")).toMatchObject({ attributes: { size: 128 * KIB } });
  });
});

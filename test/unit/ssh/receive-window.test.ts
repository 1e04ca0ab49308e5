/** Credit of a channel: only for what was consumed, early, growing with the path, small while memory is short. */
import { describe, expect, it } from "vitest";
import { ByteBudget } from "../../../src/byte-budget.ts";
import { ProtocolError } from "../../../src/errors.ts";
import { INITIAL_WINDOW, MAX_WINDOW, MIN_WINDOW, ReceiveWindow } from "../../../src/ssh/receive-window.ts";

const MIB = 1024 * 1024;

function setUp(limit = 256 * MIB) {
  const budget = new ByteBudget(limit);
  const clock = { ms: 0 };
  return { budget, clock, window: new ReceiveWindow(budget, { now: () => clock.ms }) };
}

describe("credit", () => {
  it("comes back only for what was consumed, before half the window is used", () => {
    const { window, budget } = setUp();
    window.received(INITIAL_WINDOW / 4);
    expect(budget.used).toBe(INITIAL_WINDOW / 4);
    expect(window.consumed(INITIAL_WINDOW / 4)).toBe(INITIAL_WINDOW / 4);
    expect(budget.used).toBe(0);
  });

  it("is not given in crumbs", () => {
    const { window } = setUp();
    window.received(1000);
    expect(window.consumed(1000)).toBe(0);
  });

  it("is never more than one window in all", () => {
    const { window } = setUp();
    window.received(INITIAL_WINDOW);
    expect(() => window.received(1)).toThrow(ProtocolError);
    expect(window.consumed(10)).toBe(10); // the sender is stopped: every byte counts
    window.received(10);
    expect(() => window.received(1)).toThrow(ProtocolError);
  });

  it("survives a receiver that says too much, and gives all back at the end", () => {
    const { window, budget } = setUp();
    window.received(5000);
    window.consumed(1_000_000);
    expect(budget.used).toBe(0);
    window.received(7000);
    window.close();
    expect(budget.used).toBe(0);
  });
});

describe("under pressure", () => {
  it("opens small and shrinks, but never stops a receiver that goes on", () => {
    const { window, budget } = setUp();
    budget.force(budget.limit);
    expect(new ReceiveWindow(budget).initial).toBe(MIN_WINDOW);
    window.received(INITIAL_WINDOW);
    expect(window.consumed(INITIAL_WINDOW - MIN_WINDOW)).toBe(0);
    expect(window.consumed(MIN_WINDOW)).toBe(MIN_WINDOW);
  });
});

describe("growth", () => {
  /** One round trip in which `bytes` arrive and are consumed at once. */
  function roundTrip({ window, clock }: ReturnType<typeof setUp>, bytes: number): void {
    const half = (): void => {
      clock.ms += 100;
      for (let piece = 0; piece < 4; piece++) {
        window.received(bytes / 8); // a window that has just grown opens with the first of them
        window.consumed(bytes / 8);
      }
    };
    half();
    const probing = window.wantsProbe();
    half();
    if (probing) window.probed();
  }

  it("follows the bandwidth-delay product up to the largest window", () => {
    const path = setUp();
    for (let turn = 0; turn < 20; turn++) roundTrip(path, path.window.target);
    expect(path.window.target).toBe(MAX_WINDOW);
  });

  it("stops where the client pays for it when only the client's own queue is long", () => {
    const path = setUp();
    const turn = (ms: number): void => {
      path.clock.ms += 30;
      for (let piece = 0; piece < 8; piece++) {
        path.window.received(path.window.target / 8);
        path.window.consumed(path.window.target / 8);
      }
      const probing = path.window.wantsProbe();
      path.window.received(path.window.target / 2);
      path.window.consumed(path.window.target / 2);
      path.clock.ms += ms;
      if (probing) path.window.probed();
    };
    turn(2);
    for (let round = 0; round < 20; round++) turn(path.window.target / MIB);
    expect(path.window.target).toBe(4 * MIB);
  });

  it("is at once for a client far away that fills its first window, and for no other", () => {
    for (const [ms, grown] of [
      [100, 8 * MIB],
      [5, INITIAL_WINDOW],
    ] as const) {
      const { window, clock } = setUp();
      clock.ms += ms;
      window.firstUsed();
      window.received(30);
      window.wantsProbe();
      expect(window.target).toBe(INITIAL_WINDOW);
      window.received(INITIAL_WINDOW / 4);
      expect(window.wantsProbe()).toBe(true);
      expect(window.target).toBe(INITIAL_WINDOW);
      window.received(INITIAL_WINDOW / 2);
      expect(window.wantsProbe()).toBe(false);
      expect(window.target).toBe(grown);
    }
  });

  it("does not happen on a short path", () => {
    const path = setUp();
    for (let turn = 0; turn < 20; turn++) roundTrip(path, INITIAL_WINDOW / 4);
    expect(path.window.target).toBe(INITIAL_WINDOW);
  });

  it("does not happen while memory is short", () => {
    const path = setUp();
    path.budget.force(path.budget.limit / 2);
    for (let turn = 0; turn < 20; turn++) roundTrip(path, path.window.target);
    expect(path.window.target).toBe(INITIAL_WINDOW);
  });
});

describe("a window beside many others", () => {
  it("is what is fair, but always enough for one packet, and grows again when it is alone", () => {
    let fair = MAX_WINDOW;
    const window = new ReceiveWindow(new ByteBudget(256 * MIB), { fair: () => fair });
    expect(window.initial).toBe(INITIAL_WINDOW);
    fair = INITIAL_WINDOW / 2;
    window.received(INITIAL_WINDOW);
    expect(window.consumed(INITIAL_WINDOW)).toBe(INITIAL_WINDOW / 2);
    fair = 0;
    window.received(INITIAL_WINDOW / 2);
    expect(window.consumed(INITIAL_WINDOW / 2)).toBe(MIN_WINDOW);
    fair = MAX_WINDOW;
    window.received(MIN_WINDOW);
    expect(window.consumed(MIN_WINDOW)).toBe(INITIAL_WINDOW);
  });
});

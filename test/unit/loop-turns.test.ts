import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { LoopTurns, SLICE_MS } from "../../src/loop-turns.ts";

describe("LoopTurns", () => {
  it("lets one of each group go on in a turn, in the order they came", async () => {
    const turns = new LoopTurns();
    const order: string[] = [];
    for (const name of ["a1", "a2", "a3", "b1"]) turns.wait(name.slice(0, 1), () => order.push(name));
    expect(order).toEqual([]);
    await nextTurn();
    expect(order).toEqual(["a1", "b1"]);
    await nextTurn();
    expect(order).toEqual(["a1", "b1", "a2"]);
    await nextTurn();
    expect(order).toEqual(["a1", "b1", "a2", "a3"]);
  });

  it("who waits again in its turn comes behind those of the group who wait already, and not in the same turn", async () => {
    const turns = new LoopTurns();
    const order: string[] = [];
    turns.wait("a", () => {
      order.push("first");
      turns.wait("a", () => order.push("first again"));
      turns.wait("b", () => order.push("b"));
    });
    turns.wait("a", () => order.push("second"));
    await nextTurn();
    expect(order).toEqual(["first"]);
    await nextTurn();
    expect(order).toEqual(["first", "second", "b"]);
    await nextTurn();
    expect(order).toEqual(["first", "second", "b", "first again"]);
  });

  it("holds work of no use back for more turns, and nobody else with it", async () => {
    const turns = new LoopTurns();
    const order: string[] = [];
    turns.wait("idle", () => order.push("idle"), 4);
    for (let turn = 1; turn <= 4; turn++) {
      turns.wait("busy", () => order.push(`busy ${turn}`));
      await nextTurn();
    }
    expect(order).toEqual(["busy 1", "busy 2", "busy 3", "idle", "busy 4"]);
  });

  it("knows who has had the slice of this turn", async () => {
    const turns = new LoopTurns();
    turns.spend("a", SLICE_MS / 2);
    expect(turns.isSpent("a")).toBe(false);
    turns.spend("a", SLICE_MS / 2);
    expect(turns.isSpent("a")).toBe(true);
    expect(turns.isSpent("b")).toBe(false);
    await nextTurn();
    expect(turns.isSpent("a")).toBe(false);
    turns.wait("a", () => undefined);
    expect(turns.isSpent("a")).toBe(true);
  });
});

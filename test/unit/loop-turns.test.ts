import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { IDLE_WORK_TURNS, LoopTurns, SLICE_MS } from "../../src/loop-turns.ts";

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

  it("spaces what has to wait for several turns, however many of the group wait", async () => {
    const turns = new LoopTurns();
    const order: string[] = [];
    for (const name of ["first", "second"]) turns.wait("flood", () => order.push(name), 3);
    for (let turn = 1; turn <= 5; turn++) await nextTurn();
    expect(order).toEqual(["first"]);
    await nextTurn();
    expect(order).toEqual(["first", "second"]);
  });

  describe("who asks for very much that moves little", () => {
    let now = 0;
    const small = { requests: 64, bytes: 0, isIdle: false };
    const ask = (turns: LoopTurns, group: string, times: number, work = small): void => {
      for (let at = 0; at < times; at++) turns.nextTurn(group, work).catch(() => undefined);
    };
    const alone = (): LoopTurns => new LoopTurns(() => now);

    it("may do as much as before while nobody else is there", () => {
      const turns = alone();
      turns.heard("mallory");
      ask(turns, "mallory", 100);
      turns.heard("mallory");
      expect(turns.quantum("mallory")).toBe(64);
    });

    it("gets less in a turn while others are there, and until it has asked for little for a while", () => {
      const turns = alone();
      ask(turns, "mallory", 15);
      for (const group of ["alice", "mallory"]) turns.heard(group);
      expect(turns.quantum("mallory")).toBe(64);
      ask(turns, "mallory", 2);
      expect(turns.quantum("mallory")).toBe(8);
      expect(turns.quantum("alice")).toBe(64);
      now += 26; // nothing was heard of alice since
      expect(turns.quantum("mallory")).toBe(64);
      turns.heard("alice");
      expect(turns.quantum("mallory")).toBe(8);
      now += 500;
      turns.heard("alice");
      expect(turns.quantum("mallory")).toBe(64);
    });

    it("goes on only every sixteen turns beside others", async () => {
      const turns = alone();
      ask(turns, "mallory", 17);
      for (let turn = 0; turn < 17; turn++) await nextTurn();
      turns.heard("alice");
      let went = false;
      const goesOn = turns.nextTurn("mallory", small).then(() => {
        went = true;
      });
      for (let turn = 0; turn < IDLE_WORK_TURNS - 1; turn++) await nextTurn();
      expect(went).toBe(false);
      await goesOn;
    });

    it("is not who moves as much as a transfer does, in requests however many", () => {
      const turns = alone();
      ask(turns, "bob", 1_000, { requests: 64, bytes: 64 * 32 * 1024, isIdle: false });
      turns.heard("alice");
      expect(turns.quantum("bob")).toBe(64);
    });

    it("is forgotten after a while, however many groups there were", () => {
      const turns = alone();
      for (let at = 0; at < 3_000; at++) {
        now += 10;
        ask(turns, `user ${at}`, 1);
      }
      turns.heard("alice");
      ask(turns, "mallory", 17);
      expect(turns.quantum("mallory")).toBe(8);
    });
  });
});

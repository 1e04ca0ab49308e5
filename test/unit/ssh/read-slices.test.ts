import { setImmediate as nextTurn } from "node:timers/promises";
import { beforeEach, describe, expect, it } from "vitest";
import { IDLE_WORK_TURNS, LoopTurns } from "../../../src/loop-turns.ts";
import { ReadSlices } from "../../../src/ssh/read-slices.ts";

/** A message is a byte: its value is the time it takes in quarters of a millisecond. */
const COSTLY = 1;
const PER_SLICE = 4;

let now = 0;
let turns: LoopTurns;
beforeEach(() => {
  now = 0;
  turns = new LoopTurns();
});

/** A connection whose messages of at least 100 count as idle. */
class Connection {
  readonly seen: number[] = [];
  held = 0;
  readonly slices = new ReadSlices(
    turns,
    "192.0.2.1",
    {
      parse: (bytes, start) => {
        for (let at = start; at < bytes.length; at++) {
          const message = bytes[at] ?? 0;
          now += (message % 100) / 4;
          this.seen.push(message);
          if (this.slices.endsWith(message >= 100)) return at + 1;
        }
        return bytes.length;
      },
      held: (bytes) => {
        this.held = bytes;
      },
    },
    () => now,
  );

  constructor(user?: string) {
    if (user !== undefined) this.slices.loggedIn(user);
  }
}

describe("ReadSlices", () => {
  it("works through what takes little time at once and keeps nothing", () => {
    const connection = new Connection("mallory");
    connection.slices.received(Buffer.from([1, 1, 1]));
    expect(connection.seen).toEqual([1, 1, 1]);
    expect(connection.slices.isWaiting).toBe(false);
    expect(connection.held).toBe(0);
  });

  it("goes on with a slice in each turn, from a copy of its own", async () => {
    const connection = new Connection("mallory");
    const lent = Buffer.alloc(10, COSTLY);
    connection.slices.received(lent);
    lent.fill(99);
    expect(connection.seen).toHaveLength(PER_SLICE);
    expect(connection.held).toBe(6);
    expect(connection.slices.isWaiting).toBe(true);
    await nextTurn();
    expect(connection.seen).toHaveLength(2 * PER_SLICE);
    expect(connection.held).toBe(2);
    await nextTurn();
    expect(connection.seen).toEqual([...Buffer.alloc(10, COSTLY)]);
    expect(connection.held).toBe(0);
    expect(connection.slices.isWaiting).toBe(false);
  });

  it("keeps the order of what comes while something waits", async () => {
    const connection = new Connection("mallory");
    connection.slices.received(Buffer.from([10, 1]));
    connection.slices.received(Buffer.from([1, 2]));
    expect(connection.seen).toEqual([10]);
    expect(connection.held).toBe(3);
    await nextTurn();
    expect(connection.seen).toEqual([10, 1, 1, 2]);
  });

  it("lets what moves no files wait for more turns", async () => {
    const connection = new Connection("mallory");
    connection.slices.received(Buffer.alloc(2 * PER_SLICE, 100 + COSTLY));
    for (let turn = 1; turn < IDLE_WORK_TURNS; turn++) await nextTurn();
    expect(connection.seen).toHaveLength(PER_SLICE);
    await nextTurn();
    expect(connection.seen).toHaveLength(2 * PER_SLICE);
  });

  it("divides the turns of one user among that user's connections", async () => {
    const [first, second, other] = [new Connection("mallory"), new Connection("mallory"), new Connection("alice")];
    for (const { slices } of [first, second, other]) slices.received(Buffer.alloc(3 * PER_SLICE, COSTLY));
    await nextTurn();
    expect([first, second, other].map(({ seen }) => seen.length / PER_SLICE)).toEqual([2, 1, 2]);
    await nextTurn();
    expect([first, second, other].map(({ seen }) => seen.length / PER_SLICE)).toEqual([2, 2, 3]);
  });

  it("before login lets one connection of an address work in each turn, and interrupts none", async () => {
    const [first, second] = [new Connection(), new Connection()];
    first.slices.received(Buffer.alloc(2 * PER_SLICE, COSTLY));
    second.slices.received(Buffer.alloc(3, COSTLY));
    expect(first.seen).toHaveLength(2 * PER_SLICE);
    expect(second.seen).toHaveLength(0);
    expect(second.held).toBe(3);
    await nextTurn();
    expect(second.seen).toHaveLength(3);
    expect(second.slices.isWaiting).toBe(false);
  });

  it("forgets what waits when the connection is over", async () => {
    const connection = new Connection("mallory");
    connection.slices.received(Buffer.alloc(2 * PER_SLICE, COSTLY));
    connection.slices.close();
    await nextTurn();
    expect(connection.seen).toHaveLength(PER_SLICE);
    expect(connection.slices.isWaiting).toBe(false);
  });
});

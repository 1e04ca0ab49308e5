import { describe, expect, it } from "vitest";
import { DEFAULT_RETRY_POLICY } from "../../../src/objectstore/s3/retry-policy.ts";
import { EventQueue } from "../../bench/model/event-queue.ts";
import { type Scene, simulate } from "../../bench/model/request-rates.ts";

const SCENE: Scene = {
  sessions: 20,
  prefixes: 1,
  ratePerPrefix: 1000,
  processes: 2,
  socketsPerProcess: 128,
  storeMs: 40,
  refusalMs: 10,
  clientMs: 60,
  policy: DEFAULT_RETRY_POLICY,
  isPaced: true,
  seconds: 20,
  seed: 7,
};

describe("the model of request rates", () => {
  it("lets sessions under the limit go at their own pace", () => {
    const outcome = simulate(SCENE);
    expect(outcome).toMatchObject({ refused: 0, failed: 0, mostAttempts: 1 });
    expect(outcome.perSecond).toBeGreaterThan(190);
    expect(outcome.perSecond).toBeLessThan(203);
    expect(outcome.medianMs).toBeCloseTo(40, -1);
  });

  it("gives the same outcome for the same seed and another for another", () => {
    expect(simulate(SCENE)).toEqual(simulate(SCENE));
    expect(simulate({ ...SCENE, seed: 8 }).completed).not.toBe(simulate(SCENE).completed);
  });

  it("never gets more through than the prefix takes", () => {
    const outcome = simulate({ ...SCENE, sessions: 300 });
    expect(outcome.refused).toBeGreaterThan(0);
    // A second's worth of tokens is there at the start.
    expect(outcome.completed).toBeLessThanOrEqual(21 * 1000);
    expect(outcome.perSecond).toBeGreaterThan(900);
  });

  it("gets as much more through as there are prefixes", () => {
    const many = { ...SCENE, sessions: 600, socketsPerProcess: 1000 };
    expect(simulate({ ...many, prefixes: 4 }).perSecond / simulate(many).perSecond).toBeGreaterThan(3);
  });

  it("is bounded by the sockets of the processes", () => {
    const outcome = simulate({ ...SCENE, sessions: 100, ratePerPrefix: 1e6, socketsPerProcess: 4, clientMs: 0 });
    // Eight sockets, 40 ms each.
    expect(outcome.perSecond).toBeGreaterThan(190);
    expect(outcome.perSecond).toBeLessThan(210);
  });

  it("sends far more refused requests when it does not back off", () => {
    const crowd = { ...SCENE, sessions: 300, seconds: 5, isPaced: false };
    const eager = { ...DEFAULT_RETRY_POLICY, throttledBaseMs: 0 };
    expect(simulate({ ...crowd, policy: eager }).refused).toBeGreaterThan(10 * simulate(crowd).refused);
    expect(simulate({ ...crowd, policy: eager }).failed).toBeGreaterThan(simulate(crowd).failed);
  });

  it("gives up nothing, and wastes few requests, when processes slow down together", () => {
    const crowd = { ...SCENE, sessions: 3000, seconds: 60 };
    const [paced, alone] = [simulate(crowd), simulate({ ...crowd, isPaced: false })];
    expect(alone.failed).toBeGreaterThan(0);
    expect(paced.failed).toBe(0);
    expect(paced.refused).toBeLessThan(alone.refused / 5);
    expect(paced.perSecond).toBeGreaterThan(850);
  });
});

describe("the event queue", () => {
  it("gives events back in the order of their times", () => {
    const queue = new EventQueue<number>();
    const times = [5, 3, 9, 1, 7, 3, 8, 0, 2];
    for (const at of times) queue.add(at, at);
    const got: number[] = [];
    for (let event = queue.next(); event; event = queue.next()) got.push(event.what);
    expect(got).toEqual([...times].sort((a, b) => a - b));
    expect(queue.next()).toBeUndefined();
  });
});

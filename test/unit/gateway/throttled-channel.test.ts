import { describe, expect, it } from "vitest";
import type { ByteChannel } from "../../../src/byte-channel.ts";
import { RateLimit } from "../../../src/gateway/rate-limit.ts";
import { ThrottledChannel } from "../../../src/gateway/throttled-channel.ts";

const KIB = 1024;

describe("RateLimit", () => {
  it("lets a short burst through, then keeps to the rate, whoever shares it", () => {
    let now = 1_000_000;
    const limit = new RateLimit(1000 * KIB, () => now);
    expect(limit.spend(250 * KIB)).toBe(0);
    expect(limit.spend(100 * KIB)).toBe(100);
    expect(limit.spend(100 * KIB)).toBe(200);
    expect(limit.debt).toBe(200 * KIB);
    expect(limit.untilDebt(50 * KIB)).toBe(150);
    now += 200;
    expect(limit.debt).toBe(0);
    expect(limit.spend(10 * KIB)).toBe(10);
    now += 3_600_000;
    expect(limit.spend(250 * KIB)).toBe(0);
    expect(limit.spend(1)).toBeGreaterThan(0);
  });
});

describe("ThrottledChannel", () => {
  function recorder(): { inner: ByteChannel; consumed: number[]; close: () => void } {
    const closed = new AbortController();
    const consumed: number[] = [];
    const inner: ByteChannel = {
      closed: closed.signal,
      pendingBytes: 0,
      receive: () => undefined,
      consume: (bytes) => consumed.push(bytes),
      write: () => undefined,
      writeError: () => undefined,
      drained: () => Promise.resolve(),
      exit: () => undefined,
      destroy: () => undefined,
    };
    return { inner, consumed, close: () => closed.abort() };
  }

  it("holds back credit for what came too fast", async () => {
    const { inner, consumed } = recorder();
    const channel = new ThrottledChannel(inner, { up: new RateLimit(1000 * KIB), down: undefined });
    channel.consume(100 * KIB);
    expect(consumed).toEqual([100 * KIB]);
    channel.consume(200 * KIB);
    channel.consume(KIB);
    expect(consumed).toEqual([100 * KIB]);
    await new Promise<void>((resolve) => {
      inner.consume = (bytes) => {
        consumed.push(bytes);
        if (consumed.length === 3) resolve();
      };
    });
    expect(consumed).toEqual([100 * KIB, 200 * KIB, KIB]);
  });

  it("shows what was written too fast as pending and drains it at the rate", async () => {
    const { inner } = recorder();
    const channel = new ThrottledChannel(inner, { up: undefined, down: new RateLimit(1000 * KIB) });
    const began = performance.now();
    channel.write(new Uint8Array(300 * KIB), new Uint8Array(100 * KIB));
    expect(channel.pendingBytes).toBeGreaterThan(100 * KIB);
    await channel.drained(50 * KIB);
    expect(performance.now() - began).toBeGreaterThanOrEqual(95);
    expect(channel.pendingBytes).toBeLessThanOrEqual(50 * KIB);
  });

  it("ends waiting when the channel is closed", async () => {
    const { inner, close } = recorder();
    const channel = new ThrottledChannel(inner, { up: undefined, down: new RateLimit(1 * KIB) });
    channel.write(new Uint8Array(1000 * KIB));
    close();
    await channel.drained();
  });
});

import { spawnSync } from "node:child_process";
import { expect, describe, it } from "vitest";
import { StoreError } from "../../../src/errors.ts";
import { createMemoryStore } from "../../../src/objectstore/memory-store.ts";
import type { ObjectStore } from "../../../src/objectstore/objectstore.ts";
import { LOCK_LIFETIME_MS, LockedError, lockKey, type LockOptions, readLock, takeLock } from "../../../src/jobs/job-lock.ts";
import { QUIET } from "./backup-fixture.ts";
import { SimulatedClock } from "./simulated-clock.ts";

function setUp(): LockOptions & { readonly clock: SimulatedClock; readonly store: ObjectStore } {
  return { store: createMemoryStore(), prefix: "archives/", clock: new SimulatedClock(1_000_000), log: QUIET };
}

describe("a lock", () => {
  it("is held by one at a time, and says by whom", async () => {
    const options = setUp();
    const held = await takeLock("backup-alice", options);
    await expect(takeLock("backup-alice", options)).rejects.toThrow(new RegExp(`already running on .* \\(process ${process.pid}\\)`));
    await (await takeLock("backup-bob", options)).release();
    await held.release();
    await (await takeLock("backup-alice", options)).release();
  });

  it("goes to exactly one of many who want it at once", async () => {
    const options = setUp();
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => takeLock("x", options)));
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const result of results) if (result.status === "rejected") expect(result.reason).toBeInstanceOf(LockedError);
  });

  it("is renewed while its holder lives, and expires when the holder is gone", async () => {
    const options = setUp();
    const held = await takeLock("x", options);
    await options.clock.advance(3 * LOCK_LIFETIME_MS);
    await expect(takeLock("x", options)).rejects.toThrow(LockedError);
    const { record } = (await readLock(options.store, lockKey("archives/", "x"))) ?? {};
    await held.release();
    // A holder on another system that is never heard of again.
    const foreign = { ...record, system: "elsewhere", expiresMs: options.clock.now() + 1000 };
    await options.store.put(lockKey("archives/", "x"), [Buffer.from(JSON.stringify(foreign))]);
    await expect(takeLock("x", options)).rejects.toThrow(LockedError);
    await options.clock.advance(1001);
    await (await takeLock("x", options)).release();
  });

  it("of a process of this system that is dead is not waited for", async () => {
    const options = setUp();
    await takeLock("x", options);
    const { record } = (await readLock(options.store, lockKey("archives/", "x"))) ?? {};
    const { pid } = spawnSync("true");
    await options.store.put(lockKey("archives/", "x"), [Buffer.from(JSON.stringify({ ...record, pid, begun: "1" }))]);
    await (await takeLock("x", options)).release();
  });

  it("that was lost tells its holder to stop, and is not released", async () => {
    const options = setUp();
    const held = await takeLock("x", options);
    await options.store.put(lockKey("archives/", "x"), [Buffer.from("{}")]);
    await options.clock.advance(LOCK_LIFETIME_MS / 2);
    expect(held.signal.aborted).toBe(true);
    await held.release();
    expect(await readLock(options.store, lockKey("archives/", "x"))).toBeDefined();
  });

  it("survives a store that fails for a moment", async () => {
    const options = setUp();
    const held = await takeLock("x", options);
    const { put } = options.store;
    options.store.put = () => Promise.reject(new StoreError("unavailable", "injected"));
    await options.clock.advance(LOCK_LIFETIME_MS / 2);
    options.store.put = put;
    await options.clock.advance(LOCK_LIFETIME_MS);
    expect(held.signal.aborted).toBe(false);
    await expect(takeLock("x", options)).rejects.toThrow(LockedError);
  });
});

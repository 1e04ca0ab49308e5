/** A reader faster than one GET of the store gets several side by side, and no more of them than it uses. */
import { randomBytes } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { FsError } from "../../../src/errors.ts";
import type { FileHandle } from "../../../src/vfs/file-system.ts";
import { type Fixture, makeFixture } from "./fixture.ts";

const MIB = 1024 * 1024;
/** A GET is judged by so much of it. */
const JUDGED_MIB = 128;
const FILE_MIB = JUDGED_MIB + 128;
/** Bytes a second that one GET brings. */
const RATE = 20 * MIB;
const content = randomBytes(FILE_MIB * MIB);

/** Makes every GET, or all of them together, as slow as `RATE`. */
function slowDown({ store, clock }: Fixture, scope: "each" | "together"): void {
  const get = store.get.bind(store);
  const shared = { dueMs: 0 };
  store.get = async (key, options) => {
    const object = await get(key, options);
    const pace = scope === "together" ? shared : { dueMs: 0 };
    const body = (async function* () {
      for await (const chunk of object.body) {
        pace.dueMs = Math.max(pace.dueMs, clock.now()) + (chunk.length / RATE) * 1000;
        const waitMs = pace.dueMs - clock.now();
        await new Promise<void>((resolve) => clock.after(waitMs, resolve));
        yield chunk;
      }
    })();
    return { info: object.info, body, destroy: () => object.destroy() };
  };
}

/** Lets the clock run while `work` runs. */
async function whileTimePasses<T>({ clock }: Fixture, work: Promise<T>): Promise<T> {
  const state = { isDone: false };
  const done = work.finally(() => {
    state.isDone = true;
  });
  done.catch(() => undefined);
  while (!state.isDone) {
    await turn();
    clock.advance(1);
  }
  return done;
}

/** Reads in order up to `mib` MiB, as fast as they come. True if they are the right ones. */
async function readInOrder(handle: FileHandle, mib: number, fromMib = 0): Promise<boolean> {
  let isRight = true;
  for (let offset = fromMib * MIB; offset < mib * MIB; offset += MIB) {
    let at = offset;
    for (const chunk of await handle.read(offset, MIB)) {
      isRight &&= content.subarray(at, at + chunk.length).equals(chunk);
      at += chunk.length;
    }
    isRight &&= at === offset + MIB;
  }
  return isRight;
}

async function setUp(scope: "each" | "together"): Promise<{ readonly fixture: Fixture; readonly handle: FileHandle }> {
  const fixture = makeFixture();
  await fixture.put("alice/file", content);
  slowDown(fixture, scope);
  const handle = await fixture.vfs.open("/attachments/file", { read: true });
  fixture.store.take();
  return { fixture, handle };
}

describe("a large file behind slow GETs", () => {
  it("is read several times as fast as by one of them, byte for byte, and gives all memory back", async () => {
    const { fixture, handle } = await setUp("each");
    const began = fixture.clock.now();
    expect(await whileTimePasses(fixture, readInOrder(handle, FILE_MIB))).toBe(true);
    expect(fixture.clock.now() - began).toBeLessThan(((JUDGED_MIB + 0.65 * (FILE_MIB - JUDGED_MIB)) * MIB * 1000) / RATE);
    await handle.close();
    expect(fixture.store.take()).toEqual({ get: 1 + (FILE_MIB - JUDGED_MIB - 8) / 8 });
    expect(fixture.volume.budget.used).toBe(0);
  });

  it("costs a handful of requests where several are no faster than one", async () => {
    const { fixture, handle } = await setUp("together");
    expect(await whileTimePasses(fixture, readInOrder(handle, FILE_MIB))).toBe(true);
    await handle.close();
    expect(fixture.store.take().get).toBeLessThanOrEqual(5);
    expect(fixture.volume.budget.used).toBe(0);
  });

  it("has one GET for who stops early, and gives everything up for who stops later or jumps", async () => {
    for (const [mib, gets] of [
      [JUDGED_MIB - 4, 1],
      [JUDGED_MIB + 4, 4],
    ] as const) {
      const { fixture, handle } = await setUp("each");
      expect(await whileTimePasses(fixture, readInOrder(handle, mib))).toBe(true);
      expect(fixture.store.take()).toEqual({ get: gets });
      const last = await whileTimePasses(fixture, handle.read((FILE_MIB - 1) * MIB, 1000));
      expect(Buffer.concat(last).equals(content.subarray((FILE_MIB - 1) * MIB, (FILE_MIB - 1) * MIB + 1000))).toBe(true);
      expect(fixture.store.take()).toEqual({ get: 1 });
      await handle.close();
      await whileTimePasses(fixture, turn());
      expect(fixture.volume.budget.used).toBe(0);
    }
  });

  it("is one version or none: after a replacement reads fail", async () => {
    const { fixture, handle } = await setUp("each");
    expect(await whileTimePasses(fixture, readInOrder(handle, JUDGED_MIB + 8))).toBe(true);
    await fixture.put("alice/file", "another version");
    const rest = whileTimePasses(fixture, readInOrder(handle, FILE_MIB, JUDGED_MIB + 8));
    const error = await rest.catch((cause: unknown) => cause);
    expect(error instanceof FsError && error.code).toBe("stale");
    await handle.close();
    expect(fixture.volume.budget.used).toBe(0);
  });

  it("does without while memory is short", async () => {
    const { fixture, handle } = await setUp("each");
    fixture.volume.budget.force(fixture.volume.budget.limit / 2);
    expect(await whileTimePasses(fixture, readInOrder(handle, JUDGED_MIB + 24))).toBe(true);
    expect(fixture.store.take()).toEqual({ get: 1 });
    await handle.close();
  });
});

/** Files that were opened to be written anew, and of which nothing had come when the connection was lost. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FileHandle, OpenFlags } from "../../../../src/vfs/file-system.ts";
import { Fixture, KIB, ManualClock, pattern, same, writeAll } from "./upload-fixture.ts";

const key = "a/file.bin";
const gone = new Error("connection lost");
const old = pattern(100 * KIB, 5);
const bytes = pattern(300 * KIB);

let clock: ManualClock;
let fixture: Fixture;

beforeEach(async () => {
  clock = new ManualClock();
  fixture = await Fixture.create({ clock });
});

afterEach(async () => {
  await fixture.close();
  expect(fixture.budget.used).toBe(0);
});

/** What a client that lost its connection before its first bytes were through leaves behind. */
async function begin(flags: OpenFlags = { write: true, create: true, truncate: true }): Promise<void> {
  const handle = await fixture.open({ flags });
  await handle.abort(gone);
}

const goOn = (flags: OpenFlags): Promise<FileHandle> => fixture.open({ flags: { write: true, ...flags } }, fixture.view("two"));

async function sendAnew(): Promise<void> {
  const handle = await fixture.open({}, fixture.view("two"));
  await writeAll(handle, bytes);
  await handle.close();
  expect(same(await fixture.read(), bytes)).toBe(true);
}

describe("a replacement of which nothing came", () => {
  beforeEach(async () => {
    await fixture.inner.put(key, [old]);
    clock.timeMs = Date.now();
  });

  for (const flags of [{ append: true }, { append: true, create: true }, {}]) {
    it(`is not taken for the version before it, opened with ${JSON.stringify(flags)}`, async () => {
      await begin();
      const handle = await goOn(flags);
      const text = `/${key}: an upload of this file was interrupted at 0 bytes; send it again from the start, or remove it`;
      const written = handle.write(old.length, [bytes.subarray(old.length)]);
      await expect(written).rejects.toMatchObject({ code: "stale", message: text });
      await expect(handle.close()).rejects.toMatchObject({ code: "stale" });
      expect(same(await fixture.read(), old)).toBe(true);
      await sendAnew();
      expect(await fixture.view().find(key)).toBeUndefined();
      const more = await goOn({ append: true });
      await more.write(bytes.length, [old]);
      await more.close();
      expect((await fixture.read())?.length).toBe(bytes.length + old.length);
    });
  }

  it("is remembered by another process, and until it expires", async () => {
    await begin();
    await fixture.restart();
    const handle = await goOn({ append: true });
    await expect(handle.write(old.length, [bytes])).rejects.toMatchObject({ code: "stale" });
    await handle.abort(gone);
    expect(await fixture.registry.sweep()).toEqual({ expired: 0 });
    clock.pass(8 * 24 * 60 * 60 * 1000);
    expect(await fixture.registry.sweep()).toEqual({ expired: 1 });
    const later = await goOn({ append: true });
    await later.write(old.length, [bytes]);
    await later.close();
    expect((await fixture.read())?.length).toBe(old.length + bytes.length);
  });

  it("does not matter any more once somebody else has published the file", async () => {
    clock.timeMs -= 60_000;
    await begin();
    const handle = await goOn({ append: true });
    await handle.write(old.length, [bytes]);
    await handle.close();
    expect((await fixture.read())?.length).toBe(old.length + bytes.length);
  });

  it("is not remembered of a client that did not say that the file begins anew", async () => {
    await begin({ write: true, create: true });
    const handle = await goOn({ append: true });
    await handle.write(old.length, [bytes]);
    await handle.close();
    expect((await fixture.read())?.length).toBe(old.length + bytes.length);
  });

  it("is remembered if the process died before the store had a part", async () => {
    await fixture.close();
    fixture = await Fixture.create({ clock, limits: { minPartSize: 1024 * KIB, preferredPartSize: 1024 * KIB } });
    await fixture.inner.put(key, [old]);
    clock.timeMs = Date.now();
    const handle = await fixture.open();
    await writeAll(handle, bytes);
    await fixture.registry.volume.table.flushed();
    await fixture.pretendDeath(key);
    expect(await fixture.unfinished()).toEqual([]);
    const next = await goOn({ append: true });
    await expect(next.write(old.length, [bytes])).rejects.toMatchObject({ code: "stale" });
    await next.abort(gone);
    await handle.abort(gone);
  });
});

describe("a new file of which nothing came", () => {
  it("is an empty one to its owner, as on a server, and is gone on with", async () => {
    await begin();
    expect(await fixture.read()).toBeUndefined();
    expect(await fixture.view("two").find(key)).toMatchObject({ state: "dropped", attributes: { size: 0 } });
    expect(await fixture.view("two").list("a/")).toMatchObject([{ key, attributes: { size: 0 } }]);
    expect(await fixture.view("x", "mallory").find(key)).toBeUndefined();
    expect(await fixture.view("two").interrupted(key)).toBeUndefined();
    const handle = await goOn({ append: true, create: true });
    await writeAll(handle, bytes);
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
    expect(await fixture.view("two").list("a/")).toEqual([]);
  });

  it("goes with rm", async () => {
    await begin();
    expect(await fixture.view("two").discard(key)).toBe(true);
    expect(await fixture.view("two").find(key)).toBeUndefined();
    expect(await fixture.view("two").discard(key)).toBe(false);
  });

  it("is not remembered while another session is at work on it", async () => {
    const other = await fixture.open({}, fixture.view("two"));
    await begin();
    await writeAll(other, bytes);
    await other.close();
    expect(await fixture.view().find(key)).toBeUndefined();
    expect(same(await fixture.read(), bytes)).toBe(true);
  });
});

import { describe, expect, it } from "vitest";
import type { FileHandle } from "../../../../src/vfs/file-system.ts";
import { EndSigns, partsLookWhole, requireSame, shownLength } from "../../../../src/vfs/uploads/end-signs.ts";
import { Fixture, fixture, KIB, ManualClock, pattern, same, storeDown, withFreshFixture, writeAll } from "./upload-fixture.ts";

const key = "a/file.bin";
const gone = new Error("connection lost");
const bytes = pattern(700 * KIB);

withFreshFixture();

const sizeOf = async (name = key, session = "two") => (await fixture.view(session).find(name))?.attributes.size;

async function drop(data: Uint8Array, step: number, after?: (handle: FileHandle) => Promise<void>): Promise<void> {
  const handle = await fixture.open();
  await writeAll(handle, data, 0, step);
  await after?.(handle);
  await handle.abort(gone);
}

/** What clients do that compare sizes: nothing if there is nothing more to send. */
async function goOn(data: Uint8Array, flags = {}): Promise<"done" | "nothing to do"> {
  const size = (await sizeOf()) ?? 0;
  if (size >= data.length) return "nothing to do";
  const handle = await fixture.open({ flags: { write: true, create: true, ...flags } }, fixture.view("two"));
  try {
    await writeAll(handle, data.subarray(size), size);
  } catch (error) {
    await handle.abort(gone);
    throw error;
  }
  await handle.close();
  return "done";
}

describe("the signs of an end", () => {
  for (const [writes, looksWhole] of [
    [[], false],
    [[32_768], false],
    [[4096], false],
    [[30_000], false],
    [[255 * 1024], false],
    [[1], true],
    [[10_240], true],
    [[32_768, 32_768], false],
    [[32_768, 1000], true],
    [[1000, 32_768], false],
    [[30_000, 30_000, 5536], true],
  ] as const) {
    it(`${looksWhole ? "are" : "are not"} in writes of [${writes.join(", ")}] bytes`, () => {
      const signs = new EndSigns(() => 0);
      for (const length of writes) signs.wrote(length);
      expect(signs.looksWhole).toBe(looksWhole);
      signs.signed();
      expect(signs.looksWhole).toBe(true);
      signs.wrote(32_768);
      expect(signs.looksWhole).toBe(writes.length === 0 ? false : Math.max(...writes) > 32_768);
    });
  }

  it("are in ten seconds without a write before the client is lost", () => {
    let nowMs = 0;
    const signs = new EndSigns(() => nowMs);
    nowMs = 60_000;
    expect(signs.looksWhole).toBe(false);
    signs.wrote(32_768);
    nowMs += 9_999;
    expect(signs.looksWhole).toBe(false);
    nowMs += 1;
    expect(signs.looksWhole).toBe(true);
    signs.wrote(32_768);
    signs.lost();
    nowMs += 60_000;
    signs.lost();
    expect(signs.looksWhole).toBe(false);
  });

  it("are in parts of which the last is shorter", () => {
    const part = (size: number) => ({ partNumber: 1, size, etag: "" });
    expect(partsLookWhole([part(8), part(8), part(5)])).toBe(true);
    expect(partsLookWhole([part(8), part(16)])).toBe(false);
    expect(partsLookWhole([part(5)])).toBe(false);
  });

  it("hide one byte, though it be the only one", () => {
    expect(shownLength({ length: 10, looksWhole: true })).toBe(9);
    expect(shownLength({ length: 10 })).toBe(10);
    expect(shownLength({ length: 1, looksWhole: true })).toBe(0);
    expect(shownLength({ length: 0, looksWhole: true })).toBe(0);
  });

  it("lead to a byte that is compared where it can be", () => {
    const sent = [new Uint8Array(0), Uint8Array.of(7)];
    expect(() => requireSame({ offset: 3, value: 7 }, sent, "/f")).not.toThrow();
    expect(() => requireSame({ offset: 3, value: undefined }, sent, "/f")).not.toThrow();
    expect(() => requireSame({ offset: 3, value: 8 }, sent, "/f")).toThrow(/^\/f: .* send it again from the start/);
  });
});

describe("an upload that is cut after its last byte and before CLOSE", () => {
  for (const [what, length, step] of [
    ["that fits one write", 20_000, 32 * KIB],
    ["of one byte", 1, 32 * KIB],
    ["that fits one part", 100 * KIB, 32 * KIB],
    ["that ends with a part", 128 * KIB, 33 * KIB],
    ["of several parts", 700 * KIB, 33 * KIB],
    ["whose tail is one byte", 256 * KIB + 1, 32 * KIB],
  ] as const) {
    for (const append of [false, true]) {
      it(`is published by a client that goes on, for a file ${what}${append ? ", by append" : ""}`, async () => {
        const data = bytes.subarray(0, length);
        await drop(data, step);
        expect(await fixture.read()).toBeUndefined();
        expect(await sizeOf()).toBe(length - 1);
        expect((await fixture.view("two").list("a/")).map(({ attributes }) => attributes.size)).toEqual([length - 1]);
        expect(await goOn(data, { append })).toBe("done");
        expect(same(await fixture.read(), data)).toBe(true);
        expect(await sizeOf()).toBeUndefined();
        expect(await fixture.unfinished()).toEqual([]);
      });
    }
  }

  it("is published by a client that goes on after it had been silent, though its size says nothing", async () => {
    const clock = new ManualClock();
    const mine = await Fixture.create({ clock });
    try {
      const data = bytes.subarray(0, 320 * KIB);
      const handle = await mine.open({ flags: { write: true, create: true, sequential: true } });
      await writeAll(handle, data);
      const size = async () => (await mine.view("two").find(key))?.attributes.size;
      expect(await size()).toBe(data.length);
      clock.pass(10_000);
      expect(await size()).toBe(data.length - 1);
      await handle.abort(gone);
      expect(await size()).toBe(data.length - 1);
      const again = await mine.open({ flags: { write: true } }, mine.view("two"));
      await again.write(data.length - 1, [data.subarray(-1)]);
      await again.close();
      expect(same(await mine.read(), data)).toBe(true);
    } finally {
      await mine.close();
    }
  });

  it("shows the same after a restart, and after another cut", async () => {
    const data = bytes.subarray(0, 300 * KIB);
    await drop(data, 32 * KIB);
    await fixture.restart();
    expect(await sizeOf()).toBe(data.length - 1);
    const again = await fixture.open({ flags: { write: true } }, fixture.view("two"));
    await again.write(data.length - 1, [data.subarray(-1)]);
    await again.abort(gone);
    expect(await sizeOf()).toBe(data.length - 1);
    expect(await goOn(data)).toBe("done");
    expect(same(await fixture.read(), data)).toBe(true);
  });

  it("keeps its last byte for whoever knows of it, or only closes", async () => {
    const data = bytes.subarray(0, 300 * KIB);
    await drop(data, 32 * KIB);
    const knowing = await fixture.open({ flags: { write: true } }, fixture.view("two"));
    await knowing.write(data.length, [bytes.subarray(data.length)]);
    await knowing.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
    await fixture.inner.delete([key]);
    await drop(data, 32 * KIB);
    await (await fixture.open({ flags: { write: true } }, fixture.view("two"))).close();
    expect(same(await fixture.read(), data)).toBe(true);
  });

  it("was not over: the rest comes behind the byte that comes again", async () => {
    await drop(bytes.subarray(0, 300 * KIB), 32 * KIB);
    expect(await goOn(bytes)).toBe("done");
    expect(same(await fixture.read(), bytes)).toBe(true);
  });

  it("goes on with nothing else than what was received", async () => {
    const data = bytes.subarray(0, 300 * KIB);
    await drop(data, 32 * KIB);
    const other = Buffer.from(data);
    other.writeUInt8(255 - other.readUInt8(other.length - 1), other.length - 1);
    await expect(goOn(other)).rejects.toMatchObject({ code: "stale", message: expect.stringContaining("send it again from the start") });
    expect(await fixture.read()).toBeUndefined();
    expect(await sizeOf()).toBe(data.length - 1);
    expect(await goOn(data)).toBe("done");
    expect(same(await fixture.read(), data)).toBe(true);
  });

  it("may be cut to what is shown, and written on from there", async () => {
    await drop(bytes.subarray(0, 300 * KIB), 32 * KIB);
    const handle = await fixture.open({ flags: { write: true } }, fixture.view("two"));
    await handle.setstat({ size: 300 * KIB - 1 });
    await handle.write(300 * KIB - 1, [pattern(40, 9)]);
    await handle.close();
    expect(same(await fixture.read(), Buffer.concat([bytes.subarray(0, 300 * KIB - 1), pattern(40, 9)]))).toBe(true);
  });

  it("is known by its announced size, or by what is told of it at the end", async () => {
    const data = bytes.subarray(0, 320 * KIB);
    await drop(data, 32 * KIB);
    expect(await sizeOf()).toBe(data.length);
    await drop(data, 32 * KIB, (handle) => handle.setstat({ size: data.length }));
    expect(await sizeOf()).toBe(data.length - 1);
    await drop(data, 32 * KIB, (handle) => handle.setstat({ mtime: 1_500_000_000 }));
    expect(await sizeOf()).toBe(data.length - 1);
    for (const [announced, shown] of [
      [data.length, data.length - 1],
      [700 * KIB, 300 * KIB],
    ] as const) {
      const handle = await fixture.open({ attributes: { size: announced } });
      await writeAll(handle, data.subarray(0, shown + 1 === announced ? announced : shown));
      await handle.abort(gone);
      expect(await sizeOf()).toBe(shown);
    }
  });

  it("is shown whole where a gap or a hole says that more was to come", async () => {
    await drop(bytes.subarray(0, 100 * KIB), 40 * KIB, (handle) => handle.write(120 * KIB, [bytes.subarray(120 * KIB, 130 * KIB)]));
    expect(await sizeOf()).toBe(100 * KIB);
  });

  it("never goes on with the old version where that has the length that is shown", async () => {
    const data = bytes.subarray(0, 300 * KIB);
    const old = pattern(data.length - 1, 5);
    await fixture.inner.put(key, [old]);
    await drop(data, 32 * KIB);
    const handle = await fixture.open({ flags: { write: true } }, fixture.view("two"));
    await expect(handle.write(old.length, [data.subarray(-1)])).rejects.toMatchObject({ code: "stale" });
    await handle.abort(gone);
    expect(same(await fixture.read(), old)).toBe(true);
    const again = await fixture.open({ flags: { write: true } }, fixture.view("two"));
    await again.write(data.length, [bytes.subarray(data.length)]);
    await again.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
  });

  it("can be gone on with from what is shown where an old version has another length", async () => {
    const data = bytes.subarray(0, 300 * KIB);
    await fixture.inner.put(key, [pattern(1000, 5)]);
    await drop(data, 32 * KIB);
    const handle = await fixture.open({ flags: { write: true } }, fixture.view("two"));
    await handle.write(data.length - 1, [data.subarray(-1)]);
    await handle.close();
    expect(same(await fixture.read(), data)).toBe(true);
  });
});

describe("another session of the owner", () => {
  it("sees every byte of what is being written, unless that looks whole and its client writes in order", async () => {
    const [mount, plain] = [
      await fixture.open({ key: "m" }),
      await fixture.open({ key: "p", flags: { write: true, create: true, sequential: true } }),
    ];
    for (const handle of [mount, plain]) await writeAll(handle, bytes.subarray(0, 100 * KIB));
    expect(await sizeOf("m")).toBe(100 * KIB);
    expect(await sizeOf("p")).toBe(100 * KIB - 1);
    expect(await sizeOf("p", "one")).toBe(100 * KIB);
    await plain.sync();
    expect(await sizeOf("p")).toBe(100 * KIB);
    await mount.abort(gone);
    await plain.abort(gone);
  });
});

describe("a CLOSE that is not carried through", () => {
  const data = bytes.subarray(0, 512 * KIB);

  it("because the store refuses it leaves something to go on with", async () => {
    fixture.watched.onRequest = (name) => {
      if (name === "complete") throw storeDown();
    };
    const handle = await fixture.open();
    await writeAll(handle, data);
    await expect(handle.close()).rejects.toMatchObject({ code: "unavailable" });
    fixture.watched.onRequest = () => undefined;
    expect(await goOn(data)).toBe("done");
    expect(same(await fixture.read(), data)).toBe(true);
  });

  for (const loseState of [false, true]) {
    it(`because the process dies leaves something to go on with${loseState ? " on another node" : ""}`, async () => {
      // On another node only a last part that is shorter tells that it was the last.
      const file = loseState ? bytes.subarray(0, 600 * KIB) : data;
      let died: () => void = () => undefined;
      const death = new Promise<void>((resolve) => {
        died = resolve;
      });
      let bury: () => void = () => undefined;
      const buried = new Promise<void>((resolve) => {
        bury = resolve;
      });
      fixture.watched.onRequest = async (name) => {
        if (name !== "complete") return;
        await fixture.state.flushed();
        died();
        await buried;
        throw storeDown();
      };
      const handle = await fixture.open();
      await writeAll(handle, file);
      const closing = handle.close().catch(() => undefined);
      await death;
      fixture.watched.onRequest = () => undefined;
      const after = await Fixture.create({ store: fixture.watched.store });
      const view = loseState ? after.view("two") : fixture.view("two");
      if (!loseState) await fixture.pretendDeath(key);
      const size = (await (loseState ? view.findElsewhere(key) : fixture.view("two").find(key)))?.attributes.size ?? 0;
      expect(size).toBe(file.length - 1);
      const again = await (loseState ? after : fixture).open({ flags: { write: true } }, loseState ? view : fixture.view("two"));
      await again.write(size, [file.subarray(size)]);
      await again.close();
      expect(same(await fixture.read(), file)).toBe(true);
      bury();
      await closing;
      await after.close();
    });
  }
});

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FsError } from "../../../../src/errors.ts";
import { Fixture, KIB, MIB, pattern, same, storeDown, writeAll } from "./upload-fixture.ts";

const key = "a/file.bin";

let fixture: Fixture;

beforeEach(async () => {
  fixture = await Fixture.create();
});

afterEach(async () => {
  await fixture.close();
  expect(fixture.budget.used).toBe(0);
});

describe("a size announced in OPEN", () => {
  it("that does not come is a failed upload, kept for a resume", async () => {
    const bytes = pattern(100 * KIB);
    const handle = await fixture.open({ attributes: { size: bytes.length } });
    await writeAll(handle, bytes.subarray(0, 60 * KIB));
    await expect(handle.close()).rejects.toMatchObject({ code: "io", message: expect.stringContaining("were announced") });
    expect(await fixture.read()).toBeUndefined();
    const again = await fixture.open({ flags: { write: true }, attributes: { size: bytes.length } }, fixture.view("two"));
    await writeAll(again, bytes.subarray(60 * KIB), 60 * KIB);
    await again.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
  });

  it("is not made up for by setting the size at the end", async () => {
    const handle = await fixture.open({ attributes: { size: 100 } });
    await handle.write(0, [pattern(40)]);
    await handle.setstat({ size: 100 });
    await expect(handle.close()).rejects.toMatchObject({ code: "io" });
    expect(await fixture.read()).toBeUndefined();
  });
});

describe("a size set before the first byte", () => {
  it("is at least what must come", async () => {
    const handle = await fixture.open();
    await handle.setstat({ size: 10 * 1024 * MIB });
    await writeAll(handle, pattern(300 * KIB));
    await expect(handle.close()).rejects.toMatchObject({ code: "io" });
    expect(await fixture.read()).toBeUndefined();
  });

  it("makes a file of zeros if nothing comes", async () => {
    const handle = await fixture.open();
    await handle.setstat({ size: 5000 });
    expect((await handle.stat()).size).toBe(5000);
    await handle.close();
    expect(same(await fixture.read(), Buffer.alloc(5000))).toBe(true);
  });
});

describe("a hole", () => {
  it("of a terabyte is refused at once and nothing is uploaded", async () => {
    const handle = await fixture.open();
    await handle.write(0, [pattern(100)]);
    await expect(handle.write(1024 ** 4, [pattern(10)])).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(handle.write(2 ** 53 - 5, [pattern(10)])).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(handle.close()).rejects.toMatchObject({ code: "invalid-argument" });
    expect(fixture.takeRequests()).toEqual([]);
    expect(await fixture.read()).toBeUndefined();
  });

  it("of a few megabytes is zeros, wherever the bytes before it are", async () => {
    for (const before of [100, 400 * KIB]) {
      const handle = await fixture.open();
      const bytes = pattern(before);
      await writeAll(handle, bytes);
      await handle.write(before + 20 * MIB, [pattern(50)]);
      await handle.write(before + 10 * MIB, [pattern(70, 3)]);
      await handle.close();
      const expected = Buffer.concat([bytes, Buffer.alloc(20 * MIB), pattern(50)]);
      expected.set(pattern(70, 3), before + 10 * MIB);
      expect(same(await fixture.read(), expected)).toBe(true);
    }
  });
});

describe("writes out of order", () => {
  it("within the window cost nothing more, in any order", async () => {
    const bytes = pattern(512 * KIB);
    const handle = await fixture.open();
    const offsets = Array.from({ length: 16 }, (_, index) => index * 32 * KIB);
    for (const offset of [...offsets.slice(8).reverse(), ...offsets.slice(0, 8).reverse()]) {
      await handle.write(offset, [bytes.subarray(offset, offset + 32 * KIB)]);
    }
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
    expect(fixture.takeRequests().filter((name) => name !== "uploadPart")).toEqual(["createUpload", "complete"]);
  });

  it("are dropped up to the first gap", async () => {
    const handle = await fixture.open();
    await handle.write(0, [pattern(1000)]);
    await handle.write(2000, [pattern(1000)]);
    await handle.abort(new Error("connection lost"));
    expect(await fixture.view("two").find(key)).toMatchObject({ attributes: { size: 1000 } });
  });

  it("may come back to the header when all else is at the store", async () => {
    const bytes = pattern(500 * KIB);
    const handle = await fixture.open();
    await writeAll(handle, bytes);
    await handle.write(4, [pattern(60, 9)]);
    await handle.close();
    const expected = Buffer.from(bytes);
    expected.set(pattern(60, 9), 4);
    expect(same(await fixture.read(), expected)).toBe(true);
  });

  it("may come back anywhere on a mount, which creates with EXCL, and are kept by a drop", async () => {
    const bytes = pattern(500 * KIB);
    const handle = await fixture.open({ flags: { write: true, create: true, exclusive: true }, published: "absent" });
    await writeAll(handle, bytes);
    await handle.write(200 * KIB, [pattern(100 * KIB, 9)]);
    await handle.abort(new Error("connection lost"));
    expect(await fixture.view("two").find(key)).toMatchObject({ attributes: { size: bytes.length - 1 } });
    const again = await fixture.open({ flags: { write: true } }, fixture.view("two"));
    await again.close();
    const expected = Buffer.from(bytes);
    expected.set(pattern(100 * KIB, 9), 200 * KIB);
    expect(same(await fixture.read(), expected)).toBe(true);
  });
});

describe("EXCL", () => {
  const flags = { write: true, create: true, exclusive: true };

  it("refuses what is there, published or not", async () => {
    await fixture.inner.put(key, [pattern(10)]);
    await expect(fixture.open({ flags })).rejects.toMatchObject({ code: "exists" });
    const dropped = await fixture.open({ key: "b" });
    await dropped.write(0, [pattern(10)]);
    await dropped.abort(new Error("connection lost"));
    await expect(fixture.open({ key: "b", flags })).rejects.toMatchObject({ code: "exists" });
  });

  it("does not replace what came meanwhile", async () => {
    const handle = await fixture.open({ flags, published: "absent" });
    await handle.write(0, [pattern(10)]);
    await fixture.inner.put(key, [pattern(20)]);
    await expect(handle.close()).rejects.toMatchObject({ code: "exists" });
    expect(same(await fixture.read(), pattern(20))).toBe(true);
  });
});

describe("a handle", () => {
  it("is seen by its own session while it is open, by name and by itself", async () => {
    const handle = await fixture.open();
    await handle.write(0, [pattern(1000)]);
    expect((await handle.stat()).size).toBe(1000);
    expect(await fixture.view("one").find(key)).toMatchObject({ state: "live-here", attributes: { size: 1000 } });
    expect(await fixture.view("one").setAttributes(key, { mtime: 77, mode: 0o600 })).toBe(true);
    await handle.close();
    expect((await fixture.inner.head(key)).metadata).toEqual({ mtime: "77", mode: String(0o100600) });
  });

  it("that was closed is seen closed by what the client asks next", async () => {
    let release: () => void = () => undefined;
    fixture.watched.onRequest = (name) => (name === "put" ? new Promise((resolve) => (release = resolve)) : undefined);
    const handle = await fixture.open();
    await handle.write(0, [pattern(1000)]);
    const closing = handle.close();
    const found = fixture.view("one").find(key);
    const renamed = fixture.view("one").rename(key, "b", { replace: false, path: "/b" });
    await new Promise((resolve) => setImmediate(resolve));
    release();
    expect(await found).toBeUndefined();
    expect(await renamed).toBe(false);
    await closing;
  });

  it("whose file is removed meanwhile publishes nothing", async () => {
    const handle = await fixture.open();
    await writeAll(handle, pattern(300 * KIB));
    expect(await fixture.view("one").discard(key)).toBe(true);
    expect(await fixture.view("one").find(key)).toBeUndefined();
    await writeAll(handle, pattern(10), 300 * KIB);
    await handle.close();
    expect(await fixture.read()).toBeUndefined();
    expect(await fixture.unfinished()).toEqual([]);
  });

  it("takes no call after its end", async () => {
    const handle = await fixture.open();
    await handle.close();
    await expect(handle.write(0, [pattern(1)])).rejects.toMatchObject({ code: "stale" });
    await expect(handle.read(0, 1)).rejects.toBeInstanceOf(FsError);
    await handle.close();
    await handle.abort(new Error("late"));
    expect(same(await fixture.read(), Buffer.alloc(0))).toBe(true);
  });

  it("is carried to its end by CLOSE though the connection goes", async () => {
    const handle = await fixture.open();
    await writeAll(handle, pattern(300 * KIB));
    const closing = handle.close();
    await handle.abort(new Error("connection lost"));
    await closing;
    expect(same(await fixture.read(), pattern(300 * KIB))).toBe(true);
  });

  it("that was only opened changes nothing but the times it was given", async () => {
    const old = pattern(1000);
    await fixture.inner.put(key, [old], { contentType: "text/x", metadata: { color: "red" } });
    const untouched = await fixture.open({ flags: { write: true, create: true } });
    await untouched.close();
    expect(fixture.takeRequests()).toEqual(["head"]);
    const touched = await fixture.open({ flags: { write: true } });
    await touched.setstat({ mtime: 5 });
    await touched.close();
    const info = await fixture.inner.head(key);
    expect(info).toMatchObject({ contentType: "text/x", metadata: { color: "red", mtime: "5" }, size: 1000 });
  });
});

describe("a quota", () => {
  it("is asked before anything is published", async () => {
    await fixture.close();
    const asked: number[] = [];
    fixture = await Fixture.create({
      checkQuota: (bytes) => {
        asked.push(bytes);
        throw new FsError("quota", "your quota is used up");
      },
    });
    const handle = await fixture.open();
    await handle.write(0, [pattern(1000)]);
    await expect(handle.close()).rejects.toMatchObject({ code: "quota" });
    expect(asked).toEqual([1000]);
    expect(await fixture.read()).toBeUndefined();
  });
});

describe("a store that fails while an existing file is changed", () => {
  for (const [what, flags, change] of [
    ["append", { write: true, append: true }, "append"],
    ["edit", { write: true, read: true }, "edit"],
    ["cut", { write: true }, "cut"],
  ] as const) {
    it(`leaves the old version or the new one, whole: ${what}`, async () => {
      const old = pattern(300 * KIB, 4);
      for (let failing = 0; failing < 10; failing += 1) {
        const name = `${what}/${failing}`;
        await fixture.inner.put(name, [old]);
        let seen = 0;
        fixture.watched.onRequest = () => {
          if (seen++ === failing) throw storeDown();
        };
        const expected = Buffer.from(old);
        const handle = await fixture.open({ key: name, flags });
        const run = async (): Promise<Buffer> => {
          if (change === "cut") {
            await handle.setstat({ size: 200 * KIB });
            await handle.close();
            return expected.subarray(0, 200 * KIB);
          }
          await handle.write(change === "append" ? old.length : 100_000, [pattern(500)]);
          await handle.close();
          expected.set(pattern(500), change === "append" ? old.length - 500 : 100_000);
          return change === "append" ? Buffer.concat([old, pattern(500)]) : expected;
        };
        const wanted = await run().catch(() => old);
        await handle.abort(new Error("end of test"));
        fixture.watched.onRequest = () => undefined;
        expect(same(await fixture.read(name), wanted)).toBe(true);
        await fixture.view().discard(name);
      }
      await fixture.registry.sweep();
      expect(await fixture.unfinished()).toEqual([]);
    });
  }
});

describe("strange names", () => {
  it("are kept in the table byte for byte", async () => {
    const names = ["a/\n\u0001x", "a/é", "a/e\u0301", "a/🦆", "a/~", `a/${"x".repeat(1015)}`, "a/%00 +'\""];
    for (const name of names) {
      const handle = await fixture.open({ key: name });
      await handle.write(0, [pattern(10)]);
      await handle.abort(new Error("connection lost"));
    }
    const listed = (await fixture.view("two").list("a/")).map((entry) => entry.key);
    expect(listed).toEqual([...names].sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other))));
    for (const name of names) expect(await fixture.view("two").discard(name)).toBe(true);
    expect(await fixture.view("two").list("")).toEqual([]);
  });
});

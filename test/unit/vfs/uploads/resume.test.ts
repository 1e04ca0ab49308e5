import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FileHandle } from "../../../../src/vfs/file-system.ts";
import { Fixture, KIB, pattern, same, storeDown, writeAll } from "./upload-fixture.ts";

const key = "a/file.bin";
const gone = new Error("connection lost");
const resumeFlags = { write: true, create: true };

let fixture: Fixture;

beforeEach(async () => {
  fixture = await Fixture.create();
});

afterEach(async () => {
  await fixture.close();
  expect(fixture.budget.used).toBe(0);
});

async function drop(bytes: Uint8Array, key = "a/file.bin"): Promise<void> {
  const handle = await fixture.open({ key });
  await writeAll(handle, bytes);
  await handle.abort(gone);
}

async function resumeAt(offset: number, bytes: Uint8Array, append = false): Promise<FileHandle> {
  const handle = await fixture.open({ flags: { ...resumeFlags, append } }, fixture.view("two"));
  await writeAll(handle, bytes, offset);
  return handle;
}

describe("a dropped upload", () => {
  const bytes = pattern(700 * KIB);

  for (const received of [1, 96 * KIB, 128 * KIB, 512 * KIB]) {
    it(`of ${received} bytes is invisible, shows its size to its owner and is continued`, async () => {
      // One byte looks like all of a file: see end-signs.ts.
      const size = received === 1 ? 0 : received;
      await drop(bytes.subarray(0, received));
      expect(await fixture.read()).toBeUndefined();
      expect(await fixture.view("two").find(key)).toMatchObject({ state: "dropped", attributes: { size } });
      expect(await fixture.view("two").list("a/")).toMatchObject([{ key, attributes: { size } }]);
      expect(await fixture.view("x", "mallory").find(key)).toBeUndefined();
      const handle = await resumeAt(received, bytes.subarray(received));
      await handle.close();
      expect(same(await fixture.read(), bytes)).toBe(true);
      expect(await fixture.unfinished()).toEqual([]);
      expect(await fixture.view("two").find(key)).toBeUndefined();
    });
  }

  it("is continued after a restart, by an append whatever its offset", async () => {
    await drop(bytes.subarray(0, 300 * KIB));
    await fixture.restart();
    const handle = await resumeAt(300 * KIB, bytes.subarray(300 * KIB), true);
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
  });

  it("is continued on another node from the parts the store has", async () => {
    await drop(bytes.subarray(0, 300 * KIB));
    await fixture.restart({ loseState: true });
    const found = await fixture.view("two").findElsewhere(key);
    expect(found).toMatchObject({ state: "dropped", attributes: { size: 256 * KIB } });
    const handle = await resumeAt(256 * KIB, bytes.subarray(256 * KIB));
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
    expect(await fixture.unfinished()).toEqual([]);
  });

  it("is continued several times", async () => {
    await drop(bytes.subarray(0, 50 * KIB));
    for (const at of [50, 150, 151, 400, 640]) {
      const next = at === 640 ? 700 : [150, 151, 400, 640].find((end) => end > at);
      const handle = await resumeAt(at * KIB, bytes.subarray(at * KIB, (next ?? 0) * KIB));
      if (next === 700) await handle.close();
      else await handle.abort(gone);
    }
    expect(same(await fixture.read(), bytes)).toBe(true);
    expect(await fixture.unfinished()).toEqual([]);
  });

  it("is published by CLOSE when everything had come already", async () => {
    await drop(bytes);
    const handle = await fixture.open({ flags: { write: true } }, fixture.view("two"));
    expect((await handle.stat()).size).toBe(bytes.length - 1);
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
  });

  it("is not continued anywhere else, and CLOSE after the refusal publishes nothing", async () => {
    await drop(bytes.subarray(0, 224 * KIB));
    const handle = await fixture.open({ flags: resumeFlags }, fixture.view("two"));
    const text = `/${key}: an upload of this file was interrupted at ${224 * KIB} bytes`;
    await expect(handle.write(100 * KIB, [pattern(10)])).rejects.toMatchObject({ code: "stale", message: expect.stringContaining(text) });
    await expect(handle.close()).rejects.toMatchObject({ code: "stale" });
    expect(await fixture.read()).toBeUndefined();
    expect(await fixture.view().find(key)).toMatchObject({ attributes: { size: 224 * KIB } });
  });

  it("is replaced by a new upload from the start once that is published", async () => {
    await drop(bytes);
    const handle = await fixture.open({ flags: resumeFlags }, fixture.view("two"));
    await writeAll(handle, pattern(100, 9));
    expect(await fixture.unfinished()).toEqual([key]);
    await handle.setstat({ size: 100 });
    await handle.close();
    expect(await fixture.unfinished()).toEqual([]);
    expect(same(await fixture.read(), pattern(100, 9))).toBe(true);
    expect(await fixture.view().find(key)).toBeUndefined();
  });

  it("is replaced by a newer dropped one, but not by one that got nothing", async () => {
    await drop(bytes);
    await drop(new Uint8Array(0));
    expect(await fixture.view().find(key)).toMatchObject({ attributes: { size: bytes.length - 1 } });
    await drop(pattern(192 * KIB, 3));
    expect(await fixture.view().find(key)).toMatchObject({ attributes: { size: 192 * KIB } });
    expect(await fixture.unfinished()).toHaveLength(1);
  });

  it("is discarded by rm", async () => {
    await drop(bytes);
    expect(await fixture.view("two").discard(key)).toBe(true);
    expect(await fixture.unfinished()).toEqual([]);
    expect(await fixture.view("two").discard(key)).toBe(false);
  });

  it("expires after its time and not before", async () => {
    await drop(bytes);
    await drop(pattern(10), "b/small");
    expect(await fixture.registry.sweep()).toEqual({ expired: 0 });
    await fixture.close();
    fixture = await Fixture.create({ expiryMs: -1 });
    await drop(bytes);
    await drop(pattern(10), "b/small");
    expect(await fixture.registry.sweep()).toEqual({ expired: 2 });
    expect(await fixture.unfinished()).toEqual([]);
    expect(await fixture.view().list("")).toEqual([]);
  });
});

describe("an interrupted overwrite", () => {
  const old = pattern(150 * KIB, 5);
  const bytes = pattern(700 * KIB);

  beforeEach(async () => {
    await fixture.inner.put(key, [old]);
    await drop(bytes.subarray(0, 300 * KIB));
  });

  it("leaves the old version as it was", async () => {
    expect(same(await fixture.read(), old)).toBe(true);
  });

  it("is continued where it stopped", async () => {
    await (await resumeAt(300 * KIB, bytes.subarray(300 * KIB))).close();
    expect(same(await fixture.read(), bytes)).toBe(true);
  });

  for (const append of [false, true]) {
    it(`never gets the new tail behind the old version${append ? ", by append" : ""}`, async () => {
      const handle = await fixture.open({ flags: { ...resumeFlags, append } }, fixture.view("two"));
      await expect(handle.write(old.length, [bytes.subarray(old.length)])).rejects.toMatchObject({ code: "stale" });
      await expect(handle.close()).rejects.toMatchObject({ code: "stale" });
      expect(same(await fixture.read(), old)).toBe(true);
    });
  }
});

describe("an interrupted append", () => {
  it("may be begun again from the published version", async () => {
    const old = pattern(200 * KIB, 5);
    const more = pattern(90 * KIB);
    await fixture.inner.put(key, [old]);
    const first = await resumeAt(old.length, more.subarray(0, 50 * KIB));
    await first.abort(gone);
    const second = await resumeAt(old.length, more);
    await second.close();
    expect(same(await fixture.read(), Buffer.concat([old, more]))).toBe(true);
    expect(await fixture.unfinished()).toEqual([]);
  });
});

describe("a client that is back before its old session has ended", () => {
  const bytes = pattern(700 * KIB);

  for (const append of [false, true]) {
    it(`sees what will be kept, and continues there${append ? " by append" : ""}`, async () => {
      for (let writes = 1; writes <= 20; writes += 1) {
        const name = `back/${writes}`;
        let release: () => void = () => undefined;
        const held = new Promise<void>((resolve) => {
          release = resolve;
        });
        fixture.watched.onRequest = (request) => (request === "uploadPart" ? held : undefined);
        const old = await fixture.open({ key: name });
        const sending = Array.from({ length: writes }, (_, index) => {
          const at = index * 33 * KIB;
          return old.write(at, [bytes.subarray(at, at + 33 * KIB)]).catch(() => undefined);
        });
        const aborted = old.abort(gone);
        const shown = fixture.view("two").find(name);
        const size = (await shown)?.attributes.size ?? 0;
        expect(size).toBeGreaterThan(0);
        release();
        const again = await fixture.open({ key: name, flags: { ...resumeFlags, append } }, fixture.view("two"));
        await writeAll(again, bytes.subarray(size), size);
        await again.close();
        await Promise.all([...sending, aborted]);
        expect(same(await fixture.read(name), bytes)).toBe(true);
      }
    });

    it(`continues where it saw the end though more has come since${append ? ", by append" : ""}`, async () => {
      const old = await fixture.open();
      await writeAll(old, bytes.subarray(0, 260 * KIB));
      const size = (await fixture.view("two").find(key))?.attributes.size ?? 0;
      expect(size).toBe(260 * KIB);
      await writeAll(old, bytes.subarray(260 * KIB, 300 * KIB), 260 * KIB);
      const again = await fixture.open({ flags: { ...resumeFlags, append } }, fixture.view("two"));
      await writeAll(again, bytes.subarray(size), size);
      await again.close();
      await old.abort(gone);
      expect(same(await fixture.read(), bytes)).toBe(true);
    });
  }

  it("is refused where what came since cannot be cut off", async () => {
    const old = await fixture.open();
    await writeAll(old, bytes.subarray(0, 96 * KIB));
    const size = (await fixture.view("two").find(key))?.attributes.size ?? 0;
    await writeAll(old, bytes.subarray(96 * KIB, 608 * KIB), 96 * KIB);
    const again = await fixture.open({ flags: { ...resumeFlags, append: true } }, fixture.view("two"));
    await expect(again.write(size, [bytes.subarray(size)])).rejects.toMatchObject({ code: "stale" });
    await again.abort(gone);
    expect(await fixture.view("two").find(key)).toMatchObject({ state: "dropped", attributes: { size: 608 * KIB } });
  });
});

describe("a client that is back while its old session's CLOSE is under way", () => {
  const bytes = pattern(100 * KIB);
  const append = { ...resumeFlags, append: true };

  for (const [what, size, flags, wanted] of [
    ["writes nothing more", 100 * KIB, append, "closed"],
    ["writes nothing more without APPEND", 100 * KIB, resumeFlags, "closed"],
    ["continues where it thought the end was", 60 * KIB, resumeFlags, "closed"],
    ["appends where it thought the end was", 60 * KIB, append, "refused"],
  ] as const) {
    it(`gets the whole file and nothing twice: ${what}`, async () => {
      let release: () => void = () => undefined;
      fixture.watched.onRequest = (name) => (name === "put" ? new Promise((resolve) => (release = resolve)) : undefined);
      const old = await fixture.open({ published: "absent" });
      await writeAll(old, bytes);
      const closing = old.close();
      expect(await fixture.view("two").find(key)).toMatchObject({ state: "live-elsewhere" });
      const again = await fixture.open({ flags, published: "absent" }, fixture.view("two"));
      await new Promise((resolve) => setImmediate(resolve));
      fixture.watched.onRequest = () => undefined;
      const rest = writeAll(again, bytes.subarray(size), size).then(() => again.close());
      const result = rest.then(
        () => "closed",
        () => "refused",
      );
      release();
      await closing;
      expect(await result).toBe(wanted);
      await again.abort(gone);
      expect(same(await fixture.read(), bytes)).toBe(true);
    });
  }

  it("does not replace with an empty file what came after it opened", async () => {
    const handle = await fixture.open({ flags: resumeFlags, published: "absent" });
    fixture.watched.onRequest = async (name) => {
      if (name === "put") await fixture.inner.put(key, [bytes]);
    };
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
  });
});

describe("an upload that the store has forgotten", () => {
  it("is told as such, and the next one begins anew", async () => {
    const bytes = pattern(700 * KIB);
    await drop(bytes.subarray(0, 300 * KIB));
    for await (const { key, uploadId } of fixture.inner.listUploads("")) await fixture.inner.openUpload(key, uploadId).abort();
    const handle = await fixture.open({ flags: resumeFlags }, fixture.view("two"));
    const sent = writeAll(handle, bytes.subarray(300 * KIB), 300 * KIB).then(() => handle.close());
    await expect(sent).rejects.toMatchObject({ code: "stale", message: expect.stringContaining("send the file again") });
    await handle.close().catch(() => undefined);
    expect(await fixture.view("two").find(key)).toBeUndefined();
    expect(fixture.registry.volume.table.list("")).toEqual([]);
  });
});

describe("two nodes on one store", () => {
  it("each upload whole; an upload resumed on the other node is lost to the first", async () => {
    const other = await Fixture.create({ store: fixture.inner });
    const bytes = pattern(700 * KIB);
    const stale = await fixture.open();
    await writeAll(stale, bytes.subarray(0, 600 * KIB));
    await fixture.registry.volume.table.flushed();
    const view = other.view("two");
    expect(await view.findElsewhere(key)).toMatchObject({ state: "dropped", attributes: { size: 512 * KIB } });
    const handle = await other.open({ flags: resumeFlags }, view);
    await writeAll(handle, bytes.subarray(512 * KIB), 512 * KIB);
    await handle.close();
    await expect(stale.close()).rejects.toMatchObject({ code: "stale" });
    expect(same(await fixture.read(), bytes)).toBe(true);
    expect(fixture.registry.volume.table.list("")).toEqual([]);
    const first = await fixture.open();
    const second = await other.open();
    await writeAll(first, pattern(300 * KIB, 1));
    await writeAll(second, pattern(400 * KIB, 2));
    await first.close();
    await second.close();
    expect(same(await fixture.read(), pattern(400 * KIB, 2))).toBe(true);
    expect(await fixture.unfinished()).toEqual([]);
    await other.close();
  });
});

describe("two sessions", () => {
  it("that upload one name: both are whole, the last CLOSE wins", async () => {
    const first = await fixture.open({}, fixture.view("one"));
    const second = await fixture.open({}, fixture.view("two"));
    await writeAll(first, pattern(300 * KIB, 1));
    await writeAll(second, pattern(400 * KIB, 2));
    await second.close();
    expect(same(await fixture.read(), pattern(400 * KIB, 2))).toBe(true);
    await first.close();
    expect(same(await fixture.read(), pattern(300 * KIB, 1))).toBe(true);
    expect(await fixture.unfinished()).toEqual([]);
  });

  it("of which one is dead: the other takes the upload over", async () => {
    const bytes = pattern(500 * KIB);
    const dead = await fixture.open({}, fixture.view("one"));
    await writeAll(dead, bytes.subarray(0, 300 * KIB));
    expect(await fixture.view("two").find(key)).toMatchObject({ state: "live-elsewhere", attributes: { size: 300 * KIB } });
    await (await resumeAt(300 * KIB, bytes.subarray(300 * KIB))).close();
    expect(same(await fixture.read(), bytes)).toBe(true);
    await expect(dead.write(300 * KIB, [pattern(10)])).rejects.toMatchObject({ code: "stale" });
    await expect(dead.close()).rejects.toMatchObject({ code: "stale" });
    expect(same(await fixture.read(), bytes)).toBe(true);
  });
});

describe("a process that dies", () => {
  const bytes = pattern(700 * KIB);

  it("leaves what the store has", async () => {
    const handle = await fixture.open();
    await writeAll(handle, bytes.subarray(0, 600 * KIB));
    await fixture.state.flushed();
    // The registry is left as it is: its process is taken for dead by giving the row another one.
    await fixture.pretendDeath(key);
    expect(await fixture.view("two").find(key)).toMatchObject({ state: "dropped", attributes: { size: 512 * KIB } });
    await (await resumeAt(512 * KIB, bytes.subarray(512 * KIB))).close();
    expect(same(await fixture.read(), bytes)).toBe(true);
    await handle.abort(gone);
  });

  it("loses nothing that was synced", async () => {
    const handle = await fixture.open();
    await writeAll(handle, bytes.subarray(0, 288 * KIB));
    await handle.sync();
    await fixture.pretendDeath(key);
    expect(await fixture.view("two").find(key)).toMatchObject({ attributes: { size: 288 * KIB } });
    await (await resumeAt(288 * KIB, bytes.subarray(288 * KIB))).close();
    expect(same(await fixture.read(), bytes)).toBe(true);
    await handle.abort(gone);
  });
});

describe("a store that fails", () => {
  it("at any request publishes nothing wrong and the upload can be continued", async () => {
    const bytes = pattern(600 * KIB);
    for (let failing = 0; failing < 8; failing += 1) {
      let seen = 0;
      fixture.watched.onRequest = (name) => {
        if (name !== "listUploads" && seen++ === failing) throw storeDown();
      };
      const name = `f/${failing}`;
      const handle = await fixture.open({ key: name });
      const result = await writeAll(handle, bytes)
        .then(() => handle.close())
        .then(
          () => "published",
          () => "failed",
        );
      await handle.close().catch(() => undefined);
      fixture.watched.onRequest = () => undefined;
      if (result === "published") {
        expect(same(await fixture.read(name), bytes)).toBe(true);
        continue;
      }
      expect(await fixture.read(name)).toBeUndefined();
      const size = (await fixture.view("two").find(name))?.attributes.size ?? 0;
      const again = await fixture.open({ key: name, flags: resumeFlags }, fixture.view("two"));
      await writeAll(again, bytes.subarray(size), size);
      await again.setstat({ size: bytes.length });
      await again.close();
      expect(same(await fixture.read(name), bytes)).toBe(true);
    }
    expect(await fixture.unfinished()).toEqual([]);
    expect(fixture.registry.volume.table.list("")).toEqual([]);
  });

  it("keeps every received byte when it comes back", async () => {
    const bytes = pattern(600 * KIB);
    fixture.watched.onRequest = (name) => {
      if (name === "complete") throw storeDown();
    };
    const handle = await fixture.open();
    await writeAll(handle, bytes);
    await expect(handle.close()).rejects.toMatchObject({ code: "unavailable" });
    fixture.watched.onRequest = () => undefined;
    expect(await fixture.view().find(key)).toMatchObject({ attributes: { size: bytes.length - 1 } });
    await (await resumeAt(bytes.length, pattern(50 * KIB, 2))).close();
    expect(same(await fixture.read(), Buffer.concat([bytes, pattern(50 * KIB, 2)]))).toBe(true);
  });
});

describe("a cut", () => {
  it("after any write keeps exactly what was written", async () => {
    const bytes = pattern(600 * KIB);
    for (let writes = 1; writes <= 600 / 40; writes += 1) {
      const name = `cut/${writes}`;
      const handle = await fixture.open({ key: name });
      await writeAll(handle, bytes.subarray(0, writes * 40 * KIB), 0, 40 * KIB);
      await handle.abort(gone);
      expect(await fixture.view("two").find(name)).toMatchObject({ attributes: { size: writes * 40 * KIB } });
      expect(await fixture.read(name)).toBeUndefined();
    }
  });
});

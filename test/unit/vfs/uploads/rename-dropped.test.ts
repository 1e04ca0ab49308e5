import { describe, expect, it } from "vitest";
import { fixture, KIB, pattern, same, withFreshFixture, writeAll } from "./upload-fixture.ts";

const from = "a/old.bin";
const to = "b/new.bin";
const bytes = pattern(500 * KIB);

withFreshFixture();

async function drop(length: number): Promise<void> {
  const handle = await fixture.open({ key: from });
  await writeAll(handle, bytes.subarray(0, length));
  await handle.abort(new Error("connection lost"));
}

async function finish(length: number): Promise<void> {
  const handle = await fixture.open({ key: to, flags: { write: true } }, fixture.view("two"));
  await writeAll(handle, bytes.subarray(length), length);
  await handle.close();
}

for (const length of [64 * KIB, 320 * KIB]) {
  describe(`a dropped upload of ${length} bytes`, () => {
    it("is continued under the name that it was given meanwhile", async () => {
      await drop(length);
      expect(await fixture.view().rename(from, to, { replace: false, path: "/new" })).toBe(true);
      await fixture.restart();
      expect(await fixture.view().find(from)).toBeUndefined();
      expect(await fixture.view().find(to)).toMatchObject({ state: "dropped", attributes: { size: length } });
      await finish(length);
      expect(same(await fixture.read(to), bytes)).toBe(true);
      expect(await fixture.read(from)).toBeUndefined();
      expect(await fixture.unfinished()).toEqual([]);
      expect(await fixture.view().find(to)).toBeUndefined();
    });

    it("does not take a name that is taken, unless it may", async () => {
      await fixture.inner.put(to, [pattern(10)]);
      await drop(length);
      await expect(fixture.view().rename(from, to, { replace: false, path: "/new" })).rejects.toMatchObject({ code: "exists" });
      expect(await fixture.view().find(from)).toMatchObject({ state: "dropped" });
      expect(await fixture.view().rename(from, to, { replace: true, path: "/new" })).toBe(true);
      expect(same(await fixture.read(to), pattern(10))).toBe(true);
      await finish(length);
      expect(same(await fixture.read(to), bytes)).toBe(true);
    });

    it("is discarded under its new name, at the store, too", async () => {
      await drop(length);
      await fixture.view().rename(from, to, { replace: false, path: "/new" });
      expect(await fixture.view().discard(to)).toBe(true);
      expect(await fixture.unfinished()).toEqual([]);
      expect(fixture.registry.volume.table.list("")).toEqual([]);
    });

    it("goes along with the version that it would have replaced", async () => {
      await fixture.inner.put(from, [pattern(10)]);
      await drop(length);
      await fixture.inner.copy(from, to);
      await fixture.inner.delete([from]);
      await fixture.view().follow(from, to);
      expect(await fixture.view().find(from)).toBeUndefined();
      await finish(length);
      expect(same(await fixture.read(to), bytes)).toBe(true);
    });
  });
}

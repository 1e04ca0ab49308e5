import { describe, expect, it } from "vitest";
import type { FileHandle } from "../../../../src/vfs/file-system.ts";
import { fixture, KIB, pattern, same, storeDown, withFreshFixture, writeAll } from "./upload-fixture.ts";

const temporary = "a/photo.jpg.filepart";
const final = "a/photo.jpg";

withFreshFixture();

async function park(bytes: Uint8Array): Promise<void> {
  const handle = await fixture.open({ key: temporary });
  await writeAll(handle, bytes);
  await handle.close();
}

function rename(to: string, replace = false): Promise<boolean> {
  return fixture.view("two").rename(temporary, to, { replace, path: `/${to}` });
}

for (const size of [0, 100 * KIB, 300 * KIB]) {
  describe(`an upload of ${size} bytes under a temporary name`, () => {
    const bytes = pattern(size);
    /** It waits on this node's disk. */
    const isSmall = size < 128 * KIB;

    it("is published by the rename alone: no copy, no delete", async () => {
      await park(bytes);
      expect(await fixture.read(temporary)).toBeUndefined();
      expect(await fixture.read(final)).toBeUndefined();
      expect(await fixture.view("two").find(temporary)).toMatchObject({ state: "parked", attributes: { size } });
      expect(await fixture.view("two").find(final)).toBeUndefined();
      expect(fixture.published).toEqual([]);
      expect(await rename(final)).toBe(true);
      expect(same(await fixture.read(final), bytes)).toBe(true);
      const parts = Array<string>(Math.ceil(size / (128 * KIB))).fill("uploadPart");
      expect(fixture.takeRequests()).toEqual(isSmall ? ["put"] : ["createUpload", ...parts, "complete"]);
      expect(fixture.published).toMatchObject([{ key: final, size }]);
      expect((await fixture.inner.head(final)).contentType).toBe("image/jpeg");
      expect(await fixture.view("two").find(temporary)).toBeUndefined();
      expect(await rename(final)).toBe(false);
    });

    it("gets times that are set between CLOSE and rename", async () => {
      await park(bytes);
      expect(await fixture.view("two").setAttributes(temporary, { mtime: 1_500_000_000 })).toBe(true);
      expect((await fixture.view("two").find(temporary))?.attributes.mtime).toBe(1_500_000_000);
      await rename(final);
      expect((await fixture.inner.head(final)).metadata).toEqual({ mtime: "1500000000" });
      expect(same(await fixture.read(final), bytes)).toBe(true);
      const requests = fixture.takeRequests();
      expect(requests.includes("copy")).toBe(!isSmall);
      expect(await fixture.unfinished()).toEqual([]);
    });

    it("survives a restart", async () => {
      await park(bytes);
      await fixture.restart();
      await rename(final);
      expect(same(await fixture.read(final), bytes)).toBe(true);
    });

    it("can be renamed to another name", async () => {
      await park(bytes);
      await rename("b/other.jpg");
      expect(same(await fixture.read("b/other.jpg"), bytes)).toBe(true);
      expect(await fixture.read(final)).toBeUndefined();
      expect(fixture.published.at(-1)).toMatchObject({ key: "b/other.jpg" });
    });

    it("does not replace what is there unless asked to", async () => {
      await fixture.inner.put(final, [pattern(10)]);
      await park(bytes);
      await expect(rename(final)).rejects.toMatchObject({ code: "exists" });
      if (!isSmall) await expect(rename("b/other.jpg")).rejects.toMatchObject({ code: "exists" });
      expect(same(await fixture.read(final), pattern(10))).toBe(true);
      await rename(final, true);
      expect(same(await fixture.read(final), bytes)).toBe(true);
    });

    it("is discarded by rm and replaced by a new one", async () => {
      await park(bytes);
      await park(pattern(50 * KIB, 9));
      expect(await fixture.unfinished()).toHaveLength(0);
      expect(await fixture.view("two").discard(temporary)).toBe(true);
      expect(await fixture.unfinished()).toEqual([]);
    });
  });
}

const unexpected = (): never => {
  throw new Error("nothing was published");
};

describe("an interrupted upload under a temporary name", () => {
  async function resume(at: number, bytes: Uint8Array): Promise<FileHandle> {
    const handle = await fixture.open({ key: temporary, flags: { write: true } }, fixture.view("two"));
    await writeAll(handle, bytes, at);
    return handle;
  }

  it("is continued, parked and published", async () => {
    const bytes = pattern(500 * KIB);
    const handle = await fixture.open({ key: temporary });
    await writeAll(handle, bytes.subarray(0, 300 * KIB));
    await handle.abort(new Error("connection lost"));
    expect(await fixture.view("two").find(temporary)).toMatchObject({ state: "dropped", attributes: { size: 300 * KIB - 1 } });
    await (await resume(300 * KIB, bytes.subarray(300 * KIB))).close();
    await rename(final);
    expect(same(await fixture.read(final), bytes)).toBe(true);
  });

  it("may go on after it was parked", async () => {
    const bytes = pattern(500 * KIB);
    await park(bytes.subarray(0, 300 * KIB));
    await (await resume(300 * KIB, bytes.subarray(300 * KIB))).close();
    await rename(final);
    expect(same(await fixture.read(final), bytes)).toBe(true);
    expect(await fixture.unfinished()).toEqual([]);
  });
});

describe("a store that fails while a parked upload is renamed", () => {
  for (const to of [final, "b/other.jpg"]) {
    it(`leaves it to be renamed again, or publishes it whole: ${to}`, async () => {
      const bytes = pattern(300 * KIB);
      for (let failing = 0; failing < 5; failing += 1) {
        await park(bytes);
        await fixture.view("two").setAttributes(temporary, { mtime: 1000 + failing });
        let seen = 0;
        fixture.watched.onRequest = () => {
          if (seen++ === failing) throw storeDown();
        };
        const renamed = await rename(to).catch(() => false);
        fixture.watched.onRequest = () => undefined;
        if (!renamed && (await fixture.view("two").find(temporary))) await rename(to);
        const found = (await fixture.read(to)) ?? (await fixture.read(final));
        expect(same(found, bytes)).toBe(true);
        await fixture.inner.delete([final, "b/other.jpg"]);
      }
      await fixture.registry.sweep();
      expect(await fixture.unfinished()).toEqual([]);
    });
  }
});

describe("an upload under a name of rclone's", () => {
  const partial = "a/photo.jpg.pugixik4.partial";

  it("can be read while it waits on this node's disk, by its owner", async () => {
    const bytes = pattern(100 * KIB);
    const handle = await fixture.open({ key: partial });
    await writeAll(handle, bytes);
    await handle.close();
    expect(await fixture.read(partial)).toBeUndefined();
    const reader = await fixture.view("two").read(partial, `/${partial}`, unexpected);
    expect(reader?.knownSize).toBe(bytes.length);
    expect(same(Buffer.concat([...((await reader?.read(1_000, 1_000_000)) ?? [])]), bytes.subarray(1_000))).toBe(true);
    expect(await reader?.read(bytes.length, 10)).toEqual([]);
    await expect(reader?.write(0, [Buffer.from("x")])).rejects.toMatchObject({ code: "permission-denied" });
    await reader?.close();
    expect(await fixture.view("two", "bob").read(partial, "/p", unexpected)).toBeUndefined();
    expect(await fixture.view("two").rename(partial, final, { replace: false, path: `/${final}` })).toBe(true);
    expect(same(await fixture.read(final), bytes)).toBe(true);
  });

  it("is published under it if it does not fit one part, so that it can be read", async () => {
    const bytes = pattern(300 * KIB);
    const handle = await fixture.open({ key: partial });
    await writeAll(handle, bytes);
    await handle.close();
    expect(same(await fixture.read(partial), bytes)).toBe(true);
    expect(await fixture.view("two").find(partial)).toBeUndefined();
  });
});

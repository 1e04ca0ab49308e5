import { beforeEach, describe, expect, it } from "vitest";
import { fixture, KIB, pattern, same, storeDown, withFreshFixture, writeAll } from "./upload-fixture.ts";

withFreshFixture();

describe("a new file", () => {
  it("that fits one part is one put at CLOSE, and invisible before", async () => {
    const bytes = pattern(128 * KIB);
    const handle = await fixture.open({ attributes: { mtime: 1_700_000_000, mode: 0o100644 } });
    await writeAll(handle, bytes);
    expect(await fixture.read()).toBeUndefined();
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
    expect(fixture.takeRequests()).toEqual(["put"]);
    const info = await fixture.inner.head("a/file.bin");
    expect(info.metadata).toEqual({ mtime: "1700000000" });
    expect(fixture.published).toMatchObject([{ key: "a/file.bin", size: bytes.length, mtime: 1_700_000_000, etag: info.etag }]);
  });

  it("without a byte is published empty", async () => {
    await (await fixture.open({ key: "empty.jpg" })).close();
    expect(same(await fixture.read("empty.jpg"), Buffer.alloc(0))).toBe(true);
    expect((await fixture.inner.head("empty.jpg")).contentType).toBe("image/jpeg");
  });

  it("that is larger is created, sent in parts and completed", async () => {
    const bytes = pattern(1000 * KIB);
    const handle = await fixture.open();
    await writeAll(handle, bytes);
    expect(await fixture.read()).toBeUndefined();
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
    const requests = fixture.takeRequests();
    expect(requests.filter((name) => name === "uploadPart").length).toBe(8);
    expect(requests.filter((name) => name !== "uploadPart")).toEqual(["createUpload", "complete"]);
    expect(await fixture.unfinished()).toEqual([]);
  });

  it("keeps its tiny slices", async () => {
    const bytes = pattern(50_000);
    const handle = await fixture.open();
    await writeAll(handle, bytes, 0, 97);
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
  });

  it("takes a time set after the parts began by one copy onto itself", async () => {
    const handle = await fixture.open();
    await writeAll(handle, pattern(300 * KIB));
    await handle.setstat({ mtime: 1_600_000_000 });
    await handle.close();
    expect((await fixture.inner.head("a/file.bin")).metadata).toEqual({ mtime: "1600000000" });
    expect(fixture.takeRequests().at(-1)).toBe("copy");
    expect(fixture.published).toHaveLength(1);
  });

  it("that the store refuses is an error of CLOSE, and stays for a resume", async () => {
    fixture.watched.onRequest = (name) => {
      if (name === "put") throw storeDown();
    };
    const handle = await fixture.open();
    await writeAll(handle, pattern(100 * KIB));
    await expect(handle.close()).rejects.toMatchObject({
      code: "unavailable",
      message: "/a/file.bin: storage is not reachable; try again later",
    });
    await expect(handle.close()).rejects.toMatchObject({ code: "unavailable" });
    expect(await fixture.read()).toBeUndefined();
    expect(await fixture.view("two").find("a/file.bin")).toMatchObject({ state: "dropped", attributes: { size: 100 * KIB - 1 } });
  });
});

describe("an existing file", () => {
  const old = pattern(400 * KIB, 7);

  beforeEach(async () => {
    await fixture.inner.put("a/file.bin", [old]);
  });

  it("opened with TRUNC stays until CLOSE and is replaced then", async () => {
    const bytes = pattern(100 * KIB);
    const handle = await fixture.open();
    await writeAll(handle, bytes);
    expect(same(await fixture.read(), old)).toBe(true);
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
    expect(fixture.takeRequests()).toEqual(["put"]);
  });

  it("is replaced as scp does it, without TRUNC and by FSETSTAT size", async () => {
    const bytes = pattern(100 * KIB);
    const handle = await fixture.open({ flags: { write: true, create: true } });
    await writeAll(handle, bytes);
    await handle.setstat({ size: bytes.length });
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
    expect(fixture.takeRequests()).toEqual(["put"]);
  });

  it("keeps its tail if less is written without TRUNC and no size is set", async () => {
    const bytes = pattern(100 * KIB);
    const handle = await fixture.open({ flags: { write: true, create: true } });
    await writeAll(handle, bytes);
    await handle.close();
    expect(same(await fixture.read(), Buffer.concat([bytes, old.subarray(bytes.length)]))).toBe(true);
    expect(fixture.takeRequests()).toContain("copyPart");
  });

  it("is appended to without downloading it", async () => {
    const more = pattern(10 * KIB);
    const handle = await fixture.open({ flags: { write: true, append: true } });
    await handle.write(0, [more]);
    await handle.close();
    expect(same(await fixture.read(), Buffer.concat([old, more]))).toBe(true);
    expect(fixture.takeRequests()).toEqual(["head", "createUpload", "copyPart", "uploadPart", "complete"]);
  });

  it("is edited in place, cut and made longer", async () => {
    const expected = Buffer.concat([old.subarray(0, 300 * KIB), Buffer.alloc(10 * KIB)]);
    const edit = pattern(1000, 3);
    expected.set(edit, 5000);
    const handle = await fixture.open({ flags: { write: true, read: true } });
    await handle.write(5000, [edit]);
    await handle.setstat({ size: 300 * KIB });
    await handle.setstat({ size: 310 * KIB });
    const seen = await handle.read(4000, 3000);
    expect(same(Buffer.concat(seen), expected.subarray(4000, 7000))).toBe(true);
    await handle.close();
    expect(same(await fixture.read(), expected)).toBe(true);
  });

  it("changed by somebody else is not mixed with an append", async () => {
    const handle = await fixture.open({ flags: { write: true, append: true } });
    await handle.write(0, [pattern(10)]);
    await fixture.inner.put("a/file.bin", [pattern(50)]);
    await expect(handle.close()).rejects.toMatchObject({ code: "stale" });
    expect(same(await fixture.read(), pattern(50))).toBe(true);
  });
});

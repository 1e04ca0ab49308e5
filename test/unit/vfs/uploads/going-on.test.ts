import { describe, expect, it } from "vitest";
import type { FileHandle, InterruptedUpload } from "../../../../src/vfs/file-system.ts";
import { fixture, KIB, pattern, same, withFreshFixture, writeAll } from "./upload-fixture.ts";

const key = "a/file.bin";
const gone = new Error("connection lost");
const bytes = pattern(500 * KIB);
/** Three parts of 128 KiB and a tail. */
const received = 450 * KIB;

withFreshFixture();

async function drop(): Promise<InterruptedUpload> {
  const handle = await fixture.open({ key });
  expect(handle.uploadId).toBeUndefined();
  await writeAll(handle, bytes.subarray(0, received));
  const { uploadId } = handle;
  await handle.abort(gone);
  const found = await fixture.view("two").interrupted(key);
  if (!found) throw new Error("nothing was kept");
  expect(found).toEqual({ id: uploadId, length: received, keepsAtLeast: 384 * KIB });
  return found;
}

function goOn(id: string, length: number): Promise<FileHandle> {
  return fixture.open({ key, flags: { write: true, create: true, resume: { id, length } } }, fixture.view("two"));
}

describe("an upload that its owner goes on with by name", () => {
  it.each([384 * KIB, 400 * KIB, received])("is cut to %i bytes and continued beside a published version", async (length) => {
    const old = await fixture.open({ key });
    await old.write(0, [pattern(10, 2)]);
    await old.close();
    const { id } = await drop();
    const handle = await goOn(id, length);
    await writeAll(handle, bytes.subarray(length), length);
    expect(handle.uploadId).toBe(id);
    expect((await fixture.read())?.length).toBe(10);
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
    expect(await fixture.view("two").interrupted(key)).toBeUndefined();
  });

  it("keeps its name when it is dropped again, also after a restart", async () => {
    const { id } = await drop();
    const handle = await goOn(id, 400 * KIB);
    await writeAll(handle, bytes.subarray(400 * KIB, 480 * KIB), 400 * KIB);
    await handle.abort(gone);
    await fixture.restart();
    expect(await fixture.view("three").interrupted(key)).toEqual({ id, length: 480 * KIB, keepsAtLeast: 384 * KIB });
  });

  it("is cut when nothing more comes", async () => {
    const { id } = await drop();
    const handle = await goOn(id, 400 * KIB);
    await handle.close();
    expect(same(await fixture.read(), bytes.subarray(0, 400 * KIB))).toBe(true);
  });

  it("is refused when it is another one, or not long enough, or cannot be cut there", async () => {
    const { id } = await drop();
    const last = bytes.subarray(499 * KIB);
    for (const [name, length] of [
      ["another", 400 * KIB],
      [id, received + 1],
      [id, 100 * KIB],
    ] as const) {
      const handle = await goOn(name, length);
      await expect(handle.write(length, [last])).rejects.toMatchObject({ code: "stale" });
      await handle.abort(gone);
      await expect(fixture.view("two").interrupted(key)).resolves.toMatchObject({ id, length: received });
    }
  });

  it("is taken from a session that still has it open", async () => {
    const handle = await fixture.open({ key });
    await writeAll(handle, bytes.subarray(0, received));
    const found = await fixture.view("two").interrupted(key);
    expect(found).toMatchObject({ id: handle.uploadId, length: received });
    const next = await goOn(handle.uploadId ?? "", 400 * KIB);
    await writeAll(next, bytes.subarray(400 * KIB), 400 * KIB);
    await expect(handle.write(received, [bytes.subarray(received)])).rejects.toMatchObject({ code: "stale" });
    await next.close();
    await handle.abort(gone);
    expect(same(await fixture.read(), bytes)).toBe(true);
  });

  it("is nobody else's", async () => {
    await drop();
    expect(await fixture.view("x", "mallory").interrupted(key)).toBeUndefined();
  });
});

it("a temporary name that is meant is published under it", async () => {
  const handle = await fixture.open({ key: "a/x.filepart", flags: { write: true, create: true, truncate: true, finalName: true } });
  await handle.write(0, [pattern(10)]);
  await handle.close();
  expect(same(await fixture.read("a/x.filepart"), pattern(10))).toBe(true);
});

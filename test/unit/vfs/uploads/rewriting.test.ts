import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { StateDirectory } from "../../../../src/state/state-directory.ts";
import { TailStore } from "../../../../src/state/tail-store.ts";
import type { FileHandle } from "../../../../src/vfs/file-system.ts";
import { Fixture, KIB, MIB, pattern, same, writeAll } from "./upload-fixture.ts";

const flags = { write: true, create: true, truncate: true };
const size = 12 * MIB;

let fixture: Fixture;

afterEach(async () => {
  await fixture.close();
  expect(fixture.budget.used).toBe(0);
});

/** Opens a file, sends all of it, and says what it holds. */
async function sent(options: { readonly sequential?: boolean } = {}): Promise<{ handle: FileHandle; bytes: Buffer }> {
  const bytes = pattern(size);
  const handle = await fixture.open({ flags: { ...flags, ...options } });
  await writeAll(handle, bytes);
  return { handle, bytes };
}

describe("bytes that have left", () => {
  beforeEach(async () => {
    fixture = await Fixture.create();
  });

  it("are written over anywhere, and only their parts are sent again", async () => {
    const { handle, bytes } = await sent();
    fixture.takeRequests();
    for (const at of [10 * MIB - 3, 9 * MIB, 5]) {
      const again = pattern(50 * KIB, at);
      await handle.write(at, [again]);
      again.copy(bytes, at);
    }
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
    // Two parts at the seam, two others, and the last one, which was still here.
    expect(fixture.takeRequests().filter((name) => name === "uploadPart").length).toBe(5);
  });

  it("of a client that is known to write in order are kept at the head only", async () => {
    const { handle, bytes } = await sent({ sequential: true });
    const again = pattern(1000, 9);
    await handle.write(100, [again]);
    again.copy(bytes, 100);
    await expect(handle.write(9 * MIB, [again])).rejects.toMatchObject({ code: "unsupported", message: expect.stringContaining("again") });
    await expect(handle.close()).rejects.toMatchObject({ code: "unsupported" });
    expect(await fixture.read()).toBeUndefined();
  });

  it("that the file system copied are not lost to a later jump", async () => {
    const old = pattern(3 * MIB, 3);
    await fixture.inner.put("a/source.bin", [old]);
    const handle = await fixture.open({ flags });
    const { etag } = await fixture.inner.head("a/source.bin");
    const source = { publishedSource: { store: fixture.registry.volume.store, key: "a/source.bin", etag, size: old.length } };
    expect(await handle.copyFrom(source as unknown as FileHandle, 0, 0, 0)).toBe(old.length);
    await handle.write(20 * MIB, [Buffer.from("far")]);
    await handle.close();
    expect(same((await fixture.read())?.subarray(0, old.length), old)).toBe(true);
  });
});

describe("with little room on disk", () => {
  it("parts are sent on, and only going back to what has no copy is refused, by a text that says so", async () => {
    fixture = await Fixture.create();
    const directory = await StateDirectory.open(`${fixture.directory}/small`);
    await fixture.close();
    fixture = await Fixture.create({ tails: new TailStore(directory, { limit: 2 * MIB }) });
    const { handle, bytes } = await sent();
    const again = pattern(1000, 9);
    await handle.write(100, [again]);
    again.copy(bytes, 100);
    const refusal = expect(handle.write(9 * MIB, [again])).rejects;
    await refusal.toMatchObject({ code: "no-space", message: expect.stringContaining("no room left") });
    await expect(handle.close()).rejects.toMatchObject({ code: "no-space" });
    const whole = await sent();
    await whole.handle.close();
    expect(same(await fixture.read(), whole.bytes)).toBe(true);
    await directory.close();
  });
});

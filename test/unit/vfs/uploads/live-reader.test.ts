import fc from "../../../support/fast-check.ts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FileHandle, OpenFlags } from "../../../../src/vfs/file-system.ts";
import type { StoreKind } from "../whole-fixture.ts";
import { WholeFixture } from "../whole-fixture.ts";
import { KIB, pattern, same, writeAll } from "./upload-fixture.ts";

const file = "/attachments/originals/a.bin";
const newFile: OpenFlags = { write: true, create: true, truncate: true };

async function readAll(handle: FileHandle, step = 96 * KIB): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for (let offset = 0; ; ) {
    const got = await handle.read(offset, step);
    if (got.length === 0) return Buffer.concat(chunks);
    for (const chunk of got) offset += chunk.length;
    chunks.push(...got);
  }
}

describe.each(["memory", "local"] satisfies StoreKind[])("reading a file that is being written, on a %s store", (kind) => {
  let fixture: WholeFixture;
  beforeEach(async () => {
    fixture = await WholeFixture.create(kind);
  });
  afterEach(() => fixture.close());

  it("shows the writing session what was received so far, and lets it grow", async () => {
    const writer = await fixture.vfs.open(file, newFile);
    const reader = await fixture.vfs.open(file, { read: true });
    expect(await reader.read(0, 10)).toEqual([]);
    const bytes = pattern(700 * KIB);
    await writeAll(writer, bytes.subarray(0, 400 * KIB));
    expect(same(await readAll(reader), bytes.subarray(0, 400 * KIB))).toBe(true);
    expect((await reader.stat()).size).toBe(400 * KIB);
    await writeAll(writer, bytes.subarray(400 * KIB), 400 * KIB);
    expect(same(Buffer.concat(await reader.read(600 * KIB, 200 * KIB)), bytes.subarray(600 * KIB))).toBe(true);
    expect(await fixture.keys()).toEqual([]);
    await writer.close();
    expect(same(await readAll(reader), bytes)).toBe(true);
    await reader.close();
  });

  it("shows another session of the owner only what the writer has made safe", async () => {
    const other = fixture.login("second");
    const writer = await fixture.vfs.open(file, newFile);
    await writer.write(0, [pattern(300 * KIB)]);
    await expect(other.open(file, { read: true })).rejects.toMatchObject({ code: "unavailable" });
    await writer.sync();
    await writer.write(300 * KIB, [pattern(10 * KIB, 2)]);
    const reader = await other.open(file, { read: true });
    expect(same(await readAll(reader), pattern(300 * KIB))).toBe(true);
    await writer.sync();
    expect((await reader.stat()).size).toBe(310 * KIB);
    await writer.close();
    expect(same(await readAll(reader), Buffer.concat([pattern(300 * KIB), pattern(10 * KIB, 2)]))).toBe(true);
  });

  it("shows what was written before it was asked, answered or not", async () => {
    const writer = await fixture.vfs.open(file, newFile);
    const reader = await fixture.vfs.open(file, { read: true });
    for (let round = 1; round <= 20; round += 1) {
      const written = writer.write((round - 1) * 40 * KIB, [pattern(40 * KIB, round)]);
      const [{ size }, { size: open }, got] = await Promise.all([
        fixture.vfs.stat(file),
        reader.stat(),
        reader.read((round - 1) * 40 * KIB, 50 * KIB),
      ]);
      expect({ size, open }).toEqual({ size: round * 40 * KIB, open: round * 40 * KIB });
      expect(same(Buffer.concat(got), pattern(40 * KIB, round))).toBe(true);
      await written;
    }
    await writer.close();
  });

  it("is listed with the size that stat shows, decided or not, and the published one first", async () => {
    const folder = "/attachments/originals";
    const sizes = async (vfs = fixture.vfs): Promise<Record<string, number>> => {
      const listing = await vfs.opendir(folder);
      const entries = (await listing.next()).map(({ name, attributes }) => [name, attributes.size] as const);
      await listing.close();
      for (const [name, size] of entries) expect((await vfs.stat(`${folder}/${name}`)).size, name).toBe(size);
      return Object.fromEntries(entries);
    };
    await fixture.write(`${folder}/published`, "published");
    const dropped = await fixture.vfs.open(`${folder}/dropped`, newFile);
    await dropped.write(0, [Buffer.from("dropped")]);
    await dropped.abort(new Error("gone"));
    const open = [
      await fixture.vfs.open(`${folder}/published`, { write: true }),
      await fixture.vfs.open(`${folder}/dropped`, { write: true }),
      await fixture.vfs.open(`${folder}/created`, { write: true, create: true }),
      await fixture.vfs.open(file, newFile),
    ];
    const expected = { "a.bin": 0, created: 0, dropped: 6, published: 9 };
    expect(await sizes()).toEqual(expected);
    expect(await sizes(fixture.login("second"))).toEqual(expected);
    for (const handle of open) await handle.abort(new Error("over"));
  });

  it("goes on with the version that came of it and never with another one", async () => {
    const writer = await fixture.vfs.open(file, newFile);
    await writer.write(0, [Buffer.from("first")]);
    const reader = await fixture.vfs.open(file, { read: true });
    expect(Buffer.concat(await reader.read(0, 2)).toString()).toBe("fi");
    await writer.close();
    await fixture.write(file, "other");
    await expect(reader.read(2, 3)).rejects.toMatchObject({ code: "stale" });
    expect((await fixture.read(file)).toString()).toBe("other");
  });

  it("ends with `stale` where the upload was given up", async () => {
    const writer = await fixture.vfs.open(file, newFile);
    await writer.write(0, [Buffer.from("first")]);
    const reader = await fixture.vfs.open(file, { read: true });
    await writer.abort(new Error("gone"));
    await expect(reader.read(0, 5)).rejects.toMatchObject({ code: "stale" });
    await expect(reader.stat()).rejects.toMatchObject({ code: "stale" });
    await reader.close();
    await expect(reader.read(0, 5)).rejects.toMatchObject({ code: "io" });
  });

  it("reads the published version where there is one", async () => {
    await fixture.write(file, "old");
    const writer = await fixture.vfs.open(file, newFile);
    await writer.write(0, [Buffer.from("newer")]);
    expect((await fixture.read(file)).toString()).toBe("old");
    await writer.close();
    expect((await fixture.read(file)).toString()).toBe("newer");
  });

  it("copies from it onto its own writer without waiting for itself", async () => {
    const writer = await fixture.vfs.open(file, newFile);
    await writer.write(0, [Buffer.from("abc")]);
    const reader = await fixture.vfs.open(file, { read: true });
    expect(await writer.copyFrom(reader, 0, 3, 3)).toBe(3);
    await writer.close();
    expect((await fixture.read(file)).toString()).toBe("abcabc");
  });

  it("does not wait for the end of a writer that waits for the copy", async () => {
    const [one, other] = [`${file}.1`, `${file}.2`];
    const writers = [await fixture.vfs.open(one, newFile), await fixture.vfs.open(other, newFile)] as const;
    for (const writer of writers) await writer.write(0, [Buffer.from("abc")]);
    const readers = [await fixture.vfs.open(one, { read: true }), await fixture.vfs.open(other, { read: true })] as const;
    const copies = [
      writers[0].copyFrom(readers[0], 0, 3, 3), // onto itself
      writers[0].copyFrom(readers[1], 0, 3, 3), // each onto the other
      writers[1].copyFrom(readers[0], 0, 3, 3),
    ];
    const settled = Promise.allSettled(copies);
    await Promise.all(writers.map((writer) => writer.abort(new Error("gone"))));
    for (const outcome of await settled) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "stale" });
    }
    for (const reader of readers) await reader.close();
  });

  it("sees what the writer sees after any calls", async () => {
    const call = fc.record({
      kind: fc.constantFrom("next", "next", "next", "write", "size", "sync", "relieve"),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      length: fc.integer({ min: 1, max: 150 * KIB }),
      seed: fc.integer({ min: 1, max: 99 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(call, { maxLength: 14 }), fc.boolean(), async (calls, read) => {
        await fixture.vfs.remove(file).catch(() => undefined);
        const writer = await fixture.vfs.open(file, { ...newFile, read });
        const reader = await fixture.vfs.open(file, { read: true });
        let model = Buffer.alloc(0);
        for (const { kind, at, length, seed } of calls) {
          const offset = kind === "next" ? model.length : Math.floor(at * model.length);
          if (kind === "sync") await writer.sync();
          else if (kind === "relieve") await fixture.registry.live("alice", "alice/originals/a.bin")[0]?.handle.relieve(-1);
          else if (kind === "size" && offset > 0) {
            await writer.setstat({ size: offset });
            model = model.subarray(0, offset);
          } else if (kind !== "size") {
            const data = pattern(length, seed);
            const beside = reader.read(Math.max(0, offset - 10), 20);
            await writer.write(offset, [data]);
            await beside;
            model = Buffer.concat([model.subarray(0, offset), data, model.subarray(Math.min(model.length, offset + length))]);
          }
          expect(same(await readAll(reader), model)).toBe(true);
        }
        await writer.close();
        expect(same(await readAll(reader), model)).toBe(true);
        await reader.close();
      }),
      { numRuns: kind === "memory" ? 60 : 25 },
    );
  });
});

it("says that a file cannot be read of which parts are at the store only", async () => {
  const fixture = await WholeFixture.create("memory");
  try {
    // Beyond the first 8 MiB nothing is copied for a client that writes in order.
    const writer = await fixture.vfs.open(file, { ...newFile, sequential: true });
    const bytes = pattern(12 * 1024 * KIB);
    await writeAll(writer, bytes, 0, 256 * KIB);
    const reader = await fixture.vfs.open(file, { read: true });
    expect(same(Buffer.concat(await reader.read(0, 64 * KIB)), bytes.subarray(0, 64 * KIB))).toBe(true);
    const beyond = (): Promise<string> => reader.read(9 * 1024 * KIB, 64 * KIB).then(String, (error: { code: string }) => error.code);
    await expect.poll(beyond).toBe("unavailable");
    await writer.close();
    expect(same(await readAll(reader), bytes)).toBe(true);
  } finally {
    await fixture.close();
  }
});

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { PartBody } from "../../../../src/objectstore/objectstore.ts";
import { Fixture, KIB, MIB, pattern, same, storeDown, writeAll } from "./upload-fixture.ts";

/** S3 in small: 20 parts, the largest 512 times the first, an object of 16 MiB; a part of 1 MiB would take most of the memory. */
const limits = { minPartSize: 8 * KIB, preferredPartSize: 8 * KIB, maxParts: 20, maxPartSize: 8 * MIB, maxObjectSize: 16 * MIB };
const bytes = pattern(16 * MIB);

let fixture: Fixture;
let mostHeld: number;

beforeEach(async () => {
  fixture = await Fixture.create({ limits, budgetBytes: 2 * MIB });
  mostHeld = 0;
  fixture.watched.onRequest = () => {
    mostHeld = Math.max(mostHeld, fixture.budget.used);
  };
});

afterEach(async () => {
  await fixture.close();
  expect(fixture.budget.used).toBe(0);
});

describe("parts that are larger than memory", () => {
  it("reach the largest object that the store can hold, within the budget", async () => {
    const handle = await fixture.open();
    await writeAll(handle, bytes);
    await handle.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
    expect(mostHeld).toBeLessThanOrEqual(MIB);
    expect(fixture.takeRequests().filter((name) => name === "uploadPart").length).toBeLessThanOrEqual(limits.maxParts);
  });

  it("are written over, resumed and cut like others", async () => {
    const handle = await fixture.open();
    await writeAll(handle, bytes.subarray(0, 10 * MIB));
    await handle.write(7 * MIB, [bytes.subarray(0, 100 * KIB)]);
    await handle.abort(new Error("connection lost"));
    const length = (await fixture.view("two").find("a/file.bin"))?.attributes.size ?? 0;
    expect(length).toBe(10 * MIB);
    const again = await fixture.open({ flags: { write: true } }, fixture.view("two"));
    await writeAll(again, bytes.subarray(length), length);
    await again.setstat({ size: 15 * MIB });
    await again.close();
    const expected = Buffer.from(bytes.subarray(0, 15 * MIB));
    bytes.copy(expected, 7 * MIB, 0, 100 * KIB);
    expect(same(await fixture.read(), expected)).toBe(true);
  });

  it("that fail for good are kept on disk and sent by the resume", async () => {
    const handle = await fixture.open();
    await writeAll(handle, bytes.subarray(0, 8 * MIB));
    fixture.watched.onRequest = () => {
      throw storeDown();
    };
    await expect(writeAll(handle, bytes.subarray(8 * MIB), 8 * MIB).then(() => handle.close())).rejects.toThrow();
    await handle.abort(new Error("gone"));
    fixture.watched.onRequest = () => undefined;
    const length = (await fixture.view("two").find("a/file.bin"))?.attributes.size ?? 0;
    expect(length).toBeGreaterThanOrEqual(4 * MIB);
    const again = await fixture.open({ flags: { write: true } }, fixture.view("two"));
    await writeAll(again, bytes.subarray(length), length);
    await again.close();
    expect(same(await fixture.read(), bytes)).toBe(true);
  });

  it("are refused beyond the largest object", async () => {
    const handle = await fixture.open();
    await writeAll(handle, bytes);
    await expect(handle.write(bytes.length, [pattern(1)])).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(handle.close()).rejects.toThrow();
  });
});

it("a large part is lent as a stream, a small one as chunks", async () => {
  const kinds: string[] = [];
  const { store } = fixture.watched;
  const createUpload = store.createUpload.bind(store);
  Object.assign(store, {
    createUpload: async (...args: Parameters<typeof createUpload>) => {
      const upload = await createUpload(...args);
      const uploadPart = upload.uploadPart.bind(upload);
      return Object.assign(upload, {
        uploadPart: (...part: Parameters<typeof uploadPart>) => {
          const body: PartBody = part[1];
          kinds.push("read" in body ? "stream" : "chunks");
          return uploadPart(...part);
        },
      });
    },
  });
  const handle = await fixture.open();
  await writeAll(handle, bytes.subarray(0, 9 * MIB));
  await handle.close();
  expect(kinds[0]).toBe("chunks");
  expect(kinds).toContain("stream");
});

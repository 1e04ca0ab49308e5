import fc from "../../../support/fast-check.ts";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { FsError } from "../../../../src/errors.ts";
import type { FileHandle, OpenFlags } from "../../../../src/vfs/file-system.ts";
import { Fixture, hastyClock, KIB, MIB, pattern, same } from "./upload-fixture.ts";

/** One call on the handle; offsets and sizes are fractions of what the file has, so that they hit its edges. */
type Call =
  | { readonly kind: "write"; readonly at: number; readonly length: number; readonly seed: number }
  | { readonly kind: "next"; readonly length: number; readonly seed: number }
  | { readonly kind: "size"; readonly at: number }
  | { readonly kind: "read"; readonly at: number; readonly length: number }
  | { readonly kind: "sync" | "relieve" | "stat" };

const length = fc.oneof(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 1, max: 150 * KIB }));
const at = fc.oneof(fc.constant(0), fc.constant(1), fc.double({ min: 0, max: 1.2, noNaN: true }));
const seed = fc.integer({ min: 1, max: 1000 });
const call: fc.Arbitrary<Call> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("next" as const), length, seed }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("write" as const), at, length, seed }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("size" as const), at }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("read" as const), at, length }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("sync" as const, "relieve" as const, "stat" as const) }) },
);

const flagSets: readonly OpenFlags[] = [
  { write: true, create: true, truncate: true },
  { write: true, create: true, truncate: true, read: true },
  { write: true, create: true },
  { write: true, read: true },
  { write: true },
  { write: true, create: true, append: true },
];

/** What POSIX makes of the same calls. */
class Model {
  bytes: Buffer;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  write(offset: number, data: Uint8Array): void {
    if (offset + data.length > this.bytes.length) this.resize(offset + data.length);
    this.bytes.set(data, offset);
  }

  resize(size: number): void {
    const resized = Buffer.alloc(size);
    this.bytes.copy(resized);
    this.bytes = resized;
  }
}

async function apply(handle: FileHandle, model: Model, flags: OpenFlags, step: Call): Promise<void> {
  const size = model.bytes.length;
  if (step.kind === "write" || step.kind === "next") {
    const offset = flags.append || step.kind === "next" ? size : Math.floor(step.at * size);
    const data = pattern(step.length, step.seed);
    await handle.write(offset, [data.subarray(0, step.length >> 1), data.subarray(step.length >> 1)]);
    model.write(offset, data);
  } else if (step.kind === "size") {
    await handle.setstat({ size: Math.floor(step.at * size) });
    model.resize(Math.floor(step.at * size));
  } else if (step.kind === "read") {
    if (!flags.read) return;
    const offset = Math.floor(step.at * size);
    const found = Buffer.concat(await handle.read(offset, step.length));
    expect(same(found, model.bytes.subarray(offset, offset + step.length))).toBe(true);
  } else if (step.kind === "sync") {
    await handle.sync();
  } else if (step.kind === "stat") {
    expect((await handle.stat()).size).toBe(size);
  } else {
    await (handle as unknown as { relieve(idleMs: number): Promise<void> }).relieve(-1);
  }
}

let fixture: Fixture;

beforeAll(async () => {
  fixture = await Fixture.create({ clock: hastyClock, budgetBytes: 4 * MIB });
});

afterAll(async () => {
  await fixture.close();
});

describe("random calls on one handle", () => {
  it("publish what POSIX would have, or fail and leave what was published", async () => {
    let serial = 0;
    let refused = 0;
    const runs = Number(process.env.UPLOAD_RUNS ?? 300);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...flagSets),
        fc.constantFrom(undefined, 0, 1000, 64 * KIB, 300 * KIB),
        fc.array(call, { maxLength: 14 }),
        async (flags, oldSize, calls) => {
          const key = `random/${serial++}`;
          const old = oldSize === undefined ? undefined : pattern(oldSize, 77);
          if (old) await fixture.inner.put(key, [old]);
          if (!old && !flags.create) return;
          const model = new Model(flags.truncate || !old ? Buffer.alloc(0) : old);
          const handle = await fixture.open({ key, flags });
          let failed = false;
          for (const step of calls) {
            try {
              await apply(handle, model, flags, step);
            } catch (error) {
              if (!(error instanceof FsError)) throw error;
              expect(error.code).toMatch(/unsupported|invalid-argument/);
              failed = true;
              break;
            }
          }
          if (failed) {
            refused += 1;
            await expect(handle.close()).rejects.toBeInstanceOf(FsError);
          } else {
            await handle.close();
          }
          const expected = failed ? old : model.bytes;
          const found = await fixture.read(key);
          expect(expected === undefined ? found === undefined : same(found, expected)).toBe(true);
          await fixture.view().discard(key);
        },
      ),
      { numRuns: runs },
    );
    expect(refused).toBe(0);
    expect(await fixture.unfinished()).toEqual([]);
    expect(fixture.budget.used).toBe(0);
  });
});

it("keeps writes that wait for those before them when a read finds no room on the disk", async () => {
  const fixture = await Fixture.create();
  try {
    const handle = await fixture.open({ flags: { write: true, create: true, truncate: true, read: true } });
    await handle.write(10, [Buffer.from("second ten")]);
    const create = vi.spyOn(fixture.registry.volume.tails, "create").mockRejectedValueOnce(new Error("no room"));
    await expect(handle.read(0, 10)).rejects.toMatchObject({ code: "io" });
    expect(create).toHaveBeenCalled();
    await handle.write(0, [Buffer.from("first ten ")]);
    await handle.close();
    expect((await fixture.read())?.toString()).toBe("first ten second ten");
  } finally {
    await fixture.close();
  }
});

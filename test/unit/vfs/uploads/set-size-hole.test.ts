import { describe, expect, it } from "vitest";
import { Fixture, MIB } from "./upload-fixture.ts";

describe("a size set before anything was written", () => {
  it("makes no zeros beyond 64 MiB, however the handle goes on", async () => {
    const fixture = await Fixture.create();
    try {
      for (const flags of [
        { write: true, create: true },
        { write: true, create: true, truncate: true },
        { write: true, create: true, append: true },
        { read: true, write: true, create: true },
      ]) {
        const handle = await fixture.open({ flags });
        await handle.setstat({ size: 3_573_547_009 });
        if (flags.read) await expect(handle.read(0, 10)).rejects.toThrow("hole");
        await expect(handle.close()).rejects.toThrow(/hole|announced/);
        expect(await fixture.read()).toBeUndefined();
      }
      expect(fixture.budget.used).toBe(0);
    } finally {
      await fixture.close();
    }
  });

  it("makes a file of zeros up to that", async () => {
    const fixture = await Fixture.create();
    try {
      const handle = await fixture.open();
      await handle.setstat({ size: 2 * MIB });
      await handle.close();
      expect((await fixture.read())?.equals(Buffer.alloc(2 * MIB))).toBe(true);
    } finally {
      await fixture.close();
    }
  });
});

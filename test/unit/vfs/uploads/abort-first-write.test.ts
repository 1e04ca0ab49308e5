import { expect, it } from "vitest";
import { FsError } from "../../../../src/errors.ts";
import { Fixture } from "./upload-fixture.ts";

it("a handle aborted during its first write ends, alone and beside another of the same name", async () => {
  const fixture = await Fixture.create();
  try {
    const flags = { write: true, create: true, append: true };
    for (const count of [1, 2]) {
      const handles = await Promise.all(Array.from({ length: count }, () => fixture.open({ flags })));
      const writes = handles.map((handle) => handle.write(1, [Buffer.from("x")]).catch(() => undefined));
      const aborts = handles.map((handle) => handle.abort(new FsError("io", "the connection is gone")));
      await Promise.all([...writes, ...aborts]);
    }
    expect(fixture.budget.used).toBe(0);
  } finally {
    await fixture.close();
  }
});

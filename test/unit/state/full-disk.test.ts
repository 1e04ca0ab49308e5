import { rmSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openMetadataCache } from "../../../src/state/metadata-cache.ts";
import { SlowWrites } from "../../../src/state/slow-writes.ts";
import { StateDirectory } from "../../../src/state/state-directory.ts";
import { fillDisk, hasSmallDisks, type SmallDisk, smallDisk } from "../../support/scarce.ts";

describe.skipIf(!hasSmallDisks())("a full disk below the state directory", () => {
  let disk: SmallDisk;
  let state: StateDirectory;

  beforeEach(async () => {
    const made = smallDisk(24);
    if (!made) throw new Error("no small disk");
    disk = made;
    state = await StateDirectory.open(path.join(disk.value, "state"));
  });

  afterEach(async () => {
    await state.close();
    disk.remove();
  });

  it("refuses writes in words, thousands of them, and takes them again once there is room", async () => {
    const table = state.table<string>("words");
    await table.put("old", "stays");
    const free = fillDisk(disk.value);
    const refusals = await Promise.allSettled(Array.from({ length: 5_000 }, (_, n) => table.put(`key ${n}`, "value".repeat(100))));
    expect(new Set(refusals.map((one) => (one.status === "rejected" ? String(one.reason) : "written")))).toEqual(
      new Set([expect.stringMatching(/no space left on its disk \(0 bytes\)/)]),
    );
    expect(table.get("old")).toBe("stays");
    free();
    await table.put("new", "written");
    expect([...table.range({})].map(({ key }) => key)).toEqual(["new", "old"]);
  });

  it("makes up for removals it refused, but for rows that are written again", async () => {
    const table = state.table<string>("words");
    for (const key of ["gone", "again"]) await table.put(key, "old");
    const free = fillDisk(disk.value);
    for (const key of ["gone", "again"]) await expect(table.remove(key)).rejects.toThrow("no space left");
    free();
    await table.put("again", "new");
    await expect.poll(() => [...table.range({})], { timeout: 10_000 }).toEqual([{ key: "again", value: "new" }]);
  });

  it("does not leave others waiting for a change that was over while it was full", async () => {
    const errors: unknown[] = [];
    const writes = new SlowWrites(state, "volume", (error) => errors.push(error));
    const rows = state.table("slow-writes");
    const done = writes.tell(["key"]);
    await expect.poll(() => [...rows.range({})].length).toBe(1);
    const free = fillDisk(disk.value);
    done();
    await expect.poll(() => errors.length).toBe(1);
    free();
    await expect.poll(() => [...rows.range({})].length, { timeout: 10_000 }).toBe(0);
  });

  it("costs the metadata cache what it learns, and nothing else", async () => {
    const directory = state.folder("metadata");
    const errors: unknown[] = [];
    const cache = openMetadataCache({ directory, onError: (error) => errors.push(error) });
    cache.set("volume", "before", "1", { mtime: 1, mode: 0o600 });
    await new Promise((resolve) => setTimeout(resolve, 200)); // written behind, and nothing tells of it
    const free = fillDisk(disk.value);
    for (let n = 0; n < 5_000; n++) cache.set("volume", `key ${n}`, "1", { mtime: n, mode: undefined });
    await expect.poll(() => cache.get("volume", "key 4999", "1")).toBeUndefined();
    expect(String(errors[0])).toMatch(/no space left/);
    expect(cache.get("volume", "before", "1")).toEqual({ mtime: 1, mode: 0o600 });
    free();
    cache.set("volume", "after", "1", { mtime: 2, mode: 0o600 });
    await cache.close();
    const again = openMetadataCache({ directory, onError: (error) => errors.push(error) });
    expect(again.get("volume", "after", "1")).toEqual({ mtime: 2, mode: 0o600 });
    await again.close();
    rmSync(directory, { recursive: true });
  });
});

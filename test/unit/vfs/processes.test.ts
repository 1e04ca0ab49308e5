/** Two processes of a node, each with caches of its own, on one store: what one writes the other sees at once. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { openMetadataCache } from "../../../src/state/metadata-cache.ts";
import { type Fixture, makeFixture } from "./fixture.ts";

const directory = mkdtempSync(join(tmpdir(), "processes-"));
const caches = [0, 1].map((number) =>
  openMetadataCache({
    directory,
    place: { number, all: [0, 1] },
    onError: (error) => {
      throw error;
    },
  }),
);

afterAll(async () => {
  for (const cache of caches) await cache.close();
  rmSync(directory, { recursive: true, force: true });
});

function makeTwo(): [Fixture, Fixture] {
  const [one, two] = caches;
  if (!one || !two) throw new Error("two caches were opened");
  const first = makeFixture({ volume: { metadata: one } });
  return [first, makeFixture({ volume: { metadata: two, store: first.store } })];
}

it("shows what the other process has just written, renamed and removed", async () => {
  const [one, two] = makeTwo();
  await one.write("/attachments/originals/a", "1");
  expect(await two.names("/attachments/originals")).toEqual(["a"]);
  await one.vfs.rename("/attachments/originals/a", "/attachments/originals/b", { replace: false });
  await expect(two.vfs.stat("/attachments/originals/a")).rejects.toMatchObject({ code: "not-found" });
  expect(await two.read("/attachments/originals/b")).toBe("1");
  await one.vfs.mkdir("/attachments/d");
  expect(await two.vfs.stat("/attachments/d")).toMatchObject({ type: "directory" });
  await one.vfs.remove("/attachments/originals/b");
  await expect(two.vfs.stat("/attachments/originals/b")).rejects.toMatchObject({ code: "not-found" });
});

it("keeps its own knowledge through its own writes, and shares times", async () => {
  const [one, two] = makeTwo();
  await one.write("/attachments/originals/c", "1", 1_500_000_000);
  one.store.take();
  expect(await one.vfs.stat("/attachments/originals/c")).toMatchObject({ mtime: 1_500_000_000 });
  expect(one.store.take()).toEqual({});
  expect(await two.names("/attachments/originals")).toEqual(["c"]);
  expect(await two.vfs.stat("/attachments/originals/c")).toMatchObject({ mtime: 1_500_000_000 });
  expect(one.store.take()).toEqual({ list: 1 });
});

it("forgets what was seen of a volume that is not used any more", async () => {
  const { vfs, put, volume, clock } = makeFixture();
  await put("alice/f", "x");
  await vfs.stat("/attachments/f");
  expect(volume.tree.size).toBe(1);
  clock.advance(100_000);
  await vfs.stat("/attachments");
  clock.advance(100_000);
  expect(volume.tree.size).toBe(1);
  clock.advance(120_000);
  expect(volume.tree.size).toBe(0);
});

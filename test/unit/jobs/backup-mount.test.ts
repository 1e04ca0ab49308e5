/** The user's view of the archives, on a store that fails and changes. */
import { expect, describe, it } from "vitest";
import { ByteBudget } from "../../../src/byte-budget.ts";
import { FsError, StoreError } from "../../../src/errors.ts";
import { BackupFiles } from "../../../src/jobs/backup-mount.ts";
import type { ReadOnlyMount } from "../../../src/vfs/mount-table.ts";
import { BackupFixture, QUIET } from "./backup-fixture.ts";

const DAY_MS = 86_400_000;
const PLAIN = "alice-assets.tar.xz";

async function setUp() {
  const fixture = new BackupFixture();
  await fixture.put("originals/a", "a".repeat(100_000));
  let nowMs = 0;
  const files = new BackupFiles({
    user: "alice",
    destination: fixture.destination,
    budget: new ByteBudget(64 * 1024 * 1024),
    log: QUIET,
    now: () => (nowMs += 10_000),
  });
  const mount = (name: string): ReadOnlyMount => {
    const found = files.mounts().find((one) => one.name === name);
    if (!found) throw new Error(name);
    return found;
  };
  return { fixture, files, mount };
}

async function readAll(mount: ReadOnlyMount, names: readonly string[] = []): Promise<Buffer> {
  const handle = await mount.open(names, "/x");
  const { size } = await handle.stat();
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < size; at += 10_000) chunks.push(...(await handle.read(at, 10_000)));
  await handle.close();
  return Buffer.concat(chunks);
}

describe("archives in the home", () => {
  it("are shown once there are some, with checksum and manifest", async () => {
    const { fixture, mount } = await setUp();
    for (const name of [PLAIN, "backups"]) expect(await mount(name).stat([])).toBeUndefined();
    await fixture.run();
    const bytes = await fixture.archive();
    expect(await mount(PLAIN).stat([])).toMatchObject({ type: "file", size: bytes.length, mode: 0o444, mtime: fixture.nowMs / 1000 });
    expect((await readAll(mount(PLAIN))).equals(bytes)).toBe(true);
    const [archive] = (await fixture.catalog()).archives;
    expect((await readAll(mount(`${PLAIN}.sha256`))).toString()).toBe(`${archive?.volumes[0]?.sha256}  ${PLAIN}\n`);
    expect((await readAll(mount(`${PLAIN}.manifest.jsonl`))).toString()).toContain('"path":"alice/originals/a"');
    expect(await mount("backups").stat([])).toBeUndefined();
    fixture.nowMs += DAY_MS;
    await fixture.run();
    expect((await mount("backups").list([])).map(({ name }) => name)).toEqual(
      ["", ".manifest.jsonl", ".sha256"].map((end) => `alice-assets-20261122.tar.xz${end}`),
    );
    expect((await readAll(mount("backups"), ["alice-assets-20261122.tar.xz"])).length).toBe(bytes.length);
    expect(await mount("backups").stat(["alice-assets-20261122.tar.xz", "x"])).toBeUndefined();
    await expect(mount("backups").open(["../bob/catalog.json"], "/x")).rejects.toThrow(FsError);
    await expect(mount("backups").open(["catalog.json"], "/x")).rejects.toThrow("no such file");
  });

  it("are read to the end in the version that was opened, and counted as open until then", async () => {
    const { fixture, files, mount } = await setUp();
    await fixture.run();
    const before = await fixture.archive();
    const handle = await mount(PLAIN).open([], "/x");
    const first = Buffer.concat(await handle.read(0, 50_000));
    fixture.nowMs += DAY_MS;
    await fixture.put("originals/a", "b".repeat(100_000));
    await fixture.run({ settings: { keep: 1 }, isOpen: (name) => files.isOpen(name) });
    const rest = Buffer.concat(await handle.read(50_000, 1_000_000));
    expect(Buffer.concat([first, rest]).equals(before)).toBe(true);
    expect((await readAll(mount(PLAIN))).equals(before)).toBe(false);
    expect(files.isOpen("alice-assets-20261122.tar.xz")).toBe(true);
    await handle.close();
    await handle.close();
    expect(files.isOpen("alice-assets-20261122.tar.xz")).toBe(false);
    fixture.nowMs += DAY_MS;
    await fixture.run({ settings: { keep: 1 }, isOpen: (name) => files.isOpen(name) });
    expect((await fixture.catalog()).archives.map(({ name }) => name)).toEqual(["alice-assets-20261124.tar.xz"]);
  });

  it("cannot be written", async () => {
    const { fixture, mount } = await setUp();
    await fixture.run();
    for (const name of [PLAIN, `${PLAIN}.sha256`]) {
      const handle = await mount(name).open([], "/x");
      await expect(handle.write(0, [])).rejects.toMatchObject({ code: "permission-denied" });
      await expect(handle.setstat({ mtime: 1 })).rejects.toMatchObject({ code: "permission-denied" });
      await expect(handle.copyFrom(handle, 0, 1, 0)).rejects.toMatchObject({ code: "permission-denied" });
      await handle.close();
    }
  });

  it("leave the home as it is when they cannot be reached", async () => {
    const { fixture, mount } = await setUp();
    await fixture.run();
    fixture.destination.store.get = () => Promise.reject(new StoreError("unavailable", "bucket secret-name is away"));
    for (const name of [PLAIN, "backups"]) expect(await mount(name).stat([])).toBeUndefined();
    const failure = await mount(PLAIN)
      .open([], "/x")
      .catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "unavailable" });
    expect(String(failure)).not.toContain("secret-name");
  });
});

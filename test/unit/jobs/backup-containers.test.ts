/** Archives as plain tar and as zstd: in the hands of real programs, read back, and shown to the customer. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ByteBudget } from "../../../src/byte-budget.ts";
import { containerOf, missingProgram, pack, unpack } from "../../../src/jobs/archive/containers.ts";
import { BackupFiles } from "../../../src/jobs/backup-mount.ts";
import { restoreArchives } from "../../../src/jobs/backup-restore.ts";
import { verifyArchive } from "../../../src/jobs/backup-verify.ts";
import { createMemoryStore } from "../../../src/objectstore/memory-store.ts";
import { runOk } from "../../support/processes.ts";
import { requireTool } from "../../support/require-tool.ts";
import { BackupFixture, QUIET } from "./backup-fixture.ts";

const signal = new AbortController().signal;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "containers-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(!requireTool("zstd", "tar", "bsdtar"))("compression: tar and zst", () => {
  it.each([
    ["tar", ".tar", "-xf"],
    ["zst:5", ".tar.zst", "-xf"],
  ])("%s: written, unpacked by GNU tar and bsdtar, verified, restored, shown in the home", async (compression, extension, flag) => {
    const fixture = new BackupFixture();
    const content = randomBytes(3_000_000);
    await fixture.put("originals/Käfer.jpg", content);
    await fixture.put("originals/b.tif", Buffer.alloc(9_000_000, "TIFF"));
    const settings = { compression, fullEvery: 2 };
    expect(await fixture.run({ settings })).toMatchObject({ exitCode: 0 });
    const [record] = (await fixture.catalog()).archives;
    expect(record?.volumes[0]?.name).toBe(`alice-assets-20261122${extension}`);
    const file = join(folder, `a${extension}`);
    writeFileSync(file, await fixture.archive());
    for (const program of ["tar", "bsdtar"]) {
      await runOk("mkdir", ["-p", join(folder, program)]);
      await runOk(program, [flag, file, "-C", join(folder, program)]);
      expect(readFileSync(join(folder, program, "alice/originals/Käfer.jpg")).equals(content)).toBe(true);
    }
    if (extension === ".tar.zst") await runOk("zstd", ["-q", "-t", file]);

    await fixture.put("originals/c.jpg", "c");
    fixture.nowMs += 86_400_000;
    expect(await fixture.run({ settings })).toMatchObject({ details: { name: `alice-assets-20261123.incr${extension}` } });
    const { archives } = await fixture.catalog();
    for (const archive of archives) {
      expect((await verifyArchive({ destination: fixture.destination, archive, signal })).faults).toEqual([]);
    }
    const target = { store: createMemoryStore(), prefix: "back/" };
    const options = { user: "alice", destination: fixture.destination, chain: archives, target, force: false, signal };
    expect(await restoreArchives(options)).toMatchObject({ files: 3 });

    const files = new BackupFiles({ user: "alice", destination: fixture.destination, budget: new ByteBudget(1 << 20), log: QUIET });
    const shown: string[] = [];
    for (const mount of files.mounts()) if (await mount.stat([])) shown.push(mount.name);
    const plain = `alice-assets${extension}`;
    expect(shown).toEqual([plain, `${plain}.sha256`, `${plain}.manifest.jsonl`, "backups"]);
  });

  it("equal data make equal bytes", async () => {
    const archives: Buffer[] = [];
    for (let run = 0; run < 2; run++) {
      const fixture = new BackupFixture();
      await fixture.put("originals/a.tif", Buffer.alloc(20_000_000, "abc"));
      await fixture.run({ settings: { compression: "zst" } });
      archives.push(await fixture.archive());
    }
    expect(archives[0]?.equals(archives[1] ?? Buffer.alloc(0))).toBe(true);
  });

  it("a damaged or cut-off file is told, and so is a source that fails", async () => {
    async function* source(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
      yield* chunks;
    }
    const whole = await collect(pack(source(randomBytes(300_000)), { compression: "zst:1", xz: true, signal }));
    const broken = Buffer.from(whole);
    broken.writeUInt8(broken.readUInt8(150_000) ^ 1, 150_000);
    await expect(collect(unpack("a.tar.zst", source(broken)))).rejects.toThrow(/^zstd exited with 1/);
    await expect(collect(unpack("a.tar.zst", source(whole.subarray(0, 200_000))))).rejects.toThrow(/^zstd exited with 1/);
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield randomBytes(100_000);
      throw new Error("the store is away");
    }
    await expect(collect(pack(failing(), { compression: "zst", xz: true, signal }))).rejects.toThrow("the store is away");
  });

  it("a change of compression goes on from the archives that are there", async () => {
    const fixture = new BackupFixture();
    await fixture.put("originals/a", "a");
    await fixture.run({ settings: { compression: "store", fullEvery: 3 } });
    await fixture.put("originals/b", "b");
    fixture.nowMs += 86_400_000;
    await fixture.run({ settings: { compression: "zst", fullEvery: 3 } });
    const target = { store: createMemoryStore(), prefix: "" };
    const chain = (await fixture.catalog()).archives;
    expect(chain.map(({ name }) => name)).toEqual(["alice-assets-20261122.tar.xz", "alice-assets-20261123.incr.tar.zst"]);
    const options = { user: "alice", destination: fixture.destination, chain, target, force: false, signal };
    expect(await restoreArchives(options)).toMatchObject({ files: 2 });
  });
});

it("knows what each setting asks for, and which program it needs", async () => {
  expect(["auto", "store", "xz:9", "zst", "zst:19", "tar"].map((compression) => containerOf(compression).extension)).toEqual([
    ".tar.xz",
    ".tar.xz",
    ".tar.xz",
    ".tar.zst",
    ".tar.zst",
    ".tar",
  ]);
  expect(() => containerOf("zst:20")).toThrow("compression zst:20 is not known");
  expect(await missingProgram("xz:6", false)).toBe("compression xz:6 needs the xz program, which is not installed");
  expect(await missingProgram("auto", false)).toBeUndefined();
});

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

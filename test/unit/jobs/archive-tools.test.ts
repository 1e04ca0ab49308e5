/** What real programs make of the archives. */
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runOk } from "../../support/processes.ts";
import { requireTool } from "../../support/require-tool.ts";
import { BackupFixture } from "./backup-fixture.ts";

const hasTools = requireTool("tar", "bsdtar", "7z", "busybox", "xz", "python3");

const NAMES = [
  "originals/0-empty.jpg",
  "originals/Käfer.jpg",
  "originals/Ka\u0308fer.jpg",
  "originals/🦋 with space.jpg",
  "originals/～.jpg",
  `originals/${"n".repeat(101)}.jpg`,
  `originals/${"n".repeat(128)}`,
  `originals/${"é".repeat(100)}.png`,
  "originals/sub/dir/x.tif",
  "originals-old.txt",
  "thumbnails/a_123.png",
  "loose.txt",
];

const PYTHON = `
import lzma, sys, tarfile, hashlib
with lzma.open(sys.argv[1]) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
    for member in archive:
        if member.isfile():
            print(hashlib.sha256(archive.extractfile(member).read()).hexdigest(), int(member.mtime), member.name)
`;

describe.skipIf(!hasTools)("archives in the hands of real programs", () => {
  const folder = mkdtempSync(join(tmpdir(), "backup-tools-"));
  const contents = new Map<string, Buffer>();
  const file = join(folder, "alice-assets.tar.xz");
  let sorted: string[];

  beforeAll(async () => {
    const fixture = new BackupFixture();
    for (const [index, name] of NAMES.entries()) {
      const content = name.includes("empty")
        ? Buffer.alloc(0)
        : name.endsWith(".tif")
          ? Buffer.alloc(9_000_000, "TIFF ")
          : randomBytes(40_000 + index);
      contents.set(name, content);
      await fixture.put(name, content, { mtime: String(1_600_000_000 + index) });
    }
    await fixture.put("originals/half.jpg.filepart", "half");
    await fixture.put("originals/", "");
    const outcome = await fixture.run({ settings: { compression: "auto" } });
    expect(outcome.exitCode).toBe(0);
    writeFileSync(file, await fixture.archive());
    sorted = NAMES.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const into = (name: string): string => {
    const target = join(folder, name);
    mkdirSync(target);
    return target;
  };
  const expectUnpacked = (target: string, options: { readonly times: boolean }): void => {
    for (const [index, name] of NAMES.entries()) {
      const path = join(target, "alice", name);
      expect(readFileSync(path).equals(contents.get(name) ?? Buffer.alloc(1)), name).toBe(true);
      if (options.times) expect(Math.floor(statSync(path).mtimeMs / 1000), name).toBe(1_600_000_000 + index);
      expect(statSync(path).mode & 0o777, name).toBe(0o644);
    }
    expect(statSync(join(target, "alice/thumbnails")).isDirectory()).toBe(true);
  };

  it("xz finds no fault, and blocks of both kinds", async () => {
    await runOk("xz", ["-t", file]);
    const { stdout } = await runOk("xz", ["--robot", "-lv", file]);
    expect(stdout.split("\n").filter((line) => line.startsWith("block")).length).toBeGreaterThan(1);
    expect(statSync(file).size).toBeLessThan(5_000_000);
  });

  it("GNU tar lists and unpacks it", async () => {
    const { stdout } = await runOk("tar", ["--quoting-style=literal", "-tJf", file]);
    const lines = stdout.trimEnd().split("\n");
    expect(lines.filter((line) => !line.endsWith("/"))).toEqual(sorted.map((name) => `alice/${name}`));
    expect(lines.filter((line) => line.endsWith("/"))).toEqual(["alice/", "alice/originals/", "alice/thumbnails/"]);
    expect(lines).toEqual(lines.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
    const target = into("gnu");
    await runOk("tar", ["-xJf", file, "-C", target]);
    expectUnpacked(target, { times: true });
  });

  it("bsdtar unpacks it", async () => {
    const target = into("bsd");
    await runOk("bsdtar", ["-xf", file, "-C", target]);
    expectUnpacked(target, { times: true });
  });

  it("7-Zip unpacks it", async () => {
    const target = into("7z");
    await runOk("7z", ["x", "-y", `-o${target}`, file]);
    await runOk("7z", ["x", "-y", `-o${target}`, join(target, "alice-assets.tar")]);
    expectUnpacked(target, { times: true });
  });

  it("busybox unpacks it, with ASCII in place of names that need pax", async () => {
    const target = into("busybox");
    await runOk("busybox", ["tar", "-xJf", file, "-C", target]);
    for (const name of NAMES.filter((one) => /^[\x20-\x7e]{1,100}$/.test(one))) {
      expect(readFileSync(join(target, "alice", name)).equals(contents.get(name) ?? Buffer.alloc(1)), name).toBe(true);
    }
  });

  it("Python's lzma and tarfile read it", async () => {
    const { stdout } = await runOk("python3", ["-c", PYTHON, file]);
    const hash = (name: string): string =>
      createHash("sha256")
        .update(contents.get(name) ?? "")
        .digest("hex");
    expect(stdout.trimEnd().split("\n")).toEqual(
      sorted.map((name) => `${hash(name)} ${1_600_000_000 + NAMES.indexOf(name)} alice/${name}`),
    );
  });
});

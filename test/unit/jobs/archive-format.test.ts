import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { encodeHeader, endOfArchive, paddingLength, type TarMember } from "../../../src/jobs/archive/tar-writer.ts";
import { compressedBlock, storedBlock, streamFooter, streamHeader } from "../../../src/jobs/archive/xz-format.ts";

const folder = mkdtempSync(join(tmpdir(), "archive-"));
afterAll(() => rmSync(folder, { recursive: true }));

function tar(members: readonly { readonly member: TarMember; readonly content: Uint8Array }[]): Buffer {
  const parts: Uint8Array[] = [];
  for (const { member, content } of members) parts.push(encodeHeader(member), content, Buffer.alloc(paddingLength(member.size)));
  const body = Buffer.concat(parts);
  return Buffer.concat([body, endOfArchive(body.length)]);
}

function file(path: string, content: string, mtime = 1_700_000_000): { member: TarMember; content: Uint8Array } {
  const bytes = Buffer.from(content);
  return { member: { path, type: "file", size: bytes.length, mode: 0o644, mtime }, content: bytes };
}

describe("tar headers", () => {
  const names = [
    "alice/originals/a.jpg",
    `alice/originals/${"n".repeat(99)}`,
    `alice/originals/${"n".repeat(101)}`,
    `alice/originals/${"n".repeat(128)}`,
    `alice/${"d".repeat(60)}/${"e".repeat(60)}/${"f".repeat(60)}`,
    "alice/originals/Käfer.jpg",
    "alice/originals/Ka\u0308fer.jpg",
    "alice/originals/🦋 with space.jpg",
    "alice/originals/new\nline",
  ];

  it("are read back by GNU tar, names, contents and times", () => {
    const path = join(folder, "names.tar");
    const directory = {
      member: { path: "alice/", type: "directory" as const, size: 0, mode: 0o755, mtime: 1_600_000_000 },
      content: Buffer.alloc(0),
    };
    writeFileSync(path, tar([directory, ...names.map((name) => file(name, `content of ${name}`))]));
    const listed = execFileSync("tar", ["-tf", path, "--quoting-style=literal"]).toString();
    expect(listed).toBe(`alice/\n${names.join("\n")}\n`);
    execFileSync("tar", ["-xf", path, "-C", folder]);
    for (const name of names) {
      expect(readFileSync(join(folder, name), "utf8")).toBe(`content of ${name}`);
      expect(statSync(join(folder, name)).mtimeMs).toBe(1_700_000_000_000);
    }
    expect(statSync(path).size % 10_240).toBe(0);
  });

  it("use a pax header only where ustar cannot hold it", () => {
    const base = { path: "a", type: "file" as const, mode: 0o644, mtime: 1 };
    expect(encodeHeader({ ...base, size: 2 ** 33 - 1 }).length).toBe(512);
    expect(encodeHeader({ ...base, size: 2 ** 33 }).length).toBe(1536);
    expect(encodeHeader({ ...base, size: 0, mtime: 1.5 }).length).toBe(1536);
    expect(encodeHeader({ ...base, size: 0, mtime: -1 }).length).toBe(1536);
    expect(encodeHeader({ ...base, size: 0, path: `${"p".repeat(155)}/${"n".repeat(100)}` }).length).toBe(512);
    expect(encodeHeader({ ...base, size: 0, path: `${"p".repeat(156)}/${"n".repeat(100)}` }).length).toBe(1536);
  });

  it("hold sizes of 8 GiB and more as GNU tar reads them", () => {
    const path = join(folder, "big.tar");
    writeFileSync(path, encodeHeader({ path: "big", type: "file", size: 9 * 2 ** 30, mode: 0o644, mtime: 0 }));
    expect(spawnSync("tar", ["-tvf", path]).stdout.toString()).toContain(` ${9 * 2 ** 30} `);
  });
});

describe("the xz container", () => {
  it("is accepted by xz and Python, stored and compressed blocks mixed", () => {
    const random = randomBytes(300_000);
    const text = Buffer.from("specimen ".repeat(50_000));
    const lzma2 = execFileSync("xz", ["--format=raw", "--lzma2=preset=6,dict=8MiB", "--stdout"], { input: text });
    const blocks = [storedBlock([random.subarray(0, 100_000), random.subarray(100_000)]), compressedBlock([text], [lzma2])];
    const path = join(folder, "mixed.xz");
    writeFileSync(path, Buffer.concat([streamHeader(), ...blocks.flatMap((b) => b.chunks), streamFooter(blocks.map((b) => b.record))]));
    execFileSync("xz", ["-t", path]);
    const expected = Buffer.concat([random, text]);
    expect(execFileSync("xz", ["-dc", path], { maxBuffer: 1e8 }).equals(expected)).toBe(true);
    const python = execFileSync("python3", ["-c", "import lzma,sys;sys.stdout.buffer.write(lzma.open(sys.argv[1]).read())", path], {
      maxBuffer: 1e8,
    });
    expect(python.equals(expected)).toBe(true);
  });

  it("can be empty", () => {
    const path = join(folder, "empty.xz");
    writeFileSync(path, Buffer.concat([streamHeader(), streamFooter([])]));
    execFileSync("xz", ["-t", path]);
  });
});

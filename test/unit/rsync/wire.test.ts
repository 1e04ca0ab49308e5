/** Known answers and inverse pairs of the pure wire code. */
import fc from "../../support/fast-check.ts";
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { ProtocolError } from "../../../src/errors.ts";
import { ByteBuilder } from "../../../src/rsync/byte-builder.ts";
import { ByteCursor, INCOMPLETE } from "../../../src/rsync/byte-cursor.ts";
import { blockSum, rollingSum, transferDigest } from "../../../src/rsync/checksums.ts";
import { FileIndexDecoder, FileIndexEncoder, NDX_DEL_STATS, NDX_DONE } from "../../../src/rsync/file-index.ts";
import { FileList } from "../../../src/rsync/file-list.ts";
import { sortedOrder, sortFileList, sortKey } from "../../../src/rsync/file-list-sort.ts";
import { FilterList } from "../../../src/rsync/filter-list.ts";
import { parseRule } from "../../../src/rsync/filter-rules.ts";
import { Md4 } from "../../../src/rsync/md4.ts";
import { decodeSumHeader, encodeSumHeader, sumHeaderFor } from "../../../src/rsync/sums.ts";
import { wildmatch } from "../../../src/rsync/wildmatch.ts";

const hexOf = (write: (out: ByteBuilder) => void): string => {
  const out = new ByteBuilder();
  write(out);
  return Buffer.from(out.take()).toString("hex");
};
const cursorOf = (hex: string): ByteCursor => new ByteCursor(Buffer.from(hex, "hex"));

describe("integers", () => {
  it.each([
    [0, "00"],
    [127, "7f"],
    [128, "8080"],
    [255, "80ff"],
    [256, "8100"],
    [511, "81ff"],
    [16383, "bfff"],
    [16384, "c00040"],
    [65535, "c0ffff"],
    [2097152, "e0000020"],
    [268435456, "f000000010"],
    [2147483647, "f0ffffff7f"],
    [-1, "f0ffffffff"],
  ])("varint %i is %s", (value, hex) => {
    expect(hexOf((out) => out.varint(value))).toBe(hex);
    expect(cursorOf(hex).varint()).toBe(value);
  });

  it.each([
    [0, 3, "000000"],
    [12, 3, "000c00"],
    [4096, 3, "000010"],
    [65535, 3, "00ffff"],
    [16777215, 3, "80ffffff"],
    [16777216, 3, "81000000"],
    [2147483647, 3, "c0ffffff7f"],
    [4294967296, 3, "c100000000"],
    [1700000000, 4, "6500f153"],
    [1600000000, 4, "5f00105e"],
    [2147483648, 4, "8000000080"],
    [-1, 4, "f8ffffffffffffffff"],
  ])("varlong %i of at least %i bytes is %s", (value, floor, hex) => {
    expect(hexOf((out) => out.varlong(value, floor))).toBe(hex);
    expect(cursorOf(hex).varlong(floor)).toBe(value);
  });

  it("reads back what it writes", () => {
    const safe = fc.integer({ min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER });
    fc.assert(
      fc.property(fc.integer(), safe, fc.maxSafeNat(), (small, large, size) => {
        const out = new ByteBuilder();
        out.varint(small);
        out.varlong(large, 3);
        out.varlong(large, 4);
        out.longint(large);
        out.longint(size);
        const cursor = new ByteCursor(out.take());
        expect([cursor.varint(), cursor.varlong(3), cursor.varlong(4), cursor.longint(), cursor.longint()]).toEqual([
          small,
          large,
          large,
          large,
          size,
        ]);
        expect(cursor.remaining).toBe(0);
      }),
    );
  });

  it("refuses what is too long or no safe integer, and asks for more of what is too short", () => {
    expect(() => cursorOf("fcffffffffffff").varint()).toThrow(ProtocolError);
    expect(() => cursorOf("f8ffffffffffffff7f").varlong(3)).toThrow(ProtocolError);
    expect(() => cursorOf("fe00000000000000000000").varlong(4)).toThrow(ProtocolError);
    expect(() => cursorOf("c000").varint()).toThrow(INCOMPLETE);
  });

  it("reads back file indexes of both protocols", () => {
    const index = fc.oneof(fc.nat(300), fc.nat(0x7fffffff), fc.constantFrom(NDX_DONE, NDX_DEL_STATS));
    fc.assert(
      fc.property(fc.constantFrom(29, 31), fc.array(index), (protocol, indexes) => {
        const out = new ByteBuilder();
        const encoder = new FileIndexEncoder(protocol);
        for (const value of indexes) encoder.encode(out, value);
        const cursor = new ByteCursor(out.take());
        const decoder = new FileIndexDecoder(protocol);
        expect(indexes.map(() => decoder.decode(cursor))).toEqual(indexes);
        expect(cursor.remaining).toBe(0);
      }),
    );
    expect(hexOf((out) => new FileIndexEncoder(31).encode(out, NDX_DEL_STATS))).toBe("ff02");
  });
});

describe("checksums", () => {
  const block = Buffer.from("AAAAAAAA");

  it("has rsync's rolling sum", () => {
    expect(rollingSum(block)).toBe(0x09240208);
    expect(rollingSum(Uint8Array.of(0xff, 0x80, 0x7f, 0x01))).toBe(0xff7bffff);
  });

  it("has rsync's strong sums", () => {
    const sum = (protocol: number, seedFirst: boolean): string =>
      Buffer.from(blockSum({ protocol, seed: 1, seedFirst }, block)).toString("hex");
    expect(sum(31, true)).toBe("3828ca9e2069ddb7f2104b2a6a89d30c");
    expect(sum(30, false)).toBe("8380d810aec19246a44a1a64cabd1b03");
    expect(sum(29, false)).toBe("61c44e16afd5561c150e7e0f477377f0");
    const transfer = (protocol: number): string => {
      const digest = transferDigest({ protocol, seed: 1, seedFirst: false });
      digest.update(Buffer.from("hello world\n"));
      return Buffer.from(digest.digest()).toString("hex");
    };
    expect(transfer(31)).toBe(createHash("md5").update("hello world\n").digest("hex"));
    expect(transfer(29)).toBe("a7d12ed3e2927d33f4ff0e42c63d12fe");
  });

  it("has MD4, however the data are cut", () => {
    const md4 = (...pieces: readonly string[]): string => {
      const digest = new Md4();
      for (const piece of pieces) digest.update(Buffer.from(piece));
      return Buffer.from(digest.digest()).toString("hex");
    };
    expect(md4("")).toBe("31d6cfe0d16ae931b73c59d7e0c089c0");
    expect(md4("abc")).toBe("a448017aaf21d8525fc10ae87aa6729d");
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 200 })), (pieces) => {
        expect(md4(...pieces)).toBe(md4(pieces.join("")));
      }),
    );
  });

  it.each([
    [1, [1, 700, 2, 1]],
    [490_000, [700, 700, 2, 0]],
    [490_001, [701, 700, 2, 1]],
    [1_000_000, [1000, 1000, 2, 0]],
    [12_000_000, [3465, 3464, 2, 704]],
    [100_000_000, [10_000, 10_000, 3, 0]],
    [1_000_000_000, [31_630, 31_616, 3, 17_536]],
    [5_000_000_000, [70_718, 70_704, 4, 25_232]],
  ])("cuts %i bytes as the real client does", (length, [count, blockLength, strongLength, remainder]) => {
    const header = sumHeaderFor(length, 31, 0);
    expect(header).toEqual({ count, blockLength, strongLength, remainder });
    const out = new ByteBuilder();
    encodeSumHeader(out, header);
    expect(decodeSumHeader(new ByteCursor(out.take()), 31)).toEqual(header);
  });

  it("refuses sum headers that cannot be", () => {
    for (const values of [
      [-1, 700, 2, 0],
      [1, 0, 2, 0],
      [1, 700, 17, 0],
      [1, 700, 2, 701],
      [1, 2 ** 18, 2, 0],
    ]) {
      const out = new ByteBuilder();
      for (const value of values) out.i32(value);
      expect(() => decodeSumHeader(new ByteCursor(out.take()), 31)).toThrow(ProtocolError);
    }
  });
});

describe("order of the file list", () => {
  /** The rules as rsync words them, slowly. */
  function compare(a: { path: string; dir: boolean }, b: { path: string; dir: boolean }): number {
    const spell = ({ path, dir }: { path: string; dir: boolean }): string => (path === "." ? "" : dir ? `${path}/` : path);
    const [left, right] = [spell(a), spell(b)];
    if (left === right) return 0;
    let at = 0;
    while (left[at] !== undefined && left[at] === right[at]) at++;
    if (at >= left.length) return -1;
    if (at >= right.length) return 1;
    const start = left.lastIndexOf("/", at - 1) + 1;
    const [leftDir, rightDir] = [left.indexOf("/", at === 0 ? 0 : start) >= 0, right.indexOf("/", at === 0 ? 0 : start) >= 0];
    if (leftDir !== rightDir) return leftDir ? 1 : -1;
    return left.charCodeAt(at) - right.charCodeAt(at);
  }

  it("puts files before directories at every level", async () => {
    const names = [".", "foo.txt", "zzz", "a/", "a/z", "foo-bar/", "foo-bar/y", "foo/", "foo/e", "foo/x", "foo/d/", "foo/d/a"];
    const entries = names.map((name) => ({ path: name.replace(/\/$/, ""), dir: name.endsWith("/") || name === "." }));
    const shuffled = [...entries].reverse();
    const order = await sortedOrder(shuffled.map(({ path, dir }) => sortKey(path, dir)));
    expect([...order].map((position) => shuffled[position])).toEqual(entries);
  });

  it("agrees with the rules for any names", () => {
    const component = fc.stringMatching(/^[ab \-.!+0A_~]{1,3}$/).filter((name) => name !== "." && name !== "..");
    const path = fc.array(component, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/"));
    const entry = fc.record({ path, dir: fc.boolean() });
    fc.assert(
      fc.property(entry, entry, (a, b) => {
        const [left, right] = [sortKey(a.path, a.dir), sortKey(b.path, b.dir)];
        expect(Math.sign(left < right ? -1 : left > right ? 1 : 0)).toBe(Math.sign(compare(a, b)));
      }),
      { numRuns: 5000 },
    );
  });

  it("sorts whole lists alike", async () => {
    const component = fc.constantFrom("a", "b", "a-", "a b", "A", "a.", "~", "a0");
    const path = fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
    const entries = fc.array(fc.record({ path: fc.oneof(path, fc.constant(".")), dir: fc.boolean() }), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(entries, async (all) => {
        const shown = all.map(({ path: name, dir }) => ({ name, dir: dir || name === "." }));
        const list = new FileList();
        for (const { name, dir } of shown) list.add({ name, size: 0, mtime: 0, mode: dir ? 0o40755 : 0o100644, flags: 0 });
        const order = await sortFileList(list, false);
        const expected = await sortedOrder(shown.map(({ name, dir }) => sortKey(name, dir)));
        expect([...order].map((at) => shown[at])).toEqual([...expected].map((at) => shown[at]));
        expect(order).toEqual(expected);
      }),
      { numRuns: 2000 },
    );
  });

  it("sorts long lists, equal keys in the order they came", async () => {
    const keys = Array.from({ length: 40_000 }, (_, index) => `k${(index * 7919) % 5000}`);
    const order = await sortedOrder(keys);
    const expected = keys
      .map((key, index) => ({ key, index }))
      .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.index - b.index));
    expect([...order]).toEqual(expected.map(({ index }) => index));
  });
});

describe("filters", () => {
  it.each([
    ["*.txt", "a.txt", true],
    ["*.txt", "a/b.txt", false],
    ["**.txt", "a/b.txt", true],
    ["a?c", "abc", true],
    ["a?c", "a/c", false],
    ["[a-c]x", "bx", true],
    ["[!a-c]x", "bx", false],
    ["[[:digit:]]*", "7up", true],
    ["\\*", "*", true],
    ["\\*", "a", false],
    ["a/**/b", "a/x/y/b", true],
    ["foo*", "foo", true],
    ["", "", true],
  ])("wildcard %s and %s: %s", (pattern, text, expected) => {
    expect(wildmatch(pattern, text)).toBe(expected);
  });

  it("ends hostile patterns", () => {
    expect(wildmatch(`${"*a".repeat(40)}b`, "a".repeat(4000))).toBe(false);
    expect(wildmatch(`${"**/*a".repeat(9)}b`, "a/a".repeat(300))).toBe(false);
  });

  const excluded = (rules: readonly string[], name: string, isDirectory = false): boolean => {
    const parsed = rules.map((rule) => parseRule(rule, false)).flatMap((rule) => (rule === "clear" ? [] : rule));
    return new FilterList(parsed, "receiver", "/home").excludes(name, isDirectory);
  };

  it.each([
    [["- *.log"], "a/b.log", true],
    [["- /b.log"], "a/b.log", false],
    [["- /a/b.log"], "a/b.log", true],
    [["- b.log"], "a/b.log", true],
    [["- a/b.log"], "x/a/b.log", true],
    [["+ keep.log", "- *.log"], "keep.log", false],
    [["- dir/"], "dir", false],
    [["- **/deep"], "a/b/deep", true],
    [["- foo/***"], "foo/x", true],
    [["-! *.log"], "x.txt", true],
    [["P *.log"], "x.log", true],
    [["H *.log"], "x.log", false],
    [["-s *.log"], "x.log", false],
    [["-/ /home/x"], "x", true],
  ])("%j on %s: %s", (rules, name, expected) => {
    expect(excluded(rules, name)).toBe(expected);
  });

  it("matches directories by rules for directories", () => {
    expect(excluded(["- dir/"], "dir", true)).toBe(true);
    expect(excluded(["- foo/***"], "foo", true)).toBe(true);
  });

  it("refuses what would have to be read on the server", () => {
    expect(() => parseRule(". rules", false)).toThrow("not supported");
    expect(() => parseRule(": a/b", false, "dir")).toThrow("not supported");
    expect(() => parseRule(": ..", false)).toThrow("not supported");
    expect(() => parseRule(": a/", false)).toThrow("not supported");
    expect(() => parseRule("? x", false)).toThrow(ProtocolError);
  });
});

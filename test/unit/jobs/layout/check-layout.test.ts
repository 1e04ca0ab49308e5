import fc from "../../../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { checkLayout, type LayoutOptions } from "../../../../src/jobs/layout/check-layout.ts";
import { layoutFixes } from "../../../../src/jobs/layout/fix-layout.ts";
import { layoutLines, type RULES, type RuleResult } from "../../../../src/jobs/layout/layout-report.ts";
import { TextIndex } from "../../../../src/jobs/layout/text-index.ts";
import { splitExtension, thumbnailIdentities, identityOfThumbnail } from "../../../../src/jobs/layout/thumbnail-name.ts";
import { createMemoryStore } from "../../../../src/objectstore/memory-store.ts";
import type { ObjectStore } from "../../../../src/objectstore/objectstore.ts";

const JPEG = Buffer.from([0xff, 0xd8, 0xff, 0xe0]);
const UUID = "0f8fad5b-d9cb-469f-a165-70867728950e";

type Objects = readonly (readonly [key: string, bytes?: Uint8Array | string, contentType?: string])[];

/** A store with these objects, one second between them. */
async function storeWith(objects: Objects, base: ObjectStore | undefined = undefined): Promise<ObjectStore> {
  let nowMs = 0;
  const store = base ?? createMemoryStore({ now: () => nowMs });
  for (const [key, bytes = JPEG, contentType = "image/jpeg"] of objects) {
    nowMs += 1000;
    await store.put(key, [Buffer.from(bytes)], { contentType });
  }
  return store;
}

const GOOD: Objects = [["p/originals/", ""], ["p/thumbnails/", ""], [`p/originals/${UUID}.jpg`], [`p/thumbnails/${UUID}_123.jpg`]];

async function check(objects: Objects, options: Partial<LayoutOptions> = {}) {
  const store = options.store ?? (await storeWith(objects));
  const result = await checkLayout({ store, prefix: "p/", layout: "specify", deep: false, maxExamples: 5, ...options });
  const rules = Object.fromEntries(result.report.results.map((rule): [string, RuleResult] => [rule.rule, rule]));
  return { store, result, report: result.report, rules };
}

const FIXTURES: readonly { rule: keyof typeof RULES; severity: string; objects: Objects; key: string; detail?: string }[] = [
  { rule: "L05", severity: "error", objects: [["p/Originals/a.jpg"]], key: "p/Originals/a.jpg", detail: "originals/a.jpg" },
  { rule: "L05", severity: "error", objects: [["p/thumbs/a.jpg"]], key: "p/thumbs/a.jpg", detail: "thumbnails/a.jpg" },
  {
    rule: "L05",
    severity: "error",
    objects: [["p/attachments/originals/a.jpg"]],
    key: "p/attachments/originals/a.jpg",
    detail: "originals/a.jpg",
  },
  {
    rule: "L05",
    severity: "error",
    objects: [["p/originals/originals/a.jpg"]],
    key: "p/originals/originals/a.jpg",
    detail: "originals/a.jpg",
  },
  { rule: "L05", severity: "error", objects: [["p/loose.jpg"]], key: "p/loose.jpg", detail: "originals/loose.jpg" },
  { rule: "L07", severity: "error", objects: [["p/originals/2024/a.jpg"]], key: "p/originals/2024/a.jpg", detail: "originals/a.jpg" },
  { rule: "L07", severity: "error", objects: [["p/originals/ab/cd/a.jpg"]], key: "p/originals/ab/cd/a.jpg" },
  {
    rule: "N01",
    severity: "error",
    objects: [[`p/originals/${"x".repeat(125)}.jpg`]],
    key: `p/originals/${"x".repeat(125)}.jpg`,
    detail: "129 characters",
  },
  { rule: "N01", severity: "error", objects: [['p/originals/a"b.jpg']], key: 'p/originals/a"b.jpg' },
  { rule: "N01", severity: "error", objects: [["p/originals/a\\b.jpg"]], key: "p/originals/a\\b.jpg" },
  { rule: "N01", severity: "error", objects: [["p/originals/a\u0007b.jpg"]], key: "p/originals/a\u0007b.jpg", detail: "control" },
  { rule: "N01", severity: "error", objects: [["p/originals/a\u0085b.jpg"]], key: "p/originals/a\u0085b.jpg", detail: "control" },
  { rule: "N02", severity: "warning", objects: [["p/originals/u\u0308.jpg"]], key: "p/originals/u\u0308.jpg", detail: "NFC" },
  { rule: "N02", severity: "warning", objects: [["p/originals/ a.jpg"]], key: "p/originals/ a.jpg" },
  { rule: "N02", severity: "warning", objects: [["p/originals/a[1].jpg"]], key: "p/originals/a[1].jpg" },
  { rule: "N02", severity: "warning", objects: [["p/originals/CON.jpg"]], key: "p/originals/CON.jpg" },
  { rule: "N02", severity: "warning", objects: [["p/originals/A.png"], ["p/originals/a.PNG"]], key: "p/originals/a.PNG", detail: "case" },
  { rule: "T01", severity: "warning", objects: [["p/originals/Thumbs.db"]], key: "p/originals/Thumbs.db" },
  { rule: "T01", severity: "warning", objects: [["p/originals/._a.jpg"]], key: "p/originals/._a.jpg" },
  { rule: "T01", severity: "warning", objects: [["p/originals/a.tif.filepart"]], key: "p/originals/a.tif.filepart" },
  { rule: "T01", severity: "warning", objects: [["p/originals/x_$folder$"]], key: "p/originals/x_$folder$" },
  { rule: "T02", severity: "warning", objects: [["p/originals/e.jpg", ""]], key: "p/originals/e.jpg", detail: "empty" },
  { rule: "T02", severity: "warning", objects: [["p/originals/noext"]], key: "p/originals/noext", detail: "no extension" },
  { rule: "T03", severity: "info", objects: [["p/originals/a.mp4"]], key: "p/originals/a.mp4" },
  { rule: "T04", severity: "warning", objects: [["p/originals/a.pdf"], ["p/originals/a.tif"]], key: "p/originals/a.tif" },
  { rule: "H01", severity: "error", objects: [["p/thumbnails/nosize.jpg"]], key: "p/thumbnails/nosize.jpg" },
  { rule: "H01", severity: "error", objects: [["p/thumbnails/a_123.tif"]], key: "p/thumbnails/a_123.tif" },
  { rule: "H02", severity: "warning", objects: [["p/thumbnails/gone_123.jpg"]], key: "p/thumbnails/gone_123.jpg" },
  { rule: "H03", severity: "warning", objects: [["p/thumbnails/r_9.png"], ["p/originals/r.tif"]], key: "p/thumbnails/r_9.png" },
];

describe("checkLayout", () => {
  it("a good storage is clean", async () => {
    const { report } = await check([
      ...GOOD,
      ["p/originals/sp64504250189672699317.att.JPG"],
      ["p/thumbnails/sp64504250189672699317.att_123.JPG"],
    ]);
    expect(report.results).toEqual([]);
    expect(report.exitCode).toBe(0);
    expect(report.classes).toEqual({ sp7: 1, sp6: 1, foreign: 0 });
    expect(report.extensions).toEqual([{ extension: ".jpg", count: 2, bytes: 8 }]);
  });

  it.each(FIXTURES)("$rule: $key", async ({ rule, severity, objects, key, detail }) => {
    const { report, rules } = await check([...GOOD, ...objects]);
    expect(rules[rule]).toMatchObject({ severity, count: 1 });
    expect(rules[rule]?.examples[0]?.key).toBe(key);
    if (detail !== undefined) expect(rules[rule]?.examples[0]?.detail).toContain(detail);
    expect(report.exitCode).toBe({ error: 1, warning: 2, info: 0 }[severity]);
    expect(layoutLines(report, "s3://b/p/").join("\n")).toContain(rule);
  });

  it("L03 and L04: missing folders are created by --fix, markers and files both count as there", async () => {
    const { store, result, rules } = await check([]);
    expect([rules.L03?.severity, rules.L04?.severity]).toEqual(["error", "error"]);
    const fixes = layoutFixes(store, result);
    expect(fixes.map(({ description }) => description)).toEqual(["create p/originals/", "create p/thumbnails/"]);
    for (const fix of fixes) await fix.run();
    expect((await check([], { store })).report.exitCode).toBe(0);
    expect((await store.head("p/thumbnails/")).contentType).toBe("application/x-directory");
    expect((await check([["p/originals/a.jpg"], ["p/thumbnails/a_1.jpg"]])).report.exitCode).toBe(0);
  });

  it("L06: the leading slash of the upstream bug, where the storage is a whole bucket", async () => {
    const { rules } = await check([], { store: await storeWith([["/originals/a.jpg"], ["originals/"], ["thumbnails/"]]), prefix: "" });
    expect(rules.L06?.examples).toEqual([{ key: "/originals/a.jpg", detail: "should be originals/a.jpg" }]);
  });

  it("L07: two folders of hex digits are right for the other layout", async () => {
    const objects: Objects = [...GOOD, ["p/originals/ab/", ""], ["p/originals/ab/cd/a.jpg"]];
    expect((await check(objects, { layout: "cas" })).rules.L07).toBeUndefined();
  });

  it("L02: a storage that cannot be listed is a finding", async () => {
    const { StoreError } = await import("../../../../src/errors.ts");
    const store = { ...createMemoryStore(), list: () => failing(new StoreError("access-denied", "not allowed")) } as unknown as ObjectStore;
    const { report, rules } = await check([], { store });
    expect(rules.L02?.examples[0]?.detail).toBe("not allowed");
    expect(report.exitCode).toBe(1);
  });

  it("C01: archived objects", async () => {
    const base = await storeWith(GOOD);
    const list: ObjectStore["list"] = async function* (prefix, options) {
      for await (const page of base.list(prefix, options)) {
        yield page.map((entry) => (entry.kind === "object" && entry.key.endsWith("e.jpg") ? { ...entry, storageClass: "GLACIER" } : entry));
      }
    };
    const store = { limits: base.limits, list } as unknown as ObjectStore;
    expect((await check([], { store })).rules.C01).toMatchObject({ severity: "error", count: 1 });
  });

  it("D01 and D02: types and contents; --fix sets the type and keeps the rest", async () => {
    const objects: Objects = [
      ...GOOD,
      ["p/originals/a.pdf", "%PDF-1.7", "application/octet-stream"],
      ["p/originals/b.png", "\u0089PNG", "text/plain"],
      ["p/originals/c.jpg", "GIF89a"],
    ];
    const { store, result, rules, report } = await check(objects, { deep: true });
    expect(report.results.filter(({ rule }) => rule === "D01").map(({ severity, count }) => [severity, count])).toEqual([
      ["error", 1],
      ["warning", 1],
    ]);
    expect(rules.D02?.examples.map(({ key }) => key)).toEqual(["p/originals/b.png", "p/originals/c.jpg"]);
    for (const fix of layoutFixes(store, result)) await fix.run();
    expect((await store.head("p/originals/a.pdf")).contentType).toBe("application/pdf");
    expect((await check([], { store, deep: true })).rules.D01).toBeUndefined();
  });

  it("--fix deletes useless thumbnails, but none where there are no originals", async () => {
    const { store, result } = await check([...GOOD, ["p/thumbnails/gone_1.jpg"], ["p/thumbnails/r_9.png"], ["p/originals/r.tif"]]);
    const fixes = layoutFixes(store, result);
    expect(fixes.map(({ description }) => description)).toEqual(["delete p/thumbnails/gone_1.jpg and 1 more thumbnails"]);
    for (const fix of fixes) await fix.run();
    expect((await check([], { store })).report.exitCode).toBe(0);
    const empty = await check([["p/originals/", ""], ["p/thumbnails/a_1.jpg"]]);
    expect(layoutFixes(empty.store, empty.result)).toEqual([]);
  });
});

/** A listing that fails at its first page. */
function failing(error: Error): AsyncIterable<never> {
  return { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }) };
}

describe("thumbnail names", () => {
  it.each([
    ["x.JPG", "x_123.JPG"],
    ["a.tif", "a_123.png"],
    ["a.b.PDF", "a.b_123.png"],
    ["name", "name_123"],
    ["sp6-12.att.jpg", "sp6-12.att_50.jpg"],
    ["p.heic", "p_1.heic"],
    ["p.heic", "p_1.png"],
    ["under_score_2.gif", "under_score_2_123.gif"],
  ])("%s has %s", (original, thumbnail) => {
    expect(thumbnailIdentities(original)).toContain(identityOfThumbnail(thumbnail));
  });

  it.each([
    [".bashrc", ".bashrc", ""],
    ["..a", "..a", ""],
    ["a.", "a", "."],
    ["a.tar.gz", "a.tar", ".gz"],
  ])("splitext of %s", (name, root, extension) => {
    expect(splitExtension(name)).toEqual({ root, extension });
  });
});

describe("TextIndex", () => {
  it("remembers any texts as a map does", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string({ maxLength: 3 }), fc.nat({ max: 2 ** 32 - 1 })), { maxLength: 3000 }), (pairs) => {
        const index = new TextIndex();
        const model = new Map<string, number>();
        for (const [text, value] of pairs) {
          expect(index.add(text, value)).toBe(!model.has(text));
          model.set(text, Math.max(value, model.get(text) ?? value));
        }
        expect(index.size).toBe(model.size);
        for (const [text, value] of model) expect(index.get(text)).toBe(value);
      }),
      { numRuns: 20 },
    );
  });
});

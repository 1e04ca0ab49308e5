import { describe, expect, it } from "vitest";
import { expandGlob, segmentMatcher } from "../../../src/exec/glob.ts";
import { ModelFileSystem } from "../../support/model-file-system.ts";

describe("segmentMatcher", () => {
  it.each([
    ["*.jpg", "a.jpg", true],
    ["*.jpg", ".jpg", false],
    [".*", ".x", true],
    ["a?c", "abc", true],
    ["a?c", "ac", false],
    ["[a-c]x", "bx", true],
    ["[!a-c]x", "bx", false],
    ["[]]x", "]x", true],
    ["[a", "[a", true],
    ["a\\*", "a*", true],
    ["a\\*", "ab", false],
    ["*a*b*c", "xxaxxbxxc", true],
    ["", "", true],
    ["[a[b]c", "[ac", false],
    ["[a[b]c", "bc", true],
    ["[^x\\]y]z", "]z", false],
    ["[^x\\]y]z", "az", true],
    ["x[", "x[", true],
    ["a\\", "a\\", true],
  ])("%j on %j is %s", (pattern, name, expected) => {
    expect(segmentMatcher(pattern)(name)).toBe(expected);
  });

  it("takes time proportional to the lengths, whatever the pattern", () => {
    expect(segmentMatcher(`${"*a".repeat(200)}b`)("a".repeat(2000))).toBe(false);
    expect(segmentMatcher(`*a[${"ab".repeat(15_000)}]x`)("a".repeat(255))).toBe(false);
    expect(segmentMatcher("[".repeat(30_000))("[".repeat(30_000))).toBe(true);
  });
});

describe("expandGlob", () => {
  const files = new ModelFileSystem();
  for (const path of ["o/a.jpg", "o/b.jpg", "o/c.tif", "o/.hidden.jpg", "t/a.jpg", "x*y"]) files.put(path, "1");

  it.each([
    ["o/*.jpg", ["o/a.jpg", "o/b.jpg"]],
    ["*/a.jpg", ["o/a.jpg", "t/a.jpg"]],
    ["/o/[bc]*", ["/o/b.jpg", "/o/c.tif"]],
    ["x\\*?", ["x*y"]],
    ["none*", []],
    ["o/a.jpg/*", []],
  ])("%j gives %j", async (pattern, expected) => {
    expect(await expandGlob(files, pattern)).toEqual(expected);
  });
});

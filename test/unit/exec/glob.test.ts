import { describe, expect, it } from "vitest";
import { expandGlob, matchSegment } from "../../../src/exec/glob.ts";
import { ModelFileSystem } from "../../support/model-file-system.ts";

describe("matchSegment", () => {
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
  ])("%j on %j is %s", (pattern, name, expected) => {
    expect(matchSegment(pattern, name)).toBe(expected);
  });

  it("takes time proportional to the lengths, whatever the pattern", () => {
    expect(matchSegment(`${"*a".repeat(200)}b`, "a".repeat(2000))).toBe(false);
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

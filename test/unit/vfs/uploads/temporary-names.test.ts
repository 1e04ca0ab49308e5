import { expect, it } from "vitest";
import { DEFAULT_TEMPORARY_NAMES, TemporaryNames, unmistakable } from "../../../../src/vfs/uploads/temporary-names.ts";

it("rclone's names are understood by default, and nothing that only looks alike", () => {
  const names = new TemporaryNames(DEFAULT_TEMPORARY_NAMES);
  expect(names.finalKey("u/a.b/x (1).jpg.pugixik4.partial")).toBe("u/a.b/x (1).jpg");
  const others = [
    "x.jpg.partial",
    "x.short.partial",
    "x.too-long1.partial",
    "x.pugixik4.partially",
    "x.pugi/ik4.partial",
    ".pugixik4.partial",
  ];
  for (const key of others) expect(names.finalKey(key)).toBeUndefined();
  for (const key of others) expect(names.parking(key)).toBe("never");
  expect(names.parking("u/x.jpg.pugixik4.partial")).toBe("if-small");
  expect(names.parking("u/x.jpg.filepart")).toBe("always");
});

it("patterns with a ? are not sure enough to remove what others have published", () => {
  expect(unmistakable(DEFAULT_TEMPORARY_NAMES)).toEqual(["*.filepart"]);
});

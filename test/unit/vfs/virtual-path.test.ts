import fc from "../../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { parsePath } from "../../../src/vfs/virtual-path.ts";

describe("parsePath", () => {
  it.each([
    ["", "/"],
    [".", "/"],
    ["/", "/"],
    ["a", "/a"],
    ["./a//b/", "/a/b"],
    ["/a/./b/../c", "/a/c"],
    ["../../../etc/passwd", "/etc/passwd"],
    ["/..", "/"],
    ["/home/alice", "/"],
    ["/home/alice/attachments/x", "/attachments/x"],
    ["//home//alice//x", "/x"],
    ["/home/alice/../bob/x", "/home/bob/x"],
    ["/home/bob/x", "/home/bob/x"],
    ["/home/alice2/x", "/home/alice2/x"],
    ["/x/home/alice", "/x/home/alice"],
    ["/a b/\n'\"%+", "/a b/\n'\"%+"],
    ["/...", "/..."],
  ])("reads %j as %j", (path, text) => {
    expect(parsePath(path, "alice").text).toBe(text);
  });

  it("keeps names byte for byte", () => {
    const nfd = "cafe\u0301";
    const nfc = "caf\u00e9";
    expect(parsePath(`/${nfd}`, "alice").names).toEqual([nfd]);
    expect(parsePath(`/${nfc}`, "alice").names).toEqual([nfc]);
    expect(parsePath("/\u{1f600}", "alice").names).toEqual(["\u{1f600}"]);
  });

  it("tells a path that is written as a directory", () => {
    for (const path of ["/a/", "/a/.", "/a/b/.."]) expect(parsePath(path, "alice").asDirectory).toBe(true);
    expect(parsePath("/a", "alice").asDirectory).toBe(false);
  });

  it.each(["/a\0b", "/\ud800", `/${"x".repeat(8192)}`, `/${"é".repeat(4096)}`])("refuses what cannot be a path", (path) => {
    expect(() => parsePath(path, "alice")).toThrowError(expect.objectContaining({ code: "invalid-argument" }));
  });

  it("never leaves the home and is the same when read again", () => {
    const segment = fc.constantFrom("", ".", "..", "a", "home", "alice", "b c");
    fc.assert(
      fc.property(fc.array(segment), (segments) => {
        const once = parsePath(segments.join("/"), "alice");
        expect(once.names.every((name) => name !== "" && name !== "." && name !== "..")).toBe(true);
        expect(once.text.startsWith("/")).toBe(true);
      }),
    );
  });
});

import { expect, it } from "vitest";
import { nearestName } from "../../../src/config/nearest-name.ts";
import { formatSize, parseDuration, parseSize } from "../../../src/config/quantities.ts";
import { formatStorageLocation, overlaps, parseStorageLocation } from "../../../src/storage-location.ts";

it.each([
  ["256MiB", 256 * 1024 ** 2],
  ["1.5 GB", 1.5e9],
  ["10k", 10240],
  ["512", 512],
  ["0", 0],
  ["9PiB", undefined],
  ["-1", undefined],
  ["1e9", undefined],
  ["", undefined],
  ["99999999TiB", undefined],
])("the size %s is %s", (text, bytes) => expect(parseSize(text)).toBe(bytes));

it.each([
  ["30s", 30_000],
  ["7d", 604_800_000],
  ["500ms", 500],
  ["90", 90_000],
  ["1.5h", 5_400_000],
  ["soon", undefined],
])("the duration %s is %s ms", (text, ms) => expect(parseDuration(text)).toBe(ms));

it("formats sizes for people", () => {
  expect([0, 1023, 1536, 2 ** 30].map(formatSize)).toEqual(["0 B", "1023 B", "1.5 KiB", "1 GiB"]);
});

it("finds slips, not other words", () => {
  const names = ["listen", "hostKeys", "state", "memoryBudget"];
  expect(["listne", "hostkeys", "host_keys", "sate", "memorybudjet"].map((name) => nearestName(name, names))).toEqual([
    "listen",
    "hostKeys",
    "hostKeys",
    "state",
    "memoryBudget",
  ]);
  expect(nearestName("zzz", names)).toBeUndefined();
  expect(nearestName("x".repeat(100_000), names)).toBeUndefined();
});

it.each([
  ["s3://b-1", "s3://b-1/"],
  ["s3://bucket/", "s3://bucket/"],
  ["s3://bucket/a/b", "s3://bucket/a/b/"],
  ["s3://bucket/a b%20ü/", "s3://bucket/a b%20ü/"],
  ["file:///srv/a/", "file:///srv/a/"],
])("%s is the storage %s", (text, normal) => {
  const location = parseStorageLocation(text);
  expect(typeof location === "string" ? location : formatStorageLocation(location)).toBe(normal);
});

it.each([
  "s3://",
  "s3://b",
  "s3://UPPER",
  "s3://bucket//a",
  "s3://bucket/a/../b",
  "s3://bucket/a?b",
  "s3://bucket/'",
  "s3://bucket/a\u0000",
  "s3://bucket/\ud800",
  "file://srv",
  "file:///",
  "file:///a/../b",
  "http://x",
  "bucket/a",
])("%j is no storage", (text) => expect(typeof parseStorageLocation(text)).toBe("string"));

it("a prefix overlaps what lies in it, and not its namesake", () => {
  const at = (text: string): Exclude<ReturnType<typeof parseStorageLocation>, string> => {
    const location = parseStorageLocation(text);
    if (typeof location === "string") throw new Error(location);
    return location;
  };
  expect(overlaps(at("s3://bucket/alice"), at("s3://bucket/alice2"))).toBe(false);
  expect(overlaps(at("s3://bucket/alice"), at("s3://bucket/alice/x"))).toBe(true);
  expect(overlaps(at("s3://bucket"), at("s3://bucket/alice"))).toBe(true);
  expect(overlaps(at("s3://bucket"), at("s3://bucket2"))).toBe(false);
  expect(overlaps(at("file:///srv/a"), at("file:///srv/a"))).toBe(true);
  expect(overlaps(at("file:///srv/a"), at("s3://srv/a"))).toBe(false);
});

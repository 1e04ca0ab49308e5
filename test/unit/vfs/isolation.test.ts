/** A user reaches keys below the own prefix and nothing else, whatever paths and operations come. */
import fc from "../../support/fast-check.ts";
import { expect, it } from "vitest";
import { makeFixture } from "./fixture.ts";

const segment = fc.oneof(
  fc.constantFrom(
    "",
    ".",
    "..",
    "...",
    "home",
    "alice",
    "alice2",
    "bob",
    "attachments",
    "originals",
    "%2e%2e",
    "..\\",
    "~",
    "\0",
    "\ud800",
  ),
  fc.string({ unit: "grapheme", maxLength: 6 }),
);
const somePath = fc
  .tuple(fc.constantFrom("", "/", "/attachments/", "/home/alice/", "/home/bob/", "//"), fc.array(segment, { maxLength: 7 }))
  .map(([start, segments]) => start + segments.join("/"));

it("asks the store for no key outside the prefix", async () => {
  const { vfs, store, put, volume } = makeFixture();
  for (const key of ["bob/secret", "alice2/secret", "secret", "alice/originals/own", "alice/a/b"]) await put(key, "x");
  const strays: string[] = [];
  store.before = (_kind, key) => {
    if (!key.startsWith("alice/")) strays.push(key);
  };
  const attempts: ((path: string, other: string) => Promise<unknown>)[] = [
    (path) => vfs.stat(path),
    (path) => vfs.setstat(path, { mtime: 5 }),
    (path) => vfs.open(path, { read: true }).then((handle) => handle.close()),
    (path) => vfs.open(path, { write: true, create: true }).then((handle) => handle.close()),
    (path) => vfs.opendir(path).then((handle) => handle.close()),
    (path) => vfs.mkdir(path),
    (path) => vfs.rmdir(path),
    (path) => vfs.remove(path),
    (path, other) => vfs.rename(path, other, { replace: true }),
    (path, other) => vfs.copy(path, other),
    (path) => vfs.statvfs(path),
    (path) => vfs.storedChecksum(path, "md5"),
    async (path) => {
      for await (const _batch of vfs.walk(path)) expect(volume.prefix).toBe("alice/");
    },
  ];
  await fc.assert(
    fc.asyncProperty(fc.nat(attempts.length - 1), somePath, somePath, async (index, path, other) => {
      try {
        await attempts[index]?.(path, other);
      } catch (error) {
        expect(error).toMatchObject({ name: "FsError" });
        expect(String(error)).not.toMatch(/bucket|s3:|alice2\/secret/);
      }
      expect(strays).toEqual([]);
    }),
    { numRuns: 3_000 },
  );
});

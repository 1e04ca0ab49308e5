/** How storages are written, and that nothing outside of one is reached through it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { StoreError } from "../../../src/errors.ts";
import { withConcurrencyLimit, withPrefixGuard } from "../../../src/objectstore/limited-store.ts";
import { createMemoryStore } from "../../../src/objectstore/memory-store.ts";
import type { ObjectStore } from "../../../src/objectstore/objectstore.ts";
import { openStorage } from "../../../src/objectstore/open-store.ts";
import { list, nameOf } from "../../contract/object-store.contract.ts";

describe("storage URIs", () => {
  it.each([
    "bucket/alice",
    "http://bucket/alice",
    "s3://",
    "s3:///alice",
    "s3://Bucket/x",
    "s3://b/x",
    "s3://bu..cket/x",
    "s3://bucket/a?b",
    "s3://bucket/a#b",
    "s3://bucket/it's",
    's3://bucket/"',
    "s3://bucket//a",
    "s3://bucket/a//",
    "s3://bucket/a/../b",
    "s3://bucket/./a",
    "s3://bucket/a\nb",
    "s3://bucket/\ud800",
    "file://srv/x",
    "file:///",
    "file:///a/../b",
    "file:///a//b",
  ])("refuses %j", async (uri) => {
    await expect(openStorage(uri)).rejects.toBeInstanceOf(StoreError);
  });

  it("opens folders", async () => {
    const folder = await mkdtemp(join(tmpdir(), "open-store-"));
    const { store, prefix } = await openStorage(`file://${folder}/new/one/`);
    expect(prefix).toBe("");
    await store.put("a", []);
    expect((await list(store, "")).map(nameOf)).toEqual(["a"]);
    await store.close();
    await rm(folder, { recursive: true });
  });

  it("opens buckets without a request, and only below the prefix", async () => {
    const { store, prefix } = await openStorage("s3://bucket/alice", {
      endpoint: "http://127.0.0.1:1",
      accessKeyId: "a",
      secretAccessKey: "b",
    });
    expect(prefix).toBe("alice/");
    await expect(store.head("alice2/x")).rejects.toMatchObject({ code: "access-denied" });
    await store.close();
  });
});

describe("the prefix guard", () => {
  it("refuses everything outside, without asking the store", async () => {
    const inner = createMemoryStore({ limits: { minPartSize: 1 } });
    for (const key of ["alice/a", "alice2/b", "bob/c"]) await inner.put(key, [Buffer.from(key)]);
    const { etag } = await inner.head("bob/c");
    const guarded = withPrefixGuard(inner, "alice/");
    const upload = await guarded.createUpload("alice/new", {});
    const outside: Promise<unknown>[] = ["alice2/b", "bob/c", "alice", "", "Alice/a"].flatMap((key) => [
      guarded.head(key),
      guarded.get(key),
      guarded.put(key, []),
      guarded.copy(key, "alice/x"),
      guarded.copy("alice/a", key),
      guarded.delete(["alice/a", key]),
      guarded.createUpload(key, {}),
      list(guarded, key),
    ]);
    outside.push(upload.copyPart({ partNumber: 1, offset: 0 }, { key: "bob/c", start: 0, length: 1, ifMatch: etag }));
    for (const result of await Promise.allSettled(outside)) {
      expect(result).toMatchObject({ status: "rejected", reason: { code: "access-denied" } });
    }
    expect(() => guarded.openUpload("bob/c", "id")).toThrow(StoreError);
    expect((await list(inner, "")).map(nameOf)).toEqual(["alice/a", "alice2/b", "bob/c"]);
    expect((await list(guarded, "alice/")).map(nameOf)).toEqual(["alice/a"]);
  });

  it("drops what a listing shows beyond", async () => {
    const inner = createMemoryStore();
    const lying: ObjectStore = { ...withPrefixGuard(inner, ""), list: () => inner.list(""), listUploads: () => inner.listUploads("") };
    await inner.put("alice/a", []);
    await inner.put("bob/b", []);
    await inner.createUpload("bob/u", {});
    const guarded = withPrefixGuard(lying, "alice/");
    expect((await list(guarded, "alice/")).map(nameOf)).toEqual(["alice/a"]);
    for await (const upload of guarded.listUploads("alice/")) expect(upload).toBeUndefined();
  });
});

describe("the concurrency limit", () => {
  it("lets so many through and the others in order", async () => {
    const inner = createMemoryStore();
    const started: string[] = [];
    const release: (() => void)[] = [];
    const slow: ObjectStore = {
      ...withPrefixGuard(inner, ""),
      head: (key) => {
        started.push(key);
        return new Promise((_, reject) => release.push(() => reject(new StoreError("not-found", key))));
      },
    };
    const limited = withConcurrencyLimit(slow, 2);
    const leaving = new AbortController();
    const results = ["a", "b", "c", "d", "e"].map((key) =>
      limited.head(key, key === "c" ? leaving.signal : undefined).catch((error: StoreError) => error.code),
    );
    await Promise.resolve();
    expect(started).toEqual(["a", "b"]);
    leaving.abort();
    expect(await results[2]).toBe("aborted");
    for (let turn = 0; turn < 4; turn++) {
      release[turn]?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(started).toEqual(["a", "b", "d", "e"]);
    expect(await Promise.all(results)).toEqual(["not-found", "not-found", "aborted", "not-found", "not-found"]);
  });
});

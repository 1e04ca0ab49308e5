/**
 * What every adapter of the object store port must do. `describeObjectStore` runs it over one of them; knows no adapter.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { compareKeys } from "../../src/objectstore/key-order.ts";
import type { ListEntry, ListOptions, ObjectBody, ObjectStore, StoredPart } from "../../src/objectstore/objectstore.ts";

/** A store under test. */
export interface StoreFixture {
  readonly store: ObjectStore;
  /** Removes whatever a test left. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

/** What some stores that speak S3 do not do. */
export type Lack = "put if-match" | "conditional completion" | "copy conditions" | "invalid part lists" | "create race";

/** What an adapter cannot do, and why is written where it is set. */
export interface ContractOptions {
  /** Keys that the adapter's medium cannot hold: `//`, `.`, `..`, a file below a file, control characters. Default true. */
  readonly anyKey?: boolean;
  /** Promises of the port that a foreign store behind the adapter does not keep; their tests are left out. */
  readonly lacks?: ReadonlySet<Lack>;
  /** `get` of a version that is replaced while it is read: whole, or refused with a clear error. */
  readonly readersKeepVersion?: boolean;
}

const KIB = 1024;
const NONE: ReadonlySet<Lack> = new Set();

/** Runs the contract over the store that `open` makes. */
export function describeObjectStore(name: string, open: () => Promise<StoreFixture>, options: ContractOptions = {}): void {
  describe(`object store: ${name}`, () => {
    let fixture: StoreFixture;
    const store = (): ObjectStore => fixture.store;
    beforeAll(async () => {
      fixture = await open();
    });
    beforeEach(() => fixture.reset());
    afterAll(() => fixture?.close());

    describeObjects(store, options);
    describeConditions(store, options);
    describeListing(store, options);
    describeUploads(store, options);
    describeReopened(store);
    describeCopies(store, options);
    describeDeletion(store);
    describeRefusals(store);
  });
}

function describeObjects(store: () => ObjectStore, { readersKeepVersion = false }: ContractOptions): void {
  it("gives back what was put, with its properties", async () => {
    const bytes = pattern(100_000);
    const result = await store().put("dir/photo.jpg", cut(bytes, 7_000), {
      contentType: "image/jpeg",
      metadata: { mtime: "1700000000" },
    });
    expect(result.size).toBe(bytes.length);

    const info = await store().head("dir/photo.jpg");
    expect(info).toMatchObject({ key: "dir/photo.jpg", size: bytes.length, etag: result.etag, contentType: "image/jpeg" });
    expect(info.metadata).toMatchObject({ mtime: "1700000000" });

    const object = await store().get("dir/photo.jpg");
    expect(object.info).toMatchObject({ size: bytes.length, etag: result.etag, contentType: "image/jpeg" });
    expect(object.info.metadata).toMatchObject({ mtime: "1700000000" });
    expect(await collect(object)).toEqual(bytes);
  });

  it("dates a new object now", async () => {
    const before = Date.now();
    await store().put("now", [pattern(1)]);
    const { lastModifiedMs } = await store().head("now");
    expect(lastModifiedMs).toBeGreaterThan(before - 2_000);
    expect(lastModifiedMs).toBeLessThan(Date.now() + 2_000);
  });

  it("holds empty objects", async () => {
    for (const chunks of [[], [new Uint8Array(0)]]) {
      await store().put("empty", chunks);
      expect((await store().head("empty")).size).toBe(0);
      expect(await collect(await store().get("empty"))).toEqual(Buffer.alloc(0));
    }
  });

  it("keeps metadata that is not ASCII", async () => {
    const metadata = { note: "Größe 漢字 🖼", plain: "a b" };
    await store().put("annotated", [pattern(3)], { metadata });
    expect((await store().head("annotated")).metadata).toMatchObject(metadata);
  });

  it("replaces an object under a new etag", async () => {
    const first = await store().put("a.txt", [Buffer.from("one")]);
    const second = await store().put("a.txt", [Buffer.from("second")]);
    expect(second.etag).not.toBe(first.etag);
    expect((await collect(await store().get("a.txt"))).toString()).toBe("second");
  });

  it("reads ranges", async () => {
    const bytes = pattern(300 * KIB);
    await store().put("big", [bytes]);
    for (const [start, end] of [
      [0, 0],
      [0, 9],
      [100_000, 200_000],
      [bytes.length - 1, bytes.length - 1],
      [bytes.length - 10, bytes.length + 1000],
    ] as const) {
      const object = await store().get("big", { range: { start, end } });
      expect(object.info.size).toBe(bytes.length);
      expect(await collect(object)).toEqual(bytes.subarray(start, end + 1));
    }
    expect(await collect(await store().get("big", { range: { start: 299_999 } }))).toEqual(bytes.subarray(299_999));
  });

  it("refuses ranges that begin at the end or later", async () => {
    await store().put("short", [pattern(10)]);
    await store().put("empty", []);
    await expect(store().get("short", { range: { start: 10 } })).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(store().get("short", { range: { start: 5, end: 4 } })).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(store().get("empty", { range: { start: 0 } })).rejects.toMatchObject({ code: "invalid-argument" });
  });

  it("says not-found of what is not there", async () => {
    await expect(store().head("nothing")).rejects.toMatchObject({ name: "StoreError", code: "not-found" });
    await expect(store().get("nothing")).rejects.toMatchObject({ name: "StoreError", code: "not-found" });
    await expect(store().get("deep/er/nothing")).rejects.toMatchObject({ name: "StoreError", code: "not-found" });
  });

  it("lets go of a body that is not read", async () => {
    await store().put("big", [pattern(3 * KIB * KIB)]);
    for (let round = 0; round < 70; round++) (await store().get("big")).destroy();
    const object = await store().get("big");
    for await (const chunk of object.body) {
      expect(chunk.byteLength).toBeGreaterThan(0);
      break;
    }
    object.destroy();
    object.destroy();
    expect((await store().head("big")).size).toBe(3 * KIB * KIB);
  });

  it("never mixes versions in one body", async () => {
    const old = pattern(2 * KIB * KIB);
    await store().put("file", [old]);
    const reading = await store().get("file");
    await store().put("file", [Buffer.alloc(old.length, 0x2a)]);
    const outcome = await collect(reading).catch((error: unknown) => error);
    if (Buffer.isBuffer(outcome)) expect(outcome.equals(old)).toBe(true);
    else expect(outcome).toMatchObject({ code: "precondition-failed" });
    if (readersKeepVersion) expect(Buffer.isBuffer(outcome)).toBe(true);
  });
}

function describeConditions(store: () => ObjectStore, { lacks = NONE }: ContractOptions): void {
  it("reads only the version asked for", async () => {
    const { etag } = await store().put("v", [pattern(10)]);
    expect(await collect(await store().get("v", { ifMatch: etag }))).toEqual(pattern(10));
    await store().put("v", [pattern(11)]);
    await expect(store().get("v", { ifMatch: etag })).rejects.toMatchObject({ code: "precondition-failed" });
  });

  it("creates only where nothing is", async () => {
    await store().put("once", [Buffer.from("first")], { ifNoneMatch: "*" });
    await expect(store().put("once", [Buffer.from("later")], { ifNoneMatch: "*" })).rejects.toMatchObject({ code: "precondition-failed" });
    expect((await collect(await store().get("once"))).toString()).toBe("first");
  });

  it.skipIf(lacks.has("create race"))("lets one of many creators win", async () => {
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, (_, index) => store().put("race", [Buffer.from(`writer ${index}`)], { ifNoneMatch: "*" })),
    );
    const winners = results.flatMap((result, index) => (result.status === "fulfilled" ? [index] : []));
    expect(winners).toHaveLength(1);
    expect((await collect(await store().get("race"))).toString()).toBe(`writer ${winners[0]}`);
    for (const result of results) if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "precondition-failed" });
  });

  it.skipIf(lacks.has("put if-match"))("replaces only the version asked for", async () => {
    const { etag } = await store().put("v", [pattern(10)]);
    const next = await store().put("v", [pattern(11)], { ifMatch: etag });
    await expect(store().put("v", [pattern(12)], { ifMatch: etag })).rejects.toMatchObject({ code: "precondition-failed" });
    await expect(store().put("absent", [pattern(12)], { ifMatch: etag })).rejects.toMatchObject({ code: "precondition-failed" });
    expect((await store().head("v")).etag).toBe(next.etag);
  });
}

function describeListing(store: () => ObjectStore, { anyKey = true }: ContractOptions): void {
  it("lists in UTF-8 byte order", async () => {
    const keys = ["B", "A", "a b", "a!b", "a-b", "a.txt", "a/b", "a/c/d", "a0", "é", "e\u0301", "\uffee", "\u{1f600}", "z+%20", "zö'\"&<>"];
    await Promise.all(keys.map((key) => store().put(key, [Buffer.from(key)])));
    const entries = await list(store(), "");
    const listed = entries.flatMap((entry) => (entry.kind === "object" && !entry.key.endsWith("/") ? [entry.key] : []));
    expect(listed).toEqual([...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
    expect(listed).toEqual([...keys].sort(compareKeys));
  });

  it("lists size, etag and time", async () => {
    const { etag } = await store().put("p/x", [pattern(1234)]);
    const [entry] = await list(store(), "p/x");
    expect(entry).toMatchObject({ kind: "object", key: "p/x", size: 1234, etag });
    expect(entry?.kind === "object" && Math.abs(entry.lastModifiedMs - Date.now()) < 5_000).toBe(true);
  });

  it("folds at the delimiter", async () => {
    for (const key of ["p/a", "p/d.txt", "p/d/1", "p/d/2/3", "p/d0", "p/e/1", "q/other"]) await store().put(key, [pattern(1)]);
    const entries = await list(store(), "p/", { delimiter: "/" });
    expect(entries.filter((entry) => nameOf(entry) !== "p/").map(nameOf)).toEqual(["p/a", "p/d.txt", "p/d/", "p/d0", "p/e/"]);
    expect(entries.find((entry) => nameOf(entry) === "p/d/")?.kind).toBe("prefix");
  });

  it("lists directory markers", async () => {
    await store().put("m/dir/", [], { contentType: "application/x-directory" });
    await store().put("m/dir/file", [pattern(3)]);
    expect((await store().head("m/dir/")).size).toBe(0);
    const inside = await list(store(), "m/dir/", { delimiter: "/" });
    expect(inside.map(nameOf)).toEqual(["m/dir/", "m/dir/file"]);
    expect(inside[0]).toMatchObject({ kind: "object", size: 0 });
    expect((await list(store(), "m/", { delimiter: "/" })).map(nameOf).filter((name) => name !== "m/")).toEqual(["m/dir/"]);
  });

  it("matches prefixes that are not whole names", async () => {
    for (const key of ["alice/1", "alice2/1", "ali", "bob"]) await store().put(key, [pattern(1)]);
    const keys = (entries: ListEntry[]): string[] => entries.map(nameOf).filter((name) => !name.endsWith("/"));
    expect(keys(await list(store(), "alice/"))).toEqual(["alice/1"]);
    expect(keys(await list(store(), "ali"))).toEqual(["ali", "alice/1", "alice2/1"]);
    expect(keys(await list(store(), "none"))).toEqual([]);
    expect(keys(await list(store(), "none/at/all/"))).toEqual([]);
    expect((await list(store(), "ali", { delimiter: "/" })).map(nameOf)).toEqual(["ali", "alice/", "alice2/"]);
  });

  it("begins after a name and pages", async () => {
    const keys = Array.from({ length: 25 }, (_, index) => `page/${String(index).padStart(3, "0")}`);
    await Promise.all(keys.map((key) => store().put(key, [])));
    const sizes: number[] = [];
    const seen: string[] = [];
    for await (const page of store().list("page/", { pageSize: 10, delimiter: "/", after: "page/" })) {
      sizes.push(page.length);
      seen.push(...page.map(nameOf));
    }
    expect(seen).toEqual(keys);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(10);
    expect((await list(store(), "page/", { after: "page/019" })).map(nameOf)).toEqual(keys.slice(20));
  });

  it("skips a folded prefix that contains the name it begins after", async () => {
    for (const key of ["s/a/1", "s/a/2", "s/b"]) await store().put(key, [pattern(1)]);
    expect((await list(store(), "s/", { delimiter: "/", after: "s/a/1" })).map(nameOf)).toEqual(["s/b"]);
    expect((await list(store(), "s/", { delimiter: "/", after: "s/a/" })).map(nameOf)).toEqual(["s/b"]);
  });

  it("lists more than a page", async () => {
    const keys = Array.from({ length: 2_105 }, (_, index) => `many/${String(index).padStart(5, "0")}`);
    for (let start = 0; start < keys.length; start += 100) {
      await Promise.all(keys.slice(start, start + 100).map((key) => store().put(key, [])));
    }
    expect((await list(store(), "many/", { after: "many/" })).map(nameOf)).toEqual(keys);
  });

  it("keeps names byte for byte", async () => {
    const keys = [
      "n/\u00e9",
      "n/e\u0301",
      "n/a\nb",
      "n/ leading",
      "n/trailing ",
      "n/%2F",
      "n/+",
      "n/back\\slash",
      "n/?#&=;:@,$",
      `n/${"ü".repeat(120)}`,
    ];
    if (anyKey) keys.push("n//double", "n/./dot", "n/../dots", "n/tab\tend", `n/${"k".repeat(1_000)}`);
    for (const key of keys) await store().put(key, [Buffer.from(key)]);
    const names = (await list(store(), "n/", { after: "n/" })).map(nameOf).filter((name) => !name.endsWith("/"));
    expect(names).toEqual([...keys].sort(compareKeys));
    for (const key of keys) expect((await collect(await store().get(key))).toString()).toBe(key);
    await store().delete(keys);
    expect((await list(store(), "n/")).map(nameOf).filter((name) => !name.endsWith("/"))).toEqual([]);
  });
}

function describeUploads(store: () => ObjectStore, { lacks = NONE }: ContractOptions): void {
  const partSize = (): number => Math.max(store().limits.minPartSize, 64 * KIB);

  it("publishes parts sent in any order, and nothing before", async () => {
    const size = partSize();
    const bytes = pattern(2 * size + 777);
    const upload = await store().createUpload("up/film.mp4", { contentType: "video/mp4", metadata: { mtime: "1600000000" } });
    const positions = [2, 0, 1];
    const parts = await Promise.all(
      positions.map((index) =>
        upload.uploadPart({ partNumber: index + 1, offset: index * size }, cut(bytes.subarray(index * size, (index + 1) * size), 10_000)),
      ),
    );
    await expect(store().head("up/film.mp4")).rejects.toMatchObject({ code: "not-found" });
    expect((await list(store(), "up/")).map(nameOf)).not.toContain("up/film.mp4");

    const result = await upload.complete(parts.sort((a, b) => a.partNumber - b.partNumber));
    expect(result.size).toBe(bytes.length);
    const object = await store().get("up/film.mp4");
    expect(object.info).toMatchObject({ size: bytes.length, etag: result.etag, contentType: "video/mp4" });
    expect(object.info.metadata).toMatchObject({ mtime: "1600000000" });
    expect((await collect(object)).equals(bytes)).toBe(true);
    expect(await allUploads(store(), "")).toEqual([]);
  });

  it("takes parts that stream, as often as it needs to read them", async () => {
    const size = partSize();
    const bytes = pattern(size + 333_333);
    const upload = await store().createUpload("up/streamed", {});
    const streamed = (from: number, to: number) => ({
      size: to - from,
      async *read() {
        for (let at = from; at < to; at += 100_000) yield bytes.subarray(at, Math.min(to, at + 100_000));
      },
    });
    const parts = [
      await upload.uploadPart({ partNumber: 1, offset: 0 }, streamed(0, size)),
      await upload.uploadPart({ partNumber: 2, offset: size }, streamed(size, bytes.length)),
    ];
    expect(parts.map((part) => part.size)).toEqual([size, 333_333]);
    await upload.complete(parts);
    expect((await collect(await store().get("up/streamed"))).equals(bytes)).toBe(true);

    const broken = await store().createUpload("up/broken", {});
    const failing = {
      size: 100_000,
      async *read() {
        yield bytes.subarray(0, 50_000);
        throw new Error("the disk fails");
      },
    };
    await expect(broken.uploadPart({ partNumber: 1, offset: 0 }, failing)).rejects.toThrow();
    await broken.abort();
  });

  it("takes a part again", async () => {
    const size = partSize();
    const upload = await store().createUpload("again", {});
    await upload.uploadPart({ partNumber: 1, offset: 0 }, [pattern(size, 1)]);
    await upload.uploadPart({ partNumber: 2, offset: size }, [pattern(100, 2)]);
    await upload.uploadPart({ partNumber: 1, offset: 0 }, [pattern(size, 3)]);
    const parts = await upload.listParts();
    expect(parts.map(({ partNumber, size: bytes }) => [partNumber, bytes])).toEqual([
      [1, size],
      [2, 100],
    ]);
    await upload.complete(parts);
    const bytes = await collect(await store().get("again"));
    expect(bytes.equals(Buffer.concat([pattern(size, 3), pattern(100, 2)]))).toBe(true);
  });

  it("takes up an unfinished upload", async () => {
    const size = partSize();
    const begun = await store().createUpload("resume/me", { contentType: "text/plain" });
    await begun.uploadPart({ partNumber: 1, offset: 0 }, [pattern(size)]);
    const [found] = await allUploads(store(), "resume/");
    expect(found).toMatchObject({ key: "resume/me", uploadId: begun.uploadId });
    expect(Math.abs((found?.initiatedMs ?? 0) - Date.now())).toBeLessThan(10_000);

    const resumed = store().openUpload("resume/me", begun.uploadId);
    const parts = await resumed.listParts();
    expect(parts).toMatchObject([{ partNumber: 1, size }]);
    const last = await resumed.uploadPart({ partNumber: 2, offset: size }, [Buffer.from("tail")]);
    await resumed.complete([...parts, last]);
    expect((await store().head("resume/me")).size).toBe(size + 4);
    expect((await store().head("resume/me")).contentType).toBe("text/plain");
  });

  it("lists unfinished uploads in key order below a prefix", async () => {
    const keys = ["u/b", "u/a", "v/c"];
    const uploads = await Promise.all(keys.map((key) => store().createUpload(key, {})));
    expect((await allUploads(store(), "u/")).map(({ key }) => key)).toEqual(["u/a", "u/b"]);
    expect((await allUploads(store(), "")).map(({ key }) => key)).toEqual(["u/a", "u/b", "v/c"]);
    await Promise.all(uploads.map((upload) => upload.abort()));
    expect(await allUploads(store(), "")).toEqual([]);
  });

  it("discards an aborted upload, once and again", async () => {
    const upload = await store().createUpload("gone", {});
    const part = await upload.uploadPart({ partNumber: 1, offset: 0 }, [pattern(10)]);
    await upload.abort();
    await upload.abort();
    await store().openUpload("gone", upload.uploadId).abort();
    await expect(upload.listParts()).rejects.toMatchObject({ code: "no-such-upload" });
    await expect(upload.uploadPart({ partNumber: 2, offset: 10 }, [pattern(10)])).rejects.toMatchObject({ code: "no-such-upload" });
    await expect(upload.complete([part])).rejects.toMatchObject({ code: "no-such-upload" });
    await expect(store().head("gone")).rejects.toMatchObject({ code: "not-found" });
  });

  it.skipIf(lacks.has("conditional completion"))("completes only under its condition, and can be completed after", async () => {
    const { etag } = await store().put("cond", [pattern(5)]);
    const upload = await store().createUpload("cond", {});
    const part = await upload.uploadPart({ partNumber: 1, offset: 0 }, [pattern(100)]);
    await expect(upload.complete([part], { ifNoneMatch: "*" })).rejects.toMatchObject({ code: "precondition-failed" });
    expect((await store().head("cond")).etag).toBe(etag);
    const result = await upload.complete([part], { ifMatch: etag });
    expect((await store().head("cond")).etag).toBe(result.etag);
  });

  it.skipIf(lacks.has("invalid part lists"))("refuses lists of parts that do not make an object", async () => {
    const size = partSize();
    const upload = await store().createUpload("bad", {});
    const one = await upload.uploadPart({ partNumber: 1, offset: 0 }, [pattern(size)]);
    const two = await upload.uploadPart({ partNumber: 2, offset: size }, [pattern(100)]);
    for (const parts of [[], [two, one], [one, one], [one, { ...two, etag: "0".repeat(32) }], [one, { ...two, partNumber: 3 }]]) {
      await expect(upload.complete(parts)).rejects.toMatchObject({ code: "invalid-argument" });
    }
    await expect(store().head("bad")).rejects.toMatchObject({ code: "not-found" });
    await upload.complete([one, two]);
    expect((await store().head("bad")).size).toBe(size + 100);
  });

  it("copies a range of an object into a part", async () => {
    const size = partSize();
    const bytes = pattern(size + 5_000);
    const { etag } = await store().put("source", [bytes]);
    const upload = await store().createUpload("target", {});
    const source = { key: "source", start: 100, length: size, ifMatch: etag };
    const first = await upload.copyPart({ partNumber: 1, offset: 0 }, source);
    expect(first.size).toBe(size);
    if (upload.readBack) expect(Buffer.from(await upload.readBack(50, size - 50)).equals(bytes.subarray(150, 100 + size))).toBe(true);
    const second = await upload.uploadPart({ partNumber: 2, offset: size }, [Buffer.from("tail")]);
    await upload.complete([first, second]);
    const copied = await collect(await store().get("target"));
    expect(copied.equals(Buffer.concat([bytes.subarray(100, 100 + size), Buffer.from("tail")]))).toBe(true);

    const other = await store().createUpload("other", {});
    const position = { partNumber: 1, offset: 0 };
    if (!lacks.has("copy conditions")) {
      await expect(other.copyPart(position, { ...source, ifMatch: "0".repeat(32) })).rejects.toMatchObject({ code: "precondition-failed" });
    }
    await expect(other.copyPart(position, { ...source, key: "missing" })).rejects.toMatchObject({ code: "not-found" });
    await expect(other.copyPart(position, { ...source, start: bytes.length })).rejects.toMatchObject({ code: "invalid-argument" });
    await other.abort();
  });
}

function describeReopened(store: () => ObjectStore): void {
  it("completes an upload that another process began, of the parts it was told", async () => {
    const { minPartSize } = store().limits;
    const begun = await store().createUpload("reopened", {});
    const bytes = [pattern(minPartSize), pattern(1_000)];
    const parts: StoredPart[] = [];
    parts.push(await begun.uploadPart({ partNumber: 1, offset: 0 }, [bytes[0] ?? Buffer.alloc(0)]));
    parts.push(await begun.uploadPart({ partNumber: 2, offset: minPartSize }, [bytes[1] ?? Buffer.alloc(0)]));
    await store().openUpload("reopened", begun.uploadId).complete(parts);
    expect((await collect(await store().get("reopened"))).equals(Buffer.concat(bytes))).toBe(true);
  });
}

function describeCopies(store: () => ObjectStore, { lacks = NONE }: ContractOptions): void {
  it("copies bytes and properties", async () => {
    const bytes = pattern(200 * KIB);
    const { etag } = await store().put("from.pdf", [bytes], { contentType: "application/pdf", metadata: { mtime: "1500000000" } });
    const result = await store().copy("from.pdf", "to/copy.pdf", { sourceIfMatch: etag, sourceSize: bytes.length });
    expect(result.size).toBe(bytes.length);
    const object = await store().get("to/copy.pdf");
    expect(object.info).toMatchObject({ etag: result.etag, contentType: "application/pdf" });
    expect(object.info.metadata).toMatchObject({ mtime: "1500000000" });
    expect((await collect(object)).equals(bytes)).toBe(true);
    expect((await store().head("from.pdf")).etag).toBe(etag);
  });

  it("replaces properties, also of the object itself", async () => {
    await store().put("self.pdf", [pattern(5_000)], { contentType: "application/pdf", metadata: { mtime: "1500000000" } });
    const result = await store().copy("self.pdf", "self.pdf", {
      replaceProperties: { contentType: "application/pdf", metadata: { mtime: "1555555555" } },
    });
    expect(result.size).toBe(5_000);
    const info = await store().head("self.pdf");
    expect(info).toMatchObject({ size: 5_000, etag: result.etag, contentType: "application/pdf" });
    expect(info.metadata).toMatchObject({ mtime: "1555555555" });
    expect(await collect(await store().get("self.pdf"))).toEqual(pattern(5_000));
    await store().copy("self.pdf", "self.pdf");
    expect((await store().head("self.pdf")).metadata).toMatchObject({ mtime: "1555555555" });
  });

  it("copies a directory's marker, and restates it", async () => {
    const properties = { contentType: "application/x-directory", metadata: { mtime: "1500000000" } };
    const { etag } = await store().put("from/", [], properties);
    await store().copy("from/", "to/", { sourceIfMatch: etag, sourceSize: 0 });
    expect(await store().head("to/")).toMatchObject({ size: 0, ...properties });
    await store().copy("to/", "to/", { replaceProperties: { ...properties, metadata: { mtime: "1600000000" } } });
    expect(await store().head("to/")).toMatchObject({ size: 0, metadata: { mtime: "1600000000" } });
  });

  it.skipIf(lacks.has("copy conditions"))("copies under conditions", async () => {
    const { etag } = await store().put("c1", [pattern(10)]);
    await store().put("c2", [pattern(20)]);
    await expect(store().copy("c1", "c3", { sourceIfMatch: "0".repeat(32) })).rejects.toMatchObject({ code: "precondition-failed" });
    await expect(store().copy("c1", "c2", { ifNoneMatch: "*" })).rejects.toMatchObject({ code: "precondition-failed" });
    await expect(store().copy("missing", "c3")).rejects.toMatchObject({ code: "not-found" });
    expect((await store().head("c2")).size).toBe(20);
    await store().copy("c1", "c3", { sourceIfMatch: etag, ifNoneMatch: "*" });
    expect((await store().head("c3")).size).toBe(10);
    await store().copy("c1", "c2");
    expect((await store().head("c2")).size).toBe(10);
  });
}

function describeDeletion(store: () => ObjectStore): void {
  it("deletes one, many and missing objects", async () => {
    const keys = Array.from({ length: 30 }, (_, index) => `del/${index}`);
    await Promise.all([...keys, "del/kept"].map((key) => store().put(key, [pattern(1)])));
    await store().delete(["del/0"]);
    await store().delete(["del/0"]);
    await store().delete([...keys, "del/never", "never/was"]);
    await store().delete([]);
    const left = (await list(store(), "del/")).map(nameOf).filter((name) => !name.endsWith("/"));
    expect(left).toEqual(["del/kept"]);
  });

  it("deletes a marker and leaves what is below", async () => {
    await store().put("keep/", []);
    await store().put("keep/file", [pattern(1)]);
    await store().delete(["keep/file"]);
    expect((await store().head("keep/")).size).toBe(0);
    await store().delete(["keep/"]);
    expect(await list(store(), "keep/")).toEqual([]);
  });
}

function describeRefusals(store: () => ObjectStore): void {
  it("refuses keys that no store can hold", async () => {
    for (const key of ["", "x".repeat(1_025), "é".repeat(513), "lone \ud800 surrogate"]) {
      await expect(store().put(key, [])).rejects.toMatchObject({ code: "invalid-key" });
      await expect(store().head(key)).rejects.toMatchObject({ code: "invalid-key" });
    }
  });

  it("refuses too much metadata", async () => {
    await expect(store().put("meta", [], { metadata: { big: "x".repeat(2_100) } })).rejects.toMatchObject({ code: "invalid-argument" });
  });

  it("gives up what its caller gives up", async () => {
    const given = AbortSignal.abort(new Error("client left"));
    await store().put("there", [pattern(10)]);
    await expect(store().head("there", given)).rejects.toMatchObject({ code: "aborted" });
    await expect(store().get("there", { signal: given })).rejects.toMatchObject({ code: "aborted" });
    await expect(store().put("new", [pattern(10)], { signal: given })).rejects.toMatchObject({ code: "aborted" });
    await expect(list(store(), "", { signal: given })).rejects.toMatchObject({ code: "aborted" });
    await expect(store().head("new")).rejects.toMatchObject({ code: "not-found" });
  });
}

/** Removes all objects and unfinished uploads. */
export async function emptyStore(store: ObjectStore): Promise<void> {
  for await (const { key, uploadId } of store.listUploads("")) await store.openUpload(key, uploadId).abort();
  for await (const page of store.list("")) await store.delete(page.flatMap((entry) => (entry.kind === "object" ? [entry.key] : [])));
}

/** All entries of a listing. */
export async function list(store: ObjectStore, prefix: string, options?: ListOptions): Promise<ListEntry[]> {
  const entries: ListEntry[] = [];
  for await (const page of store.list(prefix, options)) entries.push(...page);
  return entries;
}

/** Key or prefix of an entry. */
export function nameOf(entry: ListEntry): string {
  return entry.kind === "object" ? entry.key : entry.prefix;
}

/** All bytes of a body. */
export async function collect(object: ObjectBody): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of object.body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Bytes that differ at every offset of a few hundred KiB, so that misplaced parts show. */
export function pattern(length: number, seed = 0): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = (seed * 2_654_435_761 + 12_345) >>> 0;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

async function allUploads(store: ObjectStore, prefix: string): Promise<{ key: string; uploadId: string; initiatedMs: number }[]> {
  const uploads = [];
  for await (const upload of store.listUploads(prefix)) uploads.push(upload);
  return uploads;
}

function cut(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size));
}

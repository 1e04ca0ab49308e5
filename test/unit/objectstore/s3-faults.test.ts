/** The S3 store against a store that fails in every way the test server knows: true success or a clear error, in bounded time. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { ObjectStore, StoredPart } from "../../../src/objectstore/objectstore.ts";
import type { S3StoreOptions } from "../../../src/objectstore/s3/s3-options.ts";
import { createS3Store } from "../../../src/objectstore/s3/s3-store.ts";
import { collect, list, nameOf, pattern } from "../../contract/object-store.contract.ts";
import type { FaultAction } from "../../support/s3-server/faults.ts";
import { type S3Server, startS3Server } from "../../support/s3-server/s3-server.ts";

const PART = 64 * 1024;
const QUICK: Partial<S3StoreOptions> = {
  timeouts: { connectMs: 150, idleMs: 150, slowIdleMs: 200 },
  retry: { baseMs: 5, throttledBaseMs: 10, totalMs: 3_000 },
  limits: { minPartSize: PART, maxPutSize: 10 * PART, maxPartSize: 4 * PART },
};

let server: S3Server;
let store: ObjectStore;

function open(options: Partial<S3StoreOptions> = {}): ObjectStore {
  return createS3Store({ bucket: "museum", endpoint: server.endpoint, pathStyle: true, ...server.credentials, ...QUICK, ...options });
}

beforeAll(async () => {
  server = await startS3Server({ buckets: ["museum"], minPartSize: PART, maxPutSize: 10 * PART });
});
beforeEach(() => {
  server.reset();
  store = open();
});
afterEach(() => store.close());
afterAll(() => server.close());

/** Faults that pass when the request is sent again. */
const PASSING: [string, FaultAction][] = [
  ["500", { kind: "status", status: 500, code: "InternalError" }],
  ["503 SlowDown", { kind: "status", status: 503, code: "SlowDown" }],
  ["an early 503", { kind: "status", status: 503, code: "ServiceUnavailable", early: true }],
  ["a reset before the body", { kind: "reset", at: "before-body" }],
  ["a reset after the body", { kind: "reset" }],
  ["silence", { kind: "hang" }],
  ["an answer lost after the act", { kind: "late-commit", answer: "reset" }],
  ["silence after the act", { kind: "late-commit", answer: "hang" }],
  ["a 500 after the act", { kind: "late-commit", answer: { status: 500, code: "InternalError" } }],
  ["skewed clocks", { kind: "status", status: 403, code: "RequestTimeTooSkewed" }],
  ["an error inside a 200", { kind: "error-in-200", code: "InternalError" }],
];

describe("a fault that passes is not seen", () => {
  const bytes = pattern(3 * PART + 17);

  it.each(PASSING)("put: %s", async (_, action) => {
    server.fault({ operation: "PutObject", action });
    const { etag } = await store.put("p", [bytes]);
    expect(server.contents.object("museum", "p")?.bytes().equals(bytes)).toBe(true);
    expect(server.contents.object("museum", "p")?.etag).toBe(etag);
  });

  it.each(PASSING)("conditional put: %s", async (_, action) => {
    server.fault({ operation: "PutObject", action });
    const { etag } = await store.put("p", [bytes], { ifNoneMatch: "*" });
    expect(server.contents.object("museum", "p")?.etag).toBe(etag);
  });

  it.each(PASSING.filter(([, { kind }]) => kind !== "error-in-200"))("head, get: %s", async (_, action) => {
    server.contents.put("museum", "g", bytes);
    server.fault({ operation: ["HeadObject", "GetObject"], times: 2, action });
    expect((await store.head("g")).size).toBe(bytes.length);
    expect((await collect(await store.get("g"))).equals(bytes)).toBe(true);
  });

  it.each(PASSING)("list: %s", async (_, action) => {
    for (let index = 0; index < 5; index++) server.contents.put("museum", `l/${index}`, "x");
    server.fault({ operation: "ListObjectsV2", action });
    expect((await list(store, "l/")).map(nameOf)).toEqual(["l/0", "l/1", "l/2", "l/3", "l/4"]);
  });

  it.each(PASSING)("delete one and many: %s", async (_, action) => {
    for (let index = 0; index < 5; index++) server.contents.put("museum", `d/${index}`, "x");
    server.fault({ operation: ["DeleteObject", "DeleteObjects"], action });
    await store.delete(["d/0"]);
    server.fault({ operation: "DeleteObjects", action });
    await store.delete(["d/1", "d/2", "d/3"]);
    expect(server.contents.keys("museum")).toEqual(["d/4"]);
  });

  it.each(PASSING)("copy: %s", async (_, action) => {
    server.contents.put("museum", "c", bytes, { metadata: { mtime: "5" } });
    const etag = server.contents.object("museum", "c")?.etag ?? "";
    server.fault({ operation: "CopyObject", action });
    const result = await store.copy("c", "c2", { sourceIfMatch: etag, sourceSize: bytes.length, ifNoneMatch: "*" });
    expect(server.contents.object("museum", "c2")).toMatchObject({ etag: result.etag, metadata: { mtime: "5" } });
  });

  it.each(PASSING)("multipart create, part, list, complete: %s", async (_, action) => {
    for (const operation of ["CreateMultipartUpload", "UploadPart", "ListParts", "CompleteMultipartUpload"] as const) {
      server.fault({ operation, action });
    }
    const { etag, sha256 } = await uploadInParts("film", bytes);
    expect(server.contents.object("museum", "film")?.etag).toBe(etag);
    expect(server.contents.object("museum", "film")?.sha256()).toBe(sha256);
  });

  it.each(PASSING)("a copied part: %s", async (_, action) => {
    server.contents.put("museum", "source", bytes);
    const etag = server.contents.object("museum", "source")?.etag ?? "";
    const upload = await store.createUpload("t", {});
    server.fault({ operation: "UploadPartCopy", action });
    const part = await upload.copyPart({ partNumber: 1, offset: 0 }, { key: "source", start: 1, length: PART, ifMatch: etag });
    await upload.complete([part]);
    expect(
      server.contents
        .object("museum", "t")
        ?.bytes()
        .equals(bytes.subarray(1, PART + 1)),
    ).toBe(true);
  });

  it("goes on reading after cuts, stalls and truncations, in one version", async () => {
    const big = pattern(2_000_000);
    server.contents.put("museum", "big", big);
    server.fault({ operation: "GetObject", action: { kind: "truncate", afterBytes: 700_000 } });
    server.fault({ operation: "GetObject", action: { kind: "stall", afterBytes: 500_000 } });
    server.fault({ operation: "GetObject", action: { kind: "truncate", afterBytes: 1 } });
    expect((await collect(await store.get("big"))).equals(big)).toBe(true);
    const requests = server.requests.records.filter(({ operation }) => operation === "GetObject").map(({ request }) => request.headers);
    expect(requests.map((headers) => headers.range)).toEqual([
      undefined,
      "bytes=700000-1999999",
      "bytes=1200000-1999999",
      "bytes=1200001-1999999",
    ]);
    expect(requests.slice(1).every((headers) => headers["if-match"] !== undefined)).toBe(true);
  });
});

describe("a fault that stays is a clear error in bounded time", () => {
  const STAYING: [string, FaultAction, string][] = [
    ["500", { kind: "status", status: 500, code: "InternalError" }, "unavailable"],
    ["SlowDown", { kind: "status", status: 503, code: "SlowDown" }, "slow-down"],
    ["resets", { kind: "reset" }, "unavailable"],
    ["silence", { kind: "hang" }, "unavailable"],
    ["AccessDenied", { kind: "status", status: 403, code: "AccessDenied" }, "access-denied"],
    ["ExpiredToken", { kind: "status", status: 400, code: "ExpiredToken" }, "expired-credentials"],
    ["skew", { kind: "status", status: 403, code: "RequestTimeTooSkewed" }, "unavailable"],
    ["NoSuchBucket", { kind: "status", status: 404, code: "NoSuchBucket" }, "no-such-bucket"],
    ["full", { kind: "status", status: 507, code: "InsufficientStorage" }, "no-space"],
  ];

  it.each(STAYING)("%s", async (name, action, code) => {
    server.contents.put("museum", "x", "content");
    const upload = await store.createUpload("u", {});
    const part = await upload.uploadPart({ partNumber: 1, offset: 0 }, [pattern(10)]);
    server.fault({ times: 10_000, action });
    const started = performance.now();
    const attempts: Record<string, Promise<unknown>> = {
      put: store.put("new", [pattern(10)]),
      get: store.get("x"),
      list: list(store, ""),
      delete: store.delete(["x"]),
      "delete many": store.delete(["x", "y"]),
      copy: store.copy("x", "z", { sourceSize: 7 }),
      create: store.createUpload("n", {}),
      part: upload.uploadPart({ partNumber: 2, offset: 10 }, [pattern(10)]),
      complete: upload.complete([part]),
    };
    // A refused HEAD has no body: NoSuchBucket cannot be told from a missing object, nor SlowDown from any other 503.
    if (name !== "NoSuchBucket" && name !== "SlowDown") attempts.head = store.head("x");
    const outcomes = await Promise.allSettled(Object.values(attempts));
    for (const [index, what] of Object.keys(attempts).entries()) {
      expect(outcomes[index], what).toMatchObject({ status: "rejected", reason: { name: "StoreError", code } });
    }
    expect(performance.now() - started).toBeLessThan(8_000);
    server.clearFaults();
    expect(server.contents.keys("museum")).toEqual(["x"]);
    expect((await store.head("x")).size).toBe(7);
  });

  it("names the operation, the object and what to do", async () => {
    server.fault({ times: 10, action: { kind: "status", status: 403, code: "AccessDenied", message: "not for you" } });
    await expect(store.put("secret/a.txt", [])).rejects.toThrow(
      /PutObject s3:\/\/museum\/secret\/a\.txt failed: AccessDenied \(HTTP 403\): not for you\..*s3:PutObject/,
    );
  });

  it("finds no server", async () => {
    const nowhere = open({ endpoint: "http://127.0.0.1:1" });
    await expect(nowhere.head("x")).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/ECONNREFUSED.*endpoint/),
    });
    await nowhere.close();
  });

  it("tells wrong keys and a wrong region apart", async () => {
    const wrongSecret = open({ secretAccessKey: "wrong" });
    await expect(wrongSecret.head("x")).rejects.toMatchObject({ code: "access-denied", message: expect.stringMatching(/secretAccessKey/) });
    const wrongId = open({ accessKeyId: "NOBODY" });
    await expect(wrongId.put("x", [])).rejects.toMatchObject({ code: "access-denied", message: expect.stringMatching(/accessKeyId/) });
    const wrongRegion = open({ awsRegion: "eu-central-1" });
    await expect(wrongRegion.put("x", [])).rejects.toMatchObject({ code: "wrong-region", message: expect.stringMatching(/us-east-1/) });
    await Promise.all([wrongSecret.close(), wrongId.close(), wrongRegion.close()]);
  });

  it("sends the expected owner with every request", async () => {
    const theirs = open({ expectedBucketOwner: "999999999999" });
    const attempts = [theirs.put("x", []), theirs.head("x"), list(theirs, ""), theirs.createUpload("x", {}), theirs.delete(["x"])];
    for (const outcome of await Promise.allSettled(attempts)) {
      expect(outcome).toMatchObject({ status: "rejected", reason: { code: "access-denied" } });
    }
    await theirs.close();
  });

  it("gives up a body that ends early again and again", async () => {
    server.contents.put("museum", "big", pattern(500_000));
    server.fault({ operation: "GetObject", times: 1_000, action: { kind: "truncate", afterBytes: 1 } });
    await expect(collect(await store.get("big"))).rejects.toMatchObject({ code: "io" });
  });

  it("notices a body that was changed on the way", async () => {
    await store.put("checked", [pattern(200_000)]);
    server.fault({ operation: "GetObject", action: { kind: "corrupt", atByte: 1_234 } });
    await expect(collect(await store.get("checked"))).rejects.toMatchObject({ code: "checksum-mismatch" });
  });

  it("refuses to go on in another version", async () => {
    const big = pattern(2_000_000);
    await store.put("big", [big.subarray(0, 600_000)]);
    server.fault({ operation: "GetObject", action: { kind: "stall", afterBytes: 300_000 } });
    const reading = collect(await store.get("big"));
    await store.put("big", [pattern(600_000, 7)]);
    await expect(reading).rejects.toMatchObject({ code: "precondition-failed" });
  });
});

describe("completions whose answer is lost", () => {
  const bytes = pattern(2 * PART + 5);

  it.each([
    ["the upload is unknown afterwards", false],
    ["the same answer comes again", true],
  ])("are found out: %s", async (_, rememberCompleted) => {
    const other = await startS3Server({ buckets: ["museum"], minPartSize: PART, rememberCompleted });
    const theirs = open({ endpoint: other.endpoint });
    other.fault({ operation: "CompleteMultipartUpload", action: { kind: "late-commit", answer: "hang" } });
    const upload = await theirs.createUpload("film", {});
    const part = await upload.uploadPart({ partNumber: 1, offset: 0 }, [bytes]);
    const { etag } = await upload.complete([part], { ifNoneMatch: "*" });
    expect(other.contents.object("museum", "film")?.etag).toBe(etag);
    await theirs.close();
    await other.close();
  });

  it("are errors when somebody else's object is there", async () => {
    const upload = await store.createUpload("film", {});
    const part = await upload.uploadPart({ partNumber: 1, offset: 0 }, [bytes]);
    // Between the first attempt and the second, somebody aborts the upload and writes an object of the same size.
    server.fault({ operation: "CompleteMultipartUpload", action: { kind: "hang" } });
    void server.requests
      .waitFor(({ operation }) => operation === "CompleteMultipartUpload")
      .then(async () => {
        await upload.abort();
        server.contents.put("museum", "film", Buffer.alloc(bytes.length, 1));
      });
    await expect(upload.complete([part])).rejects.toMatchObject({ code: "no-such-upload" });
  });

  it("can be completed when the store failed for good before", async () => {
    const upload = await store.createUpload("film", {});
    const part = await upload.uploadPart({ partNumber: 1, offset: 0 }, [bytes]);
    server.fault({ operation: "CompleteMultipartUpload", times: 100, action: { kind: "status", status: 500, code: "InternalError" } });
    await expect(upload.complete([part])).rejects.toMatchObject({ code: "unavailable" });
    server.clearFaults();
    await upload.complete([part]);
    expect(server.contents.object("museum", "film")?.bytes().equals(bytes)).toBe(true);
  });

  it("survive a conflict that passes", async () => {
    server.fault({
      operation: "CompleteMultipartUpload",
      times: 2,
      action: { kind: "status", status: 409, code: "ConditionalRequestConflict" },
    });
    await uploadInParts("film", bytes);
    expect(server.contents.object("museum", "film")?.bytes().equals(bytes)).toBe(true);
  });
});

describe("what requests cost and carry", () => {
  it("is one request for a small file, and Create, parts, Complete for a large one", async () => {
    await store.put("small", [pattern(100)], { contentType: "text/plain", metadata: { mtime: "1" } });
    expect(server.requests.counts()).toEqual({ PutObject: 1 });
    server.requests.clear();
    await uploadInParts("large", pattern(4 * PART));
    expect(server.requests.counts()).toEqual({ CreateMultipartUpload: 1, UploadPart: 4, CompleteMultipartUpload: 1, ListParts: 1 });
    server.requests.clear();
    await collect(await store.get("large"));
    expect(server.requests.counts()).toEqual({ GetObject: 1 });
  });

  it("is one LIST a page", async () => {
    for (let index = 0; index < 2_500; index++) server.contents.put("museum", `l/${String(index).padStart(4, "0")}`, "");
    expect(await list(store, "l/")).toHaveLength(2_500);
    expect(server.requests.counts()).toEqual({ ListObjectsV2: 3 });
    server.requests.clear();
    for await (const page of store.list("l/", { pageSize: 2 })) {
      expect(page).toHaveLength(2);
      break;
    }
    expect(server.requests.counts()).toEqual({ ListObjectsV2: 1 });
  });

  it("lets the store verify every part and the whole", async () => {
    await uploadInParts("film", pattern(3 * PART));
    const requests = server.requests.records.map(({ operation, request }) => ({ operation, headers: request.headers }));
    const of = (operation: string): Record<string, unknown>[] =>
      requests.filter((one) => one.operation === operation).map(({ headers }) => headers);
    expect(of("CreateMultipartUpload")[0]).toMatchObject({ "x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT" });
    for (const headers of of("UploadPart")) {
      expect(headers["x-amz-checksum-crc32"]).toMatch(/^[A-Za-z0-9+/]{6}==$/);
      expect(headers["x-amz-content-sha256"]).toBe("UNSIGNED-PAYLOAD");
      expect(headers.expect).toBeUndefined();
      expect(headers["content-encoding"]).toBeUndefined();
    }
    expect(of("CompleteMultipartUpload")[0]).toHaveProperty("x-amz-checksum-crc32");
  });

  it("is cheaper to a store that refuses checksums, from the second upload on", async () => {
    const other = await startS3Server({ buckets: ["museum"], minPartSize: PART });
    const theirs = open({ endpoint: other.endpoint });
    other.fault({
      times: 1_000,
      when: ({ headers }) => headers["x-amz-checksum-type"] !== undefined,
      action: { kind: "status", status: 400, code: "InvalidArgument" },
    });
    for (const key of ["one", "two"]) {
      const upload = await theirs.createUpload(key, {});
      await upload.complete([await upload.uploadPart({ partNumber: 1, offset: 0 }, [pattern(10)])]);
    }
    expect(other.contents.keys("museum")).toEqual(["one", "two"]);
    expect(other.requests.count("CreateMultipartUpload")).toBe(3);
    await theirs.close();
    await other.close();
  });

  it("copies large objects in parts with their properties", async () => {
    const bytes = pattern(11 * PART);
    server.contents.put("museum", "large", bytes, { contentType: "video/mp4", metadata: { mtime: "77" } });
    const result = await store.copy("large", "copy");
    expect(server.contents.object("museum", "copy")).toMatchObject({ etag: result.etag, size: bytes.length, metadata: { mtime: "77" } });
    expect(server.contents.object("museum", "copy")?.system["content-type"]).toBe("video/mp4");
    expect(server.contents.object("museum", "copy")?.bytes().equals(bytes)).toBe(true);
    expect(server.requests.count("UploadPartCopy")).toBe(3);
    expect(result.size).toBe(bytes.length);

    server.fault({ operation: "UploadPartCopy", times: 100, action: { kind: "status", status: 403, code: "AccessDenied" } });
    await expect(store.copy("large", "second", { sourceSize: bytes.length })).rejects.toMatchObject({ code: "access-denied" });
    expect(server.contents.uploads("museum")).toEqual([]);
  });

  it("reports every key that could not be deleted", async () => {
    const keys = Array.from({ length: 1_500 }, (_, index) => `d/${index}`);
    for (const key of keys) server.contents.put("museum", key, "");
    await store.delete(keys);
    expect(server.requests.counts()).toEqual({ DeleteObjects: 2 });
    expect(server.contents.keys("museum")).toEqual([]);
  });

  it("frees the connection of a body that is given up, and of one whose caller leaves", async () => {
    server.contents.put("museum", "big", pattern(5_000_000));
    const leaving = new AbortController();
    const object = await store.get("big", { signal: leaving.signal });
    leaving.abort(new Error("gone"));
    await expect(collect(object)).rejects.toMatchObject({ code: "aborted" });
    (await store.get("big")).destroy();
    await server.requests.waitFor(({ operation, isFinished }) => operation === "GetObject" && isFinished);
  });

  it("stops a request whose caller leaves", async () => {
    server.fault({ times: 10, action: { kind: "hang" } });
    const leaving = new AbortController();
    const putting = store.put("x", [pattern(10)], { signal: leaving.signal });
    await server.requests.waitFor(({ operation }) => operation === "PutObject");
    leaving.abort();
    await expect(putting).rejects.toMatchObject({ code: "aborted" });
  });
});

/** Uploads in parts of `PART` bytes, takes the upload up again in between, and completes. */
async function uploadInParts(key: string, bytes: Buffer): Promise<{ etag: string; sha256: string }> {
  const upload = await store.createUpload(key, { contentType: "video/mp4" });
  const parts: StoredPart[] = [];
  for (let offset = 0; offset < bytes.length; offset += PART) {
    const chunk = bytes.subarray(offset, offset + PART);
    parts.push(await upload.uploadPart({ partNumber: parts.length + 1, offset }, [chunk.subarray(0, 100), chunk.subarray(100)]));
  }
  const listed = await store.openUpload(key, upload.uploadId).listParts();
  expect(listed.map(({ partNumber, size }) => [partNumber, size])).toEqual(parts.map(({ partNumber, size }) => [partNumber, size]));
  const { etag } = await upload.complete(parts);
  const { createHash } = await import("node:crypto");
  return { etag, sha256: createHash("sha256").update(bytes).digest("hex") };
}

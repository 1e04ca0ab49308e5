import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import fc from "../support/fast-check.ts";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { AwsChunkedDecoder } from "../support/s3-server/aws-chunked.ts";
import { compareUtf8 } from "../support/s3-server/byte-order.ts";
import { combineCrc32, crc32OfChunks } from "../support/s3-server/checksums.ts";
import type { S3Error } from "../support/s3-server/s3-error.ts";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";
import { bodyOf, clientFor, expectRejection } from "./s3-target.ts";

const Bucket = "faulty";
const data = randomBytes(300_000);

describe("faults of the S3 test server", () => {
  let server: S3Server;
  let client: S3Client;
  beforeAll(async () => {
    server = await startS3Server({ buckets: [Bucket], minPartSize: 1 });
    const requestHandler = new NodeHttpHandler({ socketTimeout: 400 });
    client = clientFor(server, "production", { requestHandler });
  });
  afterEach(() => server.reset());
  afterAll(async () => {
    client.destroy();
    await server.close();
  });

  const put = (Key = "k", Body: Buffer | Readable = data) =>
    client.send(new PutObjectCommand({ Bucket, Key, Body, ContentLength: data.length }));
  const get = async (Key = "k") => bodyOf(await client.send(new GetObjectCommand({ Bucket, Key })));
  const reasonOf = (request: Promise<unknown>) => request.then(() => undefined).catch((reason: unknown) => reason);

  it("answers the chosen requests with an error", async () => {
    const action = { kind: "status", status: 503, code: "SlowDown" } as const;
    const fault = server.fault({ operation: "PutObject", skip: 1, times: 2, when: ({ key }) => key.startsWith("x"), action });
    await put("x1");
    await put("y");
    await expectRejection(put("x2"), 503, "SlowDown");
    await expectRejection(put("x3"), 503, "SlowDown");
    await put("x4");
    expect(fault.hits).toBe(2);
    expect(server.contents.keys(Bucket)).toEqual(["x1", "x4", "y"]);
  });

  it("resets before, within and after the request's body", async () => {
    for (const where of [{ at: "before-body" }, { afterBytes: 100_000 }, { at: "after-body" }] as const) {
      server.fault({ operation: "PutObject", action: { kind: "reset", ...where } });
      expect(await reasonOf(put())).toBeInstanceOf(Error);
    }
    expect(server.contents.keys(Bucket)).toEqual([]);
    expect(server.requests.count("PutObject", (one) => one.isDropped)).toBe(3);
  });

  it("hangs and stalls until the client gives up", async () => {
    server.contents.put(Bucket, "k", data);
    server.fault({ operation: "HeadObject", action: { kind: "hang" } });
    expect(await reasonOf(client.send(new HeadObjectCommand({ Bucket, Key: "k" })))).toBeInstanceOf(Error);
    server.fault({ operation: "GetObject", action: { kind: "stall", afterBytes: 1000 } });
    expect(await reasonOf(get())).toBeInstanceOf(Error);
    server.fault({ operation: "PutObject", action: { kind: "stall", afterBytes: 1000 } });
    expect(await reasonOf(put("never"))).toBeInstanceOf(Error);
    expect(server.contents.keys(Bucket)).toEqual(["k"]);
  });

  it("truncates and corrupts what is read", async () => {
    server.contents.put(Bucket, "k", data);
    server.fault({ operation: "GetObject", action: { kind: "truncate", afterBytes: 1000 } });
    expect(await reasonOf(get())).toBeInstanceOf(Error);
    server.fault({ operation: "GetObject", action: { kind: "corrupt", atByte: 1000 } });
    const wrong = await get();
    expect(wrong.equals(data)).toBe(false);
    wrong[1000] = (wrong[1000] ?? 0) ^ 1;
    expect(wrong.equals(data)).toBe(true);
    expect((await get()).equals(data)).toBe(true);
  });

  it("acts and then drops the answer", async () => {
    server.fault({ operation: "PutObject", action: { kind: "late-commit", answer: "reset" } });
    expect(await reasonOf(put())).toBeInstanceOf(Error);
    server.fault({ operation: "PutObject", action: { kind: "late-commit", answer: { status: 500, code: "InternalError" } } });
    await expectRejection(put("k2"), 500);
    expect(server.contents.keys(Bucket)).toEqual(["k", "k2"]);
  });

  it("answers 200 with an error inside", async () => {
    server.contents.put(Bucket, "k", data);
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key: "mp" }));
    const { ETag } = await client.send(new UploadPartCommand({ Bucket, Key: "mp", UploadId, PartNumber: 1, Body: "x" }));
    const action = { kind: "error-in-200", code: "InternalError" } as const;
    server.fault({ operation: ["CopyObject", "CompleteMultipartUpload"], times: 2, action });
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
    const complete = client.send(new CompleteMultipartUploadCommand({ Bucket, Key: "mp", UploadId, MultipartUpload }));
    expect(await reasonOf(complete)).toMatchObject({ name: "InternalError" });
    const copy = client.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `${Bucket}/k` }));
    expect(await reasonOf(copy)).toMatchObject({ name: "InternalError" });
    expect(server.contents.keys(Bucket)).toEqual(["k"]);
    expect(server.contents.uploads(Bucket)).toHaveLength(1);
  });

  it("holds a request until the test lets it go, and counts it", async () => {
    let release: (() => void) | undefined;
    const until = new Promise<void>((resolve) => {
      release = resolve;
    });
    const fault = server.fault({ operation: "PutObject", action: { kind: "hold", until } });
    const pending = put("held", Readable.from([data]));
    await fault.firstHit;
    expect(server.requests.inFlight("PutObject")).toBe(1);
    release?.();
    await pending;
    await server.requests.waitFor((one) => one.operation === "PutObject" && one.isFinished);
    expect(server.requests.counts()).toEqual({ PutObject: 1 });
  });
});

describe("parts of the S3 test server", () => {
  const encoded = Buffer.from("5;chunk-signature=00\r\nhello\r\n6\r\n\r\nworl\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "latin1");

  function decode(pieces: readonly Buffer[]): { body: string; trailers: ReadonlyMap<string, string> } {
    const chunks: Buffer[] = [];
    const decoder = new AwsChunkedDecoder((chunk) => chunks.push(chunk));
    for (const piece of pieces) decoder.push(piece);
    const trailers = decoder.end();
    return { body: Buffer.concat(chunks).toString("latin1"), trailers };
  }

  it("decodes aws-chunked at every split", () => {
    for (let first = 0; first <= encoded.length; first++) {
      for (let second = first; second <= encoded.length; second++) {
        const pieces = [encoded.subarray(0, first), encoded.subarray(first, second), encoded.subarray(second)];
        const { body, trailers } = decode(pieces);
        expect(body).toBe("hello\r\nworl");
        expect([...trailers]).toEqual([["x-amz-checksum-crc32", "AAAAAA=="]]);
      }
    }
  });

  it("refuses aws-chunked that ends early", () => {
    for (let end = 0; end < encoded.length - 35; end++) {
      expect(() => decode([encoded.subarray(0, end)])).toThrow(
        expect.objectContaining({ code: "IncompleteBody" } satisfies Partial<S3Error>),
      );
    }
  });

  it("combines CRC-32s as if the bytes had come in one piece", () => {
    const pair = fc.tuple(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 300 }));
    fc.assert(
      fc.property(pair, ([a, b]) => {
        expect(combineCrc32(crc32OfChunks([a]), crc32OfChunks([b]), b.length)).toBe(crc32OfChunks([a, b]));
      }),
    );
  });

  it("orders strings as their UTF-8 bytes", () => {
    const text = fc.string({ unit: "grapheme", maxLength: 4 });
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(Math.sign(compareUtf8(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }),
    );
  });
});

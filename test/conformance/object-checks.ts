/** Conformance of single objects: put, get, ranges, conditions, copy, delete, errors. */
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { expect } from "vitest";
import type { Check } from "./s3-conformance.ts";
import { bodyOf, expectRejection } from "./s3-target.ts";

const WRONG = '"0123456789abcdef0123456789abcdef"';

/** Names that file names, URLs and XML each find awkward. */
export const ODD_KEYS = [
  "sp ace/a b",
  "plus+plus",
  "amp&amp",
  "pct%20pct",
  "q?q",
  "hash#h",
  "uni/ñandú-日本語-😀",
  "nfd/u\u0308",
  "quote\"'",
  "lt<gt>",
  "semi;colon:@=,$!*()",
  "back\\slash",
  "tilde~",
  "br{a}[b]|^`",
  " leading and trailing ",
  "dots...",
];

/** The checks. */
export const objectChecks: readonly Check[] = [
  {
    name: "put and get a buffer; the ETag is the MD5",
    run: async (on) => {
      expect(await on.put("buffer", "hello")).toBe('"5d41402abc4b2a76b9719d911017c592"');
      expect(String(await on.read("buffer"))).toBe("hello");
    },
  },
  {
    name: "put and get an empty object",
    run: async (on) => {
      await on.put("empty", "");
      expect(await on.read("empty")).toHaveLength(0);
      const head = await on.client.send(new HeadObjectCommand({ Bucket: on.bucket, Key: "empty" }));
      expect(head.ContentLength).toBe(0);
    },
  },
  {
    name: "put a stream of known length",
    run: async (on, { settings, lacks }) => {
      if (settings === "sdk defaults" && lacks.has("trailers")) return;
      const data = randomBytes(300_000);
      const chunks = [data.subarray(0, 1), data.subarray(1, 100_000), data.subarray(100_000)];
      const input = { Bucket: on.bucket, Key: "stream", Body: Readable.from(chunks), ContentLength: data.length };
      await on.client.send(new PutObjectCommand(input));
      const got = await on.client.send(new GetObjectCommand({ Bucket: on.bucket, Key: "stream" }));
      expect((await bodyOf(got)).equals(data)).toBe(true);
      expect(got.ContentEncoding ?? "").toBe("");
    },
  },
  {
    name: "keep metadata and content type",
    run: async (on) => {
      const Metadata = { mtime: "1700000000", "file-permissions": "0100644" };
      const Key = "meta";
      await on.client.send(new PutObjectCommand({ Bucket: on.bucket, Key, Body: "x", Metadata, ContentType: "application/pdf" }));
      const head = await on.client.send(new HeadObjectCommand({ Bucket: on.bucket, Key }));
      expect(head.Metadata).toEqual(Metadata);
      expect(head.ContentType).toBe("application/pdf");
      expect(Math.abs(Date.now() - (head.LastModified?.getTime() ?? 0))).toBeLessThan(10_000);
    },
  },
  {
    name: "keep odd keys",
    run: async (on) => {
      for (const key of ODD_KEYS) {
        await on.put(`odd/${key}`, key);
        expect(String(await on.read(`odd/${key}`))).toBe(key);
      }
    },
  },
  {
    name: "serve ranges, and refuse those past the end",
    run: async (on) => {
      const data = randomBytes(1000);
      await on.put("range", data);
      const get = (Range: string) => on.client.send(new GetObjectCommand({ Bucket: on.bucket, Key: "range", Range }));
      const cases: [string, number, number][] = [
        ["bytes=0-0", 0, 1],
        ["bytes=10-19", 10, 20],
        ["bytes=990-", 990, 1000],
        ["bytes=-5", 995, 1000],
        ["bytes=500-5000", 500, 1000],
      ];
      for (const [range, start, end] of cases) {
        const got = await get(range);
        expect(got.ContentRange).toBe(`bytes ${start}-${end - 1}/1000`);
        expect((await bodyOf(got)).equals(data.subarray(start, end))).toBe(true);
      }
      await expectRejection(get("bytes=1000-"), 416, "InvalidRange");
    },
  },
  {
    name: "read under conditions",
    run: async (on) => {
      const ETag = await on.put("read-if", "x");
      const get = (condition: object) => on.client.send(new GetObjectCommand({ Bucket: on.bucket, Key: "read-if", ...condition }));
      expect(String(await bodyOf(await get({ IfMatch: ETag })))).toBe("x");
      await expectRejection(get({ IfMatch: WRONG }), 412, "PreconditionFailed");
      await expectRejection(get({ IfNoneMatch: ETag }), 304);
    },
  },
  {
    name: "put only if nothing is there, also in a race",
    run: async (on) => {
      const put = (Key: string, Body: string) => on.client.send(new PutObjectCommand({ Bucket: on.bucket, Key, Body, IfNoneMatch: "*" }));
      await put("if-none", "1");
      await expectRejection(put("if-none", "2"), [412, 409]);
      const race = await Promise.allSettled(Array.from({ length: 8 }, (_, n) => put("race", String(n))));
      expect(race.filter((one) => one.status === "fulfilled")).toHaveLength(1);
    },
  },
  {
    name: "put only over a known version",
    needs: "conditional put",
    run: async (on) => {
      const first = await on.put("if-match", "1");
      const put = (IfMatch: string, Key = "if-match") =>
        on.client.send(new PutObjectCommand({ Bucket: on.bucket, Key, Body: "2", IfMatch }));
      await put(first);
      await expectRejection(put(first), 412, "PreconditionFailed");
      await expectRejection(put(first, "if-match-missing"), 404, "NoSuchKey");
    },
  },
  {
    name: "delete only a known version",
    needs: "conditional delete",
    run: async (on) => {
      const ETag = await on.put("delete-if", "1");
      const remove = (IfMatch: string) => on.client.send(new DeleteObjectCommand({ Bucket: on.bucket, Key: "delete-if", IfMatch }));
      await expectRejection(remove(WRONG), 412, "PreconditionFailed");
      await remove(ETag);
      await expectRejection(on.read("delete-if"), 404, "NoSuchKey");
    },
  },
  {
    name: "delete one, a missing one, and a batch",
    run: async (on) => {
      await on.client.send(new DeleteObjectCommand({ Bucket: on.bucket, Key: "never" }));
      const keys = ["batch/a b", "batch/<&>", "batch/ü"];
      for (const key of keys) await on.put(key, "x");
      const Objects = [...keys, "batch/missing"].map((Key) => ({ Key }));
      const result = await on.client.send(new DeleteObjectsCommand({ Bucket: on.bucket, Delete: { Objects } }));
      expect(result.Errors ?? []).toEqual([]);
      expect(result.Deleted?.map((one) => one.Key).sort()).toEqual(Objects.map((one) => one.Key).sort());
      for (const key of keys) await expectRejection(on.read(key), 404);
    },
  },
  {
    name: "copy with metadata, replace it, also in place",
    run: async (on) => {
      const { bucket: Bucket, client } = on;
      const Metadata = { mtime: "1" };
      await client.send(new PutObjectCommand({ Bucket, Key: "copy src", Body: "abc", Metadata, ContentType: "text/x-one" }));
      const CopySource = encodeURIComponent(`${Bucket}/copy src`);
      await client.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource }));
      const head = () => client.send(new HeadObjectCommand({ Bucket, Key: "copy" }));
      expect(await head()).toMatchObject({ Metadata, ContentType: "text/x-one", ContentLength: 3 });
      const change = { MetadataDirective: "REPLACE", Metadata: { mtime: "2" }, ContentType: "text/x-two" } as const;
      await client.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `${Bucket}/copy`, ...change }));
      expect(await head()).toMatchObject({ Metadata: { mtime: "2" }, ContentType: "text/x-two" });
      await expectRejection(
        client.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `${Bucket}/copy` })),
        400,
        "InvalidRequest",
      );
      await expectRejection(client.send(new CopyObjectCommand({ Bucket, Key: "c", CopySource: `${Bucket}/no` })), 404, "NoSuchKey");
    },
  },
  {
    name: "copy only a known version",
    needs: "copy source conditions",
    run: async (on) => {
      const CopySourceIfMatch = await on.put("copy-if", "1");
      const input = { Bucket: on.bucket, Key: "copied-if", CopySource: `${on.bucket}/copy-if` };
      await expectRejection(on.client.send(new CopyObjectCommand({ ...input, CopySourceIfMatch: WRONG })), 412, "PreconditionFailed");
      await on.client.send(new CopyObjectCommand({ ...input, CopySourceIfMatch }));
      expect(String(await on.read("copied-if"))).toBe("1");
    },
  },
  {
    name: "copy only to where nothing is",
    needs: "copy destination conditions",
    run: async (on) => {
      await on.put("copy-to", "1");
      const input = { Bucket: on.bucket, CopySource: `${on.bucket}/copy-to`, IfNoneMatch: "*" };
      await expectRejection(on.client.send(new CopyObjectCommand({ ...input, Key: "copy-to" })), [400, 412]);
      await on.client.send(new CopyObjectCommand({ ...input, Key: "copy-to-new" }));
      await expectRejection(on.client.send(new CopyObjectCommand({ ...input, Key: "copy-to-new" })), 412, "PreconditionFailed");
    },
  },
  {
    name: "refuse a wrong Content-MD5",
    needs: "content md5",
    run: async (on) => {
      const input = { Bucket: on.bucket, Key: "bad", Body: "abc", ContentMD5: "1B2M2Y8AsgTpgAmY7PhCfg==" };
      await expectRejection(on.client.send(new PutObjectCommand(input)), 400, "BadDigest", "InvalidDigest");
    },
  },
  {
    name: "refuse a wrong CRC-32",
    needs: "checksum rejection",
    run: async (on) => {
      const input = { Bucket: on.bucket, Key: "bad", Body: "abc", ChecksumCRC32: "AAAAAA==" };
      await expectRejection(on.client.send(new PutObjectCommand(input)), 400);
      await expectRejection(on.read("bad"), 404);
    },
  },
  {
    name: "refuse more than 2 KiB of metadata",
    needs: "metadata limit",
    run: async (on) => {
      const input = { Bucket: on.bucket, Key: "big-meta", Body: "abc", Metadata: { x: "y".repeat(2100) } };
      await expectRejection(on.client.send(new PutObjectCommand(input)), 400, "MetadataTooLarge");
    },
  },
  {
    name: "take keys of 1,024 bytes and refuse longer ones",
    needs: "key limit",
    run: async (on) => {
      const key = `${"k".repeat(200)}/`.repeat(5) + "l".repeat(19);
      await on.put(key, "long");
      expect(String(await on.read(key))).toBe("long");
      await expectRejection(on.put(`${key}m`, "abc"), 400, "KeyTooLongError");
    },
  },
  {
    name: "say which object or bucket is missing",
    run: async (on) => {
      await expectRejection(on.read("missing"), 404, "NoSuchKey");
      await expectRejection(on.client.send(new HeadObjectCommand({ Bucket: on.bucket, Key: "missing" })), 404, "NotFound");
      await expectRejection(on.client.send(new GetObjectCommand({ Bucket: "no-such-bucket", Key: "k" })), 404, "NoSuchBucket");
    },
  },
];

/** Conformance of multipart uploads. */
import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  type CreateMultipartUploadCommandInput,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { expect } from "vitest";
import { crc32ToBase64 } from "../support/s3-server/checksums.ts";
import type { Check } from "./s3-conformance.ts";
import { bodyOf, expectRejection, type TargetBucket } from "./s3-target.ts";

const MIB = 1024 * 1024;
const contents = [randomBytes(5 * MIB), randomBytes(5 * MIB), randomBytes(1234)];
const whole = Buffer.concat(contents);

interface Upload {
  readonly Bucket: string;
  readonly Key: string;
  readonly UploadId: string;
}

async function create(on: TargetBucket, Key: string, options: Partial<CreateMultipartUploadCommandInput> = {}): Promise<Upload> {
  const { UploadId = "" } = await on.client.send(new CreateMultipartUploadCommand({ Bucket: on.bucket, Key, ...options }));
  expect(UploadId).not.toBe("");
  return { Bucket: on.bucket, Key, UploadId };
}

async function sendPart(on: TargetBucket, upload: Upload, PartNumber: number, Body: Buffer, crc = false): Promise<CompletedPart> {
  const checksum = crc ? { ChecksumCRC32: crc32ToBase64(crc32(Body)) } : {};
  const { ETag } = await on.client.send(new UploadPartCommand({ ...upload, PartNumber, Body, ...checksum }));
  return { PartNumber, ...(ETag !== undefined && { ETag }), ...checksum };
}

async function sendParts(on: TargetBucket, upload: Upload, parts: readonly Buffer[] = contents, crc = false): Promise<CompletedPart[]> {
  return Promise.all(parts.map((body, index) => sendPart(on, upload, index + 1, body, crc)));
}

async function complete(on: TargetBucket, upload: Upload, Parts: CompletedPart[], options: object = {}) {
  return on.client.send(new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts }, ...options }));
}

/** The checks. */
export const multipartChecks: readonly Check[] = [
  {
    name: "publish the parts as one object, not before Complete",
    run: async (on) => {
      const upload = await create(on, "mp/whole", { Metadata: { mtime: "7" }, ContentType: "image/tiff" });
      const parts = await sendParts(on, upload);
      await expectRejection(on.read("mp/whole"), 404);
      await complete(on, upload, parts);
      expect((await on.read("mp/whole")).equals(whole)).toBe(true);
      const head = await on.client.send(new HeadObjectCommand({ Bucket: on.bucket, Key: "mp/whole" }));
      expect(head).toMatchObject({ Metadata: { mtime: "7" }, ContentType: "image/tiff", ContentLength: whole.length });
      const Range = `bytes=${5 * MIB - 2}-${5 * MIB + 1}`;
      const across = await on.client.send(new GetObjectCommand({ Bucket: on.bucket, Key: "mp/whole", Range }));
      expect((await bodyOf(across)).equals(whole.subarray(5 * MIB - 2, 5 * MIB + 2))).toBe(true);
    },
  },
  {
    name: "give the ETag of an upload its number of parts",
    needs: "multipart etag",
    run: async (on) => {
      const upload = await create(on, "mp/etag");
      const result = await complete(on, upload, await sendParts(on, upload));
      expect(result.ETag).toMatch(/^"[0-9a-f]{32}-3"$/);
    },
  },
  {
    name: "list parts page by page",
    run: async (on) => {
      const upload = await create(on, "mp/parts");
      await sendParts(on, upload);
      const first = await on.client.send(new ListPartsCommand({ ...upload, MaxParts: 2 }));
      expect(first.Parts?.map((part) => [part.PartNumber, part.Size])).toEqual([1, 2].map((number) => [number, 5 * MIB]));
      expect(first.IsTruncated).toBe(true);
      const marker = first.NextPartNumberMarker ?? "";
      const second = await on.client.send(new ListPartsCommand({ ...upload, PartNumberMarker: marker }));
      expect(second.Parts?.map((part) => [part.PartNumber, part.Size])).toEqual([[3, 1234]]);
      expect(second.IsTruncated).toBe(false);
    },
  },
  {
    name: "list unfinished uploads by prefix",
    run: async (on) => {
      const a = await create(on, "mpl/a");
      const b = await create(on, "mpl/b");
      await create(on, "mpm/c");
      const found = await on.client.send(new ListMultipartUploadsCommand({ Bucket: on.bucket, Prefix: "mpl/" }));
      expect(found.Uploads?.map((one) => [one.Key, one.UploadId])).toEqual([a, b].map((one) => [one.Key, one.UploadId]));
      expect(Math.abs(Date.now() - (found.Uploads?.[0]?.Initiated?.getTime() ?? 0))).toBeLessThan(10_000);
    },
  },
  {
    name: "list unfinished uploads page by page",
    needs: "list uploads paging",
    run: async (on) => {
      const ids: string[] = [];
      for (const key of ["mpp/a", "mpp/a", "mpp/b"]) ids.push((await create(on, key)).UploadId);
      const seen: string[] = [];
      let marker: { KeyMarker?: string; UploadIdMarker?: string } = {};
      for (let page = 0; page < 3; page++) {
        const input = { Bucket: on.bucket, Prefix: "mpp/", MaxUploads: 1, ...marker };
        const found = await on.client.send(new ListMultipartUploadsCommand(input));
        seen.push(...(found.Uploads ?? []).map((one) => one.UploadId ?? ""));
        expect(found.IsTruncated).toBe(page < 2);
        marker = {
          ...(found.NextKeyMarker !== undefined && { KeyMarker: found.NextKeyMarker }),
          ...(found.NextUploadIdMarker !== undefined && { UploadIdMarker: found.NextUploadIdMarker }),
        };
      }
      expect(seen.sort()).toEqual(ids.sort());
    },
  },
  {
    name: "abort, and forget the upload",
    needs: "no such upload",
    run: async (on) => {
      const upload = await create(on, "mp/abort");
      const part = await sendPart(on, upload, 1, Buffer.from("x"));
      await on.client.send(new AbortMultipartUploadCommand(upload));
      await expectRejection(on.client.send(new ListPartsCommand(upload)), 404, "NoSuchUpload");
      await expectRejection(complete(on, upload, [part]), 404, "NoSuchUpload");
      await expectRejection(sendPart(on, upload, 2, Buffer.from("x")), 404, "NoSuchUpload");
    },
  },
  {
    name: "refuse small parts before the last",
    run: async (on) => {
      const upload = await create(on, "mp/small");
      const parts = await sendParts(on, upload, [Buffer.alloc(100), Buffer.alloc(100)]);
      await expectRejection(complete(on, upload, parts), 400, "EntityTooSmall");
    },
  },
  {
    name: "refuse parts it does not have",
    run: async (on) => {
      const upload = await create(on, "mp/invalid");
      const part = await sendPart(on, upload, 1, randomBytes(5 * MIB));
      const wrong = { ...part, ETag: '"0123456789abcdef0123456789abcdef"' };
      await expectRejection(complete(on, upload, [wrong]), 400, "InvalidPart");
      await expectRejection(complete(on, upload, [part, { ...part, PartNumber: 2 }]), 400, "InvalidPart");
    },
  },
  {
    name: "refuse parts out of order",
    needs: "invalid part order",
    run: async (on) => {
      const upload = await create(on, "mp/order");
      const [a, b] = await sendParts(on, upload, contents.slice(0, 2));
      if (!a || !b) throw new Error("two parts were sent");
      await expectRejection(complete(on, upload, [b, a]), 400, "InvalidPartOrder");
    },
  },
  {
    name: "take gaps in the numbers",
    needs: "repeated parts",
    run: async (on) => {
      const upload = await create(on, "mp/gaps");
      const last = await sendPart(on, upload, 9, Buffer.from("tail"));
      await sendPart(on, upload, 2, randomBytes(5 * MIB));
      const first = await sendPart(on, upload, 2, contents[0] ?? Buffer.alloc(0)); // again under the same number
      await complete(on, upload, [first, last]);
      expect((await on.read("mp/gaps")).equals(Buffer.concat([contents[0] ?? Buffer.alloc(0), Buffer.from("tail")]))).toBe(true);
    },
  },
  {
    name: "leave out parts that Complete does not name",
    needs: "skipped parts",
    run: async (on) => {
      const upload = await create(on, "mp/skipped");
      const [a, , c] = await sendParts(on, upload);
      if (!a || !c) throw new Error("three parts were sent");
      await complete(on, upload, [a, c]);
      expect(await on.read("mp/skipped")).toHaveLength(5 * MIB + 1234);
    },
  },
  {
    name: "complete under conditions",
    needs: "conditional complete",
    run: async (on) => {
      const ETag = await on.put("mp/if", "old");
      const upload = await create(on, "mp/if");
      const parts = [await sendPart(on, upload, 1, Buffer.from("new"))];
      await expectRejection(complete(on, upload, parts, { IfNoneMatch: "*" }), 412, "PreconditionFailed");
      await complete(on, upload, parts, { IfMatch: ETag });
      expect(String(await on.read("mp/if"))).toBe("new");
    },
  },
  {
    name: "copy ranges of an object as parts",
    run: async (on) => {
      await on.put("mp/src +ü", whole.subarray(0, 6 * MIB));
      const upload = await create(on, "mp/copied");
      const CopySource = encodeURIComponent(`${on.bucket}/mp/src +ü`);
      const range = `bytes=0-${5 * MIB - 1}`;
      const copy = await on.client.send(new UploadPartCopyCommand({ ...upload, PartNumber: 1, CopySource, CopySourceRange: range }));
      const ETag = copy.CopyPartResult?.ETag ?? "";
      const tail = await sendPart(on, upload, 2, Buffer.from("tail"));
      await complete(on, upload, [{ PartNumber: 1, ETag }, tail]);
      expect((await on.read("mp/copied")).equals(Buffer.concat([whole.subarray(0, 5 * MIB), Buffer.from("tail")]))).toBe(true);
      const outside = { ...upload, PartNumber: 1, CopySource, CopySourceRange: `bytes=0-${6 * MIB}` };
      await expectRejection(on.client.send(new UploadPartCopyCommand(outside)), [400, 404, 416]);
    },
  },
  {
    name: "read one part by its number",
    needs: "part numbers",
    run: async (on) => {
      const upload = await create(on, "mp/numbered");
      await complete(on, upload, await sendParts(on, upload));
      const got = await on.client.send(new GetObjectCommand({ Bucket: on.bucket, Key: "mp/numbered", PartNumber: 2 }));
      expect((await bodyOf(got)).equals(contents[1] ?? Buffer.alloc(0))).toBe(true);
    },
  },
  {
    name: "verify a CRC-32 over the whole object",
    needs: "full object crc",
    run: async (on) => {
      const options = { ChecksumAlgorithm: "CRC32", ChecksumType: "FULL_OBJECT" } as const;
      const upload = await create(on, "mp/crc", options);
      const parts = await sendParts(on, upload, contents, true);
      await expectRejection(complete(on, upload, parts, { ChecksumCRC32: "AAAAAA==", ChecksumType: "FULL_OBJECT" }), 400, "BadDigest");
      const ChecksumCRC32 = crc32ToBase64(crc32(whole));
      const result = await complete(on, upload, parts, { ChecksumCRC32, ChecksumType: "FULL_OBJECT" });
      expect(result.ChecksumCRC32).toBe(ChecksumCRC32);
    },
  },
  {
    name: "keep a CRC-32 of the parts' CRC-32s",
    needs: "composite crc",
    run: async (on) => {
      const upload = await create(on, "mp/composite", { ChecksumAlgorithm: "CRC32" });
      const parts = await sendParts(on, upload, contents, true);
      const result = await complete(on, upload, parts);
      const sums = Buffer.concat(contents.map((one) => Buffer.from(crc32ToBase64(crc32(one)), "base64")));
      expect(result.ChecksumCRC32).toBe(`${crc32ToBase64(crc32(sums))}-3`);
    },
  },
];

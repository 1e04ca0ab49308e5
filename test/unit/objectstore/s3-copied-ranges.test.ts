/** Ranges copied into uploads on stores that compute their checksums rightly, and on one that does not (versitygw 1.4). */
import { describe, expect, it } from "vitest";
import type { ObjectStore } from "../../../src/objectstore/objectstore.ts";
import { crc32Of, encodeCrc32 } from "../../../src/objectstore/s3/crc32.ts";
import { createS3Store } from "../../../src/objectstore/s3/s3-store.ts";
import { pattern } from "../../contract/object-store.contract.ts";
import { type S3Server, startS3Server } from "../../support/s3-server/s3-server.ts";

const PART = 64 * 1024;
const TAIL = Buffer.from("tail");

/** Makes `key` of a range of `source` and a tail; returns how it was made. */
async function assemble(store: ObjectStore, server: S3Server, key: string, start: number): Promise<Readonly<Record<string, number>>> {
  server.requests.clear();
  const { etag } = await store.head("source");
  const upload = await store.createUpload(key, {});
  const copied = await upload.copyPart({ partNumber: 1, offset: 0 }, { key: "source", start, length: PART, ifMatch: etag });
  const sent = await upload.uploadPart({ partNumber: 2, offset: PART }, [TAIL]);
  await upload.complete([copied, sent]);
  return server.requests.counts();
}

describe.each([false, true])("a store that takes the source's checksum for a range's: %s", (copiesSourceChecksum) => {
  it("never publishes a checksum that its readers would find wrong", async () => {
    const server = await startS3Server({ buckets: ["museum"], minPartSize: PART, copiesSourceChecksum });
    const limits = { minPartSize: PART };
    const store = createS3Store({ bucket: "museum", endpoint: server.endpoint, pathStyle: true, ...server.credentials, limits });
    try {
      const bytes = pattern(3 * PART);
      await store.put("source", [bytes]);
      for (const start of [100, PART, 0]) {
        const counts = await assemble(store, server, `made${start}`, start);
        const whole = Buffer.concat([bytes.subarray(start, start + PART), TAIL]);
        const made = server.contents.object("museum", `made${start}`);
        expect(made?.bytes().equals(whole)).toBe(true);
        expect([undefined, encodeCrc32(crc32Of([whole]))]).toContain(made?.crc32);
        // Copies stay copies where they are right, and their checksums are kept.
        if (!copiesSourceChecksum) {
          expect(counts).toMatchObject({ UploadPartCopy: 1, UploadPart: 1 });
          expect(made?.crc32).toBeDefined();
        }
      }
    } finally {
      await store.close();
      await server.close();
    }
  });
});

it("goes on with uploads that were begun with checksums before a store's were found wrong", async () => {
  const server = await startS3Server({ buckets: ["museum"], minPartSize: PART, copiesSourceChecksum: true, wantsChecksumsAgain: true });
  const limits = { minPartSize: PART };
  const store = createS3Store({ bucket: "museum", endpoint: server.endpoint, pathStyle: true, ...server.credentials, limits });
  try {
    const bytes = pattern(3 * PART);
    await store.put("source", [bytes]);
    const begun = await store.createUpload("interrupted", {});
    const first = await begun.uploadPart({ partNumber: 1, offset: 0 }, [bytes.subarray(0, PART)]);
    await assemble(store, server, "made", 100);
    const again = store.openUpload("interrupted", begun.uploadId);
    const second = await again.uploadPart({ partNumber: 2, offset: PART }, [TAIL]);
    await again.complete([first, second]);
    const whole = Buffer.concat([bytes.subarray(0, PART), TAIL]);
    expect(server.contents.object("museum", "interrupted")?.bytes().equals(whole)).toBe(true);
  } finally {
    await store.close();
    await server.close();
  }
});

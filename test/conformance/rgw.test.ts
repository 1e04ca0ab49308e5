import { afterAll, beforeAll, describe } from "vitest";
import { requireTool } from "../support/require-tool.ts";
import { type ForeignS3, RGW_TOOLS, startRgw } from "../support/rgw.ts";
import { defineConformance } from "./s3-conformance.ts";
import type { Feature } from "./s3-target.ts";

/** What Ceph 16.2 (Debian 12) does otherwise than S3. Newer ones do more of it. */
const lacks: ReadonlySet<Feature> = new Set([
  "trailers",
  "conditional put",
  "conditional delete",
  "conditional complete",
  "copy source conditions",
  "copy destination conditions",
  "multipart etag",
  "no such upload",
  "invalid part order",
  "skipped parts",
  "part numbers",
  "full object crc",
  "composite crc",
  "checksum rejection",
  "metadata limit",
  "key limit",
]);

describe.skipIf(!requireTool(...RGW_TOOLS))("Ceph RGW", () => {
  let server: ForeignS3;
  beforeAll(async () => {
    server = await startRgw();
  });
  afterAll(() => server?.stop());

  defineConformance(() => server, "production", lacks);
});

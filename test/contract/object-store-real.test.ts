/** The contract of the object store port over the S3 adapter and servers that we did not write, where they are installed. */
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { describe } from "vitest";
import type { S3StoreOptions } from "../../src/objectstore/s3/s3-options.ts";
import { createS3Store } from "../../src/objectstore/s3/s3-store.ts";
import { requireTool } from "../support/require-tool.ts";
import { type ForeignS3, RGW_TOOLS, startRgw } from "../support/rgw.ts";
import { findVersitygw, startVersitygw } from "../support/versitygw.ts";
import { describeObjectStore, emptyStore, type StoreFixture } from "./object-store.contract.ts";

async function open(server: ForeignS3, options: Partial<S3StoreOptions> = {}): Promise<StoreFixture> {
  const { endpoint, credentials, region } = server;
  const client = new S3Client({ endpoint, credentials, region, forcePathStyle: true });
  await client.send(new CreateBucketCommand({ Bucket: "museum" }));
  client.destroy();
  const store = createS3Store({ bucket: "museum", endpoint, pathStyle: true, awsRegion: region, ...credentials, ...options });
  return {
    store,
    reset: () => emptyStore(store),
    close: async () => {
      await store.close();
      await server.stop();
    },
  };
}

describe.skipIf(!requireTool(...RGW_TOOLS))("Ceph RGW", () => {
  describeObjectStore("s3 on Ceph RGW", async () => open(await startRgw()), {
    // Of Ceph 16.2 in Debian 12; newer ones keep more.
    lacks: new Set(["invalid part lists"]),
  });
});

const versitygw = findVersitygw();
describe.skipIf(versitygw === undefined)("versitygw", () => {
  const start = async (): Promise<StoreFixture> => open(await startVersitygw(versitygw ?? ""));
  describeObjectStore("s3 on versitygw", start, { anyKey: false, lacks: new Set(["copy conditions"]) });
});

/** The contract of the object store port, over every adapter. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLocalStore } from "../../src/objectstore/local-store.ts";
import { createMemoryStore } from "../../src/objectstore/memory-store.ts";
import { withConcurrencyLimit, withPrefixGuard } from "../../src/objectstore/limited-store.ts";
import { createS3Store } from "../../src/objectstore/s3/s3-store.ts";
import { startS3Server } from "../support/s3-server/s3-server.ts";
import { describeObjectStore, emptyStore } from "./object-store.contract.ts";

const SMALL_PARTS = { minPartSize: 64 * 1024 };

describeObjectStore(
  "memory",
  async () => {
    const store = createMemoryStore({ limits: SMALL_PARTS });
    return { store, reset: () => emptyStore(store), close: () => store.close() };
  },
  { readersKeepVersion: true },
);

describeObjectStore("memory, guarded and limited", async () => {
  const store = withConcurrencyLimit(withPrefixGuard(createMemoryStore({ limits: SMALL_PARTS }), ""), 3);
  return { store, reset: () => emptyStore(store), close: () => store.close() };
});

describeObjectStore(
  "local",
  async () => {
    const root = await mkdtemp(join(tmpdir(), "object-store-"));
    const store = await openLocalStore({ root });
    return {
      store,
      reset: async () => {
        for (const name of await readdir(root)) if (name !== ".sftp-gateway") await rm(join(root, name), { recursive: true });
        for await (const { key, uploadId } of store.listUploads("")) await store.openUpload(key, uploadId).abort();
      },
      close: async () => {
        await store.close();
        await rm(root, { recursive: true });
      },
    };
  },
  // A disk has no names such as `//`, `.` and none of more than 255 bytes.
  { anyKey: false, readersKeepVersion: true },
);

describeObjectStore("s3", async () => {
  const server = await startS3Server({ buckets: ["museum"], minPartSize: SMALL_PARTS.minPartSize });
  const store = createS3Store({
    bucket: "museum",
    endpoint: server.endpoint,
    pathStyle: true,
    ...server.credentials,
    expectedBucketOwner: "111122223333",
    limits: SMALL_PARTS,
  });
  return {
    store,
    reset: async () => server.reset(),
    close: async () => {
      await store.close();
      await server.close();
    },
  };
});

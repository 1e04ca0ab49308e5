/**
 * From the way people write a storage (`s3://bucket/prefix`, `file:///folder`) to an open store that refuses every key
 * outside of it. The only file that knows all adapters.
 */
import { StoreError } from "../errors.ts";
import { parseStorageLocation } from "../storage-location.ts";
import { withConcurrencyLimit, withPrefixGuard } from "./limited-store.ts";
import { openLocalStore } from "./local-store.ts";
import type { ObjectStore } from "./objectstore.ts";
import type { S3StoreOptions } from "./s3/s3-options.ts";
import { createS3Store } from "./s3/s3-store.ts";

/** Requests of one user under way at once: enough for a directory's HEADs, too few to starve the others. */
const REQUESTS_PER_STORE = 64;

/** How to reach a bucket and store objects in it; nothing of it concerns folders. */
export type StorageConnection = Omit<S3StoreOptions, "bucket">;

/** A store and the prefix that all keys asked of it must have. Whoever opened it closes `store`. */
export interface OpenStorage {
  readonly store: ObjectStore;
  readonly prefix: string;
}

/**
 * Opens the storage `uri` names. For a bucket nothing is asked of it yet; a folder is created if it is missing. Rejects
 * `invalid-argument` for what is no location.
 */
export async function openStorage(uri: string, connection: StorageConnection = {}): Promise<OpenStorage> {
  const location = parseStorageLocation(uri);
  if (typeof location === "string") throw new StoreError("invalid-argument", location);
  if (location.kind === "file") return { store: await openLocalStore({ root: location.folder.slice(0, -1) }), prefix: "" };
  const { bucket, prefix } = location;
  const store = withConcurrencyLimit(createS3Store({ ...connection, bucket }), REQUESTS_PER_STORE);
  return { store: withPrefixGuard(store, prefix), prefix };
}

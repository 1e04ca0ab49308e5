/**
 * From the way people write a storage (`s3://bucket/prefix`, `file:///folder`) to an open store that refuses every key
 * outside of it. The only file that knows all adapters.
 */
import { StoreError } from "../errors.ts";
import { withConcurrencyLimit, withPrefixGuard } from "./limited-store.ts";
import { openLocalStore } from "./local-store.ts";
import type { ObjectStore } from "./objectstore.ts";
import type { S3StoreOptions } from "./s3/s3-options.ts";
import { createS3Store } from "./s3/s3-store.ts";

/** Requests of one user under way at once: enough for a directory's HEADs, too few to starve the others. */
const REQUESTS_PER_STORE = 64;

/** A bucket name as Amazon S3 documents it, 3 to 63 characters. */
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

/** Where files lie: below a prefix of a bucket (`prefix` is empty or ends with `/`), or in a folder. */
export type StorageUri =
  | { readonly kind: "s3"; readonly bucket: string; readonly prefix: string }
  | { readonly kind: "file"; readonly folder: string };

/** How to reach a bucket and store objects in it; nothing of it concerns folders. */
export type StorageConnection = Omit<S3StoreOptions, "bucket">;

/** A store and the prefix that all keys asked of it must have. Whoever opened it closes `store`. */
export interface OpenStorage {
  readonly store: ObjectStore;
  readonly prefix: string;
}

/**
 * Reads `s3://bucket[/prefix]` or `file:///folder`. `s3://b` equals `s3://b/`, and nothing is percent-decoded. Throws
 * `invalid-argument` for anything that other tools would cut or misread (facts/seed-system.md §1.4, rule L01).
 */
export function parseStorageUri(uri: string): StorageUri {
  if (/\p{Surrogate}|\p{Cc}/u.test(uri)) throw refusal(uri, "contains control characters or broken Unicode");
  if (uri.startsWith("file://")) return { kind: "file", folder: parseFolder(uri) };
  if (!uri.startsWith("s3://")) throw refusal(uri, "is neither s3://bucket/prefix nor file:///folder");
  const [bucket = "", ...segments] = uri.slice("s3://".length).split("/");
  if (!BUCKET.test(bucket) || bucket.includes("..")) throw refusal(uri, "has no valid bucket name");
  if (segments.at(-1) === "") segments.pop();
  if (segments.some((segment) => /[?#'"]/.test(segment))) throw refusal(uri, "contains one of ? # ' \", where other tools cut it off");
  checkSegments(uri, segments);
  return { kind: "s3", bucket, prefix: segments.map((segment) => `${segment}/`).join("") };
}

/** Opens the storage `uri` names. For a bucket nothing is asked of it yet; a folder is created if it is missing. */
export async function openStorage(uri: string, connection: StorageConnection = {}): Promise<OpenStorage> {
  const location = parseStorageUri(uri);
  if (location.kind === "file") return { store: await openLocalStore({ root: location.folder }), prefix: "" };
  const { bucket, prefix } = location;
  const store = withConcurrencyLimit(createS3Store({ ...connection, bucket }), REQUESTS_PER_STORE);
  return { store: withPrefixGuard(store, prefix), prefix };
}

function parseFolder(uri: string): string {
  const path = uri.slice("file://".length);
  if (!path.startsWith("/")) throw refusal(uri, "is not absolute: write file:///folder");
  const segments = path.slice(1).replace(/\/$/, "").split("/");
  if (segments.length === 1 && segments[0] === "") throw refusal(uri, "is the whole disk");
  checkSegments(uri, segments);
  return `/${segments.join("/")}`;
}

function checkSegments(uri: string, segments: readonly string[]): void {
  if (segments.includes("")) throw refusal(uri, "has an empty path segment");
  if (segments.includes(".") || segments.includes("..")) throw refusal(uri, "has a `.` or `..` segment");
}

function refusal(uri: string, reason: string): StoreError {
  return new StoreError("invalid-argument", `${JSON.stringify(uri)} ${reason}`);
}

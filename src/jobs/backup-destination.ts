/**
 * Where a user's archives go: a folder of the disk or below a prefix of a bucket. Archives have names of their own and are
 * never overwritten, so that a download of an old one is not disturbed; which of them count is said by the catalog. In a
 * folder the newest whole archive can also be found under the name without a date.
 */
import { randomBytes } from "node:crypto";
import { rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { UserStorage } from "../config/gateway-config.ts";
import { formatSize } from "../config/quantities.ts";
import type { ObjectProperties, ObjectStore } from "../objectstore/objectstore.ts";
import { openStorage } from "../objectstore/open-store.ts";
import type { StoreLog } from "../objectstore/s3/s3-options.ts";
import { uploadStream } from "../objectstore/s3/s3-stream-upload.ts";
import { CONTAINERS } from "./archive/containers.ts";
import { ObjectWriter } from "./object-writer.ts";

const MIB = 1024 * 1024;
const MIN_PART = 16 * MIB;
/** Parts of an archive of the estimated size: room below S3's 10,000 for an archive that grows. */
const PLANNED_PARTS = 8_000;
/** Left free on a disk beside the archive. */
const SPARE_BYTES = 64 * MIB;

/** What a stream is stored as. */
export interface UploadOptions {
  /** Name in the user's folder. */
  readonly name: string;
  readonly properties: ObjectProperties;
  /** Bytes that are expected: decides the size of parts. */
  readonly estimate: number;
  readonly signal: AbortSignal;
}

/** One user's place for archives. Whoever opened it owes `close`. */
export interface BackupDestination {
  readonly store: ObjectStore;
  /** The user's folder in it: ends with `/`. */
  readonly prefix: string;
  /** For people. */
  readonly uri: string;
  /** Stores `body` as one object, visible only when it is whole and durable. Rejects as the store and `body` do. */
  upload(body: AsyncIterable<Uint8Array>, options: UploadOptions): Promise<void>;
  /** Makes the newest archive known under its plain name too, where names are files. */
  publishPlainName(from: string, plain: string, sha256: string): Promise<void>;
  close(): Promise<void>;
}

/** The AWS tools' own variables, where the configuration names no region. */
function defaultRegion(): string | undefined {
  return process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION;
}

/** Size of a part so that `estimate` bytes, and some more, fit into what one object may have. */
export function partSizeFor(estimate: number): number {
  return Math.max(MIN_PART, Math.ceil(estimate / PLANNED_PARTS / MIB) * MIB);
}

/** Opens the folder of `user`. Makes no request to a bucket. Rejects with a StoreError. */
export async function openDestination(storage: UserStorage, user: string, log?: StoreLog): Promise<BackupDestination> {
  const { uri, location, connection } = storage;
  const options = connection && { ...connection, awsRegion: connection.awsRegion ?? defaultRegion(), log };
  const { store, prefix } = await openStorage(uri, options);
  const place = { store, prefix: `${prefix}${user}/`, uri: `${uri}${user}/`, close: () => store.close() };
  if (location.kind === "file") {
    const folder = join(location.folder, user);
    return { ...storeDestination(place), publishPlainName: (from, plain, sha256) => linkPlainName(folder, { from, plain, sha256 }) };
  }
  return {
    ...storeDestination(place),
    upload: async (body, { name, properties, estimate, signal }) => {
      const upload = { key: place.prefix + name, body, properties, partSize: partSizeFor(estimate), signal };
      await uploadStream({ ...options, bucket: location.bucket }, upload);
    },
  };
}

/** A destination on any store through its port alone. */
export function storeDestination(place: Pick<BackupDestination, "store" | "prefix" | "uri" | "close">): BackupDestination {
  return {
    ...place,
    upload: async (body, { name, properties, signal }) => {
      const writer = new ObjectWriter(place.store, { key: place.prefix + name, properties, signal });
      try {
        for await (const chunk of body) await writer.write(chunk);
        await writer.commit();
      } catch (error) {
        // The first error is the one that says why.
        await writer.abort().catch(() => undefined);
        throw error;
      }
    },
    publishPlainName: async () => undefined,
  };
}

async function replace(folder: string, name: string, make: (path: string) => Promise<void>): Promise<void> {
  const staged = join(folder, `.${name}.${randomBytes(6).toString("hex")}`);
  try {
    await make(staged);
    await rename(staged, join(folder, name));
  } finally {
    await rm(staged, { force: true });
  }
}

/** Names are links to files, so that the files themselves stay as they are. */
async function linkPlainName(
  folder: string,
  { from, plain, sha256 }: { readonly from: string; readonly plain: string; readonly sha256: string },
): Promise<void> {
  await replace(folder, plain, (staged) => symlink(from, staged));
  await replace(folder, `${plain}.sha256`, (staged) => writeFile(staged, `${sha256}  ${plain}\n`));
  const stem = CONTAINERS.map(({ extension }) => extension).find((extension) => plain.endsWith(extension)) ?? "";
  const others = CONTAINERS.filter(({ extension }) => extension !== stem).map(({ extension }) => plain.slice(0, -stem.length) + extension);
  // Of another compression, from before it was changed.
  for (const other of others) for (const name of [other, `${other}.sha256`]) await rm(join(folder, name), { force: true });
}

/** Rejects if the disk has no room for `bytes`; buckets have. */
export async function requireSpace({ store, uri }: BackupDestination, bytes: number): Promise<void> {
  const space = await store.space?.();
  if (!space || space.freeBytes >= bytes + SPARE_BYTES) return;
  throw new Error(
    `${uri} has ${formatSize(space.freeBytes)} free, and the archive may need ${formatSize(bytes + SPARE_BYTES)}: make room, or keep fewer archives`,
  );
}

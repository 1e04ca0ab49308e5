/** A test's direct view of what the server holds, without requests. */
import { createHash } from "node:crypto";
import { Bucket, sha256OfChunks, type StoredObject, type UnfinishedUpload } from "./bucket.ts";
import type { StoreState } from "./exchange.ts";

/** One stored object. */
export interface ObjectView {
  readonly key: string;
  readonly size: number;
  readonly etag: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** System headers such as `content-type` and `x-amz-storage-class`. */
  readonly system: Readonly<Record<string, string>>;
  readonly lastModifiedMs: number;
  /** CRC-32 in base64 as readers get it; undefined if none was asked for. */
  readonly crc32: string | undefined;
  /** SHA-256 of the bytes in hex, computed on each call. */
  sha256(): string;
  /** All bytes, copied together. */
  bytes(): Buffer;
}

/** One unfinished upload; parts by number with their sizes. */
export interface UploadView {
  readonly key: string;
  readonly uploadId: string;
  readonly initiatedMs: number;
  readonly parts: ReadonlyMap<number, number>;
}

/** Reads and plants contents of the server's buckets. */
export class Contents {
  readonly #state: StoreState;

  constructor(state: StoreState) {
    this.#state = state;
  }

  /** All objects whose key starts with `prefix`, in key order. */
  objects(bucket: string, prefix = ""): ObjectView[] {
    const found = this.#bucket(bucket);
    return found
      .sortedKeys()
      .filter((key) => key.startsWith(prefix))
      .flatMap((key) => view(key, found.get(key)));
  }

  /** One object, or undefined. */
  object(bucket: string, key: string): ObjectView | undefined {
    return view(key, this.#bucket(bucket).get(key))[0];
  }

  /** All keys in order. */
  keys(bucket: string): string[] {
    return [...this.#bucket(bucket).sortedKeys()];
  }

  /** Unfinished uploads, oldest first. */
  uploads(bucket: string): UploadView[] {
    return [...this.#bucket(bucket).uploads.values()].map(uploadView);
  }

  /** Plants an object as if another client had written it. */
  put(bucket: string, key: string, bytes: Uint8Array | string, properties: Partial<PlantedProperties> = {}): void {
    const chunk = Buffer.from(bytes);
    const digest = createHash("md5").update(chunk).digest();
    const system = properties.contentType === undefined ? {} : { "content-type": properties.contentType };
    this.#bucket(bucket).put(key, {
      chunks: [chunk],
      size: chunk.length,
      digest,
      checksums: {},
      etag: digest.toString("hex"),
      lastModifiedMs: properties.lastModifiedMs ?? this.#state.now(),
      metadata: properties.metadata ?? {},
      system,
    });
  }

  /** Plants an object of chunks that may be one buffer many times; its ETag is of the kind that is no MD5. */
  putChunks(bucket: string, key: string, chunks: readonly Buffer[]): void {
    const digest = createHash("md5").update(key).digest();
    const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    const etag = `${digest.toString("hex")}-${chunks.length}`;
    const lastModifiedMs = this.#state.now();
    this.#bucket(bucket).put(key, { chunks, size, digest, checksums: {}, etag, lastModifiedMs, metadata: {}, system: {} });
  }

  /** Removes an object as if another client had; false if there was none. */
  delete(bucket: string, key: string): boolean {
    return this.#bucket(bucket).delete(key);
  }

  /** Makes a bucket. */
  createBucket(bucket: string): void {
    this.#state.buckets.set(bucket, new Bucket(bucket));
  }

  #bucket(name: string): Bucket {
    const bucket = this.#state.buckets.get(name);
    if (!bucket) throw new Error(`no such bucket: ${name}`);
    return bucket;
  }
}

/** What a planted object has besides its bytes. */
export interface PlantedProperties {
  readonly metadata: Readonly<Record<string, string>>;
  readonly contentType: string;
  readonly lastModifiedMs: number;
}

function view(key: string, object: StoredObject | undefined): ObjectView[] {
  if (!object) return [];
  const { size, etag, metadata, system, lastModifiedMs, chunks, checksums } = object;
  const { crc32 } = checksums;
  return [
    { key, size, etag, metadata, system, lastModifiedMs, crc32, sha256: () => sha256OfChunks(chunks), bytes: () => Buffer.concat(chunks) },
  ];
}

function uploadView(upload: UnfinishedUpload): UploadView {
  const parts = new Map([...upload.parts].sort(([a], [b]) => a - b).map(([number, part]) => [number, part.size]));
  return { key: upload.key, uploadId: upload.uploadId, initiatedMs: upload.initiatedMs, parts };
}

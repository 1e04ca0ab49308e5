/** The state of one bucket in memory: objects in UTF-8 byte order of key, and unfinished uploads. No protocol. */
import { createHash } from "node:crypto";
import { compareUtf8 } from "./byte-order.ts";
import type { ChecksumAlgorithm } from "./checksums.ts";

/** What is stored with an object besides its bytes: user metadata and the system headers S3 keeps. */
export interface Properties {
  readonly metadata: Readonly<Record<string, string>>;
  /** `content-type`, `cache-control`, `x-amz-storage-class` and the like, by lower-case header name. */
  readonly system: Readonly<Record<string, string>>;
}

/** Checksums stored with bytes, base64, by algorithm. */
export type Checksums = Readonly<Partial<Record<ChecksumAlgorithm, string>>>;

/** Bytes as they were received. */
export interface Content {
  readonly chunks: readonly Buffer[];
  readonly size: number;
  /** MD5 digest, or random bytes of that length when the server runs without MD5. */
  readonly digest: Buffer;
  readonly checksums: Checksums;
}

/** A published object. */
export interface StoredObject extends Content, Properties {
  readonly etag: string;
  readonly lastModifiedMs: number;
  readonly checksumType?: "FULL_OBJECT" | "COMPOSITE";
  /** Sizes of the parts of an object that came by multipart upload. */
  readonly partSizes?: readonly number[];
}

/** One part of an unfinished upload. */
export interface UploadedPart extends Content {
  readonly etag: string;
  readonly lastModifiedMs: number;
}

/** An unfinished multipart upload. */
export interface UnfinishedUpload extends Properties {
  readonly uploadId: string;
  readonly key: string;
  readonly initiatedMs: number;
  readonly parts: Map<number, UploadedPart>;
  readonly checksumAlgorithm?: ChecksumAlgorithm;
  readonly checksumType?: "FULL_OBJECT" | "COMPOSITE";
}

/** Objects and uploads of one bucket. */
export class Bucket {
  readonly name: string;
  readonly uploads = new Map<string, UnfinishedUpload>();
  readonly #objects = new Map<string, StoredObject>();
  #keys: string[] = [];
  #unsorted = false;
  #deleted = false;

  constructor(name: string) {
    this.name = name;
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): StoredObject | undefined {
    return this.#objects.get(key);
  }

  put(key: string, object: StoredObject): void {
    if (!this.#objects.has(key)) {
      this.#keys.push(key);
      this.#unsorted = true;
    }
    this.#objects.set(key, object);
  }

  delete(key: string): boolean {
    const existed = this.#objects.delete(key);
    this.#deleted ||= existed;
    return existed;
  }

  /** All keys in byte order. Sorted on demand, so that many writes in a row cost one sort. */
  sortedKeys(): readonly string[] {
    if (this.#deleted) {
      this.#keys = [...this.#objects.keys()];
      this.#deleted = false;
      this.#unsorted = true;
    }
    if (this.#unsorted) {
      this.#keys.sort(compareUtf8);
      this.#unsorted = false;
    }
    return this.#keys;
  }

  clear(): void {
    this.#objects.clear();
    this.uploads.clear();
    this.#keys = [];
  }
}

/** The bytes of `chunks` from `start` to before `end`, without copying. */
export function sliceChunks(chunks: readonly Buffer[], start: number, end: number): Buffer[] {
  const slices: Buffer[] = [];
  let position = 0;
  for (const chunk of chunks) {
    if (position >= end) break;
    const from = Math.max(start - position, 0);
    const to = Math.min(end - position, chunk.length);
    if (from < to) slices.push(chunk.subarray(from, to));
    position += chunk.length;
  }
  return slices;
}

/** SHA-256 of a chunk list in hex. */
export function sha256OfChunks(chunks: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest("hex");
}

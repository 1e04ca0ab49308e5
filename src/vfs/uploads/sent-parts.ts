/**
 * The parts of one upload that have been filled: where each lies in the object, how its bytes can be had again, and which
 * were written over since and must be sent again. Bytes come back from the mirror, from the published version they were
 * copied from, or from a store that can read parts. Knows nothing of sending.
 */
import { StoreError } from "../../errors.ts";
import type { MultipartUpload, ObjectInfo, ObjectStore } from "../../objectstore/objectstore.ts";
import { chunksLength, sliceChunks } from "./chunk-list.ts";
import type { ContentKeeper } from "./part-content.ts";
import type { Piece } from "./peek.ts";
import { type MirroredPart, type MirrorScope, PartMirror } from "./part-mirror.ts";

/** A published version to copy from. */
export type CopySource = Pick<ObjectInfo, "key" | "etag">;

/** A part that has been filled. */
export interface SealedPart extends MirroredPart {
  /** The store copied it from here. */
  readonly origin?: { readonly source: CopySource; readonly start: number };
}

/** What the parts belong to. */
export interface SentPartsOptions {
  readonly store: ObjectStore;
  readonly keeper: ContentKeeper;
  /** Which parts the client may come back to. */
  readonly mirror: MirrorScope;
  /** The version that the upload continues: what was copied from it to the same place need not be had again. */
  readonly base: CopySource | undefined;
}

/** See the head of this file. Calls must not overlap but for `mirror.copy`. */
export class SentParts {
  readonly mirror: PartMirror;
  readonly #options: SentPartsOptions;
  #parts: SealedPart[] = [];
  #length = 0;
  readonly #dirty = new Map<number, SealedPart>();

  constructor(options: SentPartsOptions) {
    this.#options = options;
    this.mirror = new PartMirror(options.keeper, options.mirror);
  }

  /** How many there are. */
  get count(): number {
    return this.#parts.length;
  }

  /** Bytes of all of them: where the next one begins. */
  get length(): number {
    return this.#length;
  }

  /** Those that were written over since they were sent, by number. */
  get dirty(): ReadonlyMap<number, SealedPart> {
    return this.#dirty;
  }

  /** Adds the next part. Rejects what the store cannot hold. */
  add(size: number, origin?: SealedPart["origin"]): SealedPart {
    const { limits } = this.#options.store;
    if (this.count >= limits.maxParts || this.length + size > limits.maxObjectSize) {
      throw new StoreError("too-large", `more than ${limits.maxParts} parts or ${limits.maxObjectSize} bytes`);
    }
    const part = { partNumber: this.count + 1, offset: this.length, size, ...(origin && { origin }) };
    this.#parts.push(part);
    this.#length += size;
    return part;
  }

  /** The parts that have bytes between `start` and `end`. */
  within(start: number, end: number): SealedPart[] {
    return this.#parts.filter((part) => part.offset < end && part.offset + part.size > start);
  }

  /** Parts whose bytes no published version has at the same place. */
  unpublished(): SealedPart[] {
    return this.#parts.filter((part) => this.#dirty.has(part.partNumber) || !this.#isOfBase(part));
  }

  /** Forgets `part` and all behind it. */
  cutFrom(part: SealedPart): readonly SealedPart[] {
    const cut = this.#parts.splice(part.partNumber - 1);
    for (const { partNumber } of cut) this.#dirty.delete(partNumber);
    this.#length = part.offset;
    return cut;
  }

  /** The part has been sent again. */
  sentAgain({ partNumber }: SealedPart): void {
    this.#dirty.delete(partNumber);
  }

  /** Sees to it that the bytes of parts, which have all been sent, are on this node's disk; false if they cannot be had. */
  async recall(parts: readonly SealedPart[], upload: MultipartUpload | undefined): Promise<boolean> {
    for (const part of parts) {
      const { origin } = part;
      const read = origin
        ? (offset: number, length: number) => this.#download(origin.source, origin.start + offset - part.offset, length)
        : upload?.readBack?.bind(upload);
      if (!(await this.mirror.recall(part, read))) return false;
    }
    return true;
  }

  /** The bytes of the object from `start` to `end`, all within `part`: see peek.ts. Undefined: they are at the store only. */
  peek(part: SealedPart, start: number, end: number, upload: MultipartUpload | undefined): Piece | undefined {
    const { origin, offset } = part;
    if (this.mirror.has(part.partNumber)) return () => this.mirror.read(part, start - offset, end - offset);
    if (origin) return () => this.#download(origin.source, origin.start + start - offset, end - start);
    const readBack = upload?.readBack?.bind(upload);
    return readBack && (() => readBack(start, end - start));
  }

  /** Writes over bytes of parts that were recalled. */
  async overwrite(parts: readonly SealedPart[], offset: number, chunks: readonly Uint8Array[]): Promise<void> {
    for (const part of parts) {
      const from = Math.max(offset, part.offset);
      const length = Math.min(offset + chunksLength(chunks), part.offset + part.size) - from;
      if (length > 0) await this.mirror.write(part, from - part.offset, sliceChunks(chunks, from - offset, length));
      this.#dirty.set(part.partNumber, part);
    }
  }

  #isOfBase({ origin, offset }: SealedPart): boolean {
    const { base } = this.#options;
    if (!origin || !base || origin.start !== offset) return false;
    return origin.source.key === base.key && origin.source.etag === base.etag;
  }

  async #download({ key, etag }: CopySource, start: number, length: number): Promise<Uint8Array> {
    const object = await this.#options.store.get(key, { range: { start, end: start + length - 1 }, ifMatch: etag });
    const bytes = Buffer.allocUnsafeSlow(length);
    let done = 0;
    try {
      for await (const chunk of object.body) {
        bytes.set(chunk.subarray(0, length - done), done);
        done += chunk.length;
      }
    } finally {
      object.destroy();
    }
    if (done < length) throw new StoreError("io", `the body of ${key} ended early`);
    return bytes;
  }
}

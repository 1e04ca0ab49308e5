/**
 * A file that is not written from its start to its end: written ranges are in a file of the state directory, all
 * others are those of the published version it edits, if there is one. Serves reads of both and pours the result into
 * a part assembler. Knows nothing of handles and names.
 */
import { FsError } from "../../errors.ts";
import type { ObjectInfo, ObjectStore } from "../../objectstore/objectstore.ts";
import type { TailFile } from "../../state/tail-store.ts";
import { chunksLength } from "./chunk-list.ts";
import { Extents } from "./extents.ts";
import type { ContentKeeper } from "./part-content.ts";
import type { PartAssembler } from "./part-assembler.ts";

/** Bytes read from the file or the store at a time. */
const pieceLength = 1024 * 1024;

/** More separate ranges than this cost more memory than they are worth. */
const maxExtents = 100_000;

const zeros = new Uint8Array(64 * 1024);

/** See the head of this file. Calls must not overlap; whoever made it owes `discard`. */
export class Spool {
  readonly #store: ObjectStore;
  readonly #keeper: ContentKeeper;
  readonly #base: ObjectInfo | undefined;
  readonly #written = new Extents();
  /** Bytes of the base that still count. */
  #baseLength: number;
  #size: number;
  #file: TailFile | undefined;
  #window: { readonly start: number; readonly bytes: Uint8Array } | undefined;

  constructor(store: ObjectStore, keeper: ContentKeeper, base: ObjectInfo | undefined) {
    this.#store = store;
    this.#keeper = keeper;
    this.#base = base;
    this.#baseLength = base?.size ?? 0;
    this.#size = this.#baseLength;
  }

  /** Size the file has now. */
  get size(): number {
    return this.#size;
  }

  /** The published version it edits. */
  get base(): ObjectInfo | undefined {
    return this.#base;
  }

  /** True if any byte or the size was changed. */
  get isChanged(): boolean {
    return this.#written.count > 0 || this.#size !== this.#base?.size || this.#baseLength !== this.#base.size;
  }

  /** Writes chunks at `offset`. */
  async write(offset: number, chunks: readonly Uint8Array[]): Promise<void> {
    if (this.#written.count >= maxExtents) throw new FsError("unsupported", "the file is written in too many separate places");
    this.#file ??= await this.#keeper.tails.create(this.#keeper.nextFileName());
    await this.#file.write(offset, chunks);
    const end = offset + chunksLength(chunks);
    this.#written.add(offset, end);
    this.#size = Math.max(this.#size, end);
  }

  /** Cuts the file or makes it longer with zeros. */
  setSize(size: number): void {
    this.#written.cut(size);
    this.#baseLength = Math.min(this.#baseLength, size);
    this.#size = size;
  }

  /** Up to `length` bytes from `offset`; less only at the end. */
  async read(offset: number, length: number): Promise<Uint8Array[]> {
    const chunks: Uint8Array[] = [];
    const end = Math.min(this.#size, offset + length);
    // Writes may come in between when somebody else reads the file.
    for (const extent of [...this.#written.within(offset, end)]) {
      if (extent.written) chunks.push(await this.#readFile(extent.start, extent.end));
      else chunks.push(...(await this.#readUnwritten(extent.start, extent.end)));
    }
    return chunks;
  }

  /** Adds the whole file to `target`; what the base still holds is copied inside the store where it is long enough. */
  async pour(target: PartAssembler): Promise<void> {
    for (const extent of this.#written.within(0, this.#size)) {
      if (extent.written) {
        for (let at = extent.start; at < extent.end; at += pieceLength) {
          await target.append([await this.#readFile(at, Math.min(extent.end, at + pieceLength))]);
        }
        continue;
      }
      const baseEnd = Math.max(extent.start, Math.min(extent.end, this.#baseLength));
      if (this.#base && baseEnd > extent.start) await target.appendCopy(this.#base, extent.start, baseEnd - extent.start);
      await target.appendZeros(extent.end - baseEnd);
    }
  }

  /** If it is a new file without holes: closes its file of bytes and hands it over. Else undefined. */
  async intoFile(): Promise<{ readonly file: string; readonly length: number } | undefined> {
    const [first, second] = this.#written.within(0, this.#size);
    const file = this.#file;
    if (!file || this.#base || !first?.written || second) return undefined;
    await file.truncate(this.#size);
    await file.sync();
    await file.close();
    this.#file = undefined;
    return { file: file.name, length: this.#size };
  }

  /** Forgets everything. */
  async discard(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.discard();
  }

  async #readFile(start: number, end: number): Promise<Uint8Array> {
    if (!this.#file) throw new Error("a spool without a file has no written ranges");
    return this.#file.read(start, end - start);
  }

  async #readUnwritten(start: number, end: number): Promise<Uint8Array[]> {
    const chunks: Uint8Array[] = [];
    const baseEnd = Math.max(start, Math.min(end, this.#baseLength));
    for (let at = start; at < baseEnd; ) {
      const piece = await this.#readBase(at, baseEnd);
      chunks.push(piece);
      at += piece.length;
    }
    for (let at = baseEnd; at < end; at += zeros.length) chunks.push(zeros.subarray(0, Math.min(zeros.length, end - at)));
    return chunks;
  }

  /** Bytes of the base from `start`, at least one, at most to `end`; a window of them is kept for the next read. */
  async #readBase(start: number, end: number): Promise<Uint8Array> {
    const window = this.#window;
    if (window && start >= window.start && start < window.start + window.bytes.length) {
      return window.bytes.subarray(start - window.start, end - window.start);
    }
    if (!this.#base) throw new Error("a spool without a base has nothing to read from it");
    const range = { start, end: Math.min(this.#base.size, start + pieceLength) - 1 };
    const object = await this.#store.get(this.#base.key, { range, ifMatch: this.#base.etag });
    const bytes = Buffer.allocUnsafe(range.end - range.start + 1);
    let length = 0;
    try {
      for await (const chunk of object.body) {
        bytes.set(chunk, length);
        length += chunk.length;
      }
    } finally {
      object.destroy();
    }
    if (length === 0) throw new FsError("io", "the storage ended a file early");
    this.#window = { start, bytes: bytes.subarray(0, length) };
    return this.#window.bytes.subarray(0, end - start);
  }
}

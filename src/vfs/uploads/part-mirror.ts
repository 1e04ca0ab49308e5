/**
 * A copy on this node's disk of parts that have left for the store, so that a client may go back and write over them
 * (programs write a header or an index when they know what belongs into it) or read them: S3 gives no part back before
 * the object is published. Bounded by the room for files of the state directory, of which copies use one half at most.
 * Best effort: without room there is no copy, and only going back is refused.
 */
import type { MultipartUpload, PartBody } from "../../objectstore/objectstore.ts";
import type { TailFile } from "../../state/tail-store.ts";
import { type ContentKeeper, loadFile } from "./part-content.ts";

/** Which parts are copied: all of them, or those at the head of the file, where headers are. */
export type MirrorScope = "all" | "head";

/** Parts that begin below this offset are the head. */
const headLength = 8 * 1024 * 1024;

/** Bytes read at a time. */
const step = 1024 * 1024;

/** A part and where it lies in the object. */
export interface MirroredPart {
  readonly partNumber: number;
  readonly offset: number;
  readonly size: number;
}

/** See the head of this file. */
export class PartMirror {
  readonly #keeper: ContentKeeper;
  #scope: MirrorScope;
  /** Positions in the file by part number. */
  readonly #parts = new Map<number, number>();
  #end = 0;
  #file: Promise<TailFile> | undefined;
  #lastCopy: Promise<unknown> = Promise.resolve();
  #fault: unknown;
  #discarded = false;

  constructor(keeper: ContentKeeper, scope: MirrorScope) {
    this.#keeper = keeper;
    this.#scope = scope;
  }

  /** What kept a part from being copied, if anything did. */
  get fault(): unknown {
    return this.#fault;
  }

  /** True if part `partNumber` is here. */
  has(partNumber: number): boolean {
    return this.#parts.has(partNumber);
  }

  /** Every part from now on is in scope. */
  copyAll(): void {
    this.#scope = "all";
  }

  /** Copies a part if it is in scope and the store cannot give it back. Never rejects. */
  async copy(part: MirroredPart, body: PartBody, upload: MultipartUpload): Promise<void> {
    const isWanted = upload.readBack === undefined && (this.#scope === "all" || part.offset < headLength);
    if (!isWanted || this.#fault !== undefined || this.#discarded) return;
    const position = this.#place(part.size);
    // Threads that write one file at the same time only wait for each other.
    const turn = this.#lastCopy.then(async () => {
      try {
        await this.#writeBody(position, body);
        this.#parts.set(part.partNumber, position);
      } catch (error) {
        // Nothing is lost but the way back.
        this.#fault = error;
      }
    });
    this.#lastCopy = turn;
    await turn;
  }

  /** Gets a part from `read`, if it is not here already; false if there is nothing to read from. Rejects as `read` or the disk does. */
  async recall(part: MirroredPart, read: ((offset: number, length: number) => Promise<Uint8Array>) | undefined): Promise<boolean> {
    if (this.has(part.partNumber)) return true;
    if (!read) return false;
    const position = this.#place(part.size);
    const file = await this.#open();
    for (let done = 0; done < part.size; done += step) {
      await file.write(position + done, [await read(part.offset + done, Math.min(step, part.size - done))]);
    }
    this.#parts.set(part.partNumber, position);
    return true;
  }

  /** Writes over bytes of a part that is here; `at` counts from its beginning. */
  async write(part: MirroredPart, at: number, chunks: readonly Uint8Array[]): Promise<void> {
    await (await this.#open()).write(this.#positionOf(part) + at, chunks);
  }

  /** The first `length` bytes of a part that is here, a piece at a time. */
  pieces(part: MirroredPart, length: number = part.size): AsyncIterable<Uint8Array> {
    return this.#pieces(length === 0 ? 0 : this.#positionOf(part), length);
  }

  /** The bytes of a part that is here from `start` to `end`, which count from its beginning. */
  async read(part: MirroredPart, start: number, end: number): Promise<Uint8Array> {
    return (await this.#open()).read(this.#positionOf(part) + start, end - start);
  }

  /** Lets `use` have a part that is here: as chunks, counted while it runs, or streaming if it is too large for that. */
  async load<Result>(part: MirroredPart, use: (body: PartBody) => Promise<Result>, stop: AbortSignal): Promise<Result> {
    if (part.size > this.#keeper.memory.largestPart) return use({ size: part.size, read: () => this.pieces(part) });
    return loadFile(this.#keeper, { file: await this.#open(), position: this.#positionOf(part), length: part.size }, use, stop);
  }

  /** Parts from `partNumber` on are not part of the object any more. */
  forgetFrom(partNumber: number): void {
    for (const known of [...this.#parts.keys()]) if (known >= partNumber) this.#parts.delete(known);
  }

  /** Deletes the copy. */
  async discard(): Promise<void> {
    this.#discarded = true;
    this.#parts.clear();
    await this.#lastCopy;
    const file = await this.#file?.catch(() => undefined);
    this.#file = undefined;
    await file?.discard();
  }

  async *#pieces(position: number, length: number): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < length; at += step) yield await (await this.#open()).read(position + at, Math.min(step, length - at));
  }

  async #writeBody(position: number, body: PartBody): Promise<void> {
    const file = await this.#open();
    if (!("read" in body)) return file.write(position, body);
    let at = position;
    for await (const piece of body.read()) {
      await file.write(at, [piece]);
      at += piece.length;
    }
  }

  #place(size: number): number {
    const position = this.#end;
    this.#end += size;
    return position;
  }

  #positionOf({ partNumber }: MirroredPart): number {
    const position = this.#parts.get(partNumber);
    if (position === undefined) throw new Error(`part ${partNumber} is not copied`);
    return position;
  }

  #open(): Promise<TailFile> {
    const { tails, nextFileName } = this.#keeper;
    this.#file ??= tails.create(nextFileName(), { sparing: 0.5 });
    return this.#file;
  }
}

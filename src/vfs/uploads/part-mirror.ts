/**
 * A copy on this node's disk of parts that have left for the store, which cannot be read back from there before the
 * object is published: so that a client may go back and write over them (programs write a header when they know the
 * length). Best effort: without room on disk there is no copy, and only going back is refused.
 */
import type { TailFile } from "../../state/tail-store.ts";
import { type ContentKeeper, loadFile } from "./part-content.ts";

/** Which parts are copied: all of them, or those at the head of the file, where headers are. */
export type MirrorScope = "all" | "head";

/** Parts that begin below this offset are the head. */
const headLength = 8 * 1024 * 1024;

/** See the head of this file. */
export class PartMirror {
  readonly #keeper: ContentKeeper;
  #scope: MirrorScope;
  readonly #parts = new Set<number>();
  #file: Promise<TailFile> | undefined;
  #broken = false;

  constructor(keeper: ContentKeeper, scope: MirrorScope) {
    this.#keeper = keeper;
    this.#scope = scope;
  }

  /** True if part `partNumber` is here. */
  has(partNumber: number): boolean {
    return this.#parts.has(partNumber);
  }

  /** Every part from now on is in scope. */
  copyAll(): void {
    this.#scope = "all";
  }

  /** Copies a part if it is in scope. Never rejects. */
  async copy(partNumber: number, offset: number, chunks: readonly Uint8Array[]): Promise<void> {
    if (this.#broken || (this.#scope === "head" && offset >= headLength)) return;
    try {
      await (await this.#open()).write(offset, chunks);
      this.#parts.add(partNumber);
    } catch {
      // Nothing is lost but the way back.
      this.#broken = true;
    }
  }

  /** Writes over bytes that are here. */
  async write(offset: number, chunks: readonly Uint8Array[]): Promise<void> {
    await (await this.#open()).write(offset, chunks);
  }

  /** Bytes that are here, a piece at a time. */
  async *pieces(offset: number, length: number): AsyncGenerator<Uint8Array> {
    const file = await this.#open();
    const step = 1024 * 1024;
    for (let at = offset; at < offset + length; at += step) yield await file.read(at, Math.min(step, offset + length - at));
  }

  /** Lets `use` have bytes that are here, counted while it runs. */
  async load<Result>(
    offset: number,
    length: number,
    use: (chunks: readonly Uint8Array[]) => Promise<Result>,
    stop: AbortSignal,
  ): Promise<Result> {
    return loadFile(this.#keeper, { file: await this.#open(), position: offset, length }, use, stop);
  }

  /** Parts from `partNumber` on are not part of the object any more. */
  forgetFrom(partNumber: number): void {
    for (const known of [...this.#parts]) if (known >= partNumber) this.#parts.delete(known);
  }

  /** Deletes the copy. */
  async discard(): Promise<void> {
    this.#broken = true;
    this.#parts.clear();
    const file = await this.#file?.catch(() => undefined);
    this.#file = undefined;
    await file?.discard();
  }

  #open(): Promise<TailFile> {
    this.#file ??= this.#keeper.tails.create(this.#keeper.nextFileName());
    return this.#file;
  }
}

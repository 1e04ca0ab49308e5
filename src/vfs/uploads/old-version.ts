/**
 * The version that is published under the name of a file that is being written, as far as it matters to what becomes of the
 * file: it is edited or continued, or some of it stays behind what is written over it. Knows lengths and versions; no bytes.
 */
import type { ObjectInfo, WriteCondition } from "../../objectstore/objectstore.ts";
import { conditionOf } from "./publish.ts";

/** See the head of this file. */
export class OldVersion {
  readonly #published: () => Promise<ObjectInfo | "absent">;
  readonly #overwriting: (isSo: boolean) => void;
  #base: ObjectInfo | undefined;
  /** Etag it must have, from a resumed append. */
  #resumedEtag: string | undefined;
  #isOverwritten = false;
  /** Where its bytes end at the latest. */
  #end = Number.POSITIVE_INFINITY;

  /** `published` says what is published now; it may cost a request. `overwriting`: see `ContentOptions`. */
  constructor(published: () => Promise<ObjectInfo | "absent">, overwriting: (isSo: boolean) => void) {
    this.#published = published;
    this.#overwriting = overwriting;
  }

  /** What the file is made of, in part; undefined: nothing of it is known to be. */
  get base(): ObjectInfo | undefined {
    return this.#base;
  }

  /** What the file is a change of to its reader: one that is written from the beginning is new, even if some stays behind it. */
  get changed(): ObjectInfo | undefined {
    return this.#isOverwritten ? undefined : this.#base;
  }

  /** The file edits or continues `base`. */
  isContinued(base: ObjectInfo): void {
    this.#base = base;
  }

  /** The file goes on with an upload that continued the version with `etag`, if any. */
  isResumed(etag: string | undefined): void {
    this.#resumedEtag = etag;
  }

  /** The file is written from the beginning, but what is published was not truncated. */
  isOverwritten(): void {
    this.#isOverwritten = true;
    this.#overwriting(true);
  }

  /** Nothing of it counts from `end` on. */
  cut(end: number): void {
    this.#end = Math.min(this.#end, end);
  }

  /** Up to where it stays, if beyond `length`; 0 if it does not. */
  async endBehind(length: number): Promise<number> {
    if (!this.#isOverwritten || this.#end <= length) return 0;
    const published = await this.#published();
    return published === "absent" || published.size <= length ? 0 : Math.min(published.size, this.#end);
  }

  /** As `endBehind`; what stays will be taken from `base` from then on. */
  async keepBehind(length: number): Promise<number> {
    const end = await this.endBehind(length);
    if (end > 0) await this.#adopt();
    return end;
  }

  /** All of it that is not written over may be asked for: where it ends in the file. */
  async keepAll(): Promise<number> {
    if (this.#isOverwritten) await this.#adopt();
    return Math.min(this.#base?.size ?? 0, this.#end);
  }

  /** The file is an edit of it from now on. */
  isEdited(): void {
    if (this.#isOverwritten) this.#overwriting(false);
    this.#isOverwritten = false;
  }

  /** Which version a new one may replace. `exclusive`: none. */
  condition(exclusive: boolean): WriteCondition {
    return conditionOf({ exclusive, baseEtag: this.#base?.etag ?? this.#resumedEtag });
  }

  async #adopt(): Promise<void> {
    const published = await this.#published();
    this.#base = published === "absent" ? undefined : published;
  }
}

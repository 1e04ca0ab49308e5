/**
 * Fetches the objects of an archive ahead, in order: a window of so many objects and bytes is under way while the first of
 * them is being written. Objects that are too large to hold wait for their turn.
 */
import type { SourceItem } from "./archive-source.ts";
import { type FetchOptions, spool, type Spooled, type TooLarge, type Vanished } from "./object-fetch.ts";

/** How much is fetched ahead. Bytes. */
export interface PrefetchLimits {
  /** Objects under way at once. */
  readonly objects: number;
  /** Bytes of the objects under way. */
  readonly bytes: number;
  /** Objects up to this size are held whole before their header is written. */
  readonly spoolLimit: number;
}

/** 16 objects and 128 MiB, objects up to 64 MiB whole: facts/seed-system.md §4.2 (4) and (6). */
export const PREFETCH_LIMITS: PrefetchLimits = { objects: 16, bytes: 128 * 1024 * 1024, spoolLimit: 64 * 1024 * 1024 };

/** An item with its content where that is being fetched. */
export interface ReadyItem {
  readonly item: SourceItem;
  readonly content: Promise<Spooled | Vanished | TooLarge> | undefined;
}

interface Pending extends ReadyItem {
  readonly bytes: number;
}

/** The items in order, contents being fetched; one can be looked at before it is taken. Whoever makes it owes `close`. */
export class Prefetch {
  readonly #items: AsyncIterator<SourceItem>;
  readonly #fetch: FetchOptions;
  readonly #limits: PrefetchLimits;
  readonly #window: Pending[] = [];
  #bytes = 0;
  /** Listed, but without room yet. */
  #waiting: SourceItem | undefined;
  #ended = false;

  constructor(items: AsyncIterable<SourceItem>, fetch: FetchOptions, limits: PrefetchLimits = PREFETCH_LIMITS) {
    this.#items = items[Symbol.asyncIterator]();
    this.#fetch = fetch;
    this.#limits = limits;
  }

  /** The next item, which stays; undefined at the end. Rejects as the listing does. */
  async peek(): Promise<ReadyItem | undefined> {
    await this.#fill();
    return this.#window[0];
  }

  /** The first item of the window is done with: its room goes to others. */
  drop(): void {
    const first = this.#window.shift();
    if (first) this.#bytes -= first.bytes;
  }

  /** Stops listing. Fetches under way end by the signal they were given. */
  async close(): Promise<void> {
    this.#ended = true;
    await this.#items.return?.();
  }

  async #fill(): Promise<void> {
    const { objects, bytes, spoolLimit } = this.#limits;
    while (this.#window.length < objects && !this.#ended) {
      const item = this.#waiting ?? (await this.#next());
      this.#waiting = undefined;
      if (!item) return;
      const held = item.kind === "file" && item.size <= spoolLimit ? item.size : 0;
      if (this.#window.length > 0 && this.#bytes + held > bytes) {
        this.#waiting = item;
        return;
      }
      this.#bytes += held;
      this.#window.push({ item, bytes: held, content: this.#contentOf(item, spoolLimit) });
    }
  }

  #contentOf(item: SourceItem, spoolLimit: number): ReadyItem["content"] {
    if (item.kind !== "file" || item.size > spoolLimit) return undefined;
    // What grew beyond the room that was reserved for it is read again in its turn.
    const content = spool(this.#fetch, item, Math.max(item.size, Math.min(spoolLimit, 1024 * 1024)));
    // Its failure is seen when its turn comes; until then it must not count as unhandled.
    content.catch(() => undefined);
    return content;
  }

  async #next(): Promise<SourceItem | undefined> {
    const { done, value } = await this.#items.next();
    if (!done) return value;
    this.#ended = true;
    return undefined;
  }
}

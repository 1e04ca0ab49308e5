/**
 * Exact times for the entries of listings: from the cache, by HEADs with bounded concurrency, or later. Knows objects
 * and their versions; knows no paths.
 */
import { StoreError } from "../errors.ts";
import type { CachedTimes } from "../state/metadata-cache.ts";
import type { SeenObject } from "./tree-cache.ts";
import { head } from "./lookup.ts";
import type { Volume } from "./volume.ts";

/** Unknown entries that one listing asks for before it goes on with LastModified (`listing.times: auto`). */
export const EXACT_ENTRIES = 2_000;

/** In a long listing of which more than this share of entries is unknown nobody is asked for at once. */
const FEW_UNKNOWN = 0.05;

/** Entries waiting to be asked for behind the listings; more are dropped, the next listing finds them again. */
const MAX_BEHIND = 20_000;
/** Pace of asking behind, so that it stays unnoticed: this many HEADs every so many milliseconds. */
const BEHIND_BATCH = 10;
const BEHIND_INTERVAL_MS = 100;
/** It begins, and goes on, when no listing has added anything for so long. */
const BEHIND_DELAY_MS = 1_000;

/** How a listing gets its times. */
export interface EntryTimesOptions {
  /** Every unknown entry is asked for, unless the volume never asks. */
  readonly isExact?: boolean;
  /** Says whether the listing is too long to ask for each of its entries; asked once something is unknown. */
  readonly isLong?: () => Promise<boolean>;
}

/** Times for one listing; counts what it has asked for. */
export class EntryTimes {
  readonly #volume: Volume;
  readonly #isLong: (() => Promise<boolean>) | undefined;
  #left: number;

  constructor(volume: Volume, { isExact = volume.listingTimes === "exact", isLong }: EntryTimesOptions = {}) {
    this.#volume = volume;
    this.#isLong = isExact || volume.listingTimes === "listing" ? undefined : isLong;
    this.#left = volume.listingTimes === "listing" ? 0 : isExact ? Number.POSITIVE_INFINITY : EXACT_ENTRIES;
  }

  /**
   * Times of each object, in order; undefined where they stay unknown for now (the object is gone, the store fails, or
   * the listing has asked for enough). Never rejects.
   */
  async resolve(objects: readonly SeenObject[]): Promise<(CachedTimes | undefined)[]> {
    const times = objects.map((object) => this.#volume.times(object));
    const unknown = times.reduce((count, known) => (known ? count : count + 1), 0);
    if (unknown === 0) return times;
    if (unknown > times.length * FEW_UNKNOWN && (await this.#isLong?.())) {
      for (const [index, object] of objects.entries()) if (!times[index]) askBehind(this.#volume, object);
      return times;
    }
    return Promise.all(objects.map((object, index) => times[index] ?? this.#ask(object)));
  }

  async #ask(object: SeenObject): Promise<CachedTimes | undefined> {
    if (this.#left <= 0) {
      if (this.#volume.listingTimes === "auto") askBehind(this.#volume, object);
      return undefined;
    }
    this.#left--;
    return this.#volume.lanes.run(() => timesByHead(this.#volume, object));
  }
}

async function timesByHead(volume: Volume, object: SeenObject): Promise<CachedTimes | undefined> {
  try {
    const info = await head(volume, object.key);
    return volume.metadata.get(volume.id, info.key, info.etag) ?? volume.times(info);
  } catch (error) {
    if (!(error instanceof StoreError && error.code === "not-found")) {
      volume.log.debug({ volume: volume.id, key: object.key, err: error }, "times of a listed object could not be had");
    }
    return undefined;
  }
}

/** What is still to be asked for. */
interface Behind {
  readonly waiting: Map<string, SeenObject>;
  isRunning: boolean;
  addedMs: number;
}

/** By volume. */
const behind = new WeakMap<Volume, Behind>();

function askBehind(volume: Volume, object: SeenObject): void {
  const queue = behind.get(volume) ?? { waiting: new Map<string, SeenObject>(), isRunning: false, addedMs: 0 };
  behind.set(volume, queue);
  queue.addedMs = volume.clock.now();
  if (queue.waiting.size < MAX_BEHIND) queue.waiting.set(object.key, object);
  if (queue.isRunning) return;
  queue.isRunning = true;
  volume.clock.after(BEHIND_DELAY_MS, () => askNext(volume, queue));
}

/** Asks for a few, and goes on with the next later. */
function askNext(volume: Volume, queue: Behind): void {
  const quietMs = volume.clock.now() - queue.addedMs;
  if (quietMs < BEHIND_DELAY_MS) {
    volume.clock.after(BEHIND_DELAY_MS - quietMs, () => askNext(volume, queue));
    return;
  }
  const batch: SeenObject[] = [];
  for (const [key, object] of queue.waiting) {
    if (batch.length === BEHIND_BATCH) break;
    batch.push(object);
    queue.waiting.delete(key);
  }
  if (batch.length === 0) {
    queue.isRunning = false;
    return;
  }
  const asked = batch.filter((one) => !volume.times(one)).map((one) => timesByHead(volume, one));
  void Promise.all(asked).then(() => volume.clock.after(BEHIND_INTERVAL_MS, () => askNext(volume, queue)));
}

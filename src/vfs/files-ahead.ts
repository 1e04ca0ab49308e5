/**
 * Fetches the next small files of a directory ahead for a client that opens them in the order of their listing, so that
 * it does not wait a round trip for each. Everything it holds is taken from the byte budget only while that is plentiful,
 * and given up after a moment. A file that was fetched ahead is at most `KEPT_MS` old when it is read. One per volume: a
 * client may read through several connections.
 */
import type { ObjectInfo } from "../objectstore/objectstore.ts";
import { ownCopy } from "../slab-pool.ts";
import type { FileOrder } from "./listing-order.ts";
import type { SeenObject } from "./tree-cache.ts";
import type { Volume } from "./volume.ts";

/** Largest file that is fetched ahead. */
const MAX_FILE = 128 * 1024;
/** Most bytes held ahead for one volume. */
const MAX_HELD = 4 * 1024 * 1024;
/** Files under way or held at once; a fraction of those that were opened in order so far, so that little is fetched in vain. */
const MAX_AHEAD = 32;
const OPENED_PER_AHEAD = 4;
/** Opens in order after which fetching begins. */
const MIN_STREAK = 4;
/** How far an open may be from the expected place: clients with several connections overtake themselves. */
const TOLERANCE = 16;
/** The same until fetching has begun: a client in another order must not look like one in order. */
const FIRST_TOLERANCE = 2;
/** Clients on their way through listings at once that are remembered. */
const MAX_READERS = 16;
/** A reader for whom more than these and one of so many were fetched in vain is not fetched for any more. */
const MAX_WASTED = 2;
const USED_PER_WASTED = 50;
/** What nobody has read by then is given up. */
const KEPT_MS = 2_000;

/** A file that was fetched whole. Whoever takes it owes `release` once. */
export interface FetchedFile {
  readonly info: ObjectInfo;
  readonly chunks: readonly Uint8Array[];
  release(): void;
}

/** A client on its way through a listing. */
interface Reader {
  readonly order: FileOrder;
  /** Indexes of the order that were opened already, by whatever reader. */
  readonly seen: Set<number>;
  /** Index of the furthest file opened in order, and of the first one not asked for yet. */
  opened: number;
  next: number;
  streak: number;
  /** Files fetched ahead that were read, and that were not. */
  used: number;
  wasted: number;
}

interface Ahead {
  readonly object: SeenObject;
  readonly reader: Reader;
  readonly index: number;
  readonly fetched: Promise<FetchedFile | undefined>;
  readonly stop: AbortController;
  readonly cancelExpiry: () => void;
}

/** See the head of this file. */
export class FilesAhead {
  readonly #volume: Volume;
  readonly #ahead = new Map<string, Ahead>();
  #readers: Reader[] = [];
  #held = 0;

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /**
   * `object` is being opened for reading: hands over what was fetched of that version, and fetches on. The promise never
   * rejects; undefined: it has to be read from the store.
   */
  open(object: SeenObject): Promise<FetchedFile | undefined> | undefined {
    const ahead = this.#ahead.get(object.key);
    const isUsable = ahead?.object.etag === object.etag;
    if (ahead && isUsable) {
      this.#ahead.delete(object.key);
      ahead.cancelExpiry();
      ahead.reader.used++;
    } else if (ahead) this.#discard(ahead);
    const place = this.#volume.orders.find(object.key);
    if (place) this.#follow(this.#readerAt(place.order, place.index), place.index);
    return isUsable ? ahead?.fetched : undefined;
  }

  /** Who opens the file at `index`: one whose next file this may be, or somebody new. */
  #readerAt(order: FileOrder, index: number): Reader {
    const known = this.#readers.find((reader) => {
      const tolerance = reader.streak < MIN_STREAK ? FIRST_TOLERANCE : TOLERANCE;
      return reader.order === order && Math.abs(index - reader.opened) <= tolerance;
    });
    if (known) return known;
    const seen = this.#readers.find((reader) => reader.order === order)?.seen ?? new Set<number>();
    const reader: Reader = { order, seen, opened: index, next: index + 1, streak: 0, used: 0, wasted: 0 };
    this.#readers.push(reader);
    if (this.#readers.length > MAX_READERS) this.#readers.shift();
    return reader;
  }

  #follow(reader: Reader, index: number): void {
    reader.seen.add(index);
    reader.streak++;
    reader.opened = Math.max(reader.opened, index);
    reader.next = Math.max(reader.next, reader.opened + 1);
    for (const ahead of this.#ahead.values()) {
      if (ahead.reader === reader && ahead.index < reader.opened - TOLERANCE) this.#discard(ahead);
    }
    if (reader.streak < MIN_STREAK || reader.wasted > MAX_WASTED + reader.used / USED_PER_WASTED) return;
    const limit = Math.min(MAX_AHEAD, Math.ceil(reader.streak / OPENED_PER_AHEAD));
    while (this.#ahead.size < limit && reader.next <= reader.opened + 2 * MAX_AHEAD) {
      const object = reader.order[reader.next];
      if (!object || (!reader.seen.has(reader.next) && !this.#fetch(object, reader))) return;
      reader.next++;
    }
  }

  /** Begins to fetch `object` if it is small enough. False if there is no memory for it now. */
  #fetch(object: SeenObject, reader: Reader): boolean {
    const { budget, clock } = this.#volume;
    const { key, size } = object;
    if (size > MAX_FILE || this.#ahead.has(key)) return true;
    if (this.#held + size > MAX_HELD || budget.used * 2 > budget.limit || !budget.tryTake(size)) return false;
    this.#held += size;
    const stop = new AbortController();
    const release = once(() => {
      this.#held -= size;
      budget.release(size);
    });
    const fetched = this.#get(object, stop.signal, release);
    const cancelExpiry = clock.after(KEPT_MS, () => {
      const ahead = this.#ahead.get(key);
      if (ahead?.fetched === fetched) this.#discard(ahead);
    });
    this.#ahead.set(key, { object, reader, index: reader.next, fetched, stop, cancelExpiry });
    return true;
  }

  #discard(ahead: Ahead): void {
    this.#ahead.delete(ahead.object.key);
    ahead.reader.wasted++;
    ahead.cancelExpiry();
    ahead.stop.abort();
    // Never rejects.
    void ahead.fetched.then((file) => file?.release());
  }

  async #get(object: SeenObject, signal: AbortSignal, release: () => void): Promise<FetchedFile | undefined> {
    const { store, tree, log, id } = this.#volume;
    const tick = tree.tick();
    try {
      const { info, body } = await store.get(object.key, { ifMatch: object.etag, signal });
      const chunks: Uint8Array[] = [];
      for await (const chunk of body) chunks.push(ownCopy(chunk));
      this.#volume.learn(info, tick);
      return { info, chunks, release };
    } catch (error) {
      release();
      log.debug({ volume: id, key: object.key, err: error }, "a file could not be fetched ahead");
      return undefined;
    }
  }
}

function once(action: () => void): () => void {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    action();
  };
}

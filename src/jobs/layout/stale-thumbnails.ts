/**
 * Deletes the thumbnails of originals that are gone or were replaced: the asset server never does (facts: seed-system
 * §1.3, §2.4). One listing request for an original, or for many in a row that are close to each other by name; one
 * deletion for what there is. Knows nothing of who changed what.
 */
import { compareKeys } from "../../objectstore/key-order.ts";
import type { ObjectStore } from "../../objectstore/objectstore.ts";
import { identityOfThumbnail, splitExtension, thumbnailIdentities } from "./thumbnail-name.ts";

/** How long a listed page answers for the names that come after the one it was asked for. */
const PAGE_TRUST_MS = 1_000;
/** Keys asked for: the second number when originals change in a row. */
const FIRST_PAGE = 100;
const NEXT_PAGE = 1_000;
const DELETE_BATCH = 1_000;

/** Where the thumbnails lie. */
export interface StaleThumbnailsOptions {
  readonly store: ObjectStore;
  /** Key of the folder, with its slash. */
  readonly folder: string;
  readonly now: () => number;
  /** Told after a deletion. */
  readonly onDeleted: (keys: readonly string[]) => Promise<void>;
  /** Told of what failed. */
  readonly onError: (error: unknown) => void;
}

/** A stretch of the listing: all keys above `from` up to `through` (undefined: to the end). */
interface Page {
  readonly from: string;
  readonly through: string | undefined;
  readonly keys: readonly string[];
  readonly atMs: number;
}

/** See the head of this file. */
export class StaleThumbnails {
  readonly #options: StaleThumbnailsOptions;
  readonly #waiting = new Set<string>();
  #page: Page | undefined;
  #running: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(options: StaleThumbnailsOptions) {
    this.#options = options;
  }

  /** Deletes the thumbnails of the originals with these names (no folders). What is asked for meanwhile is done together. Never rejects. */
  discard(originals: readonly string[]): Promise<void> {
    for (const name of originals) this.#waiting.add(name);
    this.#next ??= this.#running.then(() => {
      const names = [...this.#waiting];
      this.#waiting.clear();
      this.#next = undefined;
      this.#running = this.#discard(names).catch(this.#options.onError);
      return this.#running;
    });
    return this.#next;
  }

  /** Resolves once everything asked for is done. */
  async settled(): Promise<void> {
    await (this.#next ?? this.#running);
  }

  async #discard(names: readonly string[]): Promise<void> {
    const { store, folder, onDeleted } = this.#options;
    const wanted = new Map<string, Set<string>>();
    for (const name of names) {
      const start = `${folder}${splitExtension(name).root}_`;
      const identities = wanted.get(start) ?? new Set();
      for (const identity of thumbnailIdentities(name)) identities.add(identity);
      wanted.set(start, identities);
    }
    const stale = new Set<string>();
    for (const start of [...wanted.keys()].sort(compareKeys)) {
      for (const key of await this.#keysAt(start)) {
        const identity = identityOfThumbnail(key.slice(folder.length));
        if (identity !== undefined && wanted.get(start)?.has(identity)) stale.add(key);
      }
    }
    const keys = [...stale];
    for (let at = 0; at < keys.length; at += DELETE_BATCH) {
      const batch = keys.slice(at, at + DELETE_BATCH);
      await store.delete(batch);
      await onDeleted(batch);
    }
  }

  /** All keys that begin with `start`. */
  async #keysAt(start: string): Promise<readonly string[]> {
    const { store, folder, now } = this.#options;
    const known = this.#page;
    const isRecent = known !== undefined && now() - known.atMs < PAGE_TRUST_MS;
    if (isRecent && compareKeys(known.from, start) < 0 && isBeyond(known.through, start)) return keysFrom(known.keys, start);
    this.#page = undefined;
    const keys: string[] = [];
    const atMs = now();
    let through: string | undefined;
    for await (const entries of store.list(folder, { after: start, pageSize: isRecent ? NEXT_PAGE : FIRST_PAGE })) {
      for (const entry of entries) if (entry.kind === "object") keys.push(entry.key);
      through = keys.at(-1);
      if (through !== undefined && isBeyond(through, start)) break;
      through = undefined;
    }
    this.#page = { from: start, through, keys, atMs };
    return keysFrom(keys, start);
  }
}

/** True if no key that begins with `start` comes after `key`. */
function isBeyond(key: string | undefined, start: string): boolean {
  return key === undefined || (!key.startsWith(start) && compareKeys(key, start) > 0);
}

function keysFrom(keys: readonly string[], start: string): string[] {
  return keys.filter((key) => key.startsWith(start));
}

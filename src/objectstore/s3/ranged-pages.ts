/**
 * The pages of a listing in order, of a long one several at a time: what follows is cut into key ranges (key-ranges.ts)
 * that are asked for side by side, and what they bring is put together again. Knows no requests.
 *
 * Nothing is skipped: a page is used only where it begins at or before the place reached, and continues behind it; where
 * no such page is there, the listing goes on with the token of the last one.
 */
import { compareKeys } from "../key-order.ts";
import type { ListEntry } from "../objectstore.ts";
import { type Growth, growthOf, nextRange } from "./key-ranges.ts";

/** One answer of the store. */
export interface StorePage {
  /** In key order. */
  readonly entries: readonly ListEntry[];
  /** What continues it; undefined at the end of the listing. */
  readonly token: string | undefined;
}

/** Asks the store for a page: the one behind a token, or behind a key (all of the listing if undefined). */
export type AskPage = (from: { readonly token: string } | { readonly after: string | undefined }) => Promise<StorePage>;

/** Shorter listings cost not a request more than they have pages. */
const LONG_PAGES = 8;
/** One more page at a time for so many pages that have come. */
const PAGES_PER_RANGE = 4;
/** Pages asked for or waiting for their reader at most. */
const MAX_AHEAD = 6;
/** Ranges that brought nothing, after which no more are guessed. */
const MAX_WASTED = 4;

/** A page that begins behind `after`. */
interface Ahead {
  readonly after: string;
  readonly page: Promise<StorePage>;
}

/** What kind of listing it is. */
export interface RangedOptions {
  /** Keys a page holds at most. */
  readonly pageSize: number;
  /** Whether pages may be guessed; without, they are asked for one ahead. */
  readonly mayGuess: boolean;
}

/** All pages of a listing behind `after`, without empty ones. */
export async function* rangedPages(ask: AskPage, after: string | undefined, options: RangedOptions): AsyncGenerator<ListEntry[]> {
  const ranges = new Ranges(ask, options);
  let page: StorePage | undefined = await ask({ after });
  let isGuess = false;
  let next: Promise<NextPage> | undefined;
  let place: string | undefined;
  while (page) {
    const reached: string | undefined = isGuess ? place : undefined;
    // What a token brings is what follows, in whatever order the store lists: none of it is left out.
    const entries = reached === undefined ? [...page.entries] : page.entries.filter((entry) => compareKeys(nameOf(entry), reached) > 0);
    const last = page.entries.at(-1);
    if (last && (place === undefined || compareKeys(nameOf(last), place) > 0)) place = nameOf(last);
    const token: string | undefined = page.token;
    // The page behind this one, asked for while this one is used.
    next = token === undefined ? undefined : ranges.next(place, token);
    next?.catch(() => undefined); // awaited below, or nobody needs to know
    if (next) ranges.learn(entries, place);
    if (entries.length > 0) yield entries;
    const following: NextPage | undefined = await next;
    page = following?.page;
    isGuess = following?.isGuess ?? false;
  }
}

/** `isGuess`: it begins at or before the place that was reached, and not just there. */
interface NextPage {
  readonly page: StorePage;
  readonly isGuess: boolean;
}

/** The pages asked for ahead of the place that was reached. */
class Ranges {
  readonly #ask: AskPage;
  readonly #options: RangedOptions;
  readonly #ahead: Ahead[] = [];
  #first: string | undefined;
  #last: string | undefined;
  #entries = 0;
  #pages = 0;
  #growth: Growth | undefined;
  #boundary: string | undefined;
  #wasted = 0;
  #isOrdered = true;

  constructor(ask: AskPage, options: RangedOptions) {
    this.#ask = ask;
    this.#options = options;
  }

  /** A page that begins at or before `place` and goes on behind it: one that is under way, or the token's. */
  next(place: string | undefined, token: string): Promise<NextPage> {
    const begun = place === undefined ? [] : this.#ahead.filter(({ after }) => compareKeys(after, place) <= 0);
    this.#ahead.splice(0, begun.length);
    return place === undefined || begun.length === 0 ? this.#follow(token) : this.#furthest(begun, place, token);
  }

  async #follow(token: string): Promise<NextPage> {
    return { page: await this.#ask({ token }), isGuess: false };
  }

  /** Of pages that begin at or before `place`, the last that goes on behind it, or the token's page. */
  async #furthest(begun: readonly Ahead[], place: string, token: string): Promise<NextPage> {
    this.#wasted += begun.length - 1;
    for (const { page } of [...begun].reverse()) {
      const found = await page;
      const last = found.entries.at(-1);
      if (found.token === undefined || (last && compareKeys(nameOf(last), place) > 0)) return { page: found, isGuess: true };
    }
    this.#wasted++;
    return this.#follow(token);
  }

  /** A page was reached; asks for as many ranges ahead as the length of the listing allows. */
  learn(entries: readonly ListEntry[], place: string | undefined): void {
    if (!this.#options.mayGuess) return;
    this.#pages++;
    this.#entries += entries.length;
    for (const entry of entries) {
      const name = nameOf(entry);
      if (this.#last !== undefined && compareKeys(name, this.#last) <= 0) this.#isOrdered = false;
      this.#first ??= name;
      this.#last = name;
    }
    if (place === undefined || this.#pages < LONG_PAGES || !this.#isOrdered || this.#wasted >= MAX_WASTED) return;
    if (!this.#growth && this.#first !== undefined) this.#growth = growthOf(this.#first, place, this.#entries, this.#options.pageSize);
    const most = Math.min(MAX_AHEAD, Math.floor(this.#pages / PAGES_PER_RANGE));
    while (this.#growth && this.#ahead.length < most) {
      const from = this.#boundary === undefined || compareKeys(this.#boundary, place) < 0 ? place : this.#boundary;
      const after = nextRange(this.#growth, from);
      if (after === undefined) break;
      const page = this.#ask({ after });
      page.catch(() => undefined); // awaited when it is reached, or the listing ends before
      this.#ahead.push({ after, page });
      this.#boundary = after;
    }
  }
}

function nameOf(entry: ListEntry): string {
  return entry.kind === "object" ? entry.key : entry.prefix;
}

/**
 * What the processes of a node tell each other of their writes, so that none answers from what it saw before another's:
 * for each volume and process a count and the last few writes. Knows no store and no tree.
 */
import { createHash } from "node:crypto";
import type { RootDatabase } from "lmdb";

/** What is known of a written object: all of it, or as much as a listing says. */
export interface WrittenObject {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  readonly etag: string;
  readonly lastModifiedMs: number;
  readonly contentType?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** One write: what is under the key now, or that nothing is. */
export interface TreeChange {
  readonly key: string;
  readonly object?: WrittenObject;
}

/** Hears what other processes write to one volume. */
export interface ChangeFollower {
  /**
   * Their writes since the last call, or since the follower was made, in the order of the clock. `unknown`: more than is
   * kept; what was seen of the volume is not to be trusted.
   */
  take(): readonly TreeChange[] | "unknown";
}

/** Which of a node's processes this is. */
export interface ProcessPlace {
  /** Its number in the table of processes, 0 to 255. */
  readonly number: number;
  /** The numbers of all, its own among them. */
  readonly all: readonly number[];
}

/** Announcements kept for each volume and process. Whoever is further behind begins anew. */
const KEPT = 256;
/** Larger announcements only say that there was one. */
const MAX_BYTES = 64 * 1024;
const NUMBER_BYTES = 6;

interface Announcement {
  readonly atMs: number;
  /** Undefined: too many to say. */
  readonly changes?: readonly TreeChange[];
}

/** See the head of this file. Its methods may throw what lmdb throws. */
export class ChangeLog {
  readonly #rows: RootDatabase<Buffer, Buffer>;
  readonly #place: ProcessPlace;
  readonly #announced = new Map<string, number>();

  constructor(rows: RootDatabase<Buffer, Buffer>, place: ProcessPlace) {
    this.#rows = rows;
    this.#place = place;
  }

  /** Resolves once the other processes see it. */
  async announce(volume: string, changes: readonly TreeChange[]): Promise<void> {
    const counter = counterKey(volume, this.#place.number);
    const count = (this.#announced.get(volume) ?? this.count(counter)) + 1;
    this.#announced.set(volume, count);
    const announcement: Announcement = { atMs: Date.now(), changes };
    const text = Buffer.from(JSON.stringify(announcement));
    const row = text.length <= MAX_BYTES ? text : Buffer.from(JSON.stringify({ atMs: announcement.atMs }));
    // In one turn, so that they are written together.
    const written = [this.#rows.put(rowKey(counter, count), row), this.#rows.put(counter, countValue(count))];
    if (count > KEPT) written.push(this.#rows.remove(rowKey(counter, count - KEPT)));
    await Promise.all(written);
  }

  /** Hears of writes from now on. */
  follow(volume: string): ChangeFollower {
    const others = this.#place.all.filter((number) => number !== this.#place.number);
    const followed = others.map((number) => {
      const counter = counterKey(volume, number);
      return { counter, seen: this.#fresh(() => this.count(counter)) };
    });
    return { take: () => this.#take(followed) };
  }

  #take(followed: readonly { readonly counter: Buffer; seen: number }[]): readonly TreeChange[] | "unknown" {
    return this.#fresh(() => {
      const found: Announcement[] = [];
      let isKnown = true;
      for (const one of followed) {
        const count = this.count(one.counter);
        if (count === one.seen) continue;
        // A count that went back is of a state directory that was begun anew.
        if (count < one.seen || count - one.seen > KEPT) isKnown = false;
        else for (let at = one.seen + 1; at <= count; at++) found.push(this.#announcement(rowKey(one.counter, at)));
        one.seen = count;
      }
      if (found.length === 0 && isKnown) return [];
      found.sort((a, b) => a.atMs - b.atMs);
      const changes: TreeChange[] = [];
      for (const announcement of found) {
        if (announcement.changes) changes.push(...announcement.changes);
        else isKnown = false;
      }
      return isKnown ? changes : "unknown";
    });
  }

  /** lmdb reads from one snapshot for a while; another process may have written since it was taken. */
  #fresh<T>(read: () => T): T {
    this.#rows.resetReadTxn();
    return read();
  }

  /** How many announcements `counter` counts. */
  count(counter: Buffer): number {
    return this.#rows.get(counter)?.readUIntBE(0, NUMBER_BYTES) ?? 0;
  }

  #announcement(key: Buffer): Announcement {
    const row = this.#rows.get(key);
    return row ? (JSON.parse(row.toString()) as Announcement) : { atMs: 0 };
  }
}

function countValue(count: number): Buffer {
  const value = Buffer.alloc(NUMBER_BYTES);
  value.writeUIntBE(count, 0, NUMBER_BYTES);
  return value;
}

function counterKey(volume: string, number: number): Buffer {
  return Buffer.concat([createHash("sha256").update(volume).digest().subarray(0, 8), Buffer.of(number)]);
}

function rowKey(counter: Buffer, count: number): Buffer {
  return Buffer.concat([counter, countValue(count)]);
}

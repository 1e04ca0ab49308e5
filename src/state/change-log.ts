/**
 * What the processes of a node tell each other of their writes, so that none answers from what it saw before another's.
 * Each process appends lines to a file of its own and reads the others' files: on one machine a line is there for all
 * readers as soon as it is written, and both cost microseconds. Nothing in the files outlives its use. Knows no store and
 * no tree.
 */
import { createHash } from "node:crypto";
import { closeSync, fstatSync, mkdirSync, openSync, readdirSync, readSync, statSync, unlinkSync, writeSync } from "node:fs";
import path from "node:path";

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

/** Hears what other processes write to one volume. Whoever asks for one owes `end`. */
export interface ChangeFollower {
  /**
   * Their writes since the last call, or since the follower was made, in the order of the clock. `unknown`: more than is
   * kept; what was seen of the volume is not to be trusted.
   */
  take(): readonly TreeChange[] | "unknown";
  end(): void;
}

/** Which of a node's processes this is. */
export interface ProcessPlace {
  /** Its number in the table of processes, 0 to 255. */
  readonly number: number;
  /** The numbers of all, its own among them. */
  readonly all: readonly number[];
}

/** A file is followed by a new one at this size. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;
/** Longer lines only say that something was written. */
const MAX_LINE_BYTES = 16 * 1024;
const READ_BYTES = 64 * 1024;
/** Who is further behind than this begins anew. */
const MAX_BEHIND_BYTES = 1024 * 1024;
/** Announcements kept for a volume that nobody looks at. */
const MAX_PENDING = 256;
/** Files of processes that were never seen again. */
const STALE_MS = 3_600_000;
const TAG_LENGTH = 11;
/** In place of a volume: the writer goes on in its next file. */
const NEXT_FILE = "=".repeat(TAG_LENGTH);
const NEWLINE = 0x0a;

interface Announcement {
  readonly atMs: number;
  /** Undefined: too many to say. */
  readonly changes?: readonly TreeChange[];
}

/** Another process's file, and how far it was read. */
interface Source {
  readonly number: number;
  file: number;
  generation: number;
  position: number;
}

interface Follower {
  pending: Announcement[];
  isLost: boolean;
}

/** See the head of this file. Its methods may throw the system's errors. Whoever makes one owes `close`. */
export class ChangeLog {
  readonly #directory: string;
  readonly #number: number;
  readonly #sources: readonly Source[];
  readonly #followers = new Map<string, Set<Follower>>();
  readonly #buffer = Buffer.allocUnsafe(READ_BYTES);
  #own: { file: number; generation: number; bytes: number };

  /** Opens the files of all processes in `directory`, which is made if it is missing. */
  constructor(directory: string, { number, all }: ProcessPlace) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#directory = directory;
    this.#number = number;
    removeStale(directory, new Set(all));
    this.#own = this.#openOwn(latestGeneration(directory, number));
    // Whoever was here before may have been killed in the middle of a line.
    writeSync(this.#own.file, "\n");
    this.#sources = all.filter((one) => one !== number).map((one) => this.#openSource(one));
  }

  /** When it returns, the other processes see it. */
  announce(volume: string, changes: readonly TreeChange[]): void {
    const announcement: Announcement = { atMs: Date.now(), changes };
    let text = JSON.stringify(announcement);
    if (text.length > MAX_LINE_BYTES / 3) text = JSON.stringify({ atMs: announcement.atMs });
    this.#own.bytes += writeSync(this.#own.file, `${tagOf(volume)}${text}\n`);
    if (this.#own.bytes > MAX_FILE_BYTES) this.#nextOwn();
  }

  /** Hears of writes from now on. */
  follow(volume: string): ChangeFollower {
    this.#read();
    const tag = tagOf(volume);
    const follower: Follower = { pending: [], isLost: false };
    const followers = this.#followers.get(tag) ?? new Set();
    this.#followers.set(tag, followers.add(follower));
    return {
      take: () => {
        this.#read();
        return takeFrom(follower);
      },
      end: () => {
        followers.delete(follower);
        if (followers.size === 0) this.#followers.delete(tag);
      },
    };
  }

  /** Closes the files. */
  close(): void {
    for (const { file } of [this.#own, ...this.#sources]) closeSync(file);
  }

  #path(number: number, generation: number): string {
    return path.join(this.#directory, `${number}-${generation}`);
  }

  #openOwn(generation: number): { file: number; generation: number; bytes: number } {
    const file = openSync(this.#path(this.#number, generation), "a", 0o600);
    return { file, generation, bytes: fstatSync(file).size };
  }

  /** Readers come along when they see the last line; the file before this one is not read by anybody any more. */
  #nextOwn(): void {
    const { file, generation } = this.#own;
    this.#own = this.#openOwn(generation + 1);
    writeSync(file, `${NEXT_FILE}\n`);
    closeSync(file);
    try {
      unlinkSync(this.#path(this.#number, generation - 1));
    } catch {
      // the first one has none before it
    }
  }

  #openSource(number: number): Source {
    const generation = latestGeneration(this.#directory, number);
    const file = openSync(this.#path(number, generation), "a+", 0o600);
    return { number, generation, file, position: fstatSync(file).size };
  }

  #read(): void {
    for (const source of this.#sources) this.#readSource(source);
  }

  #readSource(source: Source): void {
    for (;;) {
      const bytes = readSync(source.file, this.#buffer, 0, READ_BYTES, source.position);
      if (bytes === 0) return;
      const end = this.#buffer.lastIndexOf(NEWLINE, bytes - 1) + 1;
      // A line that is being written: its writer has told nobody yet.
      if (end === 0) {
        if (bytes === READ_BYTES) this.#lose(source);
        return;
      }
      source.position += end;
      for (const line of this.#buffer.toString("utf8", 0, end - 1).split("\n")) {
        if (line.startsWith(NEXT_FILE)) {
          this.#follow(source);
          return;
        }
        if (line !== "") this.#hear(line);
      }
      if (bytes === READ_BYTES && fstatSync(source.file).size - source.position > MAX_BEHIND_BYTES) this.#lose(source);
    }
  }

  /** Goes on in the writer's next file. */
  #follow(source: Source): void {
    closeSync(source.file);
    const next = this.#path(source.number, source.generation + 1);
    const latest = latestGeneration(this.#directory, source.number);
    const isThere = latest <= source.generation + 1;
    source.generation = isThere ? source.generation + 1 : latest;
    source.file = openSync(isThere ? next : this.#path(source.number, latest), "a+", 0o600);
    source.position = 0;
    if (isThere) this.#readSource(source);
    else this.#lose(source);
  }

  /** Goes to the end of a file; nobody knows what was written in between. */
  #lose(source: Source): void {
    source.position = fstatSync(source.file).size;
    for (const followers of this.#followers.values()) for (const follower of followers) follower.isLost = true;
  }

  #hear(line: string): void {
    const followers = this.#followers.get(line.slice(0, TAG_LENGTH));
    if (!followers) return;
    const announcement = parse(line.slice(TAG_LENGTH));
    for (const follower of followers) {
      if (announcement?.changes && follower.pending.length < MAX_PENDING) follower.pending.push(announcement);
      else follower.isLost = true;
    }
  }
}

const NOTHING: readonly TreeChange[] = [];

function takeFrom(follower: Follower): readonly TreeChange[] | "unknown" {
  const { pending, isLost } = follower;
  if (pending.length === 0 && !isLost) return NOTHING;
  follower.pending = [];
  follower.isLost = false;
  if (isLost) return "unknown";
  pending.sort((a, b) => a.atMs - b.atMs);
  return pending.flatMap(({ changes }) => changes ?? []);
}

function parse(text: string): Announcement | undefined {
  try {
    return JSON.parse(text) as Announcement;
  } catch {
    return undefined; // half a line of a process that was killed
  }
}

const tags = new Map<string, string>();

/** Eight bytes of a hash, as text of a fixed length. */
function tagOf(volume: string): string {
  let tag = tags.get(volume);
  if (tag === undefined) {
    tag = createHash("sha256").update(volume).digest("base64url").slice(0, TAG_LENGTH);
    tags.set(volume, tag);
  }
  return tag;
}

function generations(directory: string): { readonly name: string; readonly number: number; readonly generation: number }[] {
  return readdirSync(directory).flatMap((name) => {
    const match = /^(\d{1,3})-(\d{1,15})$/.exec(name);
    return match ? [{ name, number: Number(match[1]), generation: Number(match[2]) }] : [];
  });
}

function latestGeneration(directory: string, number: number): number {
  return generations(directory).reduce((latest, one) => (one.number === number ? Math.max(latest, one.generation) : latest), 0);
}

function removeStale(directory: string, used: ReadonlySet<number>): void {
  for (const { name, number } of generations(directory)) {
    if (used.has(number)) continue;
    const file = path.join(directory, name);
    try {
      if (Date.now() - statSync(file).mtimeMs > STALE_MS) unlinkSync(file);
    } catch {
      // another process was faster
    }
  }
}

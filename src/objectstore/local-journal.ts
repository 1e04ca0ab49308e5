/**
 * The journal of one unfinished upload on disk: what it is for, and which parts have arrived. Lines of JSON, appended;
 * a line cut short by a crash counts as absent. Knows nothing of the parts' bytes.
 */
import { readFileSync, write } from "node:fs";
import { promisify } from "node:util";
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { StoreError } from "../errors.ts";
import { isAbsent } from "./local-errors.ts";
import type { ObjectProperties, StoredPart } from "./objectstore.ts";

/** One call: lines of several processes do not mix. */
const writeLine = promisify(write) as (fd: number, line: Buffer) => Promise<{ bytesWritten: number }>;

/** What an upload is for. */
export interface JournalHead {
  readonly key: string;
  readonly properties: ObjectProperties;
  readonly initiatedMs: number;
}

/** A part as the journal knows it. */
export interface JournalPart extends StoredPart {
  readonly offset: number;
}

/** The state a journal describes. */
export interface JournalState extends JournalHead {
  readonly parts: ReadonlyMap<number, JournalPart>;
}

/**
 * Names the time since the kernel started. Bytes of parts are not forced to the disk, so after a power failure a journal
 * can know of parts whose bytes are lost: those of another boot are not trusted.
 */
const BOOT = bootId();

/** One line; which fields it has says what it means. */
interface Line {
  readonly boot?: string;
  readonly part?: JournalPart;
  /** This part is about to be written again. */
  readonly forget?: number;
}

/** Begins a journal. */
export async function beginJournal(path: string, head: JournalHead): Promise<void> {
  await writeFile(path, `${JSON.stringify(head)}\n${encodeLine({ boot: BOOT })}`, { flag: "wx", mode: 0o600 });
}

/** Notes a part whose bytes are written. `fd`: the journal, open for appending. */
export async function notePart(fd: number, part: JournalPart): Promise<void> {
  await writeLine(fd, Buffer.from(encodeLine({ part })));
}

/** Notes that a part's bytes are no longer what was noted. */
export async function forgetPart(fd: number, partNumber: number): Promise<void> {
  await writeLine(fd, Buffer.from(encodeLine({ forget: partNumber })));
}

/** Makes a journal of an earlier boot one of this boot: its parts are forgotten. */
export function adoptJournal(path: string): Promise<void> {
  return appendFile(path, encodeLine({ boot: BOOT }));
}

/** Reads a journal. `current` is false for one of an earlier boot. Undefined if there is none that can be read. */
export async function readJournal(path: string): Promise<{ readonly state: JournalState; readonly current: boolean } | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
  const [first = "", ...lines] = text.split("\n");
  const head = parseLine<JournalHead>(first);
  if (typeof head?.key !== "string") return undefined;
  const parts = new Map<number, JournalPart>();
  let boot: string | undefined;
  for (const text of lines) {
    const line = parseLine<Line>(text);
    if (line?.boot !== undefined) {
      boot = line.boot;
      parts.clear();
    }
    if (line?.forget !== undefined) parts.delete(line.forget);
    if (line?.part !== undefined) parts.set(line.part.partNumber, line.part);
  }
  const current = boot === BOOT;
  return { state: { ...head, parts: current ? parts : new Map() }, current };
}

/** The parts in the journal that `wanted` names, checked to lie one behind the other. Throws `invalid-argument`. */
export function matchParts(state: JournalState, wanted: readonly StoredPart[]): void {
  let offset = 0;
  for (const { partNumber, etag, size } of wanted) {
    const part = state.parts.get(partNumber);
    if (part?.etag !== etag || part.size !== size)
      throw new StoreError("invalid-argument", `part ${partNumber} is not stored with etag ${etag}`);
    if (part.offset !== offset) {
      throw new StoreError("invalid-argument", `part ${partNumber} was sent for offset ${part.offset}, but begins at ${offset}`);
    }
    offset += size;
  }
}

function encodeLine(line: Line): string {
  return `${JSON.stringify(line)}\n`;
}

function parseLine<T>(text: string): T | undefined {
  if (text === "") return undefined;
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch (error) {
    if (isAbsent(error)) return "unknown";
    throw error;
  }
}

/**
 * What is noted down about a file while it arrives, so that another run can go on with it although nothing that was
 * received can be read back: the sums of its blocks, the state of its checksum behind each, and, for compressed streams,
 * the last 32 KiB before some places. One file of the node's disk for each upload, named by the upload's id. A file that is
 * missing, cut or wrong costs a transfer from the start and nothing else: every block is compared by the sender, and
 * the whole by its checksum. Knows no wire and no file system but the disk.
 */
import { type FileHandle, link, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { randomInt, randomUUID } from "node:crypto";
import path from "node:path";
import { makeFolder } from "../make-folder.ts";
import { blockSum, CHECKSUM_LENGTH, type ChecksumRules, savedLength } from "./checksums.ts";

/** Bytes of a deflate stream's history. */
export const HISTORY = 32 * 1024;
/** The history is noted at every multiple of this. */
export const HISTORY_EVERY = 1024 * 1024;
/** So many of them are kept, the latest. */
const HISTORIES = 64;
const HISTORY_ENTRY = 8 + HISTORY;

const MAGIC = 0x316e7372;
const HEADER = 64;
const BLOCK_LENGTH_AT = 4;
const RECORDS_AT = HEADER + HISTORIES * HISTORY_ENTRY;
const WEAK = 4;
/** Files with more blocks are not noted. */
export const MAX_NOTED_BLOCKS = 1_000_000;
/** Blocks get longer rather than more. */
const MANY_BLOCKS = 250_000;
const SHORTEST_BLOCK = 1024;
const HOUR = 60 * 60 * 1000;
/** Notes that nobody wrote for so long are forgotten: uploads wait a week (`uploads.expiry`). Milliseconds. */
const EXPIRY = 8 * 24 * HOUR;
const SWEPT_EVERY = 6 * HOUR;
const VALID_ID = /^[A-Za-z0-9_-]{1,64}$/;
/** Holds the seed of all notes; no id is that short. */
const SEED_FILE = "seed";

/** How the blocks of an upload are cut and summed. Notes made by other rules are of no use. */
export interface NotesRules {
  readonly checksums: ChecksumRules;
  readonly blockLength: number;
}

/**
 * The rules for the upload of a file of `size` bytes. One that is put together from blocks of `basisBlock` bytes of an older
 * version is noted in blocks as small, so that both can be offered in one list: powers of two, as histories ask for.
 */
export function notesRules(checksums: ChecksumRules, size: number, basisBlock = 0): NotesRules {
  const longest = longestBlock(checksums);
  const wanted = Math.max(basisBlock > 0 ? basisBlock : longest, SHORTEST_BLOCK, size / MANY_BLOCKS);
  return { checksums, blockLength: Math.min(longest, 2 ** Math.floor(Math.log2(wanted))) };
}

/** Protocol < 31 has a defect in compressed streams with matches of longer blocks. */
function longestBlock({ protocol }: ChecksumRules): number {
  return (protocol >= 31 ? 128 : 32) * 1024;
}

function isBlockLength(length: number, checksums: ChecksumRules): boolean {
  return length >= SHORTEST_BLOCK && length <= longestBlock(checksums) && Number.isInteger(Math.log2(length));
}

/** The rolling sum of `length` times the same byte. */
export function rollingSumOfFilling(length: number, value: number): number {
  const signed = (value << 24) >> 24;
  const low = (length * signed) & 0xffff;
  const high = (((length * (length + 1)) / 2) % 0x10000) * signed;
  return (((high & 0xffff) << 16) | low) >>> 0;
}

/** Bytes of one block's record: rolling sum, strong sum, state of the checksum behind the block. */
export function recordLength({ checksums, blockLength }: NotesRules): number {
  return WEAK + CHECKSUM_LENGTH + savedLength(checksums, blockLength);
}

/** Where the record of `block` lies in the file. */
export function recordOffset(rules: NotesRules, block: number): number {
  return RECORDS_AT + block * recordLength(rules);
}

/** Where the history before byte `offset` of the upload lies, behind eight bytes that say which it is. */
export function historyOffset(offset: number): number {
  return HEADER + ((offset / HISTORY_EVERY) % HISTORIES) * HISTORY_ENTRY;
}

/** The first bytes of a file of notes. */
export function encodeHeader({ checksums, blockLength }: NotesRules): Uint8Array {
  const header = Buffer.alloc(HEADER);
  header.writeUInt32LE(MAGIC, 0);
  header.writeUInt32LE(blockLength, BLOCK_LENGTH_AT);
  header.writeInt32LE(checksums.seed | 0, 8);
  header[12] = checksums.protocol >= 30 ? 5 : 4;
  header[13] = checksums.seedFirst ? 1 : 0;
  return header;
}

/** The notes of all uploads of a node. Shared by its processes. */
export class UploadNotesStore {
  readonly #directory: string;
  #seed: Promise<number> | undefined;
  #sweptMs = 0;

  /** Keeps its files in `directory`, which is made when it is needed. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The checksum seed (1 to 2^31 - 1) that all runs use, since sums of one seed say nothing about those of another. */
  seed(): Promise<number> {
    this.#seed ??= this.#readSeed().catch(() => randomInt(1, 2 ** 31));
    return this.#seed;
  }

  /** Opens the notes of upload `id` for reading; undefined if there are none that a run with these checksums can use. */
  async read(id: string, checksums: ChecksumRules): Promise<UploadNotes | undefined> {
    if (!VALID_ID.test(id)) return undefined;
    try {
      const file = await open(this.#path(id), "r");
      try {
        const { size } = await file.stat();
        const header = Buffer.alloc(HEADER);
        await file.read(header, 0, HEADER, 0);
        const rules = { checksums, blockLength: header.readUInt32LE(BLOCK_LENGTH_AT) };
        if (!isBlockLength(rules.blockLength, checksums) || !header.equals(encodeHeader(rules))) return undefined;
        const count = Math.floor((size - RECORDS_AT) / recordLength(rules));
        return count > 0 ? new UploadNotes(this, this.#path(id), rules, Math.min(count, MAX_NOTED_BLOCKS)) : undefined;
      } finally {
        await file.close();
      }
    } catch {
      return undefined;
    }
  }

  /** Opens the notes of upload `id` for writing; whoever opens them closes them. Rejects with the system's error. */
  async write(id: string): Promise<FileHandle> {
    if (!VALID_ID.test(id)) throw new RangeError("not the id of an upload");
    await makeFolder(this.#directory, 0o700);
    if (Date.now() - this.#sweptMs > SWEPT_EVERY) await this.#sweep();
    return open(this.#path(id), "r+").catch(() => open(this.#path(id), "w+", 0o600));
  }

  /** Forgets the notes of upload `id`. Never rejects. */
  async remove(id: string): Promise<void> {
    if (VALID_ID.test(id)) await rm(this.#path(id), { force: true }).catch(() => undefined);
  }

  /** Removes notes of uploads that have expired. Never rejects. */
  async #sweep(): Promise<void> {
    this.#sweptMs = Date.now();
    const names = await readdir(this.#directory).catch((): string[] => []);
    for (const name of names) {
      const found = name === SEED_FILE ? undefined : await stat(path.join(this.#directory, name)).catch(() => undefined);
      if (found && found.mtimeMs < Date.now() - EXPIRY) await this.remove(name);
    }
  }

  /** The first process to come settles it, for good: the file appears whole or not at all. */
  async #readSeed(): Promise<number> {
    await makeFolder(this.#directory, 0o700);
    const file = path.join(this.#directory, SEED_FILE);
    // Nobody else may write to it: once it is linked, it is the seed.
    const draft = path.join(this.#directory, `${SEED_FILE}-${randomUUID()}`);
    const made = Buffer.alloc(4);
    made.writeUInt32LE(randomInt(1, 2 ** 31));
    try {
      await writeFile(draft, made, { mode: 0o600 });
      await link(draft, file).catch(() => undefined);
    } finally {
      await rm(draft, { force: true });
    }
    return (await readFile(file)).readUInt32LE() & 0x7fffffff || 1;
  }

  #path(id: string): string {
    return path.join(this.#directory, id);
  }
}

/** The notes of one upload, read piece by piece; a piece that cannot be read rejects with the system's error. */
export class UploadNotes {
  readonly rules: NotesRules;
  /** Blocks from the start of the file whose sums are known. */
  readonly count: number;
  readonly store: UploadNotesStore;
  readonly #path: string;

  /** Made by `UploadNotesStore` only. */
  constructor(store: UploadNotesStore, filePath: string, rules: NotesRules, count: number) {
    this.store = store;
    this.#path = filePath;
    this.rules = rules;
    this.count = count;
  }

  /** The sums of the first `count` blocks as they go on the wire, strong ones cut to `strongLength` bytes. */
  async sums(count: number, strongLength: number): Promise<Uint8Array> {
    const step = recordLength(this.rules);
    const size = WEAK + strongLength;
    const sums = new Uint8Array(count * size);
    const perRead = 4096;
    for (let block = 0; block < count; block += perRead) {
      const records = await this.#read(recordOffset(this.rules, block), Math.min(perRead, count - block) * step);
      for (let at = 0; at * step < records.length; at++) sums.set(records.subarray(at * step, at * step + size), (block + at) * size);
    }
    return sums;
  }

  /** The state of the checksum behind the first `blocks` (> 0) blocks. */
  async saved(blocks: number): Promise<Uint8Array> {
    const length = savedLength(this.rules.checksums, this.rules.blockLength);
    return this.#read(recordOffset(this.rules, blocks) - length, length);
  }

  /** The byte that all of the `count` blocks from `block` on consist of; undefined if there is no such. */
  async filling(block: number, count: number): Promise<number | undefined> {
    if ((await this.equal(block, block + 1, count - 1)) < count - 1) return undefined;
    const { checksums, blockLength } = this.rules;
    const record = await this.#read(recordOffset(this.rules, block), WEAK + CHECKSUM_LENGTH);
    const content = new Uint8Array(blockLength);
    for (let value = 0; value < 256; value++) {
      if (record.readUInt32LE() !== rollingSumOfFilling(blockLength, value)) continue;
      if (Buffer.compare(record.subarray(WEAK), blockSum(checksums, content.fill(value))) === 0) return value;
    }
    return undefined;
  }

  /** How many of the `count` blocks from `block` on are the same as those from `other` on, up to the first that is not. */
  async equal(block: number, other: number, count: number): Promise<number> {
    const step = recordLength(this.rules);
    const perRead = 4096;
    for (let from = 0; from < count; from += perRead) {
      const length = Math.min(perRead, count - from) * step;
      const left = await this.#read(recordOffset(this.rules, block + from), length);
      const right = await this.#read(recordOffset(this.rules, other + from), length);
      for (let at = 0; at < length; at += step) {
        const end = at + WEAK + CHECKSUM_LENGTH;
        if (Buffer.compare(left.subarray(at, end), right.subarray(at, end)) !== 0) return from + at / step;
      }
    }
    return count;
  }

  /** The last bytes of the upload before `offset`, if they are noted. */
  async history(offset: number): Promise<Uint8Array | undefined> {
    if (offset === 0 || offset % HISTORY_EVERY !== 0) return undefined;
    const entry = await this.#read(historyOffset(offset), HISTORY_ENTRY);
    return Number(entry.readBigUInt64LE()) === offset ? entry.subarray(8) : undefined;
  }

  async #read(position: number, length: number): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    const file = await open(this.#path, "r");
    try {
      const { bytesRead } = await file.read(bytes, 0, length, position);
      if (bytesRead < length) throw new Error("notes of an upload end early");
    } finally {
      await file.close();
    }
    return bytes;
  }
}

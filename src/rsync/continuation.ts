/**
 * Finds what an upload can go on with that was interrupted: the unpublished bytes, which cannot be read back, and the
 * notes made while they arrived. Knows no wire.
 */
import { FsError } from "../errors.ts";
import type { Run } from "./run.ts";
import { HISTORY_EVERY, notesRules, type UploadNotes } from "./upload-notes.ts";
import type { SumHeader } from "./sums.ts";

/** Smaller files are sent again: noting them costs more than it saves. Bytes. */
const MIN_SIZE = 1024 * 1024;
/** Of each strong sum; with the rolling sum enough that no two blocks are ever mistaken for each other by chance. */
const STRONG_LENGTH = 8;

/** An upload to go on with: its first `blocks` blocks are noted and can stay. */
export interface Continuation {
  readonly id: string;
  readonly blocks: number;
  /** The upload cannot be cut to less. */
  readonly keepsAtLeast: number;
  readonly notes: UploadNotes;
}

/** True if this run asked for its interrupted files to be kept, and a file of `size` bytes is worth it. */
export function isNoted({ options, notes }: Run, size: number): boolean {
  const keeps = options.partial || options.inplace || options.append !== "no";
  return notes !== undefined && keeps && size >= MIN_SIZE;
}

/** False if no upload of a file of `size` bytes can be gone on with in this run. */
export function mayContinue({ options, notes, fileSystem }: Run, size: number): boolean {
  return notes !== undefined && fileSystem.interrupted !== undefined && !options.wholeFile && !options.dryRun && size >= MIN_SIZE;
}

/** What the upload of a file of `size` bytes to `path` can go on with; undefined if nothing. Never rejects with an `FsError`. */
export async function findContinuation(run: Run, path: string, size: number): Promise<Continuation | undefined> {
  if (!mayContinue(run, size)) return undefined;
  try {
    const upload = await run.fileSystem.interrupted?.(path);
    const rules = notesRules(run.checksums);
    const notes = upload && (await run.notes?.read(upload.id, rules));
    if (!upload || !notes) return undefined;
    const blocks = await usableBlocks(run, notes, Math.min(upload.length, size));
    if (blocks === 0 || blocks * rules.blockLength < upload.keepsAtLeast) return undefined;
    return { id: upload.id, blocks, keepsAtLeast: upload.keepsAtLeast, notes };
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    run.log.debug({ err: error, path }, "rsync cannot look for an interrupted upload");
    return undefined;
  }
}

/** With `-z` the sender goes on compressing with what came before, which is noted at some places only. */
async function usableBlocks(run: Run, notes: UploadNotes, length: number): Promise<number> {
  const { blockLength } = notes.rules;
  const blocks = Math.min(notes.count, Math.floor(length / blockLength));
  if (run.options.compression !== "zlib" || run.options.append !== "no") return blocks;
  const perHistory = HISTORY_EVERY / blockLength;
  for (let end = Math.floor(blocks / perHistory) * perHistory; end > 0; end -= perHistory) {
    if (await notes.history(end * blockLength)) return end;
  }
  return 0;
}

/** How the noted blocks are told to the sender. */
export function continuationHeader({ blocks, notes }: Continuation): SumHeader {
  return { count: blocks, blockLength: notes.rules.blockLength, strongLength: STRONG_LENGTH, remainder: 0 };
}

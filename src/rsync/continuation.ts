/**
 * Finds what an upload can go on with that was interrupted: the unpublished bytes, which cannot be read back, and the
 * notes made while they arrived; and the published version besides, cut in blocks of the same length. Knows no wire.
 */
import { FsError } from "../errors.ts";
import type { BlockSums } from "./block-sums.ts";
import type { Run } from "./run.ts";
import { keepsInterrupted, matchesInPlace } from "./server-options.ts";
import { HISTORY_EVERY, type UploadNotes } from "./upload-notes.ts";
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
  /** Blocks told to the sender before the noted ones, which no file has: see `offerContinuation`. */
  readonly ahead: number;
  /** How what is published under the name is cut; its blocks are counted behind the noted ones. */
  readonly published?: SumHeader;
}

/** True if this run asked for its interrupted files to be kept, and a file of `size` bytes is worth it. */
export function isNoted({ options, notes }: Run, size: number): boolean {
  return notes !== undefined && keepsInterrupted(options) && size >= MIN_SIZE;
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
    const notes = upload && (await run.notes?.read(upload.id, run.checksums));
    if (!upload || !notes) return undefined;
    const blocks = await usableBlocks(run, notes, Math.min(upload.length, size));
    if (blocks === 0 || blocks * notes.rules.blockLength < upload.keepsAtLeast) return undefined;
    return { id: upload.id, blocks, keepsAtLeast: upload.keepsAtLeast, notes, ahead: 0 };
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

/** What is told to the sender of an upload to go on with. */
export interface ContinuationOffer {
  readonly continuation: Continuation;
  readonly sums: SumHeader;
  readonly blockSums: Uint8Array;
}

/**
 * A sender that is told that its file is put together in place names no block of the basis behind which the new file is
 * already, but for those that were found at their own place. With one block told before the noted ones each seems to lie one
 * place later than it does, so that the sender names it where it belongs, and nowhere behind: nothing that was uploaded
 * can be read (rsync match.c `hash_search`, `updating_basis_file`).
 */
const ONE_AHEAD = Buffer.alloc(4 + STRONG_LENGTH, 0xff);

/**
 * The sums of the noted blocks, and behind them those of the published version at `path`, of `publishedSize` bytes, if they
 * may save some of a file of `size` bytes. Rejects with the system's error.
 */
export async function offerContinuation(
  run: Run,
  found: Continuation,
  blockSums: BlockSums,
  { path, publishedSize, size }: { readonly path: string; readonly publishedSize: number; readonly size: number },
): Promise<ContinuationOffer> {
  const noted = await found.notes.sums(found.blocks, STRONG_LENGTH);
  const { blockLength } = found.notes.rules;
  const isWorthIt = blockSums.worthwhile(publishedSize, size);
  const computed = isWorthIt ? await blockSums.of(path, { blockLength, strongLength: STRONG_LENGTH }) : undefined;
  if (!computed && run.protocol >= 30 && matchesInPlace(run.options)) {
    const continuation = { ...found, ahead: 1 };
    return { continuation, sums: continuationHeader(continuation), blockSums: Buffer.concat([ONE_AHEAD, noted]) };
  }
  if (!computed) return { continuation: found, sums: continuationHeader(found), blockSums: noted };
  const continuation = { ...found, published: computed.header };
  return { continuation, sums: continuationHeader(continuation), blockSums: Buffer.concat([noted, computed.sums]) };
}

/** How the noted blocks, and those of the published version behind them, are told to the sender. */
export function continuationHeader({ ahead, blocks, notes, published }: Continuation): SumHeader {
  const { count = 0, remainder = 0 } = published ?? {};
  return { count: ahead + blocks + count, blockLength: notes.rules.blockLength, strongLength: STRONG_LENGTH, remainder };
}

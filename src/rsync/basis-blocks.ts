/**
 * The blocks of a published file that tokens name: they get into the file that is put together through the gateway, or, where
 * many follow one another, are copied within the store. Knows no wire.
 */
import { FsError, ProtocolError } from "../errors.ts";
import type { FileHandle } from "../vfs/file-system.ts";
import type { FileSink } from "./file-sink.ts";
import { readThrough } from "./quick-check.ts";
import type { Run } from "./run.ts";
import { lengthOfBlock, type SumHeader } from "./sums.ts";
import type { BlockRun, TokenReader } from "./tokens.ts";

/** Runs of matched bytes at least this long are copied within the store. */
const MIN_STORE_COPY = 5 * 1024 * 1024;
/** Consecutive blocks are collected up to this many bytes: the store copies as much at once. */
const MAX_RUN = 512 * 1024 * 1024;

/** A stretch of the basis in bytes. */
interface Extent {
  readonly from: number;
  length: number;
}

/** See the head of this file. Owes `close`. */
export class BasisBlocks {
  readonly #run: Run;
  readonly #header: SumHeader;
  readonly #path: string;
  #handle: FileHandle | undefined;
  /** Named, and not yet in the file. */
  #collected: Extent | undefined;

  /** `header` says how the file at `path` is cut. */
  constructor(run: Run, path: string, header: SumHeader) {
    this.#run = run;
    this.#path = path;
    this.#header = header;
  }

  /** Opens the file; one that cannot be read is left out: the checksum will tell. */
  async open(): Promise<void> {
    try {
      this.#handle = await this.#run.fileSystem.open(this.#path, { read: true });
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
    }
  }

  async close(): Promise<void> {
    await this.#handle?.close();
  }

  /** Adds blocks; they may be waiting for more until `flush`. Throws `ProtocolError`. */
  async add(sink: FileSink, blocks: BlockRun, tokens: TokenReader): Promise<void> {
    const { from, length } = this.#extent(blocks);
    const before = this.#collected;
    if (before && before.from + before.length === from && before.length + length <= MAX_RUN) before.length += length;
    else {
      await this.flush(sink, tokens);
      this.#collected = { from, length };
    }
    // What comes next may be compressed with the bytes of these.
    if (this.#run.options.compression === "zlib") await this.flush(sink, tokens);
  }

  /** Puts what was collected into the file. */
  async flush(sink: FileSink, tokens: TokenReader): Promise<void> {
    const extent = this.#collected;
    this.#collected = undefined;
    const handle = this.#handle;
    if (!extent || !handle) return;
    const { blockLength, incoming } = sink;
    const head = (blockLength - (incoming.offset % blockLength)) % blockLength;
    const copied = Math.floor((extent.length - head) / blockLength) * blockLength;
    if (copied < MIN_STORE_COPY) return this.#through(extent, sink, tokens);
    const from = extent.from + head;
    if (head > 0) await this.#through({ from: extent.from, length: head }, sink, tokens);
    await incoming.copyFrom(handle, from, copied);
    await this.read({ from, length: copied }, async (chunks) => {
      for (const chunk of chunks) await tokens.matched(chunk);
      await sink.count(chunks);
    });
    const rest = extent.length - head - copied;
    if (rest > 0) await this.#through({ from: from + copied, length: rest }, sink, tokens);
  }

  /** Reads a stretch; what cannot be read is left out: the checksum will not match. */
  async read({ from, length }: Extent, use: (chunks: readonly Uint8Array[]) => Promise<void>): Promise<void> {
    if (!this.#handle) return;
    try {
      await readThrough(this.#handle, from, from + length, use);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.#run.log.debug({ err: error }, "rsync basis cannot be read");
    }
  }

  /** The bytes of the basis that a token stands for. */
  #extent(token: BlockRun): Extent {
    const header = this.#header;
    const last = token.index + token.count - 1;
    if (last >= header.count) throw new ProtocolError(`block ${last} of ${header.count}`);
    const from = token.index * header.blockLength;
    return { from, length: last * header.blockLength + lengthOfBlock(header, last) - from };
  }

  #through(extent: Extent, sink: FileSink, tokens: TokenReader): Promise<void> {
    return this.read(extent, async (chunks) => {
      for (const chunk of chunks) await tokens.matched(chunk);
      await sink.write(chunks);
    });
  }
}

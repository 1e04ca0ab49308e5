/**
 * A file put together from literal bytes and blocks of a published one (rsync receiver.c `receive_data`), or from a
 * published one and its continuation (`--append`). Long runs of blocks are copied within the store.
 */
import { FsError, ProtocolError } from "../errors.ts";
import type { FileHandle } from "../vfs/file-system.ts";
import type { Assembly } from "./assembly.ts";
import type { FileSink } from "./file-sink.ts";
import { readThrough } from "./quick-check.ts";
import type { Run } from "./run.ts";
import { basisLength, lengthOfBlock, type SumHeader } from "./sums.ts";
import type { BlockRun, TokenReader } from "./tokens.ts";
import type { Basis } from "./upload.ts";

/** Runs of matched bytes at least this long are copied within the store. */
const MIN_STORE_COPY = 5 * 1024 * 1024;
/** Consecutive blocks are collected up to this many bytes. */
const MAX_RUN = 1024 * 1024 * 1024;

/** A stretch of the basis in bytes. */
interface Extent {
  readonly from: number;
  length: number;
}

/** See the head of this file. */
export class RebuiltFile implements Assembly {
  readonly sink: FileSink;
  readonly isUnusable = false;
  readonly #run: Run;
  readonly #header: SumHeader;
  readonly #basis: Basis | undefined;
  #handle: FileHandle | undefined;

  constructor(run: Run, header: SumHeader, basis: Basis | undefined, sink: FileSink) {
    this.#run = run;
    this.#header = header;
    this.#basis = basis;
    this.sink = sink;
  }

  async read(tokens: TokenReader): Promise<void> {
    this.#handle = await this.#openBasis();
    try {
      if (this.#basis?.appendTo !== undefined) await this.#prefix(this.#basis.appendTo);
      await this.#data(tokens);
    } finally {
      await this.#handle?.close();
    }
  }

  /** The basis for reading; undefined if there is none or it cannot be read (the checksum will tell). */
  async #openBasis(): Promise<FileHandle | undefined> {
    const basis = this.#basis;
    if (!basis || this.#header.count === 0) return undefined;
    if (basis.appendTo !== undefined && this.#run.options.append !== "verify" && this.#run.protocol >= 30) return undefined;
    try {
      return await this.#run.fileSystem.open(basis.path, { read: true });
    } catch (error) {
      if (error instanceof FsError) return undefined;
      throw error;
    }
  }

  /** What is continued counts for the checksum if it is verified; below protocol 30 always. */
  async #prefix(length: number): Promise<void> {
    if (basisLength(this.#header) !== length) throw new ProtocolError("the sender continues at another length");
    await this.#readBasis({ from: 0, length }, (chunks) => this.sink.count(chunks));
  }

  /** Reads a piece of the basis; what cannot be read is left out: the checksum will not match. */
  async #readBasis({ from, length }: Extent, use: (chunks: readonly Uint8Array[]) => void | Promise<void>): Promise<void> {
    if (!this.#handle) return;
    try {
      await readThrough(this.#handle, from, from + length, use);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.#run.log.debug({ err: error }, "rsync basis cannot be read");
    }
  }

  async #data(tokens: TokenReader): Promise<void> {
    let run: Extent | undefined;
    const collects = this.#run.options.compression !== "zlib";
    for (let token = await tokens.next(); token; token = await tokens.next()) {
      if (token instanceof Uint8Array) {
        if (run) await this.#matched(run, tokens);
        run = undefined;
        await this.sink.write([token]);
        continue;
      }
      const { from, length } = this.#extent(token);
      if (run && (!collects || run.from + run.length !== from || run.length + length > MAX_RUN)) {
        await this.#matched(run, tokens);
        run = undefined;
      }
      if (run) run.length += length;
      else run = { from, length };
      if (collects) continue;
      await this.#matched(run, tokens);
      run = undefined;
    }
    if (run) await this.#matched(run, tokens);
  }

  /** The bytes of the basis that a token stands for. */
  #extent(token: BlockRun): Extent {
    const header = this.#header;
    const last = token.index + token.count - 1;
    if (last >= header.count) throw new ProtocolError(`block ${last} of ${header.count}`);
    const from = token.index * header.blockLength;
    return { from, length: last * header.blockLength + lengthOfBlock(header, last) - from };
  }

  async #matched(extent: Extent, tokens: TokenReader): Promise<void> {
    const handle = this.#handle;
    if (!handle) return;
    const copies = extent.length >= MIN_STORE_COPY;
    if (copies) await this.sink.incoming.copyFrom(handle, extent.from, extent.length);
    await this.#readBasis(extent, async (chunks) => {
      for (const chunk of chunks) await tokens.matched(chunk);
      if (copies) this.sink.count(chunks);
      else await this.sink.write(chunks);
    });
  }
}

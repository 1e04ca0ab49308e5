/**
 * The sums of a file that is there, for the sender to find what it need not send (rsync generator.c
 * `generate_and_send_sums`). Reads the file once. Knows no wire format beyond the sums themselves.
 */
import { FsError } from "../errors.ts";
import type { FileHandle } from "../vfs/file-system.ts";
import { ByteBuilder } from "./byte-builder.ts";
import { blockSum, rollingSum } from "./checksums.ts";
import { TaskPool } from "./in-order.ts";
import { readThrough } from "./quick-check.ts";
import type { Run } from "./run.ts";
import { type SumHeader, sumHeaderFor } from "./sums.ts";

/** Smaller files are sent whole: reading the old one costs more than it saves. Bytes. */
const MIN_SIZE = 256 * 1024;
/** More blocks than this are too much to hold. */
const MAX_BLOCKS = 1_000_000;
/** Protocol < 31 has a defect in compressed streams with matches of longer blocks. */
const MAX_COMPRESSED_BLOCK = 65_535;
/** Files read at the same time. */
const PARALLEL = 3;

/** Sums as they go on the wire after their header. */
export interface ComputedSums {
  readonly header: SumHeader;
  readonly sums: Uint8Array;
}

/** See the head of this file. */
export class BlockSums {
  readonly #run: Run;
  readonly #pool = new TaskPool(PARALLEL);

  constructor(run: Run) {
    this.#run = run;
  }

  /** True if sums of a file of `size` bytes may save some of a transfer of `newSize` bytes. */
  worthwhile(size: number, newSize: number): boolean {
    const { options, protocol } = this.#run;
    if (options.wholeFile || size < MIN_SIZE || newSize < MIN_SIZE) return false;
    const header = sumHeaderFor(size, protocol, options.blockSize);
    if (header.count > MAX_BLOCKS) return false;
    return protocol >= 31 || options.compression !== "zlib" || header.blockLength <= MAX_COMPRESSED_BLOCK;
  }

  /**
   * The sums of the file at `path`, cut as `cut` says or else as rsync does; undefined if it cannot be read: then the whole
   * file is wanted.
   */
  async of(path: string, cut?: Pick<SumHeader, "blockLength" | "strongLength">): Promise<ComputedSums | undefined> {
    let result: ComputedSums | undefined;
    let failure: unknown;
    let finish: () => void = () => undefined;
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    await this.#pool.add(async () => {
      try {
        result = await this.#compute(path, cut);
      } catch (error) {
        failure = error;
      }
      finish();
    });
    await finished;
    if (failure !== undefined && !(failure instanceof FsError)) throw failure;
    return result;
  }

  async #compute(path: string, cut: Parameters<BlockSums["of"]>[1]): Promise<ComputedSums | undefined> {
    const handle = await this.#run.fileSystem.open(path, { read: true });
    try {
      return await this.#sum(handle, cut);
    } finally {
      await handle.close();
    }
  }

  async #sum(handle: FileHandle, cut: Parameters<BlockSums["of"]>[1]): Promise<ComputedSums | undefined> {
    const { size } = await handle.stat();
    const header = cut
      ? { ...cut, count: Math.ceil(size / cut.blockLength), remainder: size % cut.blockLength }
      : sumHeaderFor(size, this.#run.protocol, this.#run.options.blockSize);
    if (header.count > MAX_BLOCKS) return undefined;
    const out = new ByteBuilder();
    const rest = new BlockCutter(header.blockLength, (block) => {
      out.i32(rollingSum(block));
      out.bytes(blockSum(this.#run.checksums, block).subarray(0, header.strongLength));
    });
    const read = await readThrough(handle, 0, size, (chunks) => {
      for (const chunk of chunks) rest.add(chunk);
    });
    if (read !== size) return undefined;
    rest.end();
    return { header, sums: out.take() };
  }
}

/** Cuts a stream of chunks in blocks of one length; the last may be shorter. */
export class BlockCutter {
  readonly #length: number;
  readonly #use: (block: Uint8Array) => void;
  readonly #partial: Uint8Array;
  #filled = 0;

  constructor(length: number, use: (block: Uint8Array) => void) {
    this.#length = length;
    this.#use = use;
    this.#partial = new Uint8Array(length);
  }

  /** Adds a chunk; blocks that lie within one chunk are passed on without copying. */
  add(chunk: Uint8Array): void {
    let offset = 0;
    if (this.#filled > 0) {
      offset = Math.min(this.#length - this.#filled, chunk.length);
      this.#partial.set(chunk.subarray(0, offset), this.#filled);
      this.#filled += offset;
      if (this.#filled < this.#length) return;
      this.#use(this.#partial);
      this.#filled = 0;
    }
    for (; offset + this.#length <= chunk.length; offset += this.#length) this.#use(chunk.subarray(offset, offset + this.#length));
    this.#partial.set(chunk.subarray(offset));
    this.#filled = chunk.length - offset;
  }

  /** Passes on what is left. */
  end(): void {
    if (this.#filled > 0) this.#use(this.#partial.subarray(0, this.#filled));
    this.#filled = 0;
  }
}

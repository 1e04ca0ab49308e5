/** Turns a stream of bytes into an .xz stream of 8 MiB blocks, several being compressed at once, in order. */
import { availableParallelism } from "node:os";
import { setImmediate } from "node:timers/promises";
import { type BlockMode, encodeBlock } from "./block-compressor.ts";
import { type BlockRecord, type EncodedBlock, streamFooter, streamHeader } from "./xz-format.ts";

/** Bytes of data in each block but the last. */
export const XZ_BLOCK_SIZE = 8 * 1024 * 1024;

/** How `xzStream` works. */
export interface XzOptions {
  readonly mode: BlockMode;
  /** The `xz` program is there (`xzAvailable`). */
  readonly xz: boolean;
  /** Blocks encoded at the same time; default the number of processors. Memory is about 2 × 8 MiB for each. */
  readonly parallel?: number;
  readonly signal?: AbortSignal;
}

/** Cuts a byte stream into chunk lists of exactly `size` bytes (the last may be shorter). */
async function* blocksOf(source: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<{ data: Uint8Array[]; size: number }> {
  let data: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of source) {
    let rest = chunk;
    while (rest.length > 0) {
      const piece = rest.subarray(0, size - length);
      data.push(piece);
      length += piece.length;
      rest = rest.subarray(piece.length);
      if (length < size) continue;
      yield { data, size: length };
      data = [];
      length = 0;
    }
  }
  if (length > 0) yield { data, size: length };
}

/** The .xz stream of `source`, in chunks. Chunks of `source` must not change afterwards. Rejects as `source` and `encodeBlock` do. */
export async function* xzStream(source: AsyncIterable<Uint8Array>, options: XzOptions): AsyncGenerator<Uint8Array> {
  const parallel = Math.max(1, options.parallel ?? availableParallelism());
  const records: BlockRecord[] = [];
  const running: Promise<EncodedBlock>[] = [];
  yield streamHeader();
  for await (const { data, size } of blocksOf(source, XZ_BLOCK_SIZE)) {
    const encoding = encodeBlock(data, { ...options, size });
    // Its failure is seen when its turn comes; until then it must not count as unhandled.
    encoding.catch(() => undefined);
    running.push(encoding);
    // A fast source and stored blocks need never wait; whoever else works in this process gets a turn all the same.
    await setImmediate();
    if (running.length < parallel) continue;
    const done = await (running.shift() as Promise<EncodedBlock>);
    records.push(done.record);
    yield* done.chunks;
  }
  for (const encoding of running) {
    const done = await encoding;
    records.push(done.record);
    yield* done.chunks;
  }
  yield streamFooter(records);
}

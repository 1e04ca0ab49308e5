/**
 * A file put together from literal bytes and blocks of a published one (rsync receiver.c `receive_data`), or from a
 * published one and its continuation (`--append`).
 */
import { ProtocolError } from "../errors.ts";
import type { Assembly } from "./assembly.ts";
import { BasisBlocks } from "./basis-blocks.ts";
import type { FileSink } from "./file-sink.ts";
import type { Run } from "./run.ts";
import { basisLength, type SumHeader } from "./sums.ts";
import type { TokenReader } from "./tokens.ts";
import type { Basis } from "./upload.ts";

/** See the head of this file. */
export class RebuiltFile implements Assembly {
  readonly sink: FileSink;
  readonly isUnusable = false;
  readonly #header: SumHeader;
  readonly #appendTo: number | undefined;
  /** The basis, if there is one that is to be read. */
  readonly #blocks: BasisBlocks | undefined;

  constructor(run: Run, header: SumHeader, basis: Basis | undefined, sink: FileSink) {
    this.sink = sink;
    this.#header = header;
    this.#appendTo = basis?.appendTo;
    const isRead = basis?.appendTo === undefined || run.options.append === "verify" || run.protocol < 30;
    if (basis && header.count > 0 && isRead) this.#blocks = new BasisBlocks(run, basis.path, header);
  }

  async read(tokens: TokenReader): Promise<void> {
    await this.#blocks?.open();
    try {
      if (this.#appendTo !== undefined) await this.#prefix(this.#appendTo);
      await this.#data(tokens);
    } finally {
      await this.#blocks?.close();
    }
  }

  /** What is continued counts for the checksum if it is verified; below protocol 30 always. */
  async #prefix(length: number): Promise<void> {
    if (basisLength(this.#header) !== length) throw new ProtocolError("the sender continues at another length");
    await this.#blocks?.read({ from: 0, length }, (chunks) => this.sink.count(chunks));
  }

  async #data(tokens: TokenReader): Promise<void> {
    for (let token = await tokens.next(); token; token = await tokens.next()) {
      if (token instanceof Uint8Array) {
        await this.#blocks?.flush(this.sink, tokens);
        await this.sink.write([token]);
      } else if (this.#blocks) await this.#blocks.add(this.sink, token, tokens);
      else throw new ProtocolError(`block ${token.index} of a file that is sent whole`);
    }
    await this.#blocks?.flush(this.sink, tokens);
  }
}

/**
 * Pull-style reading of a `ByteChannel` for protocols that read lines and counted data (scp, hash commands).
 * Knows nothing of what the bytes mean.
 */
import type { ByteChannel, ByteReceiver } from "./byte-channel.ts";
import { ChunkKeeper } from "./chunk-keeper.ts";
import { ProtocolError } from "./errors.ts";

const NEWLINE = 0x0a;

/** Collects what a channel delivers until it is asked for. One reader per channel, one pending read at a time. */
export class ByteReader implements ByteReceiver {
  readonly borrows = true;
  readonly #channel: ByteChannel;
  readonly #chunks: Uint8Array[] = [];
  readonly #keeper = new ChunkKeeper();
  #ended = false;
  #wake: (() => void) | undefined;

  /** Starts delivery at once. */
  constructor(channel: ByteChannel) {
    this.#channel = channel;
    channel.closed.addEventListener("abort", () => this.end(), { once: true });
    if (channel.closed.aborted) this.#ended = true;
    channel.receive(this);
  }

  data(chunk: Uint8Array): void {
    this.#keeper.keep(this.#chunks, chunk);
    this.#signal();
  }

  end(): void {
    this.#ended = true;
    this.#signal();
  }

  /**
   * Chunks of at least one and at most `limit` bytes together, as soon as there are any; an empty list at EOF. The
   * caller owes `channel.consume` for them once it no longer holds them.
   */
  async take(limit: number): Promise<Uint8Array[]> {
    if (!(await this.#available())) return [];
    const taken: Uint8Array[] = [];
    let room = limit;
    for (;;) {
      const first = this.#chunks[0];
      if (!first || room === 0) return taken;
      if (first.length <= room) {
        taken.push(first);
        this.#chunks.shift();
        room -= first.length;
      } else {
        taken.push(first.subarray(0, room));
        this.#chunks[0] = first.subarray(room);
        return taken;
      }
    }
  }

  /** The next byte, or undefined at EOF. Consumed. */
  async byte(): Promise<number | undefined> {
    const [chunk] = await this.take(1);
    if (!chunk) return undefined;
    this.#channel.consume(1);
    return chunk[0];
  }

  /**
   * The bytes up to the next newline, without it; undefined at EOF before any byte. Consumed. A line of more than
   * `limit` bytes, or one cut off by EOF, is a `ProtocolError`.
   */
  async line(limit: number): Promise<Uint8Array | undefined> {
    const parts: Uint8Array[] = [];
    let length = 0;
    while (await this.#available()) {
      const chunk = this.#chunks[0] as Uint8Array;
      const at = chunk.indexOf(NEWLINE);
      const part = at < 0 ? chunk : chunk.subarray(0, at);
      length += part.length;
      if (length > limit) throw new ProtocolError(`line of more than ${limit} bytes`);
      parts.push(part);
      const used = at < 0 ? chunk.length : at + 1;
      if (used === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(used);
      this.#channel.consume(used);
      if (at >= 0) return Buffer.concat(parts);
    }
    if (length > 0) throw new ProtocolError("the connection ended within a line");
    return undefined;
  }

  async #available(): Promise<boolean> {
    while (this.#chunks.length === 0) {
      if (this.#ended) return false;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return true;
  }

  #signal(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

/**
 * The uncompressed token stream (rsync token.c `simple_send_token`, `simple_recv_token`): n > 0 literal bytes follow,
 * n < 0 block -(n+1), 0 the end. Knows no files.
 */
import type { MultiplexReader } from "./multiplex-reader.ts";
import type { MultiplexWriter } from "./multiplex-writer.ts";
import type { BlockRun, TokenReader, TokenWriter } from "./tokens.ts";

/** Longest literal run written at once; older clients accept no more. */
const CHUNK = 32 * 1024;

/** See `TokenReader`. */
export class PlainTokenReader implements TokenReader {
  readonly #reader: MultiplexReader;
  #left = 0;

  constructor(reader: MultiplexReader) {
    this.#reader = reader;
  }

  async next(): Promise<Uint8Array | BlockRun | undefined> {
    if (this.#left === 0) {
      const token = await this.#reader.decode((cursor) => cursor.i32());
      if (token === 0) return undefined;
      if (token < 0) return { index: -(token + 1), count: 1 };
      this.#left = token;
    }
    const bytes = await this.#reader.take(this.#left);
    this.#left -= bytes.length;
    return bytes;
  }

  async matched(): Promise<void> {
    // Nothing depends on matched bytes here.
  }

  close(): void {
    // Holds nothing.
  }
}

/** See `TokenWriter`. */
export class PlainTokenWriter implements TokenWriter {
  readonly #writer: MultiplexWriter;

  constructor(writer: MultiplexWriter) {
    this.#writer = writer;
  }

  async literal(bytes: Uint8Array): Promise<void> {
    for (let offset = 0; offset < bytes.length; offset += CHUNK) {
      const piece = bytes.subarray(offset, offset + CHUNK);
      this.#writer.out.i32(piece.length);
      this.#writer.bulk(piece);
      await this.#writer.ready();
    }
  }

  async block(index: number): Promise<void> {
    this.#writer.out.i32(-(index + 1));
    this.#writer.written();
    await this.#writer.ready();
  }

  async end(): Promise<void> {
    this.#writer.out.i32(0);
    this.#writer.written();
  }

  close(): void {
    // Holds nothing.
  }
}

/** Takes a byte stream apart: so many bytes at a time, whatever the chunks are that it comes in. */

/** Reads `source` from its start. One read at a time. */
export class StreamReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);
  #position = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#chunks = source[Symbol.asyncIterator]();
  }

  /** Bytes that were read so far. */
  get position(): number {
    return this.#position;
  }

  /** Exactly `length` bytes in one piece; undefined at the very end. Rejects if the stream ends within them, or as it does. */
  async tryRead(length: number): Promise<Uint8Array | undefined> {
    if (this.#rest.length === 0 && !(await this.#pull())) return undefined;
    const pieces: Uint8Array[] = [];
    for await (const piece of this.pieces(length)) pieces.push(piece);
    const [only, ...more] = pieces;
    return more.length === 0 && only ? only : Buffer.concat(pieces);
  }

  /** As `tryRead`, but the end is an error. */
  async read(length: number): Promise<Uint8Array> {
    if (length === 0) return new Uint8Array(0);
    const bytes = await this.tryRead(length);
    if (!bytes) throw new Error("the archive is cut off");
    return bytes;
  }

  /** The next `length` bytes as they come. Rejects if the stream ends within them. */
  async *pieces(length: number): AsyncGenerator<Uint8Array> {
    let missing = length;
    while (missing > 0) {
      if (this.#rest.length === 0 && !(await this.#pull())) throw new Error("the archive is cut off");
      const piece = this.#rest.subarray(0, missing);
      this.#rest = this.#rest.subarray(piece.length);
      this.#position += piece.length;
      missing -= piece.length;
      yield piece;
    }
  }

  /** Gives up reading. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  async #pull(): Promise<boolean> {
    for (;;) {
      const { done, value } = await this.#chunks.next();
      if (done) return false;
      this.#rest = value;
      if (value.length > 0) return true;
    }
  }
}

/**
 * What a file's data are made of on the wire (rsync token.c): runs of literal bytes and references to blocks of the
 * basis. The two formats, plain and deflated, implement these ports.
 */

/** `count` consecutive blocks of the basis from `index` on. */
export interface BlockRun {
  readonly index: number;
  readonly count: number;
}

/** Reads the tokens of one file after the other. */
export interface TokenReader {
  /** Literal bytes, a run of blocks, or undefined at the end of the file's data. */
  next(): Promise<Uint8Array | BlockRun | undefined>;
  /** Must be called with the bytes of every block run, in order, before the next `next`. */
  matched(bytes: Uint8Array): Promise<void>;
  /** Frees what it holds. */
  close(): void;
}

/** Writes the tokens of one file after the other. */
export interface TokenWriter {
  /** Literal bytes; they must not change afterwards. */
  literal(bytes: Uint8Array): Promise<void>;
  /** Block `index` of the receiver's basis, whose bytes are `bytes`. */
  block(index: number, bytes: Uint8Array): Promise<void>;
  /** Ends the file's data; the next call begins another file. */
  end(): Promise<void>;
  /** Frees what it holds. */
  close(): void;
}

/** How one file is put together from the tokens of its sender: the port between the receiver and the ways to do it. */
import type { FileSink } from "./file-sink.ts";
import type { TokenReader } from "./tokens.ts";

/** One file being put together. */
export interface Assembly {
  /** Where its bytes go, once that is clear: at the latest when `read` has resolved and `isUnusable` is not set. */
  readonly sink: FileSink | undefined;
  /** The tokens stand for bytes that cannot be had: the file must be asked for again, whole. */
  readonly isUnusable: boolean;
  /** Reads all tokens. Rejects with what broke the stream; then the sink is to be discarded. */
  read(tokens: TokenReader): Promise<void>;
}

/**
 * Decoder of the `aws-chunked` content encoding with or without trailers and chunk signatures (Amazon S3 API reference,
 * "Transferring payload in multiple chunks"). Works on any split of the input; signatures of chunks are not verified.
 */
import { S3Error } from "./s3-error.ts";

const MAX_LINE = 16 * 1024;

/** Feeds encoded bytes in with `push`, hands decoded ones to `onData`; `end` returns the trailers. */
export class AwsChunkedDecoder {
  readonly #onData: (chunk: Buffer) => void;
  #state: "size" | "data" | "data-end" | "trailers" | "done" = "size";
  #line = "";
  #remaining = 0;
  readonly #trailers = new Map<string, string>();

  constructor(onData: (chunk: Buffer) => void) {
    this.#onData = onData;
  }

  /** Takes the next encoded bytes, however they were split. */
  push(input: Buffer): void {
    let rest = input;
    while (rest.length > 0) rest = this.#state === "data" ? this.#takeData(rest) : this.#takeLine(rest);
  }

  /** Ends the body: returns the trailers by lower-case name, or throws IncompleteBody. */
  end(): ReadonlyMap<string, string> {
    if (this.#state === "trailers" && this.#line === "") this.#state = "done";
    if (this.#state !== "done") throw new S3Error(400, "IncompleteBody", "The request body terminated unexpectedly");
    return this.#trailers;
  }

  #takeData(input: Buffer): Buffer {
    const chunk = input.subarray(0, this.#remaining);
    this.#remaining -= chunk.length;
    this.#onData(chunk);
    if (this.#remaining === 0) this.#state = "data-end";
    return input.subarray(chunk.length);
  }

  #takeLine(input: Buffer): Buffer {
    const end = input.indexOf(0x0a);
    const taken = end < 0 ? input : input.subarray(0, end + 1);
    this.#line += taken.toString("latin1");
    if (this.#line.length > MAX_LINE) throw new S3Error(400, "InvalidChunkSizeError", "A chunk header is too long");
    if (end >= 0) {
      const line = this.#line.replace(/\r?\n$/, "");
      this.#line = "";
      this.#endLine(line);
    }
    return input.subarray(taken.length);
  }

  #endLine(line: string): void {
    if (this.#state === "data-end") {
      if (line !== "") throw new S3Error(400, "InvalidChunkSizeError", "A chunk is longer than its header says");
      this.#state = "size";
    } else if (this.#state === "size") {
      const size = /^([0-9a-fA-F]{1,12})(?:;.*)?$/.exec(line)?.[1];
      if (size === undefined) throw new S3Error(400, "InvalidChunkSizeError", "Only chunk sizes in hexadecimal are understood");
      this.#remaining = Number.parseInt(size, 16);
      this.#state = this.#remaining > 0 ? "data" : "trailers";
    } else if (line === "") {
      this.#state = "done";
    } else {
      const colon = line.indexOf(":");
      if (colon > 0) this.#trailers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
    }
  }
}

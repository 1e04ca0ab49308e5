/**
 * An S3 object being read: one stream as long as that works. When it breaks, the reading goes on with a request for the
 * rest of the same version, so that a cut connection is not seen by the reader. Knows nothing of retries of requests.
 */
import type { Readable } from "node:stream";
import { crc32 } from "node:zlib";
import { StoreError } from "../../errors.ts";
import type { ObjectBody, ObjectInfo } from "../objectstore.ts";
import { checkNotAborted } from "../request-checks.ts";

/** Breaks in a row with hardly anything in between after which reading fails. */
const MAX_IDLE_BREAKS = 4;
/** Bytes between two breaks that count as progress: a store that dribbles must not keep us for ever. */
const PROGRESS = 64 * 1024;

/** What is read and how it goes on. */
export interface S3BodyOptions {
  readonly info: ObjectInfo;
  readonly stream: Readable;
  /** The bytes that `stream` has: `end` is exclusive. */
  readonly start: number;
  readonly end: number;
  /** CRC-32 of these bytes, to be checked at the end. */
  readonly crc32?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Opens the same version again from an offset. Rejects with a `StoreError`. */
  readonly reopen: (start: number) => Promise<Readable>;
  /** Told about every break. */
  readonly onBreak: (offset: number, cause: unknown) => void;
}

/** See the head of this file. */
export class S3Body implements ObjectBody {
  readonly info: ObjectInfo;
  readonly body: AsyncIterable<Uint8Array>;
  readonly #options: S3BodyOptions;
  #stream: Readable;
  #position: number;
  #destroyed = false;

  constructor(options: S3BodyOptions) {
    this.info = options.info;
    this.#options = options;
    this.#stream = options.stream;
    this.#position = options.start;
    this.body = this.#read();
  }

  destroy(): void {
    this.#destroyed = true;
    this.#stream.destroy();
  }

  async *#read(): AsyncGenerator<Uint8Array> {
    let checksum = 0;
    let idleBreaks = 0;
    try {
      for (;;) {
        const begun = this.#position;
        let cause: unknown;
        try {
          for await (const chunk of this.#stream as AsyncIterable<Uint8Array>) {
            this.#position += chunk.byteLength;
            if (this.#options.crc32 !== undefined && chunk.byteLength > 0) checksum = crc32(chunk, checksum);
            yield chunk;
          }
        } catch (error) {
          cause = error;
        }
        if (this.#position >= this.#options.end) break;
        idleBreaks = this.#position - begun < PROGRESS ? idleBreaks + 1 : 0;
        await this.#resume(cause, idleBreaks);
      }
      this.#checkEnd(checksum);
    } finally {
      this.#stream.destroy();
    }
  }

  async #resume(cause: unknown, idleBreaks: number): Promise<void> {
    const { info, signal, reopen, onBreak } = this.#options;
    checkNotAborted(signal);
    if (this.#destroyed) throw new StoreError("aborted", "the body was given up by its reader", { cause });
    const what = `reading ${JSON.stringify(info.key)} broke off at byte ${this.#position} of ${this.#options.end}`;
    if (idleBreaks > MAX_IDLE_BREAKS) throw new StoreError("io", `${what}; the store closes the connection again and again`, { cause });
    onBreak(this.#position, cause);
    this.#stream = await reopen(this.#position);
    if (this.#destroyed) this.#stream.destroy();
  }

  #checkEnd(checksum: number): void {
    const { info, end, crc32: expected } = this.#options;
    if (this.#position > end) throw new StoreError("io", `the store sent more of ${JSON.stringify(info.key)} than it announced`);
    if (expected !== undefined && expected !== checksum) {
      throw new StoreError(
        "checksum-mismatch",
        `the bytes of ${JSON.stringify(info.key)} do not match the store's CRC-32; check network and memory`,
      );
    }
  }
}

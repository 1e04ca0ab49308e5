/**
 * Feeds a zlib stream piece by piece and waits for what each piece yields. Knows nothing of tokens.
 */
import { constants, createDeflateRaw, createInflateRaw, type DeflateRaw, type InflateRaw } from "node:zlib";
import { ProtocolError } from "../errors.ts";

const WINDOW_BITS = 15;

/** A raw deflate or inflate stream driven by hand. One call at a time. */
export class ZlibPump {
  readonly #stream: DeflateRaw | InflateRaw;
  readonly #deflating: boolean;
  #output: Uint8Array[] = [];
  #failure: Error | undefined;
  #reject: ((error: Error) => void) | undefined;

  private constructor(stream: DeflateRaw | InflateRaw, deflating: boolean) {
    this.#stream = stream;
    this.#deflating = deflating;
    stream.on("data", (chunk: Uint8Array) => this.#output.push(chunk));
    stream.on("error", (error) => this.#fail(new ProtocolError("compressed data are damaged", { cause: error })));
    stream.on("end", () => this.#fail(new ProtocolError("compressed data end too early")));
  }

  static deflate(): ZlibPump {
    return new ZlibPump(createDeflateRaw({ windowBits: WINDOW_BITS }), true);
  }

  static inflate(): ZlibPump {
    return new ZlibPump(createInflateRaw({ windowBits: WINDOW_BITS, flush: constants.Z_SYNC_FLUSH, chunkSize: 64 * 1024 }), false);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#reject?.(this.#failure);
    this.#reject = undefined;
  }

  /** Puts `input` in; resolves to what came out of it (inflating: all there is; deflating: what happens to be ready). */
  push(input: Uint8Array): Promise<readonly Uint8Array[]> {
    return this.#run((done) => this.#stream.write(input, done));
  }

  /** Deflating: makes everything put in so far come out, ended by the bytes 00 00 ff ff. */
  flush(): Promise<readonly Uint8Array[]> {
    if (!this.#deflating) return Promise.resolve([]);
    return this.#run((done) => this.#stream.flush(constants.Z_SYNC_FLUSH, () => done(null)));
  }

  #run(start: (done: (error: Error | null | undefined) => void) => void): Promise<readonly Uint8Array[]> {
    return new Promise((resolve, reject) => {
      if (this.#failure) {
        reject(this.#failure);
        return;
      }
      this.#reject = reject;
      start((error) => {
        if (error) {
          this.#fail(new ProtocolError("compressed data are damaged", { cause: error }));
          return;
        }
        // The 'data' events of this piece come before the next turn of the event loop.
        setImmediate(() => {
          this.#reject = undefined;
          resolve(this.#output.splice(0));
        });
      });
    });
  }

  /** Begins a new stream. */
  reset(): void {
    this.#stream.reset();
    this.#output = [];
  }

  /** Frees the memory; nothing may be called afterwards. */
  close(): void {
    this.#stream.destroy();
  }
}

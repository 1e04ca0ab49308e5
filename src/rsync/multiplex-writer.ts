/**
 * Our byte stream to the peer: collects values into frames, sends messages between them in order, and waits for the
 * peer where a producer could outrun it. Knows nothing of what the values mean.
 */
import type { ByteChannel } from "../byte-channel.ts";
import { ByteBuilder } from "./byte-builder.ts";
import { PeerGone } from "./exit-codes.ts";
import { MAX_FRAME, MPLEX_BASE, Tag } from "./multiplex.ts";

/** Values collected before they are sent without waiting for the end of the turn. */
const FLUSH_AT = 32 * 1024;
/** Queued bytes over which a producer waits. */
const HIGH_WATER = 512 * 1024;
/** Longest text message in bytes. */
const MAX_TEXT = 8000;

/** See the head of this file. */
export class MultiplexWriter {
  readonly #channel: ByteChannel;
  readonly #out = new ByteBuilder();
  #multiplexing = false;
  #scheduled: NodeJS.Immediate | undefined;
  #sent = 0;
  #lastSentAt: number;
  readonly #now: () => number;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(channel: ByteChannel, now: () => number) {
    this.#channel = channel;
    this.#now = now;
    this.#lastSentAt = now();
  }

  /** Where values are appended; call `written()` after each. */
  get out(): ByteBuilder {
    return this.#out;
  }

  /** Bytes handed to the channel, frame headers included. */
  get sent(): number {
    return this.#sent;
  }

  /** When (in the clock's milliseconds) bytes were last handed to the channel. */
  get lastSentAt(): number {
    return this.#lastSentAt;
  }

  /** From now on everything is cut in frames, or nothing is. */
  setMultiplexing(multiplexing: boolean): void {
    this.flush();
    this.#multiplexing = multiplexing;
  }

  /** Says that values were appended to `out`: they go out when there are enough of them, or at the end of this turn. */
  written(): void {
    if (this.#out.length >= FLUSH_AT) this.flush();
    else this.#scheduled ??= setImmediate(() => this.flush());
  }

  /** Sends what was collected. */
  flush(): void {
    if (this.#scheduled) clearImmediate(this.#scheduled);
    this.#scheduled = undefined;
    if (this.#out.length === 0) return;
    this.#sendData(this.#out.take());
  }

  /** Appends a long run of bytes without copying it, after what was collected; it must not change afterwards. */
  bulk(bytes: Uint8Array): void {
    const pending = this.#out.take();
    if (!this.#multiplexing || pending.length + bytes.length > MAX_FRAME) {
      if (pending.length > 0) this.#sendData(pending);
      this.#sendData(bytes);
      return;
    }
    const header = frameHeader(Tag.data, pending.length + bytes.length);
    this.#send([Buffer.concat([header, pending]), bytes]);
  }

  /** Sends a message after everything collected so far. */
  message(tag: number, payload: Uint8Array): void {
    this.flush();
    this.#send([Buffer.concat([frameHeader(tag, payload.length), payload])]);
  }

  /** Sends each line of `text` as a message of its own. */
  text(tag: number, text: string): void {
    for (const line of text.split("\n")) {
      if (line !== "") this.message(tag, Buffer.from(`${line}\n`, "utf8").subarray(0, MAX_TEXT));
    }
  }

  /** Sends a message whose payload is one 32-bit integer. */
  numberMessage(tag: number, value: number): void {
    const payload = Buffer.alloc(4);
    payload.writeInt32LE(value | 0);
    this.message(tag, payload);
  }

  /** Sends an empty data frame, so that the peer sees life. */
  keepAlive(): void {
    if (this.#multiplexing) this.#send([frameHeader(Tag.data, 0)]);
  }

  /** Resolves when the peer has taken enough that more may be produced. Rejects once `fail` was called or the peer is gone. */
  async ready(): Promise<void> {
    if (this.#channel.pendingBytes > HIGH_WATER && !this.#failure) {
      const failed = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await Promise.race([this.#channel.drained(HIGH_WATER / 2), failed]);
    }
    if (this.#failure) throw this.#failure;
    if (this.#channel.closed.aborted) throw new PeerGone("the connection was closed");
  }

  /** The run broke: whoever waits in `ready` rejects with `error`. Messages can still be sent. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#wake?.();
  }

  #sendData(bytes: Uint8Array): void {
    if (!this.#multiplexing) {
      this.#send([bytes]);
      return;
    }
    for (let offset = 0; offset < bytes.length; offset += MAX_FRAME) {
      const piece = bytes.subarray(offset, Math.min(bytes.length, offset + MAX_FRAME));
      this.#send([frameHeader(Tag.data, piece.length), piece]);
    }
  }

  #send(chunks: readonly Uint8Array[]): void {
    for (const chunk of chunks) this.#sent += chunk.length;
    this.#lastSentAt = this.#now();
    this.#channel.write(...chunks);
  }
}

/** The four bytes before a frame's payload. */
function frameHeader(tag: number, length: number): Uint8Array {
  const header = Buffer.allocUnsafe(4);
  header.writeUInt32LE((((MPLEX_BASE + tag) << 24) | length) >>> 0);
  return header;
}

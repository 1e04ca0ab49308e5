/**
 * The peer's byte stream, cut into parsed values and byte runs: collects what the channel delivers, takes the
 * multiplex frames apart once told to, and gives back-pressure by saying `consume` only for what was used up.
 * Knows nothing of what the values mean. One reader at a time.
 */
import type { ByteChannel, ByteReceiver } from "../byte-channel.ts";
import { ChunkKeeper } from "../chunk-keeper.ts";
import { ByteCursor, INCOMPLETE } from "./byte-cursor.ts";
import { PeerGone } from "./exit-codes.ts";
import { MAX_MESSAGE, MPLEX_BASE, Tag } from "./multiplex.ts";
import { ProtocolError } from "../errors.ts";

/** Longest value `decode` waits for. */
const MAX_VALUE = 128 * 1024;
const EMPTY = new Uint8Array(0);

/** Called for every frame that is not data, in stream order. May throw to end the run. */
export type MessageListener = (tag: number, payload: Uint8Array) => void;

/** See the head of this file. */
export class MultiplexReader implements ByteReceiver {
  readonly borrows = true;
  readonly #channel: ByteChannel;
  readonly #onMessage: MessageListener;
  readonly #raw: Uint8Array[] = [];
  readonly #keeper = new ChunkKeeper();
  #rawOffset = 0;
  #owed = 0;
  #demultiplexing = false;
  #frameLeft = 0;
  #head: Uint8Array = EMPTY;
  #cursor = new ByteCursor(EMPTY);
  #ended = false;
  #closed = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  #received = 0;
  #progress: () => void = () => undefined;

  constructor(channel: ByteChannel, onMessage: MessageListener) {
    this.#channel = channel;
    this.#onMessage = onMessage;
    const onClosed = (): void => this.fail(new PeerGone("the connection was closed"));
    if (channel.closed.aborted) onClosed();
    else channel.closed.addEventListener("abort", onClosed, { once: true });
  }

  /** Bytes the peer sent so far. */
  get received(): number {
    return this.#received;
  }

  /** Calls `listener` whenever bytes arrive. */
  onProgress(listener: () => void): void {
    this.#progress = listener;
  }

  data(chunk: Uint8Array): void {
    this.#received += chunk.length;
    if (this.#closed) {
      this.#channel.consume(chunk.length);
      return;
    }
    this.#keeper.keep(this.#raw, chunk);
    this.#progress();
    this.#wakeUp();
  }

  end(): void {
    this.#ended = true;
    this.#wakeUp();
  }

  /** Makes the pending read and all later ones reject with `error`; the first call counts. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#wakeUp();
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  /** From the next unread byte on the stream is (or is not) cut in frames. Switching off is only possible at the end of a frame. */
  setDemultiplexing(on: boolean): void {
    if (on === this.#demultiplexing) return;
    if (this.#frameLeft > 0) throw new ProtocolError("data after the end of a multiplexed section");
    const unread = this.#head.subarray(this.#cursor.position);
    if (unread.length > 0) {
      if (!on) throw new ProtocolError("data after the end of a multiplexed section");
      const rest = this.#raw[0]?.subarray(this.#rawOffset);
      if (rest) this.#raw.shift();
      this.#rawOffset = 0;
      this.#raw.unshift(rest && rest.length > 0 ? Buffer.concat([unread, rest]) : unread);
      this.#owed -= unread.length;
      this.#setHead(EMPTY);
    }
    this.#demultiplexing = on;
  }

  #setHead(head: Uint8Array): void {
    this.#head = head;
    this.#cursor = new ByteCursor(head);
  }

  /**
   * Runs `parse` on the next bytes, again with more of them while it throws `INCOMPLETE`. Rejects with `PeerGone` when
   * the stream ends first and with what `parse` throws.
   */
  async decode<T>(parse: (cursor: ByteCursor) => T): Promise<T> {
    for (;;) {
      const cursor = this.#cursor;
      const mark = cursor.position;
      try {
        return parse(cursor);
      } catch (error) {
        cursor.position = mark;
        if (error !== INCOMPLETE) throw error;
      }
      if (cursor.remaining > MAX_VALUE) throw new ProtocolError("overlong value");
      await this.#more();
    }
  }

  /** Between 1 and `limit` next bytes, not copied; they count as used up when the next read begins. */
  async take(limit: number): Promise<Uint8Array> {
    while (this.#cursor.remaining === 0) await this.#more();
    return this.#cursor.bytes(Math.min(limit, this.#cursor.remaining));
  }

  /** Exactly `length` bytes, copied into one array. */
  async exactly(length: number): Promise<Uint8Array> {
    const result = new Uint8Array(length);
    for (let filled = 0; filled < length; ) {
      const piece = await this.take(length - filled);
      result.set(piece, filled);
      filled += piece.length;
    }
    return result;
  }

  /** Gives back everything that was not read; nothing may be read afterwards. */
  close(): void {
    this.#failure ??= new PeerGone("the run has ended");
    this.#closed = true;
    this.#setHead(EMPTY);
    for (const chunk of this.#raw.splice(0)) this.#owed += chunk.length;
    this.#owed -= this.#rawOffset;
    this.#rawOffset = 0;
    this.#giveBack();
  }

  /** Reads and drops everything until the stream ends or fails. */
  async discard(): Promise<void> {
    this.#setHead(EMPTY);
    while (!this.#ended && !this.#failure) {
      for (const chunk of this.#raw.splice(0)) this.#owed += chunk.length;
      this.#owed -= this.#rawOffset;
      this.#rawOffset = 0;
      this.#giveBack();
      await this.#arrival();
    }
  }

  /** Adds the next run of logical bytes to the unread ones. */
  async #more(): Promise<void> {
    for (;;) {
      const piece = this.#nextPiece();
      if (piece) {
        const unread = this.#head.subarray(this.#cursor.position);
        this.#setHead(unread.length === 0 ? piece : Buffer.concat([unread, piece]));
        return;
      }
      if (this.#failure) throw this.#failure;
      if (this.#ended) throw new PeerGone("the stream ended in the middle of the run");
      this.#giveBack();
      await this.#arrival();
    }
  }

  #arrival(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #giveBack(): void {
    if (this.#owed <= 0) return;
    const owed = this.#owed;
    this.#owed = 0;
    this.#channel.consume(owed);
  }

  /** The next run of data bytes, without the frame headers; handles messages on the way. */
  #nextPiece(): Uint8Array | undefined {
    if (this.#owed >= 64 * 1024) this.#giveBack();
    for (;;) {
      if (!this.#demultiplexing) return this.#takeRaw(Number.POSITIVE_INFINITY);
      if (this.#frameLeft > 0) {
        const piece = this.#takeRaw(this.#frameLeft);
        if (piece) this.#frameLeft -= piece.length;
        return piece;
      }
      if (!this.#beginFrame()) return undefined;
    }
  }

  /** Reads a frame header, and the whole frame if it is a message. False while it is not there whole. */
  #beginFrame(): boolean {
    const header = this.#peekRaw(4);
    if (!header) return false;
    const word = new DataView(header.buffer, header.byteOffset, 4).getUint32(0, true);
    const length = word & 0xffffff;
    const tag = (word >>> 24) - MPLEX_BASE;
    if (tag === Tag.data) {
      this.#dropRaw(4);
      this.#frameLeft = length;
      return true;
    }
    if (tag < 0 || length > MAX_MESSAGE) throw new ProtocolError(`unexpected message tag ${tag} with ${length} bytes`);
    const frame = this.#peekRaw(4 + length);
    if (!frame) return false;
    const payload = Uint8Array.from(frame.subarray(4));
    this.#dropRaw(4 + length);
    this.#onMessage(tag, payload);
    return true;
  }

  /** Up to `limit` bytes of the first chunk. */
  #takeRaw(limit: number): Uint8Array | undefined {
    const chunk = this.#raw[0];
    if (!chunk) return undefined;
    const start = this.#rawOffset;
    const end = Math.min(chunk.length, start + limit);
    this.#dropRaw(end - start);
    return chunk.subarray(start, end);
  }

  /** The next `count` raw bytes in one piece, left where they are; undefined while they are not all there. */
  #peekRaw(count: number): Uint8Array | undefined {
    let first = this.#raw[0];
    while (first && first.length - this.#rawOffset < count) {
      const second = this.#raw[1];
      if (!second) return undefined;
      first = Buffer.concat([first.subarray(this.#rawOffset), second]);
      this.#raw.splice(0, 2, first);
      this.#rawOffset = 0;
    }
    return first?.subarray(this.#rawOffset, this.#rawOffset + count);
  }

  #dropRaw(count: number): void {
    const chunk = this.#raw[0];
    if (!chunk) return;
    this.#owed += count;
    this.#rawOffset += count;
    if (this.#rawOffset < chunk.length) return;
    this.#raw.shift();
    this.#rawOffset = 0;
  }
}

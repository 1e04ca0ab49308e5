/**
 * Replies on their way to the channel: put together per event-loop turn. Data are counted against the process's byte
 * budget before they are produced and until the channel has them, which counts what it queues itself. Knows no request.
 */
import type { ByteBudget } from "../byte-budget.ts";
import type { ByteChannel } from "../byte-channel.ts";
import type { Attributes } from "../vfs/file-system.ts";
import { StatusCode } from "./wire/constants.ts";
import type { NameEntry } from "./wire/replies.ts";
import {
  writeAttrs,
  writeDataHeader,
  writeEntries,
  writeExtendedReply,
  writeHandle,
  writePath,
  writeStatus,
  writeVersion,
} from "./wire/replies.ts";
import { WireWriter } from "./wire/writer.ts";

/** Bytes of replies that one channel may have reserved and unsent; no request is started above it. */
const MAX_REPLY_BYTES = 1024 * 1024;
/** Requests are started again below this. */
const RESUME_BYTES = MAX_REPLY_BYTES / 2;
/** So many bytes are sent without waiting for the end of the turn. */
const FLUSH_BYTES = 128 * 1024;
/** A channel with no more than this unsent may start one request though the budget is spent. */
const SPENT_BYTES = 256 * 1024;

/** See the head of this file. One for each channel. */
export class ReplyQueue {
  readonly #channel: ByteChannel;
  readonly #budget: ByteBudget;
  readonly #writer = new WireWriter();
  #chunks: Uint8Array[] = [];
  /** Bytes in `#chunks`. */
  #chunkBytes = 0;
  #scheduled = false;
  /** Bytes of data that running READs may produce. */
  #reserved = 0;
  /** Bytes of the budget that hold data in `#chunks`. */
  #charged = 0;
  #refusals = 0;
  #moved = 0;

  constructor(channel: ByteChannel, budget: ByteBudget) {
    this.#channel = channel;
    this.#budget = budget;
  }

  /** Requests refused so far; that a name does not exist is no refusal. */
  get refusals(): number {
    return this.#refusals;
  }

  /** Bytes of DATA so far. */
  get moved(): number {
    return this.#moved;
  }

  /** Bytes that wait for the peer. */
  get #unsent(): number {
    return this.#chunkBytes + this.#writer.length + this.#channel.pendingBytes;
  }

  /** True while no further request should be started; `roomy` says when that is over. */
  get isFull(): boolean {
    return this.#unsent > MAX_REPLY_BYTES;
  }

  /** Resolves when there is room again, or the channel is closed. */
  roomy(): Promise<void> {
    this.flush();
    return this.#channel.drained(RESUME_BYTES);
  }

  /** True if a DATA reply of `bytes` fits besides what is unsent and reserved; a single one always does. */
  fits(bytes: number): boolean {
    const outstanding = this.#unsent + this.#reserved;
    return outstanding + bytes <= MAX_REPLY_BYTES || outstanding === 0;
  }

  /** Resolves when `bytes` may fit; undefined if that takes a running READ to finish first. */
  roomFor(bytes: number): Promise<void> | undefined {
    const limit = MAX_REPLY_BYTES - this.#reserved - bytes;
    if (limit < 0) return undefined;
    this.flush();
    return this.#channel.drained(limit);
  }

  /**
   * Reserves `bytes` of the budget for a request about to start. False if the budget is spent, unless this channel holds
   * next to nothing of it: then it goes over the limit, so that each channel gets on with one request at a time and no
   * circle of channels that wait for each other's bytes can form. (Answering with fewer bytes instead is no way out:
   * sshfs takes a short answer for the end of the file.)
   */
  reserve(bytes: number): boolean {
    if (!this.#budget.tryTake(bytes)) {
      if (this.#reserved > 0 || this.#unsent > SPENT_BYTES) return false;
      this.#budget.force(bytes);
    }
    this.#reserved += bytes;
    return true;
  }

  /** Resolves when `reserve` may succeed; undefined if that takes a running request to finish first. */
  affordable(): Promise<void> | undefined {
    if (this.#reserved > 0) return undefined;
    this.flush();
    return this.#channel.drained(SPENT_BYTES);
  }

  /** Gives a reservation back whose READ failed or met the end of the file. */
  unreserve(bytes: number): void {
    this.#reserved -= bytes;
    this.#budget.release(bytes);
  }

  /** DATA with the chunks as they are, of whose slabs the caller was a holder; uses up the `reserved` bytes. */
  data(id: number, chunks: readonly Uint8Array[], length: number, reserved: number): void {
    this.#reserved -= reserved;
    if (length > reserved) this.#budget.force(length - reserved);
    else if (length < reserved) this.#budget.release(reserved - length);
    this.#charged += length;
    this.#moved += length;
    writeDataHeader(this.#writer, id, length);
    this.#takeWritten();
    for (const chunk of chunks) this.#chunks.push(chunk);
    this.#chunkBytes += length;
    this.#written();
  }

  /** STATUS OK; clients show no text for it. */
  ok(id: number): void {
    this.status(id, StatusCode.OK, "");
  }

  /** STATUS EOF. */
  eof(id: number): void {
    this.status(id, StatusCode.EOF, "End of file");
  }

  /** STATUS. */
  status(id: number, code: StatusCode, text: string): void {
    if (code > StatusCode.NO_SUCH_FILE) this.#refusals++;
    writeStatus(this.#writer, id, code, text);
    this.#written();
  }

  /** HANDLE. */
  handle(id: number, handle: Uint8Array): void {
    writeHandle(this.#writer, id, handle);
    this.#written();
  }

  /** ATTRS. */
  attrs(id: number, attributes: Attributes): void {
    writeAttrs(this.#writer, id, attributes);
    this.#written();
  }

  /** NAME with one path. */
  path(id: number, path: string): void {
    writePath(this.#writer, id, path);
    this.#written();
  }

  /** NAME with as many of `entries` from `start` on as fit; returns how many. */
  entries(id: number, entries: readonly NameEntry[], start: number, longname: (entry: NameEntry) => string): number {
    const count = writeEntries(this.#writer, id, entries, start, longname);
    this.#written();
    return count;
  }

  /** EXTENDED_REPLY. */
  extended(id: number, body: (writer: WireWriter) => void): void {
    writeExtendedReply(this.#writer, id, body);
    this.#written();
  }

  /** VERSION. */
  version(): void {
    writeVersion(this.#writer);
    this.#written();
  }

  /** Hands everything to the channel now. */
  flush(): void {
    this.#takeWritten();
    if (this.#chunks.length === 0) return;
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#chunkBytes = 0;
    if (this.#channel.writeHeld) this.#channel.writeHeld(...chunks);
    else this.#channel.write(...chunks);
    this.#budget.release(this.#charged);
    this.#charged = 0;
  }

  #written(): void {
    if (this.#chunkBytes + this.#writer.length >= FLUSH_BYTES) this.flush();
    else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => {
        this.#scheduled = false;
        this.flush();
      });
    }
  }

  #takeWritten(): void {
    if (this.#writer.length === 0) return;
    this.#chunkBytes += this.#writer.length;
    this.#chunks.push(this.#writer.take());
  }
}

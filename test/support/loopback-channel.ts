/**
 * A pair of in-memory ByteChannels for tests: what one end writes the other receives, asynchronously, in order, within
 * the window that `consume` reopens. Knows no SSH.
 */
import type { ByteChannel, ByteReceiver } from "../../src/byte-channel.ts";

/** How the pair behaves. Bytes. */
export interface LoopbackOptions {
  /** What one end may send before the other consumes; default 2 MiB. */
  readonly windowBytes?: number;
  /** Chunks are delivered in slices of at most this; default 32 KiB. */
  readonly chunkBytes?: number;
}

/** One end of the pair, with what tests want to see of it. */
export class LoopbackEnd implements ByteChannel {
  readonly #options: LoopbackOptions;
  readonly #closed = new AbortController();
  #peer: LoopbackEnd | undefined;
  #receiver: ByteReceiver | undefined;
  #queue: Uint8Array[] = [];
  #drains: { readonly limit: number; readonly resolve: () => void }[] = [];
  #pending = 0;
  #window: number;
  #scheduled = false;
  #ending: "no" | "eof" | "exit" = "no";
  #eofSent = false;
  /** Bytes delivered to this end's receiver and not consumed. */
  unconsumed = 0;
  /** Most that `pendingBytes` ever was. */
  maxPending = 0;
  /** What the other end gave `exit`. */
  exitStatus: number | undefined;
  /** Why an end was destroyed. */
  destroyedBecause: string | undefined;
  /** What the other end wrote to standard error. */
  readonly errorOutput: Uint8Array[] = [];

  constructor(options: LoopbackOptions) {
    this.#options = options;
    this.#window = options.windowBytes ?? 2 * 1024 * 1024;
  }

  /** Joins two ends; used by `loopbackPair` only. */
  join(peer: LoopbackEnd): void {
    this.#peer = peer;
  }

  receive(receiver: ByteReceiver): void {
    if (this.#receiver) throw new Error("receive called twice");
    this.#receiver = receiver;
    if (this.#peer) this.#peer.#schedule();
  }

  consume(bytes: number): void {
    this.unconsumed -= bytes;
    if (this.unconsumed < 0) throw new Error(`${-this.unconsumed} bytes more consumed than delivered`);
    if (!this.#peer) return;
    this.#peer.#window += bytes;
    this.#peer.#schedule();
  }

  write(...chunks: readonly Uint8Array[]): void {
    if (this.#closed.signal.aborted || this.#ending !== "no") return;
    for (const chunk of chunks) {
      if (chunk.length === 0) continue;
      this.#queue.push(chunk);
      this.#pending += chunk.length;
    }
    this.maxPending = Math.max(this.maxPending, this.#pending);
    this.#schedule();
  }

  writeError(chunk: Uint8Array): void {
    this.#peer?.errorOutput.push(chunk);
  }

  get pendingBytes(): number {
    return this.#pending;
  }

  drained(limit = 256 * 1024): Promise<void> {
    if (this.#pending <= limit || this.#closed.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => this.#drains.push({ limit, resolve }));
  }

  exit(status: number): void {
    if (this.#ending === "exit" || this.#closed.signal.aborted) return;
    this.#ending = "exit";
    if (this.#peer) this.#peer.exitStatus = status;
    this.#schedule();
  }

  /** Sends EOF after what is queued; the other direction stays open. For the client's end. */
  sendEof(): void {
    if (this.#ending === "no") this.#ending = "eof";
    this.#schedule();
  }

  destroy(reason: string): void {
    if (this.#closed.signal.aborted) return;
    this.destroyedBecause = reason;
    this.#close();
    this.#peer?.destroy(reason);
  }

  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /** Resolves when the channel is closed, however. */
  whenClosed(): Promise<void> {
    if (this.#closed.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => this.#closed.signal.addEventListener("abort", () => resolve(), { once: true }));
  }

  #close(): void {
    this.#queue = [];
    this.#pending = 0;
    this.#closed.abort(new Error("channel closed"));
    this.#settleDrains();
  }

  #settleDrains(): void {
    const due = this.#drains.filter(({ limit }) => this.#pending <= limit || this.#closed.signal.aborted);
    this.#drains = this.#drains.filter((drain) => !due.includes(drain));
    for (const { resolve } of due) resolve();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    const peer = this.#peer;
    if (!peer) return;
    const receiver = peer.#receiver;
    if (!receiver || this.#closed.signal.aborted) return;
    let index = 0;
    const most = this.#options.chunkBytes ?? 32 * 1024;
    while (index < this.#queue.length && this.#window > 0 && !this.#closed.signal.aborted) {
      const chunk = this.#queue[index];
      if (!chunk) break;
      const slice = chunk.subarray(0, Math.min(most, this.#window));
      if (slice.length === chunk.length) index++;
      else this.#queue[index] = chunk.subarray(slice.length);
      this.#window -= slice.length;
      this.#pending -= slice.length;
      peer.unconsumed += slice.length;
      deliver(receiver, slice);
    }
    this.#queue.splice(0, index);
    this.#settleDrains();
    if (this.#queue.length > 0 || this.#ending === "no" || this.#eofSent) return;
    this.#eofSent = true;
    receiver.end();
    if (this.#ending !== "exit") return;
    this.#close();
    peer.#close();
  }
}

/** Bytes that are lent are overwritten after the call, as the real channel does. */
function deliver(receiver: ByteReceiver, bytes: Uint8Array): void {
  const lent = receiver.borrows === true ? Buffer.from(bytes) : undefined;
  receiver.data(lent ?? bytes);
  lent?.fill(0xdb);
}

/** The two ends of a new channel: the client's and the server's. */
export function loopbackPair(options: LoopbackOptions = {}): { readonly client: LoopbackEnd; readonly server: LoopbackEnd } {
  const client = new LoopbackEnd(options);
  const server = new LoopbackEnd(options);
  client.join(server);
  server.join(client);
  return { client, server };
}

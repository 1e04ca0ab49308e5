/**
 * `ByteChannel` over one SSH session channel (RFC 4254 §5): delivers what arrives without copying, sends what is
 * written coalesced per loop turn straight into packets, within both windows and the memory budget. Knows no
 * protocols and no users.
 */
import { BudgetShare } from "../budget-share.ts";
import type { ByteBudget } from "../byte-budget.ts";
import type { ByteChannel, ByteReceiver } from "../byte-channel.ts";
import { ProtocolError } from "../errors.ts";
import { releaseSlab } from "../slab-pool.ts";
import { encodeMessage, Message } from "./messages.ts";
import { ReceiveWindow } from "./receive-window.ts";

const DEFAULT_DRAIN_LIMIT = 256 * 1024;
const MAX_WINDOW_SIZE = 0xffff_ffff;
const STDERR = 1;
/** Packets larger than this are refused by some clients whatever they announced. */
const LARGEST_PACKET = 32 * 1024;

/** The connection as its channels see it. */
export interface ChannelLink {
  /** True while nothing should be built: keys are exchanged or the socket is full. */
  readonly congested: boolean;
  /** Bytes built and not taken by the kernel. */
  readonly unsentBytes: number;
  send(payloadBytes: number, fill: (packet: Buffer, start: number) => void): void;
  sendMessage(payload: Uint8Array): void;
  /** Calls `channel.flush()` at the end of this loop turn. */
  flushSoon(channel: SshChannel): void;
  /** Measures a round trip; calls back at most once. */
  probe(answered: () => void): void;
  /** What runs in the channel threw, which it must not. */
  reportFailure(channel: SshChannel, error: unknown): void;
  /** A receiver dropped the channel because its peer broke the protocol. */
  reportViolation(channel: SshChannel, reason: string): void;
}

/** What CHANNEL_OPEN said. */
export interface ChannelPeer {
  /** The client's number of the channel. */
  readonly id: number;
  readonly window: number;
  readonly maxPacket: number;
}

interface Queued {
  readonly bytes: Uint8Array;
  readonly error: boolean;
  /** The channel is a holder of the slab that the bytes lie in, if they lie in one. */
  readonly isHeld: boolean;
}

/** One channel. `open` → (`exiting`) → `closed`; the connection forgets it when the client's CLOSE arrives. */
export class SshChannel implements ByteChannel {
  readonly #link: ChannelLink;
  readonly #budget: ByteBudget;
  readonly #peer: ChannelPeer;
  readonly #maxPacket: number;
  readonly #window: ReceiveWindow;
  readonly #closed = new AbortController();
  #sendWindow: number;
  #receiver: ByteReceiver | undefined;
  #early: Uint8Array[] = [];
  #eof: "none" | "received" | "delivered" = "none";
  #queue: Queued[] = [];
  /** Bytes of the first queued chunk that are sent already. */
  #sent = 0;
  #queuedBytes = 0;
  #exitStatus: number | undefined;
  #state: "open" | "closed" = "open";
  #drainWaiters: { limit: number; resolve: () => void }[] = [];
  /** When anything could last be sent; ms, monotonic. */
  #progressAt = performance.now();
  /** When received bytes last came or were consumed. */
  #receivedAt = performance.now();

  /** `isCrowded`: the user has many channels open, this one begins with a small window. */
  constructor(link: ChannelLink, peer: ChannelPeer, budget: ByteBudget, isCrowded = false) {
    this.#link = link;
    this.#peer = peer;
    this.#budget = budget;
    this.#window = new ReceiveWindow(budget, { isCrowded, ...(budget instanceof BudgetShare && { fair: () => budget.fairWindow }) });
    this.#sendWindow = peer.window;
    this.#maxPacket = Math.min(peer.maxPacket, LARGEST_PACKET);
  }

  /** Window to announce in the open confirmation. */
  get initialWindow(): number {
    return this.#window.initial;
  }

  /** The client's number of the channel. */
  get peerId(): number {
    return this.#peer.id;
  }

  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  get pendingBytes(): number {
    return this.#state === "closed" ? 0 : this.#queuedBytes + this.#link.unsentBytes;
  }

  /** Bytes received and not consumed plus bytes queued: what the channel holds. */
  get heldBytes(): number {
    return this.#window.held + this.#queuedBytes;
  }

  /**
   * Since when it holds bytes that only the client can bring forward, by reading or by sending the rest of a request, and
   * nothing has moved; ms, monotonic. Undefined while it is the gateway's turn.
   */
  get idleSince(): number | undefined {
    if (this.#queuedBytes > 0) return this.#progressAt;
    return this.#receiver?.awaitsPeer === true ? Math.max(this.#progressAt, this.#receivedAt) : undefined;
  }

  /** Since when queued bytes wait for the client to read, or undefined; ms, monotonic. */
  get stalledSince(): number | undefined {
    return this.#queuedBytes > 0 ? this.#progressAt : undefined;
  }

  receive(receiver: ByteReceiver): void {
    if (this.#receiver) throw new Error("the channel has a receiver already");
    this.#receiver = receiver;
    for (const chunk of this.#early.splice(0)) this.#deliver(receiver, chunk);
    if (this.#eof === "received" && this.#state === "open") this.#deliverEof();
  }

  consume(bytes: number): void {
    if (this.#state === "closed") return;
    this.#receivedAt = performance.now();
    const grant = this.#window.consumed(bytes);
    if (grant > 0) {
      this.#link.send(9, (packet, start) => {
        packet[start] = Message.CHANNEL_WINDOW_ADJUST;
        packet.writeUInt32BE(this.#peer.id, start + 1);
        packet.writeUInt32BE(grant, start + 5);
      });
    }
  }

  write(...chunks: readonly Uint8Array[]): void {
    for (const bytes of chunks) this.#enqueue({ bytes, error: false, isHeld: false });
  }

  writeHeld(...chunks: readonly Uint8Array[]): void {
    for (const bytes of chunks) this.#enqueue({ bytes, error: false, isHeld: true });
  }

  writeError(chunk: Uint8Array): void {
    this.#enqueue({ bytes: chunk, error: true, isHeld: false });
  }

  drained(limit = DEFAULT_DRAIN_LIMIT): Promise<void> {
    if (this.#state === "closed" || this.pendingBytes <= limit) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push({ limit, resolve }));
  }

  exit(status: number): void {
    if (this.#state === "closed" || this.#exitStatus !== undefined) return;
    this.#exitStatus = status;
    this.#link.flushSoon(this);
  }

  destroy(reason: string): void {
    if (this.#state === "closed") return;
    this.#link.reportViolation(this, reason);
    this.#sendClose(reason);
  }

  /** Runs foreign code of this channel; what it throws ends the channel, not the connection. */
  guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#link.reportFailure(this, error);
      this.abandon("internal error");
    }
  }

  /** Drops the channel for a reason that is nobody's offence. */
  abandon(reason: string): void {
    if (this.#state === "open") this.#sendClose(reason);
  }

  /** CHANNEL_REQUEST: the first one follows our confirmation of the channel by a round trip, as it has to name its number. */
  requestReceived(): void {
    this.#window.firstUsed();
  }

  /** CHANNEL_DATA; the bytes are lent for the call. Throws `ProtocolError` for more than the window allows or data after EOF. */
  dataReceived(bytes: Uint8Array): void {
    if (this.#state === "closed" || bytes.length === 0) return;
    if (this.#eof !== "none") throw new ProtocolError("data after EOF");
    this.#receivedAt = performance.now();
    this.#window.received(bytes.length);
    if (this.#exitStatus !== undefined) {
      this.consume(bytes.length);
      return;
    }
    if (this.#receiver) this.#deliver(this.#receiver, bytes);
    else this.#early.push(Buffer.from(bytes));
    if (this.#window.wantsProbe()) this.#link.probe(() => this.#window.probed());
  }

  /** CHANNEL_EXTENDED_DATA: clients have no use for it; it counts against the window and is thrown away. */
  extendedDataReceived(length: number): void {
    if (this.#state === "closed") return;
    this.#window.received(length);
    this.consume(length);
  }

  /** CHANNEL_EOF. */
  eofReceived(): void {
    if (this.#eof !== "none" || this.#state === "closed") return;
    this.#eof = "received";
    if (this.#receiver && this.#exitStatus === undefined) this.#deliverEof();
  }

  /** CHANNEL_WINDOW_ADJUST. Throws `ProtocolError` when the window would pass 2³²−1 (RFC 4254 §5.2). */
  windowAdjusted(bytes: number): void {
    this.#sendWindow += bytes;
    if (this.#sendWindow > MAX_WINDOW_SIZE) throw new ProtocolError("channel window larger than 2^32-1");
    if (this.#queuedBytes > 0) this.#link.flushSoon(this);
  }

  /** CHANNEL_CLOSE: answers it unless ours is on the way, and ends. */
  closeReceived(): void {
    this.#sendClose("the client closed the channel");
  }

  /** The connection is gone. */
  connectionLost(): void {
    this.#end("the connection is gone");
  }

  /** Sends what both windows and the socket allow. */
  flush(): void {
    if (this.#state === "closed") return;
    while (this.#queuedBytes > 0 && this.#sendWindow > 0 && !this.#link.congested) this.#sendPacket();
    if (this.closed.aborted) return; // sending can end the connection
    if (this.#queuedBytes === 0 && this.#exitStatus !== undefined && !this.#link.congested) {
      this.#link.sendMessage(encodeMessage(Message.CHANNEL_REQUEST, this.#peer.id, "exit-status", false, this.#exitStatus));
      this.#link.sendMessage(encodeMessage(Message.CHANNEL_EOF, this.#peer.id));
      this.#sendClose("the session has exited");
    }
    this.settle();
  }

  /** Lets those go on who waited for `drained`. */
  settle(): void {
    if (this.#drainWaiters.length === 0) return;
    const pending = this.pendingBytes;
    const ready = this.#drainWaiters.filter((waiter) => this.#state === "closed" || pending <= waiter.limit);
    if (ready.length === 0) return;
    this.#drainWaiters = this.#drainWaiters.filter((waiter) => !ready.includes(waiter));
    for (const waiter of ready) waiter.resolve();
  }

  #enqueue(queued: Queued): void {
    const { bytes } = queued;
    if (this.#state === "closed" || this.#exitStatus !== undefined || bytes.length === 0) return;
    if (this.#queuedBytes === 0) this.#progressAt = performance.now();
    this.#queue.push(queued);
    this.#queuedBytes += bytes.length;
    this.#budget.force(bytes.length);
    this.#link.flushSoon(this);
  }

  /** Builds one packet of queued bytes of one kind. */
  #sendPacket(): void {
    const error = this.#queue[0]?.error === true;
    const most = Math.min(this.#queuedBytes, this.#sendWindow, this.#maxPacket);
    let length = -this.#sent;
    let count = 0;
    for (const next of this.#queue) {
      if (next.error !== error || length >= most) break;
      length += next.bytes.length;
      count++;
    }
    length = Math.min(length, most);
    const header = error ? 13 : 9;
    this.#link.send(header + length, (packet, start) => {
      packet[start] = error ? Message.CHANNEL_EXTENDED_DATA : Message.CHANNEL_DATA;
      let at = packet.writeUInt32BE(this.#peer.id, start + 1);
      if (error) at = packet.writeUInt32BE(STDERR, at);
      this.#takeInto(packet, packet.writeUInt32BE(length, at), length, count);
    });
    this.#sendWindow -= length;
    this.#queuedBytes -= length;
    this.#progressAt = performance.now();
    this.#budget.release(length);
  }

  #takeInto(packet: Buffer, start: number, length: number, count: number): void {
    let at = start;
    let whole = 0;
    for (let index = 0; index < count; index++) {
      const { bytes, isHeld } = this.#queue[index] as Queued;
      const room = start + length - at;
      const part = this.#sent === 0 && bytes.length <= room ? bytes : bytes.subarray(this.#sent, this.#sent + room);
      packet.set(part, at);
      at += part.length;
      if (this.#sent + part.length === bytes.length) {
        whole++;
        this.#sent = 0;
        if (isHeld) releaseSlab(bytes);
      } else {
        this.#sent += part.length;
      }
    }
    this.#queue.splice(0, whole);
  }

  #deliver(receiver: ByteReceiver, bytes: Uint8Array): void {
    this.guard(() => receiver.data(receiver.borrows === true ? bytes : Buffer.from(bytes)));
  }

  #deliverEof(): void {
    this.#eof = "delivered";
    this.guard(() => this.#receiver?.end());
  }

  #sendClose(reason: string): void {
    if (this.#state === "closed") return;
    this.#link.sendMessage(encodeMessage(Message.CHANNEL_CLOSE, this.#peer.id));
    this.#end(reason);
  }

  #end(reason: string): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#budget.release(this.#queuedBytes);
    this.#queuedBytes = 0;
    this.#queue = [];
    this.#early = [];
    this.#window.close();
    this.#closed.abort(new Error(reason));
    this.settle();
  }
}

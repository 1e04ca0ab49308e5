/**
 * Starts requests as they can be afforded: takes packets from the stream while there is room for their replies, hands
 * them to the dispatcher, gives the channel its window back. What is not started stays received bytes, so the peer's
 * window bounds it. Knows no file operation.
 */
import type { ByteChannel } from "../byte-channel.ts";
import { ProtocolError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { PacketStream } from "./packet-stream.ts";
import type { ReplyQueue } from "./reply-queue.ts";
import { StatusCode, PacketType } from "./wire/constants.ts";
import { decodeInit, decodeRequest, type Packet, packetType, type Request, requestId, writeHandleOf } from "./wire/requests.ts";

/** Requests of one channel that may run or wait for each other at once. */
const MAX_RUNNING = 256;

/** Requests of all channels of one user that may run at once: thousands in the thread pool's queue are waited for by everybody. */
const MAX_RUNNING_OF_USER = 128;
/** What a channel may run whatever the others of its user do. */
const LEAST_RUNNING = 4;

/** Requests started before other channels get their turn: with eight times as many, a flood of OPENs halved the rate of others. */
const MAX_PER_TURN = 64;

/** So many may always start; nobody is asked. */
const LEAST_PER_TURN = 2;

/** What the channels of a process share: its time. */
export interface TimeShare {
  /** How many requests may start before the next turn is waited for. */
  quantum(): number;
  /** Waits for the next turn. `bytes`: data that were read and written; `isIdle`: the requests were mostly refused. */
  nextTurn(work: { readonly requests: number; readonly bytes: number; readonly isIdle: boolean }): Promise<void>;
}

/** Goes on in the next turn of the loop. */
export const LONE_CHANNEL: TimeShare = {
  quantum: () => MAX_PER_TURN,
  nextTurn: () => new Promise((resolve) => setImmediate(resolve)),
};

/** Bytes of a packet's length field, which the window counts too. */
const LENGTH_BYTES = 4;

/** What the queue needs to know from those who carry requests out. */
export interface Dispatcher {
  /** Carries a request out and answers it; never rejects. `reserved` bytes of reply were reserved, and are owed back. */
  dispatch(request: Request, reserved: number): Promise<void>;
  /** How many bytes of reply have to be reserved before `request` starts; at most 256 KiB. */
  replySize(request: Request): number;
  /** A WRITE came that could not be understood; `handle`: undefined if not even whose it was. */
  lostWrite(handle: Uint8Array | undefined, error: ProtocolError): void;
  /** True if nobody can see the effect of `request` once the client is gone. */
  isPointless(request: Request): boolean;
}

/** A decoded request that waits for room for its reply, and what its packet counts in the window. */
interface Stalled {
  readonly request: Request;
  readonly windowBytes: number;
}

/** Counts the requests that run on all channels of one user. */
export class RunningRequests {
  count = 0;
}

/** What a queue works with. */
export interface RequestQueueParts {
  readonly replies: ReplyQueue;
  readonly dispatcher: Dispatcher;
  readonly log: Logger;
  readonly time: TimeShare;
  readonly runningOfUser: RunningRequests;
}

/** See the head of this file. */
export class RequestQueue {
  /** The channel may overwrite what it delivers: the stream copies what it keeps. */
  readonly borrows = true;
  readonly #channel: ByteChannel;
  readonly #replies: ReplyQueue;
  readonly #dispatcher: Dispatcher;
  readonly #log: Logger;
  readonly #time: TimeShare;
  readonly #ofUser: RunningRequests;
  readonly #stream = new PacketStream();
  readonly #finish: () => void;
  /** Resolves when everything received is carried out, as far as it could be understood, and nothing more will come. */
  readonly exhausted: Promise<void>;
  #initialised = false;
  #ended = false;
  #broken = false;
  #running = 0;
  #stalled: Stalled | undefined;
  /** The pump waits for room in the channel or the budget; it goes on by itself. */
  #waiting = false;
  /** Counts the waits, so that a wait that is over cannot end a later one. */
  #waits = 0;
  #startedThisTurn = 0;
  /** Refusals of the replies, and bytes that they moved, when the turn began. */
  #refusedBefore = 0;
  #movedBefore = 0;
  /** Bytes of WRITEs started in this turn. */
  #writtenThisTurn = 0;
  /** Window to give back at the end of the pump's turn. */
  #consumed = 0;
  #malformed = 0;
  #onIdle: (() => void) | undefined;

  constructor(channel: ByteChannel, { replies, dispatcher, log, time, runningOfUser }: RequestQueueParts) {
    this.#channel = channel;
    this.#replies = replies;
    this.#dispatcher = dispatcher;
    this.#log = log;
    this.#time = time;
    this.#ofUser = runningOfUser;
    let finish = (): void => undefined;
    this.exhausted = new Promise((resolve) => {
      finish = resolve;
    });
    this.#finish = finish;
  }

  /** True if the peer broke the protocol and the channel was dropped for it. */
  get broken(): boolean {
    return this.#broken;
  }

  /** True while no request runs or waits: only the peer can bring anything forward. */
  get awaitsPeer(): boolean {
    return this.#running === 0 && !this.#waiting && !this.#stalled;
  }

  /** Takes what the channel delivers. */
  data(chunk: Uint8Array): void {
    if (this.#broken) return;
    this.#stream.push(chunk);
    this.pump();
    this.#stream.settle();
  }

  /** Nothing more will be delivered. */
  end(): void {
    this.#ended = true;
    this.pump();
  }

  /** Resolves when no request runs. */
  idle(): Promise<void> {
    if (this.#running === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }

  /** Starts what can be started. Called whenever something changed. */
  pump(): void {
    while (!this.#broken && this.#mayStart()) {
      const next = this.#stalled ?? this.#decodeNext();
      if (next === "none") break;
      this.#startedThisTurn++;
      if (next === "done") continue;
      this.#stalled = undefined;
      this.#start(next);
    }
    if (this.#consumed > 0) {
      const consumed = this.#consumed;
      this.#consumed = 0;
      this.#channel.consume(consumed);
    }
    if (this.#broken || (this.#ended && !this.#stalled && !this.#waiting && !this.#isBusy)) this.#finish();
  }

  /** No request may be started before one of this channel's has finished. */
  get #isBusy(): boolean {
    return this.#running >= MAX_RUNNING || (this.#running >= LEAST_RUNNING && this.#ofUser.count >= MAX_RUNNING_OF_USER);
  }

  #mayStart(): boolean {
    if (this.#waiting || this.#isBusy) return false;
    if (this.#startedThisTurn >= LEAST_PER_TURN && this.#startedThisTurn >= this.#time.quantum()) {
      this.#waitFor(this.#nextTurn());
      return false;
    }
    if (!this.#replies.isFull || this.#channel.closed.aborted) return true;
    this.#waitFor(this.#replies.roomy());
    return false;
  }

  #nextTurn(): Promise<void> {
    const requests = this.#startedThisTurn;
    const { refusals, moved } = this.#replies;
    const isIdle = (refusals - this.#refusedBefore) * 2 > requests;
    const bytes = moved - this.#movedBefore + this.#writtenThisTurn;
    this.#startedThisTurn = 0;
    this.#writtenThisTurn = 0;
    this.#refusedBefore = refusals;
    this.#movedBefore = moved;
    return this.#time.nextTurn({ requests, bytes, isIdle });
  }

  /** The next request; `done` if a packet was dealt with here, `none` if there is no whole packet. */
  #decodeNext(): Stalled | "done" | "none" {
    let packet: Packet | undefined;
    try {
      packet = this.#stream.next();
      if (!packet) return "none";
      const windowBytes = packet.bytes + LENGTH_BYTES;
      if (!this.#initialised || packetType(packet) === PacketType.INIT) {
        this.#init(packet);
        this.#consumed += windowBytes;
        return "done";
      }
      return { request: decodeRequest(packet), windowBytes };
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#refuse(packet, error);
      return "done";
    }
  }

  #init(packet: Packet): void {
    if (packetType(packet) !== PacketType.INIT) throw new ProtocolError("first packet is not INIT");
    const version = decodeInit(packet);
    if (this.#initialised) throw new ProtocolError("second INIT");
    this.#initialised = true;
    this.#log.debug({ version }, "sftp started");
    this.#replies.version();
  }

  /** Answers a malformed request where there is somebody to answer, else drops the channel. */
  #refuse(packet: Packet | undefined, error: ProtocolError): void {
    const id = packet && this.#initialised && packetType(packet) !== PacketType.INIT ? requestId(packet) : undefined;
    if (!packet || id === undefined) {
      this.#broken = true;
      this.#log.warn({ reason: error.message }, "sftp protocol violated, channel dropped");
      this.#channel.destroy(error.message);
      return;
    }
    if (this.#malformed === 0) {
      this.#log.warn({ audit: true, reason: error.message, type: packetType(packet) }, "malformed sftp request refused");
    }
    this.#malformed++;
    if (packetType(packet) === PacketType.WRITE) this.#dispatcher.lostWrite(writeHandleOf(packet), error);
    this.#consumed += packet.bytes + LENGTH_BYTES;
    this.#replies.status(id, StatusCode.BAD_MESSAGE, error.message);
  }

  /** Starts a request, or puts it aside until there is room for what it will answer. */
  #start(next: Stalled): void {
    const { request, windowBytes } = next;
    if (this.#channel.closed.aborted && this.#dispatcher.isPointless(request)) {
      this.#consumed += windowBytes;
      return;
    }
    const isWrite = request.kind === "write";
    const bytes = isWrite ? 0 : this.#dispatcher.replySize(request);
    if (bytes > 0 && !this.#replies.fits(bytes)) {
      this.#stalled = next;
      this.#waitFor(this.#replies.roomFor(bytes));
      return;
    }
    if (bytes > 0 && !this.#replies.reserve(bytes)) {
      this.#stalled = next;
      this.#waitFor(this.#replies.affordable());
      return;
    }
    if (isWrite) this.#writtenThisTurn += windowBytes;
    else this.#consumed += windowBytes;
    void this.#run(request, bytes, isWrite ? windowBytes : 0);
  }

  /** Stops the pump until `event`; without one, until a request finishes. */
  #waitFor(event: Promise<void> | undefined): void {
    this.#waiting = true;
    this.#waits++;
    if (event) void this.#resumeAfter(event, this.#waits);
  }

  async #resumeAfter(event: Promise<void>, wait: number): Promise<void> {
    await event;
    if (wait === this.#waits) this.#resume();
  }

  #resume(): void {
    this.#waiting = false;
    this.#waits++;
    this.pump();
  }

  async #run(request: Request, reserved: number, windowBytes: number): Promise<void> {
    this.#running++;
    this.#ofUser.count++;
    await this.#dispatcher.dispatch(request, reserved);
    this.#running--;
    this.#ofUser.count--;
    this.#consumed += windowBytes;
    // A request that waits for the room another one holds has nobody else to wake it.
    if (this.#stalled) this.#resume();
    else this.pump();
    if (this.#running === 0) this.#onIdle?.();
  }
}

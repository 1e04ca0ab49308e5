/**
 * One encrypted connection: bytes of a socket to messages and back, over ssh2's key exchange and ciphers (RFC 4253).
 * Adds what ssh2 lacks: rekey by volume and time, right handling of first_kex_packet_follows, a true server-sig-algs
 * list, limits before login, an answer to unknown messages, a reason with every end. Knows no users and no channels.
 */
import type { Socket } from "node:net";
import { SIGNATURE_ALGORITHMS } from "../auth/public-key.ts";
import { WireReader } from "../auth/wire-reader.ts";
import { ProtocolError } from "../errors.ts";
import type { LoopTurns } from "../loop-turns.ts";
import { readKexInit } from "./algorithms.ts";
import { handleWithHybrid } from "./hybrid-kex.ts";
import { DisconnectReason, encodeMessage, Message } from "./messages.ts";
import type { PayloadResult } from "./packet-cipher.ts";
import { ReadSlices } from "./read-slices.ts";
import { SocketWriter } from "./socket-writer.ts";
import {
  allSent,
  createProtocol,
  deliverTo,
  handleKexInit,
  type KexOffer,
  type Negotiated,
  type ParsedHostKey,
  parsesInPlace,
  parseWhile,
  type Ssh2Protocol,
  sendPayload,
  sendUrgentPayload,
} from "./ssh2-adapter.ts";

/** Above this many bytes in the socket nothing more is built for it. */
const SOCKET_HIGH_WATER = 1024 * 1024;
/** Above this many bytes in the socket the client is not read: it asks for answers and does not fetch them. */
const SOCKET_STOP_READING = 2 * SOCKET_HIGH_WATER;
/** Messages that may wait for the end of a key exchange. */
const MAX_WAITING_MESSAGES = 10_000;
/** Bytes a client may send before it is logged in. */
const MAX_PREAUTH_BYTES = 1024 * 1024;
const MAX_PREAUTH_KEY_EXCHANGES = 2;
/** Messages a client may send before it is logged in; a login takes a dozen. */
const MAX_PREAUTH_MESSAGES = 2_000;
/** CHANNEL_DATA with so many bytes of payload carries nothing. */
const EMPTY_DATA_BYTES = 9;
/** How long a key exchange that we began may take. */
const REKEY_TIMEOUT_MS = 60_000;
/** How long a closed connection may take to read our last message. */
const LINGER_MS = 1_000;

/** When keys are exchanged anew. */
export interface RekeyLimits {
  /** Bytes in both directions together. */
  readonly bytes: number;
  readonly ms: number;
}

/** Gets what the transport finds out. Called synchronously; may throw, which ends the connection. */
export interface TransportEvents {
  /** The first key exchange is done. */
  ready(negotiated: Negotiated): void;
  /**
   * One message of the layers above; the payload begins with its number. It belongs to the receiver, except that of
   * CHANNEL_DATA, which is lent: it is overwritten after the call.
   */
  message(type: number, payload: Buffer): void;
  /** More can be sent after `congested` was true, or what was sent has left. */
  writable(): void;
  /** `heldBytes` has changed. */
  holds(): void;
  /** The connection is over; called exactly once. `violation` if the client broke the protocol. */
  closed(end: { readonly reason: string; readonly violation: boolean }): void;
}

/** What a transport is made of. */
export interface TransportOptions {
  readonly socket: Socket;
  readonly hostKeys: Readonly<Record<string, ParsedHostKey>>;
  readonly offer: KexOffer;
  readonly softwareVersion: string;
  /** The client's identification line. */
  readonly ident: string;
  readonly rekey: RekeyLimits;
  readonly turns: LoopTurns;
  /** Who the client is before it is logged in. */
  readonly address: string;
  readonly events: TransportEvents;
}

/** The transport of one connection. */
export class Transport {
  readonly #socket: Socket;
  readonly #events: TransportEvents;
  readonly #protocol: Ssh2Protocol;
  readonly #writer: SocketWriter;
  readonly #rekeyLimits: RekeyLimits;
  readonly #ident: string;
  readonly #slices: ReadSlices;
  #state: "open" | "closed" = "open";
  #authenticated = false;
  #keyExchanges = 0;
  #bytesSinceKeys = 0;
  #preauthBytes = 0;
  #preauthMessages = 0;
  /** Received and not worked through. */
  #unparsedBytes = 0;
  #rekeyTimer: NodeJS.Timeout | undefined;
  #heardSince = true;
  #waitingMessages = 0;

  constructor(options: TransportOptions) {
    this.#socket = options.socket;
    this.#events = options.events;
    this.#rekeyLimits = options.rekey;
    const protocol = createProtocol({
      hostKeys: options.hostKeys,
      softwareVersion: options.softwareVersion,
      offer: options.offer,
      onWrite: (bytes) => this.#write(bytes),
      onError: (error) => this.#close(error.message, true),
      onHeader: () => this.#watchFirstKexInit(),
      onHandshake: (negotiated) => this.#handshakeDone(negotiated),
      onDisconnect: (reason, text) => this.#close(disconnectText(reason, text), false),
    });
    this.#protocol = protocol;
    this.#writer = new SocketWriter(options.socket, () => {
      allSent(protocol);
      // A socket that never filled up tells nobody that it is empty again, but channels hold back before it is full.
      this.#drained();
    });
    const complete = protocol._onHandshakeComplete;
    protocol._onHandshakeComplete = (negotiated) => {
      this.#sendExtensions();
      complete(negotiated);
    };
    deliverTo(protocol, (payload) => this.#payload(payload));
    options.socket.on("drain", () => this.#drained());
    options.socket.on("error", (error) => this.#close(error.message, false));
    options.socket.on("end", () => this.#close("the client closed the connection", false));
    options.socket.on("close", () => this.#close("the connection was lost", false));
    this.#ident = options.ident;
    this.#slices = new ReadSlices(options.turns, options.address, {
      parse: (bytes, start) => this.#parse(bytes, start),
      held: (bytes) => this.#held(bytes),
    });
  }

  /** Begins the key exchange; `rest` is what came after the identification line. Events come from now on. */
  start(rest: Buffer): void {
    this.#receive(Buffer.from(`${this.#ident}\r\n`, "latin1"));
    if (rest.length > 0) this.#receive(rest);
    this.#socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    this.#readOn();
  }

  /** The session identifier (RFC 4253 §7.2); empty before the first key exchange. */
  get sessionId(): Buffer {
    return this.#protocol._kex?.sessionID ?? Buffer.alloc(0);
  }

  /** True while building further messages would only pile them up: hold data back until `writable`. */
  get congested(): boolean {
    return this.#state === "closed" || this.#protocol._kexinit !== undefined || this.unsentBytes >= SOCKET_HIGH_WATER;
  }

  /** Bytes built and not taken by the kernel yet. */
  get unsentBytes(): number {
    return this.#writer.unsentBytes;
  }

  /** Bytes that the connection holds in either direction. */
  get heldBytes(): number {
    return this.unsentBytes + this.#unparsedBytes;
  }

  /** Lifts the limits that hold before login; what is received is worked through in the turns of `user`. */
  authenticated(user: string): void {
    this.#authenticated = true;
    this.#slices.loggedIn(user);
  }

  /** True if anything was received since the last call. */
  takeHeard(): boolean {
    const heard = this.#heardSince;
    this.#heardSince = false;
    return heard;
  }

  /** Sends one message; `fill` writes `payloadBytes` bytes at `start`. Does nothing once closed. */
  send(payloadBytes: number, fill: (packet: Buffer, start: number) => void): void {
    if (this.#state === "closed") return;
    if (this.#protocol._kexinit !== undefined && ++this.#waitingMessages > MAX_WAITING_MESSAGES) {
      this.disconnect(DisconnectReason.PROTOCOL_ERROR, "too many requests during a key exchange", true);
      return;
    }
    this.#guard(() => sendPayload(this.#protocol, payloadBytes, fill));
  }

  /** Sends a message that is already encoded. */
  sendMessage(payload: Uint8Array): void {
    this.send(payload.length, (packet, start) => packet.set(payload, start));
  }

  /** Starts a key exchange unless one is under way. */
  rekey(): void {
    if (this.#state === "closed" || this.#protocol._kexinit !== undefined || this.#keyExchanges === 0) return;
    clearTimeout(this.#rekeyTimer);
    this.#rekeyTimer = setTimeout(() => this.disconnect(DisconnectReason.PROTOCOL_ERROR, "key exchange timed out", true), REKEY_TIMEOUT_MS);
    this.#guard(() => this.#protocol.rekey());
  }

  /** Tells the client why and closes; `violation` if the client broke the protocol. */
  disconnect(reason: number, text: string, violation = false): void {
    if (this.#state === "closed") return;
    try {
      if (this.#protocol._destruct) sendUrgentPayload(this.#protocol, encodeMessage(Message.DISCONNECT, reason, text, ""));
    } catch {
      // a farewell that cannot be sent changes nothing: the connection is closed next
    }
    this.#close(text, violation);
  }

  #write(bytes: Buffer): void {
    this.#bytesSinceKeys += bytes.length;
    this.#writer.write(bytes);
  }

  #receive(chunk: Buffer): void {
    if (this.#state === "closed") return;
    this.#heardSince = true;
    this.#bytesSinceKeys += chunk.length;
    if (!this.#authenticated) {
      this.#preauthBytes += chunk.length;
      if (this.#preauthBytes > MAX_PREAUTH_BYTES) {
        this.disconnect(DisconnectReason.PROTOCOL_ERROR, "too much data before login", true);
        return;
      }
    }
    // ssh2's own ciphers keep views of what they get, ours do not
    this.#slices.received(parsesInPlace(this.#protocol) ? chunk : Buffer.from(chunk));
    if (this.#bytesSinceKeys >= this.#rekeyLimits.bytes) this.rekey();
    if (this.#slices.isWaiting || this.unsentBytes >= SOCKET_STOP_READING) this.#socket.pause();
  }

  #parse(bytes: Buffer, start: number): number {
    let end = bytes.length;
    this.#guard(() => {
      end = parseWhile(this.#protocol, bytes, start, () => !this.#slices.isOver);
    });
    return end;
  }

  #held(bytes: number): void {
    this.#unparsedBytes = bytes;
    this.#events.holds();
    if (bytes === 0) this.#readOn();
  }

  /** Reads the socket unless something received still waits or the client fetches no answers. */
  #readOn(): void {
    if (!this.#slices.isWaiting && this.unsentBytes < SOCKET_STOP_READING) this.#socket.resume();
  }

  #drained(): void {
    if (this.#state === "closed") return;
    this.#readOn();
    this.#guard(() => this.#events.writable());
  }

  /** Runs code that a hostile message or ssh2 may make throw. */
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      this.disconnect(DisconnectReason.PROTOCOL_ERROR, error instanceof ProtocolError ? text : "protocol error", true);
      this.#close(text, true);
    }
  }

  /** Messages after the first key exchange. `lent` is overwritten after the call: only channel data are used up within it. */
  #payload(lent: Buffer): PayloadResult {
    const type = lent[0];
    const payload = type === Message.CHANNEL_DATA ? lent : Buffer.from(lent);
    if (type === undefined) throw new ProtocolError("empty packet");
    if (!this.#authenticated && ++this.#preauthMessages > MAX_PREAUTH_MESSAGES) throw new ProtocolError("too many messages before login");
    const isIdle = type !== Message.CHANNEL_DATA || payload.length <= EMPTY_DATA_BYTES;
    if (type === Message.KEXINIT) return this.#kexInit(payload, (shown) => handleKexInit(this.#protocol, shown));
    if (type >= Message.USERAUTH_REQUEST || type === Message.SERVICE_REQUEST) this.#upper(type, payload);
    else this.#transportMessage(type, payload);
    if (this.#state !== "open") return Number.POSITIVE_INFINITY;
    return this.#slices.endsWith(isIdle) ? false : undefined;
  }

  #upper(type: number, payload: Buffer): void {
    const known = type <= Message.CHANNEL_FAILURE && (type < 54 || type === 60 || type === 61 || (type >= 80 && type <= 82) || type >= 90);
    if (known) this.#events.message(type, payload);
    else if (this.#authenticated) this.#unimplemented();
    else throw new ProtocolError(`unexpected message ${type} before login`);
  }

  #transportMessage(type: number, payload: Buffer): void {
    if (type === Message.IGNORE || type === Message.UNIMPLEMENTED || type === Message.DEBUG || type === Message.EXT_INFO) return;
    if (type === Message.DISCONNECT) {
      const reader = new WireReader(payload, 1);
      const reason = reader.uint32();
      this.#close(disconnectText(reason, reader.text()), false);
      return;
    }
    if (type === Message.SERVICE_ACCEPT || (type > Message.KEXINIT && type < 50)) throw new ProtocolError(`unexpected message ${type}`);
    this.#unimplemented();
  }

  #unimplemented(): void {
    const sequence = ((this.#protocol._decipher?.inSeqno ?? 1) - 1) >>> 0;
    this.sendMessage(encodeMessage(Message.UNIMPLEMENTED, sequence));
  }

  /** Hooks the null cipher's first message; later KEXINITs come through `#payload`. */
  #watchFirstKexInit(): void {
    const decipher = this.#protocol._decipher;
    if (!decipher) throw new Error("ssh2 has no decipher after the identification line");
    const original = decipher._onPayload;
    let seen = false;
    decipher._onPayload = (payload) => {
      const isKexInit = payload[0] === Message.KEXINIT && !seen;
      if (isKexInit) seen = true;
      const result = isKexInit ? this.#kexInit(payload, original) : original(payload);
      return this.#state === "open" ? result : Number.POSITIVE_INFINITY;
    };
  }

  /**
   * ssh2 1.17.0 takes every right guess of first_kex_packet_follows for a wrong one (kex.js compares a list that it has
   * replaced) and does not look at host keys: decide here, after it (RFC 4253 §7).
   */
  #kexInit(payload: Buffer, handle: (shown: Buffer) => PayloadResult): PayloadResult {
    if (!this.#authenticated && this.#keyExchanges >= MAX_PREAUTH_KEY_EXCHANGES)
      throw new ProtocolError("too many key exchanges before login");
    const theirs = readKexInit(payload);
    const result = handleWithHybrid(this.#protocol, payload, theirs.kex, handle);
    const { kex, serverHostKey } = this.#protocol._offer.lists;
    const rightGuess = theirs.kex[0] === kex.array[0] && theirs.serverHostKey[0] === serverHostKey.array[0];
    this.#protocol._skipNextInboundPacket = theirs.firstKexPacketFollows && !rightGuess;
    return result;
  }

  #handshakeDone(negotiated: Negotiated): void {
    this.#bytesSinceKeys = 0;
    this.#waitingMessages = 0;
    clearTimeout(this.#rekeyTimer);
    this.#rekeyTimer = setTimeout(() => this.rekey(), this.#rekeyLimits.ms).unref();
    this.#keyExchanges++;
    if (this.#keyExchanges === 1) this.#events.ready(negotiated);
    else this.#events.writable();
  }

  /** ssh2 1.17.0's own list lacks a comma, so rsa-sha2-512 is never announced and SHA-1 is (RFC 8308 §3.1). */
  #sendExtensions(): void {
    const kex = this.#protocol._kex;
    if (this.#keyExchanges > 0 || !kex?.remoteExtInfoEnabled) return;
    kex.remoteExtInfoEnabled = false;
    this.sendMessage(encodeMessage(Message.EXT_INFO, 1, "server-sig-algs", SIGNATURE_ALGORITHMS.join(",")));
  }

  #close(reason: string, violation: boolean): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    clearTimeout(this.#rekeyTimer);
    this.#writer.flush();
    this.#slices.close();
    this.#socket.removeAllListeners("data");
    this.#socket.resume(); // discards what still comes, so that our last message can be read
    this.#socket.destroySoon();
    if (!this.#socket.destroyed) {
      const linger = setTimeout(() => this.#socket.destroy(), LINGER_MS);
      this.#socket.once("close", () => clearTimeout(linger));
    }
    // not in this turn: ssh2 may be in the middle of this connection's bytes
    setImmediate(() => this.#protocol.cleanup());
    this.#events.closed({ reason, violation });
  }
}

function disconnectText(reason: number, text: string): string {
  return reason === DisconnectReason.BY_APPLICATION
    ? "the client disconnected"
    : `the client disconnected: ${text.slice(0, 200)} (${reason})`;
}

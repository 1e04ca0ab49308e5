/**
 * One client's connection above the transport: login by public key (RFC 4252), then session channels (RFC 4254).
 * Everything else a client may ask for is refused. Knows no protocols and no listening sockets.
 */
import type { Logger } from "pino";
import { WireReader } from "../auth/wire-reader.ts";
import { ProtocolError } from "../errors.ts";
import { weakAlgorithms } from "./algorithms.ts";
import type { ConnectionContext } from "./connection-context.ts";
import { ConnectionMemory } from "./connection-memory.ts";
import { AuditLog } from "./audit-log.ts";
import { announceHostKeys, PROOF_REQUEST, proveHostKeys } from "./host-key-proof.ts";
import { DisconnectReason, encodeMessage, Message, OpenFailure } from "./messages.ts";
import type { SessionInfo } from "./session-registry.ts";
import { type ChannelLink, SshChannel } from "./ssh-channel.ts";
import { INITIAL_WINDOW } from "./receive-window.ts";
import { SshSession } from "./ssh-session.ts";
import type { Negotiated } from "./ssh2-adapter.ts";
import type { Transport, TransportEvents } from "./transport.ts";
import { type AcceptedLogin, UserAuth } from "./user-auth.ts";

/** Smallest maximum packet a client may ask for; smaller ones make us spin. */
const MIN_PACKET = 1024;
const OUR_MAX_PACKET = 32 * 1024;
/** Proofs of host keys per connection: each costs signatures, and no client needs a second. */
const MAX_PROOFS = 8;
/** Bytes in the socket above which nothing is built for it while memory is short. */
const PRESSED_SOCKET_BYTES = 128 * 1024;
const KEEPALIVE = encodeMessage(Message.GLOBAL_REQUEST, "keepalive@openssh.com", true);
const MAX_UNANSWERED_PROBES = 64;

/** State of one connection. Give it to the transport as its events, then `attach` the transport. */
export class SshConnection implements TransportEvents, ChannelLink {
  readonly #context: ConnectionContext;
  #log: Logger;
  readonly #closed = new AbortController();
  #transport: Transport | undefined;
  #stage: "login" | "open" | "closed" = "login";
  readonly #login: UserAuth;
  #info: SessionInfo | undefined;
  readonly #sessions = new Map<number, SshSession>();
  #nextChannel = 0;
  #noMoreSessions = false;
  #hostKeyAlgorithm = "";
  #proofs = 0;
  readonly #dirty = new Set<SshChannel>();
  #flushScheduled = false;
  #keepaliveTimer: NodeJS.Timeout | undefined;
  #unansweredKeepalives = 0;
  readonly #probes: (() => void)[] = [];
  #idleSince = performance.now();
  readonly #memory: ConnectionMemory;
  readonly #audit: AuditLog;

  constructor(context: ConnectionContext) {
    this.#context = context;
    this.#log = context.log;
    this.#audit = new AuditLog(context.log, context.remoteAddress);
    this.#memory = new ConnectionMemory(context.budget, (reason, heldBytes) => this.#audit.limit(reason, { heldBytes }));
    this.#login = this.#newLogin();
  }

  /** Must be called before the transport delivers anything but its first events. */
  attach(transport: Transport): void {
    this.#transport = transport;
  }

  /** Channels that the client has not closed. */
  get openChannels(): number {
    return this.#sessions.size;
  }

  get authenticated(): boolean {
    return this.#stage === "open";
  }

  /** Disconnects; the client is told the reason. */
  end(reason: string, code: number = DisconnectReason.BY_APPLICATION): void {
    this.#transport?.disconnect(code, reason);
  }

  // --- TransportEvents

  ready(negotiated: Negotiated): void {
    this.#context.onKeys();
    this.#hostKeyAlgorithm = negotiated.serverHostKey;
    const used = [negotiated.kex, negotiated.serverHostKey, negotiated.cs.cipher, negotiated.cs.mac, negotiated.sc.mac];
    const weak = weakAlgorithms(used);
    const fields = { kex: negotiated.kex, cipher: negotiated.cs.cipher, mac: negotiated.cs.mac, hostKey: negotiated.serverHostKey };
    if (weak.length > 0) this.#log.info({ ...fields, weak }, "client uses weak algorithms");
    else this.#log.debug(fields, "keys exchanged");
  }

  message(type: number, payload: Buffer): void {
    if (this.#stage === "login") this.#login.message(type, payload);
    else if (this.#stage === "open") this.#openMessage(type, payload);
  }

  writable(): void {
    for (const { channel } of this.#sessions.values()) channel.flush();
    this.#chargeSocket();
  }

  holds(): void {
    this.#chargeSocket();
  }

  closed(end: { readonly reason: string; readonly violation: boolean }): void {
    const loggedIn = this.#stage === "open";
    this.#stage = "closed";
    clearInterval(this.#keepaliveTimer);
    if (end.violation) {
      this.#audit.violation(end.reason);
      this.#context.onOffence("violation");
    } else if (!loggedIn && this.#login.failed) this.#context.onOffence("auth-failed");
    if (loggedIn) this.#log.info({ reason: end.reason }, "logout");
    else this.#log.debug({ reason: end.reason }, "connection closed before login");
    this.#closed.abort(new Error(end.reason));
    for (const { channel } of this.#sessions.values()) channel.connectionLost();
    this.#memory.countChannels(-this.#sessions.size);
    this.#sessions.clear();
    this.#dirty.clear();
    this.#memory.close();
    this.#context.onClosed();
  }

  // --- ChannelLink

  get congested(): boolean {
    if (!this.#transport || this.#transport.congested) return true;
    return this.#memory.budget.underPressure && this.#transport.unsentBytes >= PRESSED_SOCKET_BYTES;
  }

  get unsentBytes(): number {
    return this.#transport?.unsentBytes ?? 0;
  }

  send(payloadBytes: number, fill: (packet: Buffer, start: number) => void): void {
    this.#transport?.send(payloadBytes, fill);
  }

  sendMessage(payload: Uint8Array): void {
    this.#transport?.sendMessage(payload);
  }

  flushSoon(channel: SshChannel): void {
    this.#dirty.add(channel);
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(() => {
      this.#flushScheduled = false;
      const dirty = [...this.#dirty];
      this.#dirty.clear();
      for (const each of dirty) each.flush();
      this.#chargeSocket();
    });
  }

  probe(answered: () => void): void {
    if (this.#probes.length >= MAX_UNANSWERED_PROBES) return;
    this.#probes.push(answered);
    this.sendMessage(KEEPALIVE);
  }

  reportFailure(_channel: SshChannel, error: unknown): void {
    this.#log.error({ err: error }, "a session failed");
  }

  reportViolation(_channel: SshChannel, reason: string): void {
    this.#audit.violation(reason, "protocol violation in a channel");
    this.#context.onOffence("violation");
  }

  // --- login

  #newLogin(): UserAuth {
    const { authenticator, remoteAddress, clientIdent, banner, limits, log } = this.#context;
    return new UserAuth({
      authenticator,
      remoteAddress,
      clientIdent,
      banner,
      log,
      tries: limits.authTries,
      sessionId: () => this.#transport?.sessionId ?? Buffer.alloc(0),
      send: (message) => this.sendMessage(message),
      disconnect: (code, reason) => this.end(reason, code),
      accepted: (login) => this.#accepted(login),
      exhausted: () => {
        this.#audit.limit("too many authentication failures");
        this.#context.onOffence("too-many-tries");
      },
    });
  }

  #accepted(login: AcceptedLogin): void {
    const user = login.user.name;
    const refusal = this.#context.admitLogin(login.user);
    if (refusal !== undefined) {
      this.#log.info({ user, reason: refusal }, "login refused");
      this.end(refusal, DisconnectReason.TOO_MANY_CONNECTIONS);
      return;
    }
    const { id, remoteAddress, clientIdent } = this.#context;
    this.#stage = "open";
    this.#idleSince = performance.now();
    this.#transport?.authenticated(user);
    this.#memory.loggedIn(user, {
      channels: () => this.#channels(),
      unsent: () => this.#transport?.heldBytes ?? 0,
      end: (reason) => this.end(reason),
    });
    this.sendMessage(encodeMessage(Message.USERAUTH_SUCCESS));
    const announcement = announceHostKeys(this.#context.hostKeys, clientIdent);
    if (announcement) this.sendMessage(announcement);
    this.#info = {
      id,
      remoteAddress,
      clientIdent,
      user,
      keyFingerprint: login.fingerprint,
      credential: login.credential,
      since: Date.now(),
      connectionSignal: this.#closed.signal,
      end: (reason) => this.end(reason),
    };
    this.#log = this.#log.child({ user });
    this.#audit.use(this.#log);
    this.#log.info({ remoteAddress, clientIdent, key: login.fingerprint, keyName: login.keyName }, "login");
    if (login.sha1) this.#log.warn("login with a SHA-1 signature, allowed for this user");
    this.#keepaliveTimer = setInterval(() => this.#tick(), this.#context.limits.keepaliveMs).unref();
    this.#context.onLogin(this.#info);
  }

  // --- channels

  *#channels(): Iterable<SshChannel> {
    for (const { channel } of this.#sessions.values()) yield channel;
  }

  #openMessage(type: number, payload: Buffer): void {
    const reader = new WireReader(payload, 1);
    switch (type) {
      case Message.CHANNEL_DATA:
        this.#session(reader).channel.dataReceived(reader.string());
        break;
      case Message.CHANNEL_WINDOW_ADJUST:
        this.#session(reader).channel.windowAdjusted(reader.uint32());
        break;
      case Message.CHANNEL_EXTENDED_DATA:
        this.#extendedData(this.#session(reader), reader);
        break;
      case Message.CHANNEL_EOF:
        this.#session(reader).channel.eofReceived();
        break;
      case Message.CHANNEL_CLOSE:
        this.#channelClose(reader);
        break;
      case Message.CHANNEL_REQUEST:
        this.#channelRequest(this.#session(reader), reader);
        break;
      case Message.CHANNEL_OPEN:
        this.#channelOpen(reader);
        break;
      case Message.GLOBAL_REQUEST:
        this.#globalRequest(reader);
        break;
      case Message.REQUEST_SUCCESS:
      case Message.REQUEST_FAILURE:
        this.#probes.shift()?.();
        break;
      case Message.USERAUTH_REQUEST: // RFC 4252 §5.1: ignored after success
      case Message.CHANNEL_SUCCESS: // nothing of ours asks for these two; some clients send them for exit-status
      case Message.CHANNEL_FAILURE:
        break;
      default:
        throw new ProtocolError(`unexpected message ${type}`);
    }
  }

  /** The session of the channel number that comes next. */
  #session(reader: WireReader): SshSession {
    const session = this.#sessions.get(reader.uint32());
    if (!session) throw new ProtocolError("message for a channel that is not open");
    return session;
  }

  #extendedData(session: SshSession, reader: WireReader): void {
    reader.uint32(); // data type
    this.#audit.limit("extended data, which nothing takes");
    session.channel.extendedDataReceived(reader.string().length);
  }

  #channelClose(reader: WireReader): void {
    const number = reader.uint32();
    const session = this.#sessions.get(number);
    if (!session) throw new ProtocolError("close of a channel that is not open");
    session.channel.closeReceived();
    this.#sessions.delete(number);
    this.#memory.countChannels(-1);
    this.#idleSince = performance.now();
  }

  #globalRequest(reader: WireReader): void {
    const name = reader.text();
    const wantReply = reader.boolean();
    if (name === PROOF_REQUEST && wantReply && ++this.#proofs <= MAX_PROOFS) {
      const proof = proveHostKeys(this.#context.hostKeys, reader, this.#transport?.sessionId ?? Buffer.alloc(0), this.#hostKeyAlgorithm);
      this.sendMessage(proof ?? encodeMessage(Message.REQUEST_FAILURE));
      return;
    }
    const understood = name === "no-more-sessions@openssh.com";
    if (understood) this.#noMoreSessions = true;
    if (wantReply) this.sendMessage(encodeMessage(understood ? Message.REQUEST_SUCCESS : Message.REQUEST_FAILURE));
  }

  #channelOpen(reader: WireReader): void {
    const type = reader.text();
    const peer = { id: reader.uint32(), window: reader.uint32(), maxPacket: reader.uint32() };
    const refuse = (reason: number, text: string): void =>
      this.sendMessage(encodeMessage(Message.CHANNEL_OPEN_FAILURE, peer.id, reason, text, ""));
    if (type !== "session") {
      this.#audit.limit("only session channels are served", { type: type.slice(0, 60) });
      const known = /^(direct|forwarded)-|^x11$|^auth-agent/.test(type);
      refuse(known ? OpenFailure.ADMINISTRATIVELY_PROHIBITED : OpenFailure.UNKNOWN_CHANNEL_TYPE, "only sessions are allowed");
      return;
    }
    if (this.#noMoreSessions) throw new ProtocolError("a session after no-more-sessions");
    if (peer.maxPacket < MIN_PACKET) throw new ProtocolError(`channel with a maximum packet of ${peer.maxPacket} bytes`);
    if (this.#sessions.size >= this.#context.limits.channels || !this.#info || !this.#context.admitsChannels()) {
      this.#audit.limit("too many open channels");
      refuse(OpenFailure.RESOURCE_SHORTAGE, "too many open channels");
      return;
    }
    while (this.#sessions.has(this.#nextChannel)) this.#nextChannel = (this.#nextChannel + 1) % 0x8000_0000;
    const number = this.#nextChannel;
    this.#nextChannel = (number + 1) % 0x8000_0000;
    const channel = new SshChannel(this, peer, this.#memory.budget, this.#memory.isCrowded(INITIAL_WINDOW));
    this.#memory.countChannels(1);
    this.#sessions.set(number, new SshSession(channel, this.#context.handlers, this.#info));
    this.sendMessage(encodeMessage(Message.CHANNEL_OPEN_CONFIRMATION, peer.id, number, channel.initialWindow, OUR_MAX_PACKET));
  }

  #channelRequest(session: SshSession, reader: WireReader): void {
    const type = reader.text();
    const wantReply = reader.boolean();
    if (session.channel.closed.aborted) return;
    session.channel.requestReceived();
    const { success, start } = session.request(type, reader);
    if (wantReply && !session.channel.closed.aborted) {
      this.sendMessage(encodeMessage(success ? Message.CHANNEL_SUCCESS : Message.CHANNEL_FAILURE, session.channel.peerId));
    }
    start?.();
  }

  // --- time

  #tick(): void {
    const { limits } = this.#context;
    if (this.#transport?.takeHeard()) this.#unansweredKeepalives = 0;
    else if (++this.#unansweredKeepalives > limits.keepaliveCount) {
      this.end("no sign of life from the client", DisconnectReason.CONNECTION_LOST);
      return;
    } else this.probe(() => undefined);
    const isOver = Date.now() - (this.#info?.since ?? Date.now()) >= (limits.lifetimeMs ?? Number.POSITIVE_INFINITY);
    const isIdle = this.#sessions.size === 0 && performance.now() - this.#idleSince >= limits.idleMs;
    if (isOver || isIdle) {
      this.end(isOver ? "this login has lasted as long as it may, please log in again" : "idle for too long");
      return;
    }
    const patience = this.#memory.budget.underPressure ? limits.stallMs / 30 : limits.stallMs;
    for (const { channel } of this.#sessions.values()) {
      const since = channel.stalledSince;
      if (since === undefined || performance.now() - since <= patience) continue;
      this.#audit.limit("the client does not read");
      channel.abandon("the client does not read");
    }
  }

  /** Charges the budget with what lies in the socket and what was received and not looked at. */
  #chargeSocket(): void {
    if (this.#stage === "closed") return;
    this.#memory.chargeSocket(this.#transport?.heldBytes ?? 0);
    for (const { channel } of this.#sessions.values()) channel.settle();
  }
}

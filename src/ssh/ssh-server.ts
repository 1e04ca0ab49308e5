/**
 * The listening side: accepts sockets, holds limits and timers before login, and keeps the connections until they are
 * drained. Knows no protocols: what runs in sessions is handed in.
 */
import { createServer, isIPv6, type AddressInfo, type Server, type Socket } from "node:net";
import type { Logger } from "pino";
import { Authenticator, type UserDirectory } from "../auth/authenticator.ts";
import { plainAddress } from "../auth/key-options.ts";
import type { ByteBudget } from "../byte-budget.ts";
import { ConfigError, ProtocolError } from "../errors.ts";
import { LoopTurns } from "../loop-turns.ts";
import { Admission, type AdmissionLimits, type SourcePolicy } from "./admission.ts";
import { type AlgorithmPreset, fitLists, type OwnAlgorithms, presetLists } from "./algorithms.ts";
import { type HostKey, keysByAlgorithm, loadHostKeys } from "./host-keys.ts";
import { type Opening, readOpening } from "./opening.ts";
import { type SessionInfo, SessionRegistry } from "./session-registry.ts";
import { shareReads } from "./shared-reads.ts";
import type { ConnectionLimits } from "./connection-context.ts";
import { SshConnection } from "./ssh-connection.ts";
import type { SessionHandlers } from "./ssh-session.ts";
import { createOffer, cryptoReady, nativeCrypto } from "./ssh2-adapter.ts";
import { type RekeyLimits, Transport } from "./transport.ts";
import { sendAway, SOFTWARE_VERSION, turnAway } from "./turn-away.ts";

const SHUTTING_DOWN = "the server is shutting down";
const LISTEN_BACKLOG = 1024;
const KEEPALIVE_IDLE_MS = 60_000;
/** How often a refused flood is mentioned in the log. */
const REFUSAL_LOG_INTERVAL_MS = 10_000;

const TOO_MANY = "too many connections without login";

/** What a connection tells of its way to the login. */
interface Progress {
  /** Aborted when it takes too long or has to give way. */
  readonly grace: AbortSignal;
  readonly keysExchanged: () => void;
  readonly loggedIn: (session: SessionInfo) => void;
}

/** Where to listen; `port` 0 takes a free one. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** Everything that bounds clients. */
export interface SshLimits extends ConnectionLimits {
  /** Time from connect to login. */
  readonly loginGraceMs: number;
  readonly unauthenticated: AdmissionLimits;
  /** Logins of one user at once in this process. */
  readonly sessionsPerUser: number;
  readonly rekey: RekeyLimits;
}

/** What holds unless the configuration says otherwise. */
export const DEFAULT_LIMITS: SshLimits = {
  authTries: 6,
  channels: 64,
  keepaliveMs: 15_000,
  keepaliveCount: 8,
  idleMs: 3_600_000,
  stallMs: 3_600_000,
  loginGraceMs: 60_000,
  unauthenticated: { total: 1024, perAddress: 512, evictableAfterMs: 3_000 },
  sessionsPerUser: 1_000,
  rekey: { bytes: 1024 ** 3, ms: 3_600_000 },
};

/** What a server is made of. */
export interface SshServerOptions {
  readonly listen: readonly ListenAddress[];
  /** Folder of host keys; filled when empty. */
  readonly hostKeys: string;
  readonly users: UserDirectory;
  readonly handlers: SessionHandlers;
  readonly budget: ByteBudget;
  readonly log: Logger;
  readonly algorithms?: AlgorithmPreset | OwnAlgorithms;
  /** Text shown before login. */
  readonly banner?: string;
  readonly limits?: Partial<SshLimits>;
  readonly sources?: SourcePolicy;
  /** Divides the process's time among clients; one for all that the process does. */
  readonly turns?: LoopTurns;
}

/** What somebody who accepted a socket wants to know and to say. */
export interface ConnectionWatch {
  /** Aborted to end the connection while nobody is logged in on it; its reason, an `Error`, is told to the client. */
  readonly unwanted: AbortSignal;
  /** How far it has come towards a login: 1 after the identification, 2 after the key exchange. */
  readonly onProgress: (stage: 1 | 2) => void;
  readonly onLogin: (session: SessionInfo) => void;
  /** Called once, when the connection is gone. */
  readonly onClosed: () => void;
}

/** The SSH server of one process. */
export class SshServer {
  readonly registry = new SessionRegistry();
  readonly #options: SshServerOptions;
  readonly #limits: SshLimits;
  readonly #admission: Admission;
  readonly #authenticator: Authenticator;
  readonly #log: Logger;
  readonly #turns: LoopTurns;
  readonly #connections = new Set<SshConnection>();
  readonly #opening = new Set<Socket>();
  #servers: Server[] = [];
  #hostKeys: readonly HostKey[] = [];
  #hostKeyMap: ReturnType<typeof keysByAlgorithm> = {};
  #draining = false;
  #lastConnection = 0;
  #lastRefusalLog = Number.NEGATIVE_INFINITY;
  #onIdle: (() => void) | undefined;

  constructor(options: SshServerOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#admission = new Admission(this.#limits.unauthenticated);
    this.#authenticator = new Authenticator(options.users);
    this.#log = options.log;
    this.#turns = options.turns ?? new LoopTurns();
  }

  /** The server's keys, for known_hosts and the operator; empty before `prepare`. */
  get hostKeys(): readonly HostKey[] {
    return this.#hostKeys;
  }

  /** Where the server listens; empty before `listen`. */
  get addresses(): readonly AddressInfo[] {
    return this.#servers.map((server) => server.address()).filter((address) => address !== null && typeof address === "object");
  }

  /** Live connections, with and without login. */
  get connectionCount(): number {
    return this.#connections.size + this.#opening.size;
  }

  /** Loads the host keys; `accept` can be used afterwards. Throws `ConfigError`. `quiet`: another process has named them. */
  async prepare(options: { readonly quiet?: boolean } = {}): Promise<void> {
    await cryptoReady;
    await this.reloadHostKeys();
    if (options.quiet) return;
    for (const { type, fingerprint, path, active } of this.#hostKeys) this.#log.info({ type, fingerprint, path, active }, "host key");
    if (nativeCrypto === "withheld")
      this.#log.warn(
        "ssh2's compiled cipher module would abort this version of Node and is not used: encryption costs 1.2 to 2.7 times the CPU; " +
          "compile it with the headers of Node 24.18 or older, or use Node 26.4 or newer",
      );
    if (nativeCrypto === "missing")
      this.#log.warn(
        "ssh2's compiled cipher module is missing: encryption costs 1.2 to 2.7 times the CPU; npm rebuild ssh2 with a C++ toolchain adds it",
      );
  }

  /** Reads the host keys again; new connections get what is there now. Throws `ConfigError`; the old ones stay then. */
  async reloadHostKeys(): Promise<void> {
    const keys = await loadHostKeys(this.#options.hostKeys);
    this.#hostKeys = keys;
    this.#hostKeyMap = keysByAlgorithm(keys);
  }

  /** Prepares and listens on every address. Throws `ConfigError`; nothing listens then. */
  async listen(): Promise<void> {
    await this.prepare();
    try {
      for (const address of this.#options.listen) this.#servers.push(await this.#listenOn(address));
    } catch (error) {
      await this.#stopListening();
      throw error;
    }
  }

  /** Serves a socket that somebody else accepted, e.g. another process of the gateway. */
  accept(accepted: Socket, remoteAddress: string = accepted.remoteAddress ?? "", watch?: ConnectionWatch): void {
    const socket = shareReads(accepted);
    socket.on("error", () => socket.destroy());
    if (remoteAddress === "" || socket.destroyed) {
      socket.destroy();
      watch?.onClosed();
      return;
    }
    if (watch) socket.once("close", watch.onClosed);
    if (this.#draining) {
      sendAway(socket, SHUTTING_DOWN);
      return;
    }
    const refusal = this.#options.sources?.refusal(remoteAddress);
    if (refusal !== undefined) {
      this.#turnAway(socket, remoteAddress, refusal);
      return;
    }
    const grace = new AbortController();
    const place = this.#admission.admit({
      address: remoteAddress,
      evict: () => {
        this.#logRefusal(remoteAddress, TOO_MANY);
        grace.abort(new Error(TOO_MANY));
      },
    });
    if (!place) {
      this.#turnAway(socket, remoteAddress, TOO_MANY);
      return;
    }
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_IDLE_MS);
    const timer = setTimeout(() => {
      this.#options.sources?.offence(remoteAddress, "login-timeout");
      grace.abort(new Error("no login within the grace time"));
    }, this.#limits.loginGraceMs);
    const advance = (stage: 1 | 2): void => {
      place.advance(stage);
      watch?.onProgress(stage);
    };
    const settled = (): void => {
      clearTimeout(timer);
      place.release();
    };
    const loggedIn = (session: SessionInfo): void => {
      settled();
      watch?.onLogin(session);
    };
    socket.once("close", settled);
    watch?.unwanted.addEventListener("abort", () => grace.abort(watch.unwanted.reason), { once: true });
    this.#opening.add(socket);
    socket.write(`SSH-2.0-${SOFTWARE_VERSION}\r\n`);
    readOpening(socket, grace.signal)
      .then((opening) => {
        advance(1);
        this.#start(socket, remoteAddress, opening, { grace: grace.signal, loggedIn, keysExchanged: () => advance(2) });
      })
      .catch((error: unknown) => this.#openingFailed(socket, remoteAddress, error))
      .finally(() => {
        this.#opening.delete(socket);
        this.#noticeIdle();
      });
  }

  /**
   * Takes no new connections and no new logins, lets open channels finish, then disconnects everybody. Connections
   * without channels are ended at once. Resolves when all are gone, after at most `timeoutMs` and a little.
   */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true;
    const stopped = this.#stopListening();
    for (const socket of this.#opening) sendAway(socket, SHUTTING_DOWN, { spoken: true });
    const endIdle = (): void => {
      for (const connection of this.#connections) if (connection.openChannels === 0) connection.end(SHUTTING_DOWN);
    };
    endIdle();
    const sweep = setInterval(endIdle, 100);
    await this.#emptyWithin(timeoutMs);
    clearInterval(sweep);
    for (const connection of this.#connections) connection.end(SHUTTING_DOWN);
    await this.#emptyWithin(2_000);
    await stopped;
  }

  /** Disconnects everybody and stops listening. */
  close(): Promise<void> {
    return this.drain(0);
  }

  #listenOn(address: ListenAddress): Promise<Server> {
    const server = createServer((socket) => this.accept(socket));
    return new Promise((resolve, reject) => {
      server.once("error", (error) => {
        reject(new ConfigError(`cannot listen on ${address.host}:${address.port}: ${error.message}`, undefined, { cause: error }));
      });
      server.listen({ host: address.host, port: address.port, backlog: LISTEN_BACKLOG }, () => {
        server.removeAllListeners("error");
        server.on("error", (error) => this.#log.error({ error }, "cannot accept connections"));
        const bound = server.address();
        const port = bound !== null && typeof bound === "object" ? bound.port : address.port;
        this.#log.info({ address: `${isIPv6(address.host) ? `[${address.host}]` : address.host}:${port}` }, "listening");
        resolve(server);
      });
    });
  }

  #start(socket: Socket, remoteAddress: string, opening: Opening, { grace, loggedIn, keysExchanged }: Progress): void {
    const id = (++this.#lastConnection).toString(36).padStart(4, "0");
    const connection: SshConnection = new SshConnection({
      id,
      remoteAddress: plainAddress(remoteAddress),
      clientIdent: opening.ident,
      authenticator: this.#authenticator,
      handlers: this.#options.handlers,
      budget: this.#options.budget,
      limits: this.#limits,
      banner: this.#options.banner,
      hostKeys: this.#hostKeys,
      log: this.#log.child({ session: id }),
      admitLogin: (user) => {
        if (this.#draining) return SHUTTING_DOWN;
        return this.registry.count(user.name) >= this.#limits.sessionsPerUser ? "too many sessions of this user" : undefined;
      },
      admitsChannels: () => !this.#draining,
      onKeys: keysExchanged,
      onLogin: (session) => {
        this.#options.sources?.loggedIn(remoteAddress);
        this.registry.add(session);
        loggedIn(session);
      },
      onOffence: (offence) => this.#options.sources?.offence(remoteAddress, offence),
      onClosed: () => {
        this.#connections.delete(connection);
        this.#noticeIdle();
      },
    });
    grace.addEventListener("abort", () => {
      if (!connection.authenticated) connection.end(grace.reason instanceof Error ? grace.reason.message : "no login");
    });
    const { algorithms = "modern" } = this.#options;
    const lists = presetLists(algorithms, new Set(Object.keys(this.#hostKeyMap)));
    // Lists of one's own are offered as they are.
    const offer = createOffer(typeof algorithms === "string" ? fitLists(lists, opening.software, opening.kexInit) : lists);
    const transport = new Transport({
      socket,
      hostKeys: this.#hostKeyMap,
      offer,
      softwareVersion: SOFTWARE_VERSION,
      ident: opening.ident,
      rekey: this.#limits.rekey,
      turns: this.#turns,
      address: remoteAddress,
      events: connection,
    });
    connection.attach(transport);
    this.#connections.add(connection);
    transport.start(opening.rest);
  }

  #openingFailed(socket: Socket, remoteAddress: string, error: unknown): void {
    if (error instanceof ProtocolError) {
      this.#log.warn({ audit: true, reason: error.message, remoteAddress: plainAddress(remoteAddress) }, "protocol violation");
      this.#options.sources?.offence(remoteAddress, "violation");
    } else {
      this.#log.debug({ error, remoteAddress: plainAddress(remoteAddress) }, "connection closed before login");
    }
    socket.destroy();
  }

  #logRefusal(remoteAddress: string, reason: string): void {
    const now = performance.now();
    if (now - this.#lastRefusalLog < REFUSAL_LOG_INTERVAL_MS) return;
    this.#lastRefusalLog = now;
    this.#log.warn({ audit: true, remoteAddress: plainAddress(remoteAddress), reason }, "connections refused");
  }

  #turnAway(socket: Socket, remoteAddress: string, reason: string): void {
    this.#logRefusal(remoteAddress, reason);
    turnAway(socket, reason);
  }

  async #stopListening(): Promise<void> {
    const servers = this.#servers;
    this.#servers = [];
    await Promise.all(servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));
  }

  #emptyWithin(timeoutMs: number): Promise<void> {
    if (this.connectionCount === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(done, timeoutMs);
      function done(): void {
        clearTimeout(timer);
        resolve();
      }
      this.#onIdle = done;
    });
  }

  #noticeIdle(): void {
    if (this.connectionCount === 0) this.#onIdle?.();
  }
}

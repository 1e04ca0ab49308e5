/**
 * Accepts connections and hands them to workers before anybody has read from them. Refuses those that are too many and
 * those of addresses under penalty. Reads no byte of a client's.
 */
import { createServer, isIPv6, type AddressInfo, type Server, type Socket } from "node:net";
import { plainAddress } from "../auth/key-options.ts";
import type { ListenAddress } from "../config/schema.ts";
import { ConfigError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { addressMatcher } from "../ssh/source-penalties.ts";
import { sendAway, turnAway } from "../ssh/turn-away.ts";
import type { Connection, Connections } from "./connections.ts";
import type { WorkerPool } from "./worker-pool.ts";
import type { WorkerProcess } from "./worker-process.ts";

const LISTEN_BACKLOG = 1024;
/** How often a refused flood is mentioned in the log. */
const REFUSAL_LOG_INTERVAL_MS = 10_000;

/** What a front door is made of. */
export interface FrontDoorOptions {
  readonly listen: readonly ListenAddress[];
  /** Addresses and networks of load balancers. */
  readonly proxies: readonly string[];
  readonly connections: Connections<WorkerProcess>;
  readonly pool: WorkerPool;
  readonly log: Logger;
  /** Takes free ports where the configured ones are taken. */
  readonly portFallback: boolean;
}

interface Waiting {
  readonly connection: Connection<WorkerProcess>;
  readonly socket: Socket;
  readonly address: string;
  readonly proxied: boolean;
}

/** See the head of this file. */
export class FrontDoor {
  readonly #options: FrontDoorOptions;
  readonly #isProxy: (address: string) => boolean;
  readonly #servers: Server[] = [];
  /** Nobody could take them yet; the limits on connections without login bound them. */
  #waiting: Waiting[] = [];
  #lastRefusalLog = Number.NEGATIVE_INFINITY;
  #refused = 0;

  constructor(options: FrontDoorOptions) {
    this.#options = options;
    this.#isProxy = addressMatcher(options.proxies);
  }

  /** Listens on every address. Rejects with a `ConfigError`; nothing listens then. */
  async open(): Promise<void> {
    const { listen, portFallback, log } = this.#options;
    try {
      await this.#listen(listen);
    } catch (error) {
      if (!portFallback || !isTaken(error)) throw error;
      log.warn({ addresses: listen.map(formatAddress) }, "address taken, using a free port");
      await this.#listen(listen.map(({ host }) => ({ host, port: 0 })));
    }
    for (const address of this.addresses) log.info({ address: formatAddress(address) }, "listening");
  }

  /** Where connections are accepted, with real ports. */
  get addresses(): readonly ListenAddress[] {
    return this.#servers.map((server, index) => {
      const { port } = server.address() as AddressInfo;
      return { host: this.#options.listen[index]?.host ?? "", port };
    });
  }

  /** Connections that were refused here. */
  get refused(): number {
    return this.#refused;
  }

  /** Hands over who waits for a worker. */
  workerReady(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) this.#hand(one);
  }

  /** Closes a connection that waits for a worker. */
  drop(id: number): void {
    const index = this.#waiting.findIndex(({ connection }) => connection.id === id);
    const [dropped] = index < 0 ? [] : this.#waiting.splice(index, 1);
    if (!dropped) return;
    this.#options.connections.closed(id);
    dropped.socket.destroy();
  }

  /** Mentions a refusal in the log, not each of a flood. */
  noteRefusal(address: string, reason: string): void {
    this.#refused++;
    const now = performance.now();
    if (now - this.#lastRefusalLog < REFUSAL_LOG_INTERVAL_MS) return;
    this.#lastRefusalLog = now;
    this.#options.log.warn({ audit: true, remoteAddress: plainAddress(address), reason }, "connections refused");
  }

  /** Accepts nothing any more. */
  close(): void {
    for (const server of this.#servers) server.close();
    for (const { socket } of this.#waiting) socket.destroy();
  }

  async #listen(addresses: readonly ListenAddress[]): Promise<void> {
    try {
      for (const address of addresses) this.#servers.push(await this.#listenOn(address));
    } catch (error) {
      for (const server of this.#servers.splice(0)) server.close();
      throw error;
    }
  }

  #listenOn(address: ListenAddress): Promise<Server> {
    // Not one byte may be read here: it would be lost to the worker.
    const server = createServer({ pauseOnConnect: true }, (socket) => this.#accept(socket));
    return new Promise((resolve, reject) => {
      server.once("error", (error) => {
        reject(new ConfigError(`cannot listen on ${formatAddress(address)}: ${error.message}`, undefined, { cause: error }));
      });
      server.listen({ host: address.host, port: address.port, backlog: LISTEN_BACKLOG }, () => {
        server.removeAllListeners("error");
        server.on("error", (error) => this.#options.log.error({ err: error }, "cannot accept connections"));
        resolve(server);
      });
    });
  }

  #accept(socket: Socket): void {
    socket.on("error", () => socket.destroy());
    const address = socket.remoteAddress;
    if (address === undefined || socket.destroyed) return void socket.destroy();
    const proxied = this.#isProxy(plainAddress(address));
    const connection = this.#options.connections.open(address, proxied);
    if (typeof connection === "string") {
      this.noteRefusal(address, connection);
      if (this.#options.connections.closedFor === undefined) turnAway(socket, connection);
      else sendAway(socket, connection);
      return;
    }
    this.#hand({ connection, socket, address, proxied });
  }

  #hand(waiting: Waiting): void {
    const { connection, socket, address, proxied } = waiting;
    // A balancer's connections come from anybody.
    const worker = this.#options.pool.choose(proxied ? undefined : address);
    if (!worker) {
      this.#waiting.push(waiting);
      return;
    }
    connection.worker = worker;
    worker.hand({ type: "connection", id: connection.id, address, proxied }, socket);
  }
}

/** `HOST:PORT`, IPv6 in brackets. */
export function formatAddress({ host, port }: ListenAddress): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

/** True for an address that somebody else has. */
export function isTaken(error: unknown): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if ("code" in cause && cause.code === "EADDRINUSE") return true;
  }
  return false;
}

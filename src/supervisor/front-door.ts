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
import type { Connections } from "./connections.ts";
import { WaitingLine } from "./waiting-line.ts";
import type { WorkerPool } from "./worker-pool.ts";
import type { WorkerProcess } from "./worker-process.ts";

const LISTEN_BACKLOG = 1024;
/** How often a flood that is refused, or given up, is mentioned in the log. */
const FLOOD_LOG_INTERVAL_MS = 10_000;

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
  /** No connection waits for a worker for longer, in milliseconds. */
  readonly longestWaitMs: number;
}

/** See the head of this file. */
export class FrontDoor {
  readonly #options: FrontDoorOptions;
  readonly #isProxy: (address: string) => boolean;
  readonly #servers: Server[] = [];
  /** Accepted connections until a worker has them. */
  readonly line: WaitingLine<WorkerProcess>;
  #lastRefusalLog = Number.NEGATIVE_INFINITY;
  #refused = 0;
  #lastGivenUpLog = Number.NEGATIVE_INFINITY;
  #givenUp = 0;

  constructor(options: FrontDoorOptions) {
    this.#options = options;
    this.#isProxy = addressMatcher(options.proxies);
    this.line = new WaitingLine({
      connections: options.connections,
      choose: (address) => options.pool.choose(address),
      longestWaitMs: options.longestWaitMs,
      onGivenUp: (address, reason) => this.#noteGivenUp(address, reason),
    });
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

  /** Mentions a refusal in the log, not each of a flood. */
  noteRefusal(address: string, reason: string): void {
    this.#refused++;
    const now = performance.now();
    if (now - this.#lastRefusalLog < FLOOD_LOG_INTERVAL_MS) return;
    this.#lastRefusalLog = now;
    this.#options.log.warn({ audit: true, remoteAddress: plainAddress(address), reason }, "connections refused");
  }

  /** Tells all who come, and who wait, that they are not served, with `reason`. */
  refuseAll(reason: string): void {
    this.#options.connections.closedFor = reason;
    this.line.sendAway((socket) => sendAway(socket, reason));
  }

  /** Accepts nothing any more. */
  close(): void {
    for (const server of this.#servers) server.close();
    this.line.close();
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
    this.line.add({ connection, socket, proxied });
  }

  /** No client's fault: the operator has to give the gateway more. */
  #noteGivenUp(address: string, reason: string): void {
    this.#refused++;
    this.#givenUp++;
    const now = performance.now();
    if (now - this.#lastGivenUpLog < FLOOD_LOG_INTERVAL_MS) return;
    this.#lastGivenUpLog = now;
    const fields = { audit: true, remoteAddress: plainAddress(address), reason, connections: this.#givenUp };
    this.#options.log.warn(fields, "connections given up");
    this.#givenUp = 0;
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

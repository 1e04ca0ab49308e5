/**
 * Connections on their way from the door to a worker. Node passes sockets to a process one after the other, each when the
 * one before was acknowledged, and whatever is said meanwhile waits behind them; so only a few are on the way at once, and
 * the others wait here, where those that give way are simply closed. Each worker says which it took; what it could not take,
 * or has not taken in time, is given up, so that the line always goes on. Knows no limits on connections and no clients.
 */
import type { Socket } from "node:net";
import { turnAway } from "../ssh/turn-away.ts";
import type { Connection, Connections } from "./connections.ts";
import type { ToWorker } from "./messages.ts";

/** A worker that has not taken a socket by then is stuck, or never got it. */
const TAKE_TIMEOUT_MS = 10_000;
const CHECK_INTERVAL_MS = 1_000;

/** What a connection hears that no worker takes. */
export const NOT_TAKEN = "the server cannot take this connection now";

/** What is handed connections: `WorkerProcess`. */
export interface Taker {
  /** Sends it the socket; ours stays open until somebody closes it. */
  hand(message: Extract<ToWorker, { type: "connection" }>, socket: Socket): void;
  /** One of the sockets that were handed over is not on the way any more. */
  settled(): void;
  /** A connection that was handed over from `address` is gone. */
  closed(address: string): void;
  send(message: ToWorker): void;
}

/** A connection that nobody has read from. */
export interface Arrival<Worker extends Taker> {
  readonly connection: Connection<Worker>;
  readonly socket: Socket;
  /** It comes from a load balancer. */
  readonly proxied: boolean;
}

/** What a line is made of. */
export interface WaitingLineOptions<Worker extends Taker> {
  readonly connections: Connections<Worker>;
  /** The worker for a connection from `address`; undefined while none has room for one. */
  readonly choose: (address: string | undefined) => Worker | undefined;
  /** Nobody waits here for longer, in milliseconds. */
  readonly longestWaitMs: number;
  /** Told of each connection that is given up, and why. */
  readonly onGivenUp: (address: string, reason: string) => void;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

interface Waiting<Worker extends Taker> extends Arrival<Worker> {
  readonly since: number;
}

interface OnTheWay<Worker extends Taker> extends Waiting<Worker> {
  readonly worker: Worker;
}

/** See the head of this file. Whoever makes one owes `close`. */
export class WaitingLine<Worker extends Taker> {
  readonly #options: WaitingLineOptions<Worker>;
  readonly #now: () => number;
  /** By connection, the oldest first; the limits on connections without login bound them. */
  readonly #waiting = new Map<number, Waiting<Worker>>();
  /** Handed over and not taken yet, the oldest first. */
  readonly #onTheWay = new Map<number, OnTheWay<Worker>>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: WaitingLineOptions<Worker>) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#timer = setInterval(() => this.expire(), CHECK_INTERVAL_MS).unref();
  }

  /** Connections that wait for a worker with room. */
  get length(): number {
    return this.#waiting.size;
  }

  /** Hands the connection over as soon as a worker has room and those before it are gone. */
  add(arrival: Arrival<Worker>): void {
    this.#waiting.set(arrival.connection.id, { ...arrival, since: this.#now() });
    if (this.#waiting.size === 1) this.advance();
  }

  /** Hands over whom workers have room for. */
  advance(): void {
    for (const one of this.#waiting.values()) {
      const { connection, socket, proxied } = one;
      // A balancer's connections come from anybody.
      const worker = this.#options.choose(proxied ? undefined : connection.address);
      if (!worker) return;
      this.#waiting.delete(connection.id);
      connection.worker = worker;
      this.#onTheWay.set(connection.id, { ...one, worker, since: this.#now() });
      worker.hand({ type: "connection", id: connection.id, address: connection.address, proxied }, socket);
    }
  }

  /** The worker has the socket. One that was given up is to be ended: nobody counts it any more. */
  taken(worker: Worker, id: number): void {
    const one = this.#onTheWay.get(id);
    if (one) {
      this.#onTheWay.delete(id);
      worker.settled();
      one.socket.destroy();
    } else worker.send({ type: "end", id, reason: NOT_TAKEN });
    this.advance();
  }

  /** The worker heard of the connection, but its socket did not come: the system gave it no descriptor for it. */
  lost(id: number): void {
    const one = this.#onTheWay.get(id);
    if (!one) return;
    this.#giveUp(one, "a worker has no file descriptor left for it");
    turnAway(one.socket, NOT_TAKEN); // nobody else writes to it
    this.advance();
  }

  /** The worker is gone: whoever was on the way to it is gone with it, the others go elsewhere. */
  workerGone(worker: Worker): void {
    for (const [id, one] of this.#onTheWay) {
      if (one.worker !== worker) continue;
      this.#onTheWay.delete(id);
      one.socket.destroy();
    }
    this.advance();
  }

  /** Closes a connection that waits here; false if it does not. */
  drop(id: number): boolean {
    const one = this.#waiting.get(id);
    if (!one) return false;
    this.#leave(one);
    one.socket.destroy();
    return true;
  }

  /** Gives up what has waited for too long, here or on the way. Called every second. */
  expire(): void {
    const now = this.#now();
    for (const one of this.#waiting.values()) {
      if (now - one.since < this.#options.longestWaitMs) break;
      this.#leave(one);
      turnAway(one.socket, NOT_TAKEN);
      this.#options.onGivenUp(one.connection.address, "no worker had room for it in time");
    }
    for (const one of this.#onTheWay.values()) {
      if (now - one.since < TAKE_TIMEOUT_MS) break;
      this.#giveUp(one, "a worker did not take it in time");
      one.socket.destroy(); // the worker may have it, and write
    }
    this.advance();
  }

  /** Nobody is handed over any more: says why to those who wait. */
  sendAway(farewell: (socket: Socket) => void): void {
    for (const one of this.#waiting.values()) {
      this.#leave(one);
      farewell(one.socket);
    }
  }

  /** Closes all who wait. */
  close(): void {
    clearInterval(this.#timer);
    this.sendAway((socket) => socket.destroy());
  }

  #leave({ connection }: Waiting<Worker>): void {
    this.#waiting.delete(connection.id);
    this.#options.connections.closed(connection.id);
  }

  #giveUp({ connection, worker }: OnTheWay<Worker>, reason: string): void {
    const { id, address } = connection;
    this.#onTheWay.delete(id);
    worker.settled();
    if (this.#options.connections.closed(id)) worker.closed(address);
    this.#options.onGivenUp(address, reason);
  }
}

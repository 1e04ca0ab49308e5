/**
 * The connections of all workers: which worker has which, who is logged in on it, and what it counts against. Holds the
 * limits that count for the whole node: connections without login, penalties of addresses, sessions of a user. Knows no
 * sockets.
 */
import { Admission, type AdmissionLimits, type Place, type SourcePolicy } from "../ssh/admission.ts";

/** A connection of some worker. */
export interface Connection<Worker> {
  readonly id: number;
  /** Where it comes from as far as its socket says. */
  readonly address: string;
  /** Who has it; undefined while nobody can take it. */
  worker: Worker | undefined;
  /** Login name. */
  user?: string;
  /** Its place among those without login. */
  place: Place | undefined;
}

/** What bounds connections. */
export interface ConnectionsOptions<Worker> {
  readonly unauthenticated: AdmissionLimits;
  readonly sessionsPerUser: number;
  readonly sources: SourcePolicy | undefined;
  /** Asks the worker to end a connection. */
  readonly end: (connection: Connection<Worker>, reason: string) => void;
  /** Told when a connection from `address` has to give way to a newer one. */
  readonly evicted?: (address: string, reason: string) => void;
}

const TOO_MANY = "too many connections without login";

/** See the head of this file. */
export class Connections<Worker> {
  readonly #options: ConnectionsOptions<Worker>;
  readonly #admission: Admission;
  /** Of balancers that have not said yet for whom they speak. */
  readonly #unnamed: Admission;
  readonly #connections = new Map<number, Connection<Worker>>();
  readonly #sessions = new Map<string, number>();
  #lastId = 0;
  /** All connections are refused with this. */
  closedFor: string | undefined;

  constructor(options: ConnectionsOptions<Worker>) {
    this.#options = options;
    const { unauthenticated } = options;
    this.#admission = new Admission(unauthenticated);
    this.#unnamed = new Admission({ ...unauthenticated, perAddress: unauthenticated.total });
  }

  /** Connections, with and without login. */
  get size(): number {
    return this.#connections.size;
  }

  /** Connections on which nobody is logged in yet. */
  get withoutLogin(): number {
    return this.#admission.size + this.#unnamed.size;
  }

  /** A connection from `address`, or why it is refused. `proxied`: the true address comes later. */
  open(address: string, proxied: boolean): Connection<Worker> | string {
    const connection: Connection<Worker> = { id: ++this.#lastId, address, worker: undefined, place: undefined };
    const refusal = proxied ? this.#place(this.#unnamed, address, connection) : this.#admit(address, connection);
    if (refusal !== undefined) return refusal;
    this.#connections.set(connection.id, connection);
    return connection;
  }

  /** The connection turns out to come from `address`; returns why it is refused. */
  named(id: number, address: string): string | undefined {
    const connection = this.#connections.get(id);
    if (!connection) return "the connection is gone";
    connection.place?.release();
    return this.#admit(address, connection);
  }

  /** It has come so far towards a login. */
  progress(id: number, stage: 1 | 2): void {
    this.#connections.get(id)?.place?.advance(stage);
  }

  /** Somebody logged in on it. Too many sessions of a user are ended. */
  loggedIn(id: number, user: string): void {
    const connection = this.#connections.get(id);
    if (!connection || connection.user !== undefined) return;
    connection.place?.release();
    connection.user = user;
    const count = (this.#sessions.get(user) ?? 0) + 1;
    this.#sessions.set(user, count);
    if (count > this.#options.sessionsPerUser) this.#options.end(connection, "too many sessions of this user");
  }

  /** The connection is gone; returns what it was. */
  closed(id: number): Connection<Worker> | undefined {
    const connection = this.#connections.get(id);
    if (!connection) return undefined;
    this.#connections.delete(id);
    connection.place?.release();
    const { user } = connection;
    if (user === undefined) return connection;
    const left = (this.#sessions.get(user) ?? 1) - 1;
    if (left === 0) this.#sessions.delete(user);
    else this.#sessions.set(user, left);
    return connection;
  }

  /** The worker is gone, and all of its connections with it. */
  workerGone(worker: Worker): number {
    const lost = [...this.#connections.values()].filter((connection) => connection.worker === worker);
    for (const { id } of lost) this.closed(id);
    return lost.length;
  }

  #admit(address: string, connection: Connection<Worker>): string | undefined {
    return this.closedFor ?? this.#options.sources?.refusal(address) ?? this.#place(this.#admission, address, connection);
  }

  #place(admission: Admission, address: string, connection: Connection<Worker>): string | undefined {
    if (this.closedFor !== undefined) return this.closedFor;
    const evict = (): void => {
      this.#options.evicted?.(address, TOO_MANY);
      this.#options.end(connection, TOO_MANY);
    };
    connection.place = admission.admit({ address, evict });
    return connection.place ? undefined : TOO_MANY;
  }
}

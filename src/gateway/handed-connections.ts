/**
 * Serves the sockets that the supervisor hands over: finds out who speaks through a load balancer, tells the supervisor
 * of logins and ends, and ends what the supervisor wants ended. Knows no SSH.
 */
import type { Socket } from "node:net";
import { plainAddress } from "../auth/key-options.ts";
import type { Logger } from "../log.ts";
import { readProxyHeader } from "../ssh/proxy-header.ts";
import type { SessionInfo } from "../ssh/session-registry.ts";
import type { ConnectionWatch } from "../ssh/ssh-server.ts";
import { turnAway } from "../ssh/turn-away.ts";
import type { ToWorker } from "../supervisor/messages.ts";
import type { SupervisorLink } from "./supervisor-link.ts";

/** A load balancer writes its header at once. */
const HEADER_TIMEOUT_MS = 5_000;

/** What serves a connection: `SshServer`. */
export interface ConnectionServer {
  accept(socket: Socket, remoteAddress: string, watch: ConnectionWatch): void;
}

interface Handed {
  readonly unwanted: AbortController;
  session: SessionInfo | undefined;
  decide: ((refusal: string | undefined) => void) | undefined;
}

/** See the head of this file. */
export class HandedConnections {
  readonly #link: SupervisorLink;
  readonly #server: ConnectionServer;
  readonly #log: Logger;
  readonly #handed = new Map<number, Handed>();
  #seen = 0;
  /** The last connection whose message came, with its socket unless its client had left. */
  #lastTaken = 0;

  constructor(link: SupervisorLink, server: ConnectionServer, log: Logger) {
    this.#link = link;
    this.#server = server;
    this.#log = log;
    link.handle({
      connection: (message, socket) => this.#take(message, socket),
      handed: ({ id }) => this.#confirm(id),
      verdict: ({ id, refusal }) => this.#handed.get(id)?.decide?.(refusal),
      end: ({ id, reason }) => this.#end(id, reason),
    });
  }

  /** Connections that are open. */
  get size(): number {
    return this.#handed.size;
  }

  /** Connections that were handed over so far. */
  get seen(): number {
    return this.#seen;
  }

  #take(message: Extract<ToWorker, { type: "connection" }>, socket: Socket | undefined): void {
    const { id, address, proxied } = message;
    this.#seen++;
    this.#lastTaken = id;
    this.#link.send({ type: "taken", id });
    // A client that left at once leaves no socket.
    if (!socket || socket.destroyed) {
      this.#link.send({ type: "closed", id });
      socket?.destroy();
      return;
    }
    const handed: Handed = { unwanted: new AbortController(), session: undefined, decide: undefined };
    this.#handed.set(id, handed);
    if (!proxied) this.#serve(id, handed, socket, address);
    else this.#serveNamed(id, handed, socket, address).catch((error: unknown) => this.#nameless(socket, address, error));
  }

  /** Without a free descriptor Node drops the socket and its message, and the next message comes. */
  #confirm(id: number): void {
    if (id !== this.#lastTaken) this.#link.send({ type: "lost", id });
  }

  #serve(id: number, handed: Handed, socket: Socket, address: string): void {
    this.#server.accept(socket, address, {
      unwanted: handed.unwanted.signal,
      onProgress: (stage) => this.#link.send({ type: "progress", id, stage }),
      onClosed: () => this.#closed(id),
      onLogin: (session) => {
        handed.session = session;
        this.#link.send({ type: "logged-in", id, user: session.user });
      },
    });
  }

  #closed(id: number): void {
    if (this.#handed.delete(id)) this.#link.send({ type: "closed", id });
  }

  async #serveNamed(id: number, handed: Handed, socket: Socket, balancer: string): Promise<void> {
    const onClose = (): void => {
      handed.decide?.("the connection is gone");
      this.#closed(id);
    };
    socket.on("error", () => socket.destroy());
    socket.once("close", onClose);
    const header = await readProxyHeader(socket, HEADER_TIMEOUT_MS);
    const address = header.address ?? balancer;
    const verdict = new Promise<string | undefined>((decide) => {
      handed.decide = decide;
    });
    this.#link.send({ type: "named", id, address });
    const refusal = await verdict;
    handed.decide = undefined;
    if (refusal === undefined) {
      // The server may go on with another object for the same connection, and says itself when that is closed.
      socket.off("close", onClose);
      this.#serve(id, handed, socket, address);
    } else turnAway(socket, refusal);
  }

  #nameless(socket: Socket, balancer: string, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    // Not a client's offence: it is the balancer that does not do what the configuration says, or that only looked.
    const level = socket.destroyed ? "debug" : "warn";
    this.#log[level]({ remoteAddress: plainAddress(balancer), reason }, "load balancer's connection refused");
    socket.destroy();
  }

  #end(id: number, reason: string): void {
    const handed = this.#handed.get(id);
    if (handed?.session) handed.session.end(reason);
    else handed?.unwanted.abort(new Error(reason));
  }
}

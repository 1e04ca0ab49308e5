/**
 * A worker's channel to its supervisor. Knows neither end's business.
 */
import type { Socket } from "node:net";
import type { ToSupervisor, ToWorker } from "../supervisor/messages.ts";

/** Messages by type. */
export type Handlers = {
  readonly [Type in ToWorker["type"]]?: (message: Extract<ToWorker, { type: Type }>, socket: Socket | undefined) => void;
};

/** The part of a forked `process` that is used. */
export interface Channel {
  send?: ((message: ToSupervisor, handle: undefined, options: object, done: (error: Error | null) => void) => boolean) | undefined;
  on(event: "message", listener: (message: unknown, socket: unknown) => void): unknown;
}

/** See the head of this file. */
export class SupervisorLink {
  readonly #channel: Channel;
  #handlers: Handlers = {};

  constructor(channel: Channel) {
    this.#channel = channel;
    channel.on("message", (message, socket) => this.#receive(message as ToWorker, socket as Socket | undefined));
  }

  /** Adds to what is done with messages. */
  handle(handlers: Handlers): void {
    this.#handlers = { ...this.#handlers, ...handlers };
  }

  /** Sends; what cannot be sent is lost with the supervisor, whose end ends this process anyway. */
  send(message: ToSupervisor): void {
    this.#channel.send?.(message, undefined, {}, () => undefined);
  }

  #receive(message: ToWorker, socket: Socket | undefined): void {
    const handler = this.#handlers[message.type] as ((message: ToWorker, socket: Socket | undefined) => void) | undefined;
    if (handler) handler(message, socket);
    else socket?.destroy();
  }
}

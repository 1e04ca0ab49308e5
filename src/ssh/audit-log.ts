/**
 * The lines that name who misbehaved and how: one for each kind of behaviour and connection, so that a flood does not
 * fill the log. Knows no wire.
 */
import type { Logger } from "pino";

/** Lines of one connection; later ones go to the log that `use` gave. */
export class AuditLog {
  readonly #remoteAddress: string;
  readonly #said = new Set<string>();
  #log: Logger;

  constructor(log: Logger, remoteAddress: string) {
    this.#log = log;
    this.#remoteAddress = remoteAddress;
  }

  /** Writes to another log from now on, which knows more, such as the user. */
  use(log: Logger): void {
    this.#log = log;
  }

  /** A client broke the protocol. */
  violation(reason: string, message = "protocol violation"): void {
    this.#log.warn({ audit: true, reason, remoteAddress: this.#remoteAddress }, message);
  }

  /** A client went to a limit or asked for what is not served: said once for each reason. */
  limit(reason: string, details: Readonly<Record<string, unknown>> = {}): void {
    if (this.#said.has(reason)) return;
    this.#said.add(reason);
    this.#log.warn({ audit: true, reason, ...details, remoteAddress: this.#remoteAddress }, "client restrained");
  }
}

/**
 * The live logins of this process, for ending those whose user or key is gone, and for limits and status pages. Knows
 * no wire.
 */

import type { Credential } from "../auth/revocations.ts";

/** A login as protocols, the registry and the operator see it. */
export interface SessionInfo {
  /** Unique in the process, for the log. */
  readonly id: string;
  /** Login name. */
  readonly user: string;
  readonly remoteAddress: string;
  /** The client's identification line, e.g. `SSH-2.0-OpenSSH_9.2p1`. */
  readonly clientIdent: string;
  /** `SHA256:…` of the configured key that let the client in; for a certificate that of its authority. */
  readonly keyFingerprint: string;
  /** What it was made with, for revocations. */
  readonly credential: Credential;
  /** When the login happened, ms since the epoch. */
  readonly since: number;
  /** Aborted when the connection is gone. */
  readonly connectionSignal: AbortSignal;
  /** Disconnects; the client is told the reason. */
  end(reason: string): void;
}

/** All live logins of the process. */
export class SessionRegistry {
  readonly #sessions = new Map<string, SessionInfo>();

  /** The live logins in the order they came. */
  get sessions(): readonly SessionInfo[] {
    return [...this.#sessions.values()];
  }

  /** Adds a login; it leaves by itself when its connection is gone. */
  add(session: SessionInfo): void {
    this.#sessions.set(session.id, session);
    session.connectionSignal.addEventListener("abort", () => this.#sessions.delete(session.id), { once: true });
  }

  /** How many live logins `user` has. */
  count(user: string): number {
    let count = 0;
    for (const session of this.#sessions.values()) if (session.user === user) count++;
    return count;
  }

  /** Ends the logins whose credential `isRevoked`; returns how many. */
  endRevoked(isRevoked: (credential: Credential) => boolean, reason: string): number {
    const ended = this.sessions.filter((session) => isRevoked(session.credential));
    for (const session of ended) session.end(reason);
    return ended.length;
  }

  /** Ends the logins of `user` whose key fingerprint `matches`; returns how many. */
  endSessions(user: string, matches: (keyFingerprint: string) => boolean, reason: string): number {
    const ended = this.sessions.filter((session) => session.user === user && matches(session.keyFingerprint));
    for (const session of ended) session.end(reason);
    return ended.length;
  }
}

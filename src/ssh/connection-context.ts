/**
 * What one connection needs of the server that accepted it, and the numbers that bound it. Knows no connection.
 */
import type { Logger } from "pino";
import type { Authenticator, AuthUser } from "../auth/authenticator.ts";
import type { ByteBudget } from "../byte-budget.ts";
import type { OffenceKind } from "./admission.ts";
import type { HostKey } from "./host-keys.ts";
import type { SessionInfo } from "./session-registry.ts";
import type { SessionHandlers } from "./ssh-session.ts";

/** Numbers that bound one connection. */
export interface ConnectionLimits {
  /** Refused logins before the connection is closed. */
  readonly authTries: number;
  /** Session channels open at once. */
  readonly channels: number;
  /** Silence after which the client is asked for a sign of life. */
  readonly keepaliveMs: number;
  /** Unanswered ones before it is dropped. */
  readonly keepaliveCount: number;
  /** Time without any open channel after which a login is ended. */
  readonly idleMs: number;
  /** Time after which a login is ended whatever it does; absent: never. */
  readonly lifetimeMs?: number | undefined;
  /** Time a channel's output may wait for its client to read. */
  readonly stallMs: number;
}

/** What a connection needs of its server. */
export interface ConnectionContext {
  readonly id: string;
  readonly remoteAddress: string;
  readonly clientIdent: string;
  readonly authenticator: Authenticator;
  readonly handlers: SessionHandlers;
  readonly budget: ByteBudget;
  readonly limits: ConnectionLimits;
  readonly banner: string | undefined;
  readonly hostKeys: readonly HostKey[];
  readonly log: Logger;
  /** Refuses a login that is otherwise good; the text goes to the client. */
  readonly admitLogin: (user: AuthUser) => string | undefined;
  /** False while the server drains. */
  readonly admitsChannels: () => boolean;
  readonly onKeys: () => void;
  readonly onLogin: (session: SessionInfo) => void;
  readonly onOffence: (offence: OffenceKind) => void;
  readonly onClosed: () => void;
}

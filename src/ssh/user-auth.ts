/**
 * Login on one connection (RFC 4252): the service request, the banner, public-key probes and tries, and their limits.
 * Knows no channels; who may log in is the authenticator's business.
 */
import type { Logger } from "pino";
import type { AuthDecision, Authenticator } from "../auth/authenticator.ts";
import { WireReader, wireString } from "../auth/wire-reader.ts";
import { ProtocolError } from "../errors.ts";
import { DisconnectReason, encodeMessage, Message } from "./messages.ts";

const USERAUTH_SERVICE = "ssh-userauth";
const CONNECTION_SERVICE = "ssh-connection";
/** Probes and tries together, also those that would do. */
const MAX_REQUESTS = 64;
/** Longest client-supplied text in a log line. */
const MAX_LOGGED = 100;

/** A login that was accepted. */
export type AcceptedLogin = Extract<AuthDecision, { outcome: "accepted" }>;

/** What login needs of its connection. */
export interface UserAuthContext {
  readonly authenticator: Authenticator;
  readonly remoteAddress: string;
  readonly clientIdent: string;
  readonly banner: string | undefined;
  /** Refused tries before the connection is closed. */
  readonly tries: number;
  readonly log: Logger;
  readonly sessionId: () => Buffer;
  readonly send: (message: Uint8Array) => void;
  readonly disconnect: (code: number, reason: string) => void;
  /** Called instead of USERAUTH_SUCCESS, which the connection sends itself. */
  readonly accepted: (login: AcceptedLogin) => void;
  /** The connection is closed for too many refused tries. */
  readonly exhausted: () => void;
}

/** State of one login. */
export class UserAuth {
  readonly #context: UserAuthContext;
  #serviceAccepted = false;
  #requests = 0;
  #refused = 0;
  #exhausted = false;

  constructor(context: UserAuthContext) {
    this.#context = context;
  }

  /** True if tries were refused, but not so many that the connection was ended for it. */
  get failed(): boolean {
    return this.#refused > 0 && !this.#exhausted;
  }

  /** Handles a message that came before login. Throws `ProtocolError` for one that has no place there. */
  message(type: number, payload: Buffer): void {
    if (type === Message.SERVICE_REQUEST && !this.#serviceAccepted) this.#serviceRequest(new WireReader(payload, 1).text());
    else if (type === Message.USERAUTH_REQUEST && this.#serviceAccepted) this.#request(payload);
    else throw new ProtocolError(`unexpected message ${type} before login`);
  }

  #serviceRequest(service: string): void {
    if (service !== USERAUTH_SERVICE) {
      this.#context.disconnect(DisconnectReason.SERVICE_NOT_AVAILABLE, "log in first");
      return;
    }
    this.#serviceAccepted = true;
    this.#context.send(encodeMessage(Message.SERVICE_ACCEPT, service));
  }

  #request(payload: Buffer): void {
    const reader = new WireReader(payload, 1);
    const user = reader.text();
    const service = reader.text();
    const method = reader.text();
    this.#requests++;
    if (this.#requests === 1 && this.#context.banner !== undefined) this.#sendBanner(this.#context.banner);
    if (this.#requests > MAX_REQUESTS) this.#exhaust();
    else if (service !== CONNECTION_SERVICE) this.#context.disconnect(DisconnectReason.SERVICE_NOT_AVAILABLE, "no such service");
    else if (method === "publickey") this.#publicKey(user, reader, payload);
    else if (method === "none" && this.#requests === 1) this.#sendFailure();
    else this.#refuse({ user, method: method.slice(0, MAX_LOGGED), reason: "method not offered" });
  }

  /** RFC 4252 §7. */
  #publicKey(user: string, reader: WireReader, payload: Buffer): void {
    const signed = reader.boolean();
    const algorithm = reader.string().toString("latin1");
    const blob = reader.string();
    const end = reader.position;
    const signature = signed
      ? { bytes: reader.string(), data: Buffer.concat([wireString(this.#context.sessionId()), payload.subarray(0, end)]) }
      : undefined;
    const { authenticator, remoteAddress } = this.#context;
    const decision = authenticator.attempt({ user, algorithm, blob, signature, address: remoteAddress });
    if (decision.outcome === "accepted") this.#context.accepted(decision);
    else if (decision.outcome === "usable") this.#context.send(encodeMessage(Message.USERAUTH_PK_OK, algorithm, blob));
    else this.#refuse({ user, method: "publickey", reason: decision.reason, key: decision.fingerprint });
  }

  #refuse(failure: { user: string; method: string; reason: string; key?: string | undefined }): void {
    const { remoteAddress, clientIdent, log, tries } = this.#context;
    log.info({ ...failure, user: failure.user.slice(0, MAX_LOGGED), remoteAddress, clientIdent }, "login failed");
    if (++this.#refused >= tries) this.#exhaust();
    else this.#sendFailure();
  }

  #sendFailure(): void {
    this.#context.send(encodeMessage(Message.USERAUTH_FAILURE, "publickey", false));
  }

  #sendBanner(text: string): void {
    const lines = text.replace(/(\r?\n)+$/, "").replace(/\r?\n/g, "\r\n");
    this.#context.send(encodeMessage(Message.USERAUTH_BANNER, `${lines}\r\n`, ""));
  }

  #exhaust(): void {
    this.#exhausted = true;
    this.#context.exhausted();
    this.#context.disconnect(DisconnectReason.NO_MORE_AUTH_METHODS, "too many authentication failures");
  }
}

/**
 * Decides whether a name, a public key and a source address may log in (RFC 4252 §7). Answers for unknown users are
 * the same as for known ones with another key, after the same work. Knows nothing of connections; counts no tries.
 */
import type { AuthorizedKey } from "./authorized-keys.ts";
import { addressAllowed, plainAddress } from "./key-options.ts";
import { algorithmFitsType, fingerprint, parsePublicKey, type PublicKey, verifySignature } from "./public-key.ts";
import type { Credential, Revocations } from "./revocations.ts";
import { isCertificateAlgorithm, parseUserCertificate, type UserCertificate } from "./user-certificate.ts";

/** Somebody who may log in. */
export interface AuthUser {
  readonly name: string;
  readonly keys: readonly AuthorizedKey[];
  /** Accept RSA signatures with SHA-1, which libssh2 before 1.11 (Debian 12's curl) needs. */
  readonly allowSha1Signatures?: boolean;
}

/** Where users come from; asked at each attempt, so a change of configuration counts at once. */
export interface UserDirectory {
  find(name: string): AuthUser | undefined;
  /** What may no longer log in; absent: nothing is revoked. */
  revocations?(): Revocations | undefined;
}

/** One `publickey` request. */
export interface PublicKeyAttempt {
  readonly user: string;
  /** Signature algorithm as named in the request, e.g. `rsa-sha2-512`. */
  readonly algorithm: string;
  readonly blob: Uint8Array;
  /** Address of the client. */
  readonly address: string;
  /** Absent when the client only asks whether the key would do. */
  readonly signature: { readonly bytes: Uint8Array; readonly data: Uint8Array } | undefined;
}

/** What came out. `reason` is for the log, never for the client. */
export type AuthDecision =
  | {
      readonly outcome: "accepted";
      readonly user: AuthUser;
      readonly fingerprint: string;
      readonly keyName: string;
      /** What was logged in with, to be checked again when more is revoked. */
      readonly credential: Credential;
      readonly sha1: boolean;
    }
  | { readonly outcome: "usable" }
  | { readonly outcome: "refused"; readonly reason: string; readonly fingerprint: string | undefined };

/** A key that passed all checks but the signature. */
interface Candidate {
  readonly key: AuthorizedKey;
  readonly certificate: UserCertificate | undefined;
}

/** What a client offers. */
interface Offered {
  readonly signer: PublicKey;
  readonly certificate?: UserCertificate;
  /** The algorithm that the signature must name. */
  readonly algorithm: string;
}

const NOBODY: AuthUser = { name: "", keys: [] };

/** Stateless but for the directory and the clock it is given. */
export class Authenticator {
  readonly #users: UserDirectory;
  readonly #now: () => number;

  /** `now` in ms since the epoch. */
  constructor(users: UserDirectory, now: () => number = Date.now) {
    this.#users = users;
    this.#now = now;
  }

  /** Decides one attempt. Never throws. */
  attempt(attempt: PublicKeyAttempt): AuthDecision {
    const known = this.#users.find(attempt.user);
    const user = known ?? NOBODY;
    const offered = parseOffered(attempt);
    if (typeof offered === "string") return { outcome: "refused", reason: offered, fingerprint: undefined };
    const print = fingerprint(offered.signer.blob);
    const refused = (reason: string): AuthDecision => ({ outcome: "refused", reason, fingerprint: print });

    const found = offered.certificate
      ? this.#findAuthority(user, offered.certificate, attempt)
      : this.#findKey(user, attempt.blob, attempt.address);
    const credential = credentialOf(offered);
    const revoked = this.#users.revocations?.()?.check(credential);
    const sha1 = attempt.algorithm === "ssh-rsa" || attempt.algorithm === "ssh-rsa-cert-v01@openssh.com";
    const options = typeof found === "string" ? undefined : found.key.options;
    const signed =
      attempt.signature === undefined ||
      verifySignature(offered.signer, offered.algorithm, attempt.signature.bytes, attempt.signature.data, {
        allowSha1: user.allowSha1Signatures === true,
        requireTouch: !(options?.noTouchRequired ?? false),
        requireVerification: (options?.verifyRequired ?? false) || (offered.certificate?.verifyRequired ?? false),
      });

    if (!known) return refused("unknown user");
    if (typeof found === "string") return refused(found);
    if (revoked !== undefined) return refused(revoked);
    if (sha1 && !user.allowSha1Signatures) return refused("RSA signature with SHA-1, which is not allowed for this user");
    if (!signed) return refused("wrong signature");
    if (attempt.signature === undefined) return { outcome: "usable" };
    const keyName = found.certificate ? `certificate ${found.certificate.keyId}` : found.key.comment;
    return { outcome: "accepted", user: known, fingerprint: found.key.fingerprint, keyName, credential, sha1 };
  }

  #findKey(user: AuthUser, blob: Uint8Array, address: string): Candidate | string {
    let reason = "no such key";
    let candidate: Candidate | undefined;
    for (const key of user.keys) {
      if (!key.blob.equals(blob) || key.options.certAuthority) continue;
      if (!addressAllowed(key.options, address)) reason = `from= does not allow ${plainAddress(address)}`;
      else if (this.#expired(key)) reason = "the key has expired";
      else candidate ??= { key, certificate: undefined };
    }
    return candidate ?? reason;
  }

  #findAuthority(user: AuthUser, certificate: UserCertificate, attempt: PublicKeyAttempt): Candidate | string {
    const authority = user.keys.find((key) => key.options.certAuthority && key.blob.equals(certificate.authority));
    if (!authority) return "certificate of an unknown authority";
    if (this.#expired(authority)) return "the authority's key has expired";
    if (!addressAllowed(authority.options, attempt.address)) return `from= does not allow ${plainAddress(attempt.address)}`;
    const names = authority.options.principals ?? [attempt.user];
    const problem = certificate.check({ names, address: attempt.address, nowMs: this.#now(), authority: authority.publicKey });
    return problem ?? { key: authority, certificate };
  }

  #expired(key: AuthorizedKey): boolean {
    return key.options.expiresAt !== undefined && this.#now() > key.options.expiresAt;
  }
}

function credentialOf({ signer, certificate }: Offered): Credential {
  if (!certificate) return { keyBlob: signer.blob, certificate: undefined };
  const { keyBlob, authority, serial, keyId } = certificate;
  return { keyBlob, certificate: { authority, serial, keyId } };
}

/** The key that signs, from a plain key or a certificate; a text says why there is none. */
function parseOffered(attempt: PublicKeyAttempt): Offered | string {
  try {
    if (isCertificateAlgorithm(attempt.algorithm)) {
      const certificate = parseUserCertificate(attempt.blob, attempt.algorithm);
      return { signer: certificate.subject, certificate, algorithm: certificate.signatureAlgorithm };
    }
    const signer = parsePublicKey(attempt.blob);
    if (!algorithmFitsType(attempt.algorithm, signer.type)) return "the algorithm does not fit the key";
    return { signer, algorithm: attempt.algorithm };
  } catch (error) {
    return error instanceof Error ? error.message : "unreadable key";
  }
}

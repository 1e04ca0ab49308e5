/**
 * OpenSSH user certificates (OpenSSH PROTOCOL.certkeys): parsing, and the checks of authority, names, time, address
 * and options. Knows no users.
 */
import { ProtocolError } from "../errors.ts";
import { addressAllowed, parseSourcePatterns } from "./key-options.ts";
import { algorithmFitsType, KeyFormatError, type PublicKey, readKeyFields, verifySignature } from "./public-key.ts";
import { WireReader, wireString } from "./wire-reader.ts";

const SUFFIX = "-cert-v01@openssh.com";
const USER_CERTIFICATE = 1;
const MAX_PRINCIPALS = 256;

/** What a certificate is checked against. */
export interface CertificateContext {
  /** Names of which the certificate must carry one. */
  readonly names: readonly string[];
  readonly address: string;
  readonly nowMs: number;
  readonly authority: PublicKey;
}

/** A user certificate whose signature is not checked yet: see `check`. */
export interface UserCertificate {
  /** The certified key; it makes the login's signature. */
  readonly subject: PublicKey;
  /** The certified key as a plain public key. */
  readonly keyBlob: Buffer;
  /** The algorithm the login's signature must name. */
  readonly signatureAlgorithm: string;
  /** Blob of the authority's key. */
  readonly authority: Buffer;
  readonly keyId: string;
  readonly serial: bigint;
  /** The critical option `verify-required`. */
  readonly verifyRequired: boolean;
  /** Why the certificate cannot be used, or undefined if it can. */
  check(context: CertificateContext): string | undefined;
}

/** True for names like `ssh-ed25519-cert-v01@openssh.com`. */
export function isCertificateAlgorithm(algorithm: string): boolean {
  return algorithm.endsWith(SUFFIX);
}

/** Parses a certificate blob offered with `algorithm`. Throws `KeyFormatError` or `ProtocolError`. */
export function parseUserCertificate(blob: Uint8Array, algorithm: string): UserCertificate {
  const reader = new WireReader(blob);
  const certificateType = reader.string().toString("latin1");
  if (!isCertificateAlgorithm(certificateType)) throw new KeyFormatError("not a certificate");
  const type = plainType(certificateType);
  const signatureAlgorithm = plainType(algorithm);
  if (!algorithmFitsType(signatureAlgorithm, type)) throw new KeyFormatError("the algorithm does not fit the certificate");
  reader.string(); // nonce
  const keyStart = reader.position;
  const fields = readKeyFields(type, reader);
  const keyBlob = Buffer.concat([wireString(type), blob.subarray(keyStart, reader.position)]);
  const serial = reader.uint64();
  const kind = reader.uint32();
  const keyId = reader.text();
  const principals = readNames(reader.string());
  const validAfter = reader.uint64();
  const validBefore = reader.uint64();
  const critical = readOptions(reader.string());
  readOptions(reader.string()); // extensions permit what is not offered here
  reader.string(); // reserved
  const authority = Buffer.from(reader.string());
  const signed = Buffer.from(blob.subarray(0, reader.position));
  const signature = Buffer.from(reader.string());
  const authorityAlgorithm = new WireReader(signature).string().toString("latin1");
  if (reader.remaining > 0) throw new ProtocolError("bytes after the certificate");

  const check = (context: CertificateContext): string | undefined => {
    if (kind !== USER_CERTIFICATE) return "a host certificate";
    const nowSeconds = BigInt(Math.floor(context.nowMs / 1000));
    if (nowSeconds < validAfter || nowSeconds >= validBefore) return "the certificate is not valid now";
    if (!principals.some((principal) => context.names.includes(principal))) return "the certificate is for other users";
    const problem = checkCritical(critical, context.address);
    if (problem) return problem;
    return authoritySigned(context.authority, authorityAlgorithm, signature, signed)
      ? undefined
      : "the authority did not sign the certificate";
  };
  const subject: PublicKey = { type, blob: Buffer.from(blob), ...fields };
  return { subject, keyBlob, signatureAlgorithm, authority, keyId, serial, verifyRequired: critical.has("verify-required"), check };
}

function authoritySigned(authority: PublicKey, algorithm: string, signature: Buffer, signed: Buffer): boolean {
  const policy = { allowSha1: false, requireTouch: false, requireVerification: false };
  return algorithmFitsType(algorithm, authority.type) && verifySignature(authority, algorithm, signature, signed, policy);
}

/** Unknown critical options make a certificate unusable (PROTOCOL.certkeys, critical options). */
function checkCritical(critical: ReadonlyMap<string, string>, address: string): string | undefined {
  for (const [name, value] of critical) {
    if (name === "verify-required") continue;
    if (name === "source-address") {
      try {
        if (addressAllowed({ from: parseSourcePatterns(value) }, address)) continue;
      } catch (error) {
        return `the certificate's source-address cannot be read: ${error instanceof Error ? error.message : String(error)}`;
      }
      return "the certificate does not allow this address";
    }
    if (name === "force-command" && value === "internal-sftp") continue;
    return `the certificate has the critical option ${name.slice(0, 60)}, which is not supported`;
  }
  return undefined;
}

function plainType(algorithm: string): string {
  const base = algorithm.slice(0, -SUFFIX.length);
  return base.startsWith("sk-") ? `${base}@openssh.com` : base;
}

function readNames(bytes: Buffer): string[] {
  const reader = new WireReader(bytes);
  const names: string[] = [];
  while (reader.remaining > 0) {
    if (names.length === MAX_PRINCIPALS) throw new ProtocolError("a certificate with too many names");
    names.push(reader.text());
  }
  return names;
}

/** Name and value pairs; a value is itself a string inside a string, or empty. */
function readOptions(bytes: Buffer): Map<string, string> {
  const reader = new WireReader(bytes);
  const options = new Map<string, string>();
  while (reader.remaining > 0) {
    const name = reader.text();
    const value = reader.string();
    options.set(name, value.length === 0 ? "" : new WireReader(value).text());
  }
  return options;
}

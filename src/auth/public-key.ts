/**
 * Public keys in SSH's own encoding: what they are, whether they are strong enough, and whether they made a signature.
 * Knows no users and no files.
 */
import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import { ProtocolError } from "../errors.ts";
import { WireReader } from "./wire-reader.ts";

/** Smallest RSA modulus accepted, in bits. */
export const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 16384;

const ED25519 = "ssh-ed25519";
const RSA = "ssh-rsa";
const SK_ED25519 = "sk-ssh-ed25519@openssh.com";
const SK_ECDSA = "sk-ecdsa-sha2-nistp256@openssh.com";

const CURVES: Readonly<Record<string, { readonly name: string; readonly jwk: string; readonly hash: string; readonly size: number }>> = {
  "ecdsa-sha2-nistp256": { name: "nistp256", jwk: "P-256", hash: "sha256", size: 32 },
  "ecdsa-sha2-nistp384": { name: "nistp384", jwk: "P-384", hash: "sha384", size: 48 },
  "ecdsa-sha2-nistp521": { name: "nistp521", jwk: "P-521", hash: "sha512", size: 66 },
  [SK_ECDSA]: { name: "nistp256", jwk: "P-256", hash: "sha256", size: 32 },
};

const RSA_HASHES: Readonly<Record<string, string>> = { "rsa-sha2-256": "sha256", "rsa-sha2-512": "sha512", [RSA]: "sha1" };

/** Key types a user may have. */
export const KEY_TYPES: readonly string[] = [
  ED25519,
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  RSA,
  SK_ED25519,
  SK_ECDSA,
];

/** Signature algorithms accepted from clients, for server-sig-algs (RFC 8308 §3.1); SHA-1 is never announced. */
export const SIGNATURE_ALGORITHMS: readonly string[] = [
  ED25519,
  SK_ED25519,
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  SK_ECDSA,
  "rsa-sha2-512",
  "rsa-sha2-256",
];

/** The text or the bytes are not a key we can take; `message` says what to do about it. */
export class KeyFormatError extends Error {
  override readonly name = "KeyFormatError";
}

/** What a key's owner or the operator allows beyond the default. */
export interface SignaturePolicy {
  /** Accept `ssh-rsa` signatures, which use SHA-1. */
  readonly allowSha1: boolean;
  /** Refuse FIDO signatures made without touching the token. */
  readonly requireTouch: boolean;
  /** Refuse FIDO signatures made without PIN or fingerprint. */
  readonly requireVerification: boolean;
}

/** A parsed public key. */
export interface PublicKey {
  /** Type as in the blob, e.g. `ssh-ed25519`. */
  readonly type: string;
  /** The key in RFC 4253 §6.6 encoding. */
  readonly blob: Buffer;
  readonly key: KeyObject;
  /** FIDO application, for `sk-` types. */
  readonly application: Buffer | undefined;
}

/** `SHA256:…` as `ssh-keygen -l` prints it. */
export function fingerprint(blob: Uint8Array): string {
  return `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
}

/** Parses one public key blob; throws `KeyFormatError` for a broken, weak or unknown key. */
export function parsePublicKey(blob: Uint8Array): PublicKey {
  try {
    const reader = new WireReader(blob);
    const type = reader.string().toString("latin1");
    const fields = readKeyFields(type, reader);
    if (reader.remaining > 0) throw new KeyFormatError(`the ${type} key has bytes after its end; copy it again`);
    return { type, blob: Buffer.from(blob), ...fields };
  } catch (error) {
    if (error instanceof KeyFormatError) throw error;
    const cause = { cause: error };
    if (error instanceof ProtocolError)
      throw new KeyFormatError("the key is cut off or wrapped; copy the whole line of the .pub file again", cause);
    throw new KeyFormatError("the numbers in the key are not a valid key; copy it again", cause);
  }
}

/** Reads the fields after the type; shared with certificates, which carry the same ones. May throw any error. */
export function readKeyFields(type: string, reader: WireReader): { key: KeyObject; application: Buffer | undefined } {
  if (type === ED25519) return { key: ed25519Key(reader.string()), application: undefined };
  if (type === SK_ED25519) return { key: ed25519Key(reader.string()), application: Buffer.from(reader.string()) };
  if (type === RSA) return { key: rsaKey(reader.mpint(), reader.mpint()), application: undefined };
  const curve = CURVES[type];
  if (curve) {
    const key = ecdsaKey(type, reader.string().toString("latin1"), reader.string());
    return { key, application: type === SK_ECDSA ? Buffer.from(reader.string()) : undefined };
  }
  if (type === "ssh-dss") throw new KeyFormatError("DSA keys are too weak; make a new key with: ssh-keygen -t ed25519");
  throw new KeyFormatError(`keys of type ${JSON.stringify(type.slice(0, 60))} are not supported; make one with: ssh-keygen -t ed25519`);
}

/**
 * True if `signature` (RFC 4253 §6.6 blob: algorithm name, bytes) was made by `key` over `data` with `algorithm`.
 * Never throws: what cannot be parsed is no signature.
 */
export function verifySignature(
  key: PublicKey,
  algorithm: string,
  signature: Uint8Array,
  data: Uint8Array,
  policy: SignaturePolicy,
): boolean {
  try {
    const reader = new WireReader(signature);
    if (reader.string().toString("latin1") !== algorithm) return false;
    const bytes = reader.string();
    if (key.application) return verifyToken(key, key.application, reader, bytes, data, policy) && algorithm === key.type;
    if (reader.remaining > 0) return false;
    return verifyPlain(key, algorithm, bytes, data, policy);
  } catch {
    return false; // a malformed signature; the caller reports a refused login, whatever the reason
  }
}

/** The signature algorithms a key of this type can be used with. */
export function algorithmFitsType(algorithm: string, type: string): boolean {
  return type === RSA ? RSA_HASHES[algorithm] !== undefined : algorithm === type;
}

function verifyPlain(key: PublicKey, algorithm: string, bytes: Buffer, data: Uint8Array, policy: SignaturePolicy): boolean {
  if (key.type === RSA) {
    const hash = RSA_HASHES[algorithm];
    if (hash === undefined || (hash === "sha1" && !policy.allowSha1)) return false;
    return verify(hash, data, key.key, padRsaSignature(bytes, key.key));
  }
  if (algorithm !== key.type) return false;
  if (key.type === ED25519) return verify(null, data, key.key, bytes);
  const curve = CURVES[key.type];
  return (
    curve !== undefined &&
    verify(curve.hash, data, { key: key.key, dsaEncoding: "ieee-p1363" }, ecdsaSignature(new WireReader(bytes), curve.size))
  );
}

/** OpenSSH PROTOCOL.u2f: the token signs H(application), flags, counter, H(data). */
function verifyToken(
  key: PublicKey,
  application: Buffer,
  reader: WireReader,
  bytes: Buffer,
  data: Uint8Array,
  policy: SignaturePolicy,
): boolean {
  const flags = reader.uint8();
  const counter = reader.uint32();
  if (reader.remaining > 0) return false;
  if (policy.requireTouch && (flags & 1) === 0) return false;
  if (policy.requireVerification && (flags & 4) === 0) return false;
  const message = Buffer.alloc(32 + 5 + 32);
  createHash("sha256").update(application).digest().copy(message);
  message[32] = flags;
  message.writeUInt32BE(counter, 33);
  createHash("sha256").update(data).digest().copy(message, 37);
  if (key.type === SK_ED25519) return verify(null, message, key.key, bytes);
  return verify("sha256", message, { key: key.key, dsaEncoding: "ieee-p1363" }, ecdsaSignature(new WireReader(bytes), 32));
}

/** r and s as mpints (RFC 5656 §3.1.2) to two numbers of `size` bytes. */
function ecdsaSignature(reader: WireReader, size: number): Buffer {
  const r = reader.mpint();
  const s = reader.mpint();
  if (r.length > size || s.length > size || reader.remaining > 0) throw new ProtocolError("malformed ECDSA signature");
  const out = Buffer.alloc(2 * size);
  r.copy(out, size - r.length);
  s.copy(out, 2 * size - s.length);
  return out;
}

/** Some clients strip leading zeros; OpenSSL wants the full length. */
function padRsaSignature(bytes: Buffer, key: KeyObject): Buffer {
  const size = Math.ceil((key.asymmetricKeyDetails?.modulusLength ?? 0) / 8);
  if (bytes.length >= size) return bytes;
  return Buffer.concat([Buffer.alloc(size - bytes.length), bytes]);
}

function ed25519Key(bytes: Buffer): KeyObject {
  if (bytes.length !== 32) throw new KeyFormatError("the ssh-ed25519 key does not have 32 bytes; copy it again");
  return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: bytes.toString("base64url") }, format: "jwk" });
}

function ecdsaKey(type: string, curveName: string, point: Buffer): KeyObject {
  const curve = CURVES[type];
  if (!curve || curveName !== curve.name || point.length !== 1 + 2 * curve.size || point[0] !== 4) {
    throw new KeyFormatError(`the ${type} key is not a point of its curve; copy it again`);
  }
  const x = point.subarray(1, 1 + curve.size).toString("base64url");
  const y = point.subarray(1 + curve.size).toString("base64url");
  return createPublicKey({ key: { kty: "EC", crv: curve.jwk, x, y }, format: "jwk" });
}

function rsaKey(exponent: Buffer, modulus: Buffer): KeyObject {
  const first = modulus[0];
  const bits = first === undefined ? 0 : modulus.length * 8 - Math.clz32(first) + 24;
  if (bits < MIN_RSA_BITS) {
    throw new KeyFormatError(
      `RSA keys of ${bits} bits are too weak (${MIN_RSA_BITS} at least); make a new key with: ssh-keygen -t ed25519`,
    );
  }
  if (bits > MAX_RSA_BITS) throw new KeyFormatError(`RSA keys of more than ${MAX_RSA_BITS} bits are not accepted`);
  if (exponent.length === 0 || exponent.length > 8 || ((exponent.at(-1) ?? 0) & 1) === 0) {
    throw new KeyFormatError("the RSA key has an impossible exponent; copy it again");
  }
  const jwk = { kty: "RSA", e: exponent.toString("base64url"), n: modulus.toString("base64url") };
  return createPublicKey({ key: jwk, format: "jwk" });
}

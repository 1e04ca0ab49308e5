/**
 * Announcing all host keys to clients that are logged in, and proving that we have them (OpenSSH PROTOCOL §2.5), so
 * that clients learn a coming key before it is used. Knows no connection.
 */
import { sign } from "node:crypto";
import { type WireReader, wireString } from "../auth/wire-reader.ts";
import type { HostKey } from "./host-keys.ts";
import { encodeMessage, Message } from "./messages.ts";

const ANNOUNCEMENT = "hostkeys-00@openssh.com";
/** The request a client answers an announcement with. */
export const PROOF_REQUEST = "hostkeys-prove-00@openssh.com";
/** Clients that understand the announcement; some others stumble over it. */
const UNDERSTANDS = /OpenSSH|AsyncSSH/i;

/** The announcement, or undefined if this client has no use for it. */
export function announceHostKeys(keys: readonly HostKey[], clientIdent: string): Buffer | undefined {
  if (!UNDERSTANDS.test(clientIdent)) return undefined;
  return encodeMessage(Message.GLOBAL_REQUEST, ANNOUNCEMENT, false, ...keys.map((key) => key.blob));
}

/**
 * The answer to a proof request whose list of keys `reader` is at: one signature for each, or undefined if a key is
 * not ours. `negotiated` is the host key algorithm of the last key exchange. Throws `ProtocolError` for a broken list.
 */
export function proveHostKeys(keys: readonly HostKey[], reader: WireReader, sessionId: Buffer, negotiated: string): Buffer | undefined {
  const signatures: Buffer[] = [];
  while (reader.remaining > 0) {
    const blob = reader.string();
    const key = keys.find((candidate) => candidate.blob.equals(blob));
    if (!key || signatures.length >= keys.length) return undefined;
    const data = Buffer.concat([wireString(PROOF_REQUEST), wireString(sessionId), wireString(blob)]);
    signatures.push(signWithHostKey(key, negotiated === "rsa-sha2-256" ? "rsa-sha2-256" : "rsa-sha2-512", data));
  }
  return encodeMessage(Message.REQUEST_SUCCESS, ...signatures);
}

/** An RFC 4253 §6.6 signature; `rsaAlgorithm` counts for RSA keys only. */
function signWithHostKey(key: HostKey, rsaAlgorithm: "rsa-sha2-256" | "rsa-sha2-512", data: Buffer): Buffer {
  if (key.type === "ssh-rsa") {
    const signature = sign(rsaAlgorithm === "rsa-sha2-256" ? "sha256" : "sha512", data, key.privateKey);
    return Buffer.concat([wireString(rsaAlgorithm), wireString(signature)]);
  }
  if (key.type === "ssh-ed25519") return Buffer.concat([wireString(key.type), wireString(sign(null, data, key.privateKey))]);
  const hash = key.type.endsWith("256") ? "sha256" : key.type.endsWith("384") ? "sha384" : "sha512";
  const both = sign(hash, data, { key: key.privateKey, dsaEncoding: "ieee-p1363" });
  const numbers = [both.subarray(0, both.length / 2), both.subarray(both.length / 2)].map(mpint);
  return Buffer.concat([wireString(key.type), wireString(Buffer.concat(numbers))]);
}

function mpint(bytes: Buffer): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const rest = bytes.subarray(start);
  return wireString(((rest[0] ?? 0) & 0x80) !== 0 ? Buffer.concat([Buffer.alloc(1), rest]) : rest);
}

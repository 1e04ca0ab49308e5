/**
 * The key exchange mlkem768x25519-sha256 (draft-ietf-sshm-mlkem-hybrid-kex), which ssh2 1.17.0 does not know: ssh2 is
 * shown a KEXINIT that asks for curve25519-sha256, and the exchange it prepares is given other arithmetic. Uses Node's
 * own ML-KEM where there is one (24.7 and later), else @noble/post-quantum.
 */
import nodeCrypto, { createHash, createPublicKey, diffieHellman, generateKeyPairSync, type KeyObject } from "node:crypto";
import { ml_kem768 } from "@noble/post-quantum/ml-kem.js";
import { wireString } from "../auth/wire-reader.ts";
import { ProtocolError } from "../errors.ts";
import type { PayloadResult } from "./packet-cipher.ts";
import type { Ssh2Protocol } from "./ssh2-adapter.ts";

/** Name of the exchange. Who offers it must offer curve25519-sha256 too, for ssh2 to find. */
export const MLKEM768_X25519 = "mlkem768x25519-sha256";

const STAND_IN = "curve25519-sha256";
const MLKEM_PUBLIC_BYTES = 1184;
const X25519_BYTES = 32;
const MLKEM_SPKI = Buffer.from("308204b2300b0609608648016503040402038204a100", "hex");
const X25519_SPKI = Buffer.from("302a300506032b656e032100", "hex");
/** Offset of the first name list of a KEXINIT, after number and cookie. */
const LISTS_START = 17;

/** What the server sends and what both share. */
interface Encapsulated {
  readonly ciphertext: Uint8Array;
  readonly shared: Uint8Array;
}

type NativeEncapsulate = (key: KeyObject) => { ciphertext: Buffer; sharedKey: Buffer };

/**
 * Handles a client's KEXINIT: by `handle` as it is unless the hybrid exchange is what both sides agree on. `theirs`
 * is the client's list of key exchanges.
 */
export function handleWithHybrid(
  protocol: Ssh2Protocol,
  payload: Buffer,
  theirs: readonly string[],
  handle: (payload: Buffer) => PayloadResult,
): PayloadResult {
  const ours = protocol._offer.lists.kex.array;
  if (theirs.find((name) => ours.includes(name)) !== MLKEM768_X25519) return handle(payload);
  const shown = withKexList(payload, [STAND_IN, ...theirs.filter((name) => name === "ext-info-c" || name.startsWith("kex-strict-"))]);
  const result = handle(shown);
  const exchange = protocol._kex;
  // ssh2 refused the rest of the KEXINIT: nothing is under way
  if (!exchange || exchange._remoteKexinit !== shown) return result;
  exchange._remoteKexinit = payload; // what is hashed is what was sent
  exchange.negotiated.kex = MLKEM768_X25519;
  exchange.hashName = "sha256";
  exchange.type = "mlkem";
  let reply: Buffer | undefined;
  exchange.generateKeys = () => undefined;
  exchange.convertPublicKey = (key) => key;
  exchange.getPublicKey = () => reply;
  exchange.computeSecret = (init) => {
    try {
      const exchanged = respond(init);
      reply = exchanged.reply;
      return exchanged.secret;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  };
  return result;
}

/** C_INIT to S_REPLY and K; K is hashed as a string, not as an mpint. Throws for malformed keys. */
function respond(init: Buffer): { reply: Buffer; secret: Buffer } {
  if (init.length !== MLKEM_PUBLIC_BYTES + X25519_BYTES) throw new ProtocolError("hybrid key exchange of wrong length");
  const { ciphertext, shared } = encapsulate(init.subarray(0, MLKEM_PUBLIC_BYTES));
  const { publicKey, privateKey } = generateKeyPairSync("x25519");
  const theirs = createPublicKey({ key: Buffer.concat([X25519_SPKI, init.subarray(MLKEM_PUBLIC_BYTES)]), type: "spki", format: "der" });
  const classical = diffieHellman({ privateKey, publicKey: theirs });
  const ours = publicKey.export({ type: "spki", format: "der" }).subarray(-X25519_BYTES);
  return { reply: Buffer.concat([ciphertext, ours]), secret: createHash("sha256").update(shared).update(classical).digest() };
}

/** Throws for a key that is not canonical (FIPS 203 §7.2). */
function encapsulate(publicKey: Buffer): Encapsulated {
  const native = (nodeCrypto as { encapsulate?: NativeEncapsulate }).encapsulate;
  if (native) {
    const key = createPublicKey({ key: Buffer.concat([MLKEM_SPKI, publicKey]), type: "spki", format: "der" });
    const { ciphertext, sharedKey } = native(key);
    return { ciphertext, shared: sharedKey };
  }
  const { cipherText, sharedSecret } = ml_kem768.encapsulate(Uint8Array.from(publicKey));
  return { ciphertext: cipherText, shared: sharedSecret };
}

/** `payload` with another first name list. */
function withKexList(payload: Buffer, names: readonly string[]): Buffer {
  const oldLength = payload.readUInt32BE(LISTS_START);
  return Buffer.concat([payload.subarray(0, LISTS_START), wireString(names.join(",")), payload.subarray(LISTS_START + 4 + oldLength)]);
}

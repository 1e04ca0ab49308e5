/**
 * Which algorithms are offered to whom. Knows no connection.
 */
import { ProtocolError } from "../errors.ts";
import { WireReader } from "../auth/wire-reader.ts";
import { MLKEM768_X25519 } from "./hybrid-kex.ts";
import type { AlgorithmLists } from "./ssh2-adapter.ts";

/** `modern` is what ssh-audit has nothing to say about; `compatible` adds what clients of the last ten years need. */
export type AlgorithmPreset = "modern" | "compatible";

const CURVE25519 = ["curve25519-sha256", "curve25519-sha256@libssh.org"];
const CHACHA = "chacha20-poly1305@openssh.com";
const GCM = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"];
const CTR = ["aes256-ctr", "aes192-ctr", "aes128-ctr"];
const ETM = ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"];
const PLAIN_SHA2 = ["hmac-sha2-256", "hmac-sha2-512"];
const NIST = ["ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"];

const MODERN: AlgorithmLists = {
  kex: [MLKEM768_X25519, ...CURVE25519, "diffie-hellman-group16-sha512"],
  serverHostKey: ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512", "rsa-sha2-256"],
  cipher: [...GCM, CHACHA, ...CTR],
  mac: ETM,
};

const COMPATIBLE: AlgorithmLists = {
  kex: [...MODERN.kex, ...NIST, "diffie-hellman-group14-sha256"],
  serverHostKey: [...MODERN.serverHostKey, "ssh-rsa"],
  cipher: MODERN.cipher,
  mac: [...ETM, ...PLAIN_SHA2, "hmac-sha1"],
};

/** Clients that cannot speak to the modern preset, and the least that must be added for each. */
const ACCOMMODATIONS: readonly { readonly ident: RegExp; readonly kex?: readonly string[]; readonly mac?: readonly string[] }[] = [
  { ident: /^libssh2_/i, mac: PLAIN_SHA2 },
  { ident: /^dropbear/i, mac: PLAIN_SHA2 },
  { ident: /^JSCH/i, kex: NIST, mac: PLAIN_SHA2 },
  { ident: /SSH\.?NET|SSHD-|APACHE-SSHD/i, kex: NIST, mac: PLAIN_SHA2 },
];

/** Clients that send their KEXINIT at once and prefer ChaCha20 or CTR by habit although both sides have AES in hardware. */
const SENDS_AT_ONCE = /^(OpenSSH|Go$|rclone)/;

/** Weak by today's measure: named in the log when a client uses one. */
const WEAK = new Set([...NIST, "diffie-hellman-group14-sha256", "ssh-rsa", "hmac-sha1", ...PLAIN_SHA2]);

/** Lists for a client with this software version (the part after `SSH-2.0-`), limited to the host keys there are. */
export function algorithmsFor(preset: AlgorithmPreset, software: string, hostKeyAlgorithms: ReadonlySet<string>): AlgorithmLists {
  const base = preset === "modern" ? MODERN : COMPATIBLE;
  const extra = ACCOMMODATIONS.find((entry) => entry.ident.test(software));
  return {
    kex: unique([...base.kex, ...(extra?.kex ?? [])]),
    serverHostKey: base.serverHostKey.filter((algorithm) => hostKeyAlgorithms.has(algorithm)),
    cipher: base.cipher,
    mac: unique([...base.mac, ...(extra?.mac ?? [])]),
  };
}

/** True if it pays to look at the client's KEXINIT before sending ours. */
export function worthPeeking(software: string): boolean {
  return SENDS_AT_ONCE.test(software);
}

/** AES-GCM alone where the client has it too: it costs two thirds of ChaCha20's CPU and half of CTR's with a MAC. */
export function preferGcm(lists: AlgorithmLists, clientKexInit: Uint8Array): AlgorithmLists {
  const theirs = readKexInit(clientKexInit);
  const both = [theirs.cipherToServer, theirs.cipherToClient].every((ciphers) => ciphers.some((cipher) => GCM.includes(cipher)));
  return both ? { ...lists, cipher: GCM } : lists;
}

/** The names among `used` that are weak by today's measure. */
export function weakAlgorithms(used: readonly string[]): string[] {
  return unique(used.filter((name) => WEAK.has(name)));
}

/** What is needed of a client's KEXINIT (RFC 4253 §7.1). */
export interface ClientKexInit {
  readonly kex: readonly string[];
  readonly serverHostKey: readonly string[];
  readonly cipherToServer: readonly string[];
  readonly cipherToClient: readonly string[];
  readonly firstKexPacketFollows: boolean;
}

/** Reads a KEXINIT payload. Throws `ProtocolError`. */
export function readKexInit(payload: Uint8Array): ClientKexInit {
  const reader = new WireReader(payload, Math.min(17, payload.length));
  const lists = Array.from({ length: 10 }, () => reader.nameList());
  const [kex, serverHostKey, cipherToServer, cipherToClient] = lists;
  if (!kex || !serverHostKey || !cipherToServer || !cipherToClient) throw new ProtocolError("malformed KEXINIT");
  return { kex, serverHostKey, cipherToServer, cipherToClient, firstKexPacketFollows: reader.boolean() };
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}

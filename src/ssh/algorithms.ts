/**
 * Which algorithms are offered to whom. Knows no connection.
 */
import { ProtocolError } from "../errors.ts";
import { WireReader } from "../auth/wire-reader.ts";
import { MLKEM768_X25519 } from "./hybrid-kex.ts";
import type { AlgorithmLists } from "./ssh2-adapter.ts";

/** `modern` is what ssh-audit finds no weakness in; `compatible` adds what clients of the last ten years need. */
export type AlgorithmPreset = "modern" | "compatible";

/** Lists of one's own, in order of preference; what is absent is as in `modern`. */
export interface OwnAlgorithms {
  readonly kex?: readonly string[] | undefined;
  readonly hostKeys?: readonly string[] | undefined;
  readonly ciphers?: readonly string[] | undefined;
  readonly macs?: readonly string[] | undefined;
}

const CURVE25519 = ["curve25519-sha256", "curve25519-sha256@libssh.org"];
const CHACHA = "chacha20-poly1305@openssh.com";
const GCM = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"];
const AEAD = [...GCM, CHACHA];
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

/** Not broken, but second choice: offered to a client that has nothing better. */
const SECOND_CHOICE_KEX = [...NIST, "diffie-hellman-group14-sha256"];

/** Clients that send their KEXINIT as soon as they have our identification line. */
const SENDS_AT_ONCE = /^(OpenSSH|Go$|rclone|PuTTY|WinSCP|FileZilla|paramiko|libssh|AsyncSSH|dropbear)/i;
/** Clients that wait for our KEXINIT, and so cannot be offered what fits theirs. */
const WAITS = /^JSCH/i;

/** Weak by today's measure: named in the log when a client uses one. */
const WEAK = new Set([...NIST, "diffie-hellman-group14-sha256", "ssh-rsa", "hmac-sha1", ...PLAIN_SHA2]);

/** Everything that can be chosen. */
export const KNOWN_ALGORITHMS: AlgorithmLists = COMPATIBLE;

/** Lists of a preset or of one's own, limited to the host keys there are. */
export function presetLists(preset: AlgorithmPreset | OwnAlgorithms, hostKeyAlgorithms: ReadonlySet<string>): AlgorithmLists {
  const base = preset === "modern" ? MODERN : preset === "compatible" ? COMPATIBLE : ownLists(preset);
  return { ...base, serverHostKey: base.serverHostKey.filter((algorithm) => hostKeyAlgorithms.has(algorithm)) };
}

function ownLists({ kex, hostKeys, ciphers, macs }: OwnAlgorithms): AlgorithmLists {
  return {
    kex: kex ?? MODERN.kex,
    serverHostKey: hostKeys ?? MODERN.serverHostKey,
    cipher: ciphers ?? MODERN.cipher,
    mac: macs ?? MODERN.mac,
  };
}

/** How long to wait for the KEXINIT of a client with this software version before sending ours, in ms. */
export function kexInitPatienceMs(software: string): number {
  if (WAITS.test(software)) return 0;
  return SENDS_AT_ONCE.test(software) ? 1_500 : 300;
}

/**
 * `lists` for one client. AES-GCM alone where it has it too, which costs two thirds of ChaCha20's CPU and half of
 * CTR's with a MAC; second-choice key exchanges and MACs if there is nothing better in common. Without `clientKexInit`
 * both are offered to clients that wait for ours. An ECDSA host key, whose curves some distrust, is for those who put it
 * first, as clients do that know this key, or have nothing else.
 */
export function fitLists(lists: AlgorithmLists, software: string, clientKexInit: Uint8Array | undefined): AlgorithmLists {
  if (!clientKexInit) return WAITS.test(software) ? { ...lists, ...withSecondChoice(lists) } : lists;
  const theirs = readKexInit(clientKexInit);
  const fits = (ours: readonly string[], wanted: readonly string[]): boolean => wanted.some((name) => ours.includes(name));
  const second = withSecondChoice(lists);
  const cipher = fits(GCM, theirs.cipherToServer) && fits(GCM, theirs.cipherToClient) ? GCM : lists.cipher;
  const lacksMac = (ciphers: readonly string[], macs: readonly string[]): boolean =>
    !AEAD.includes(ciphers.find((name) => cipher.includes(name)) ?? "") && !fits(lists.mac, macs);
  const needsMac = lacksMac(theirs.cipherToServer, theirs.macToServer) || lacksMac(theirs.cipherToClient, theirs.macToClient);
  const better = lists.serverHostKey.filter((name) => !name.startsWith("ecdsa-"));
  const wantsEcdsa = theirs.serverHostKey[0]?.startsWith("ecdsa-") === true || !fits(better, theirs.serverHostKey);
  return {
    serverHostKey: wantsEcdsa ? lists.serverHostKey : better,
    cipher,
    kex: fits(lists.kex, theirs.kex) ? lists.kex : second.kex,
    mac: needsMac ? second.mac : lists.mac,
  };
}

function withSecondChoice(lists: AlgorithmLists): { kex: readonly string[]; mac: readonly string[] } {
  return { kex: unique([...lists.kex, ...SECOND_CHOICE_KEX]), mac: unique([...lists.mac, ...PLAIN_SHA2]) };
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
  readonly macToServer: readonly string[];
  readonly macToClient: readonly string[];
  readonly firstKexPacketFollows: boolean;
}

/** Reads a KEXINIT payload. Throws `ProtocolError`. */
export function readKexInit(payload: Uint8Array): ClientKexInit {
  const reader = new WireReader(payload, Math.min(17, payload.length));
  const lists = Array.from({ length: 10 }, () => reader.nameList());
  const [kex, serverHostKey, cipherToServer, cipherToClient, macToServer, macToClient] = lists;
  if (!kex || !serverHostKey || !cipherToServer || !cipherToClient || !macToServer || !macToClient) {
    throw new ProtocolError("malformed KEXINIT");
  }
  return { kex, serverHostKey, cipherToServer, cipherToClient, macToServer, macToClient, firstKexPacketFollows: reader.boolean() };
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}

/**
 * Public keys, authorized_keys text, signatures, certificates and KRLs, damaged: refused with an error that says so, or
 * taken, never accepted as somebody else and never an exception of another kind.
 */
import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { Authenticator } from "../../src/auth/authenticator.ts";
import { type AuthorizedKey, parseAuthorizedKeys } from "../../src/auth/authorized-keys.ts";
import { addRevocations } from "../../src/auth/krl.ts";
import { parsePublicKey } from "../../src/auth/public-key.ts";
import { Revocations } from "../../src/auth/revocations.ts";
import { parseUserCertificate } from "../../src/auth/user-certificate.ts";
import { wireString } from "../../src/auth/wire-reader.ts";
import { mutate } from "../support/mutate.ts";
import { Random } from "../support/random.ts";
import { demand, type FuzzTarget } from "./fuzz-target.ts";

const CERTIFICATE = "ssh-ed25519-cert-v01@openssh.com";
const DATA = Buffer.from("what is signed");
const EXPECTED = new Set(["KeyFormatError", "ProtocolError"]);

interface Samples {
  readonly key: AuthorizedKey;
  readonly certificate: Buffer;
  readonly signature: Buffer;
  readonly krl: Buffer;
  readonly lines: string;
  readonly login: Authenticator;
}

function wireKey(raw: Buffer): Buffer {
  return Buffer.concat([wireString("ssh-ed25519"), wireString(raw)]);
}

function samples(): Samples {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const raw = Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url");
  const blob = wireKey(raw);
  const signed = (data: Uint8Array): Buffer =>
    Buffer.concat([
      wireString("ssh-ed25519"),
      wireString(sign(null, data, createPrivateKey(privateKey.export({ type: "pkcs8", format: "pem" })))),
    ]);
  const critical = Buffer.concat([wireString("source-address"), wireString(wireString("192.0.2.0/24"))]);
  const fixed = Buffer.alloc(12);
  fixed.writeUInt32BE(1, 8);
  const body = Buffer.concat([
    ...[wireString(CERTIFICATE), wireString("nonce"), wireString(raw), fixed, wireString("id"), wireString(wireString("alice"))],
    ...[Buffer.alloc(8), Buffer.alloc(8, 0xff), wireString(critical), wireString(""), wireString(""), wireString(blob)],
  ]);
  const serials = Buffer.concat([Buffer.from([0x20]), wireString(Buffer.alloc(8, 1)), Buffer.from([0x23]), wireString(wireString("id"))]);
  const bitmap = Buffer.concat([Buffer.from([0x22]), wireString(Buffer.concat([Buffer.alloc(8), wireString(Buffer.from([1, 5]))]))]);
  const krl = Buffer.concat([
    ...[Buffer.from("SSHKRL\n\0", "latin1"), Buffer.from([0, 0, 0, 1]), Buffer.alloc(24), wireString(""), wireString("comment")],
    ...[Buffer.from([1]), wireString(Buffer.concat([wireString(blob), wireString(""), serials, bitmap]))],
    ...[Buffer.from([2]), wireString(wireString(blob)), Buffer.from([5]), wireString(wireString(Buffer.alloc(32)))],
  ]);
  const line = `ssh-ed25519 ${blob.toString("base64")} alice@laptop`;
  const lines = `# keys\nfrom="192.0.2.0/24,!192.0.2.9",expiry-time="20990101Z",restrict ${line}\ncert-authority,principals="alice,bob" ${line}\n---- BEGIN SSH2 PUBLIC KEY ----\nComment: "x"\n${blob.toString("base64")}\n---- END SSH2 PUBLIC KEY ----\n`;
  const [key] = parseAuthorizedKeys(line);
  demand(key !== undefined, "the sample key cannot be read");
  const login = new Authenticator({
    find: (name) => (name === "alice" ? { name, keys: parseAuthorizedKeys(`${line}\ncert-authority ${line}`) } : undefined),
  });
  return { key, certificate: Buffer.concat([body, wireString(signed(body))]), signature: signed(DATA), krl, lines, login };
}

/** Runs a parser; only its own errors are allowed. */
function tolerate(what: string, action: () => void): void {
  try {
    action();
  } catch (error) {
    demand(error instanceof Error && EXPECTED.has(error.name), `${what}: ${String(error)}`);
  }
}

function attack({ key, certificate, signature, krl, lines, login }: Samples, random: Random): void {
  tolerate("key", () => void parsePublicKey(mutate(key.blob, random)));
  tolerate("lines", () => void parseAuthorizedKeys(mutate(Buffer.from(lines), random).toString("latin1")));
  tolerate("certificate", () => {
    const parsed = parseUserCertificate(mutate(certificate, random), CERTIFICATE);
    parsed.check({ names: ["alice"], address: "192.0.2.1", nowMs: Date.now(), authority: key.publicKey });
  });
  tolerate("krl", () => {
    const revocations = new Revocations();
    addRevocations(revocations, mutate(krl, random));
    revocations.check({ keyBlob: key.blob, certificate: { authority: key.blob, serial: BigInt(random.below(2 ** 31)), keyId: "id" } });
  });
  const damaged = mutate(signature, random);
  const algorithm = random.pick(["ssh-ed25519", CERTIFICATE, "rsa-sha2-512", "sk-ssh-ed25519@openssh.com", "x"]);
  const blob = random.chance(0.5) ? key.blob : mutate(random.chance(0.5) ? key.blob : certificate, random);
  const decision = login.attempt({ user: "alice", algorithm, blob, address: "192.0.2.1", signature: { bytes: damaged, data: DATA } });
  const isSame = damaged.equals(signature);
  demand(isSame || decision.outcome === "refused", `a damaged signature was ${decision.outcome}`);
}

/** See the head of this file. */
export const keyFuzz: FuzzTarget = {
  name: "keys",
  unit: "keys, certificates, lists and signatures",
  open: () => {
    const good = samples();
    return Promise.resolve({
      run: (seed) => {
        const random = new Random(seed);
        for (let at = 0; at < 100; at++) attack(good, random);
        return Promise.resolve(500);
      },
      close: () => Promise.resolve(),
    });
  },
};

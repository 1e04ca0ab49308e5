/**
 * Makes an Ed25519 key pair in OpenSSH's file formats (OpenSSH PROTOCOL.key), for the demonstration's user. Knows no
 * files.
 */
import { generateKeyPairSync, randomBytes } from "node:crypto";

const CIPHER_BLOCK_BYTES = 8;
const LINE_LENGTH = 70;

/** Both halves as the text of the files that `ssh-keygen` writes; the public one without newline. */
export interface OpenSshKeyPair {
  readonly privateKey: string;
  readonly publicKey: string;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function string(value: string | Buffer): Buffer {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  return Buffer.concat([uint32(bytes.length), bytes]);
}

/** A new key pair without passphrase. `comment` is one line. */
export function generateEd25519KeyPair(comment: string): OpenSshKeyPair {
  const { d = "", x = "" } = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  const seed = Buffer.from(d, "base64url");
  const point = Buffer.from(x, "base64url");
  const publicBlob = Buffer.concat([string("ssh-ed25519"), string(point)]);
  const check = randomBytes(4);
  const secret = Buffer.concat([check, check, string("ssh-ed25519"), string(point), string(Buffer.concat([seed, point])), string(comment)]);
  const padding = Buffer.from(
    Array.from({ length: (CIPHER_BLOCK_BYTES - (secret.length % CIPHER_BLOCK_BYTES)) % CIPHER_BLOCK_BYTES }, (_, index) => index + 1),
  );
  const file = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    string("none"),
    string("none"),
    string(""),
    uint32(1),
    string(publicBlob),
    string(Buffer.concat([secret, padding])),
  ]).toString("base64");
  const lines = file.match(new RegExp(`.{1,${LINE_LENGTH}}`, "g")) ?? [];
  return {
    privateKey: `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join("\n")}\n-----END OPENSSH PRIVATE KEY-----\n`,
    publicKey: `ssh-ed25519 ${publicBlob.toString("base64")} ${comment}`,
  };
}

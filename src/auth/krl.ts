/**
 * Key revocation lists as `ssh-keygen -k` writes them (OpenSSH PROTOCOL.krl), and plain lists of public keys, which
 * sshd takes in the same place. Knows no files.
 */
import { ProtocolError } from "../errors.ts";
import { parseAuthorizedKeys } from "./authorized-keys.ts";
import { fingerprint, KeyFormatError } from "./public-key.ts";
import type { Revocations } from "./revocations.ts";
import { WireReader } from "./wire-reader.ts";

const MAGIC = Buffer.from("SSHKRL\n\0", "latin1");
const FORMAT_VERSION = 1;
/** Largest list that is read, in bytes. */
export const MAX_KRL_BYTES = 16 * 1024 * 1024;

const Section = { CERTIFICATES: 1, EXPLICIT_KEYS: 2, SHA1: 3, SIGNATURE: 4, SHA256: 5, EXTENSION: 255 } as const;
const CertificateSection = { SERIALS: 0x20, RANGE: 0x21, BITMAP: 0x22, KEY_IDS: 0x23, EXTENSION: 0x39 } as const;

/** True if `bytes` begin as a KRL does. */
export function isKrl(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, MAGIC.length)).equals(MAGIC);
}

/**
 * Adds what a KRL or a list of public keys (one a line, `#` for comments) revokes. Throws `KeyFormatError` for a file
 * that is neither, cut off, or says something critical that is not understood: half a list must not count as a whole.
 */
export function addRevocations(revocations: Revocations, bytes: Uint8Array): void {
  if (bytes.length > MAX_KRL_BYTES) throw new KeyFormatError(`the revocation list is larger than ${MAX_KRL_BYTES} bytes`);
  if (!isKrl(bytes)) {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
    if (text.split(/\r?\n/).every((line) => /^\s*(#.*)?$/.test(line))) return;
    for (const { blob } of parseAuthorizedKeys(text)) revocations.addFingerprint(fingerprint(blob));
    return;
  }
  try {
    readKrl(revocations, new WireReader(bytes, MAGIC.length));
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    throw new KeyFormatError("the KRL is cut off or damaged; make it again with ssh-keygen -k", { cause: error });
  }
}

function readKrl(revocations: Revocations, reader: WireReader): void {
  const version = reader.uint32();
  if (version !== FORMAT_VERSION) throw new KeyFormatError(`the KRL has format ${version}, only ${FORMAT_VERSION} is understood`);
  reader.uint64(); // the list's own number
  reader.uint64(); // when it was made
  reader.uint64(); // flags: none are defined
  reader.string(); // reserved
  reader.string(); // comment
  while (reader.remaining > 0) {
    const section = reader.uint8();
    const content = new WireReader(reader.string());
    if (section === Section.CERTIFICATES) readCertificates(revocations, content);
    else if (section === Section.EXPLICIT_KEYS) eachString(content, (blob) => revocations.addFingerprint(fingerprint(blob)));
    else if (section === Section.SHA1) eachString(content, (hash) => revocations.addSha1(sized(hash, 20).toString("hex")));
    else if (section === Section.SHA256) {
      eachString(content, (hash) => revocations.addFingerprint(`SHA256:${sized(hash, 32).toString("base64").replace(/=+$/, "")}`));
    } else if (section === Section.EXTENSION) skipExtension(content);
    else if (section === Section.SIGNATURE)
      reader.string(); // the signature itself; who may write the file may revoke
    else throw new KeyFormatError(`the KRL has a section of type ${section}, which is not understood`);
  }
}

function readCertificates(revocations: Revocations, reader: WireReader): void {
  const authorityBlob = reader.string();
  const authority = authorityBlob.length === 0 ? undefined : authorityBlob;
  reader.string(); // reserved
  while (reader.remaining > 0) {
    const section = reader.uint8();
    const content = new WireReader(reader.string());
    if (section === CertificateSection.SERIALS) {
      while (content.remaining > 0) {
        const serial = content.uint64();
        revocations.addSerials(authority, serial, serial);
      }
    } else if (section === CertificateSection.RANGE) {
      revocations.addSerials(authority, content.uint64(), content.uint64());
    } else if (section === CertificateSection.BITMAP) {
      revocations.addBitmap(authority, content.uint64(), Buffer.from(content.mpint()));
    } else if (section === CertificateSection.KEY_IDS) {
      eachString(content, (keyId) => revocations.addKeyId(authority, keyId.toString("utf8")));
    } else if (section === CertificateSection.EXTENSION) skipExtension(content);
    else throw new KeyFormatError(`the KRL has a certificate section of type ${section}, which is not understood`);
  }
}

function skipExtension(reader: WireReader): void {
  const name = reader.text();
  if (reader.boolean())
    throw new KeyFormatError(`the KRL needs the extension ${JSON.stringify(name.slice(0, 60))}, which is not understood`);
}

function eachString(reader: WireReader, take: (bytes: Buffer) => void): void {
  while (reader.remaining > 0) take(reader.string());
}

function sized(hash: Buffer, bytes: number): Buffer {
  if (hash.length !== bytes) throw new ProtocolError(`a hash of ${hash.length} bytes`);
  return hash;
}

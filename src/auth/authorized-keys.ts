/**
 * Key text as people have it: authorized_keys lines, RFC 4716 blocks as PuTTYgen saves them, several of them pasted
 * together. Answers a mistake with what to do. Knows no users and reads no files.
 */
import { KEY_TYPES, fingerprint, KeyFormatError, parsePublicKey, type PublicKey } from "./public-key.ts";
import { type KeyOptions, NO_OPTIONS, parseKeyOptions } from "./key-options.ts";

export { KeyFormatError } from "./public-key.ts";

const BLOCK_BEGIN = /^---- ?BEGIN SSH2 PUBLIC KEY ?----$/;
const BLOCK_END = /^---- ?END SSH2 PUBLIC KEY ?----$/;
const MAX_TEXT = 1024 * 1024;

/** A public key somebody may log in with. */
export interface AuthorizedKey {
  /** Key type, e.g. `ssh-ed25519`. */
  readonly algorithm: string;
  /** The key in RFC 4253 §6.6 encoding. */
  readonly blob: Buffer;
  readonly comment: string;
  /** `SHA256:…` as `ssh-keygen -l` prints it. */
  readonly fingerprint: string;
  readonly options: KeyOptions;
  /** The parsed key, for checking signatures. */
  readonly publicKey: PublicKey;
}

/**
 * All keys of `text` in order; comments (`#`) and blank lines are skipped. Throws `KeyFormatError` whose message
 * begins with the line and says what to do; a text without any key is an error too.
 */
export function parseAuthorizedKeys(text: string): AuthorizedKey[] {
  if (text.length > MAX_TEXT) throw new KeyFormatError("the key text is longer than 1 MiB; give keys only");
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/);
  const keys: AuthorizedKey[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = (lines[at] ?? "").trim();
    if (line === "" || line.startsWith("#")) continue;
    const number = at + 1;
    try {
      if (BLOCK_BEGIN.test(line)) {
        const end = lines.findIndex((candidate, index) => index > at && BLOCK_END.test(candidate.trim()));
        if (end < 0) throw new KeyFormatError("the block has no line '---- END SSH2 PUBLIC KEY ----'; copy the whole file");
        keys.push(parseBlock(lines.slice(at + 1, end)));
        at = end;
      } else {
        keys.push(parseLine(line));
      }
    } catch (error) {
      if (!(error instanceof KeyFormatError)) throw error;
      throw new KeyFormatError(lines.length === 1 ? error.message : `line ${number}: ${error.message}`, { cause: error });
    }
  }
  if (keys.length === 0) throw new KeyFormatError("there is no key; write: ssh-ed25519 AAAA… comment");
  return keys;
}

function parseLine(line: string): AuthorizedKey {
  refuseOtherFormats(line);
  const plain = isKeyType(line.split(/\s/, 1)[0] ?? "");
  const { options, rest } = plain ? { options: NO_OPTIONS, rest: line } : parseKeyOptions(line);
  refuseOtherFormats(rest);
  const [type, base64, ...words] = rest.split(/\s+/);
  if (type === undefined || !isKeyType(type)) {
    throw new KeyFormatError(`there is no key type before the key; write: ssh-ed25519 AAAA… comment`);
  }
  if (base64 === undefined) throw new KeyFormatError(`the text after ${type} is missing; copy the whole line of the .pub file`);
  if (/-cert-v01@openssh\.com$/.test(type)) {
    throw new KeyFormatError(
      "this is a certificate; give the key of the authority that signed it instead: cert-authority ssh-ed25519 AAAA…",
    );
  }
  const publicKey = parsePublicKey(decodeBase64(base64));
  if (publicKey.type !== type) throw new KeyFormatError(`the line says ${type} but the key is ${publicKey.type}; copy it again`);
  return authorizedKey(publicKey, words.join(" "), options);
}

/** RFC 4716 §3: headers with continuation lines, then base64. */
function parseBlock(lines: readonly string[]): AuthorizedKey {
  let comment = "";
  let at = 0;
  for (; at < lines.length; at++) {
    let header = lines[at] ?? "";
    const match = /^([A-Za-z0-9-]+):\s*(.*)$/.exec(header);
    if (!match) break;
    while (header.endsWith("\\") && at + 1 < lines.length) header = header.slice(0, -1) + (lines[++at] ?? "");
    const value = header.slice(header.indexOf(":") + 1).trim();
    if (match[1]?.toLowerCase() === "comment") comment = value.replace(/^"(.*)"$/, "$1");
  }
  return authorizedKey(parsePublicKey(decodeBase64(lines.slice(at).join("").replace(/\s/g, ""))), comment, NO_OPTIONS);
}

function authorizedKey(publicKey: PublicKey, comment: string, options: KeyOptions): AuthorizedKey {
  return {
    algorithm: publicKey.type,
    blob: publicKey.blob,
    comment,
    fingerprint: fingerprint(publicKey.blob),
    options,
    publicKey,
  };
}

function decodeBase64(text: string): Buffer {
  const wellFormed = text !== "" && text.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(text);
  if (!wellFormed) {
    throw new KeyFormatError("the key's base64 text is broken (cut off, wrapped or changed); copy the whole line of the .pub file again");
  }
  return Buffer.from(text, "base64");
}

function isKeyType(word: string): boolean {
  return KEY_TYPES.includes(word) || word === "ssh-dss" || /^(ssh|sk-ssh|ecdsa|sk-ecdsa)-[a-z0-9-]+(@openssh\.com)?$/.test(word);
}

function refuseOtherFormats(line: string): void {
  if (/^-+ ?BEGIN .*PRIVATE KEY/.test(line) || line.startsWith("PuTTY-User-Key-File") || /^-+ ?BEGIN SSH2 ENCRYPTED/.test(line)) {
    throw new KeyFormatError(
      "this is a PRIVATE key; it must stay with its owner. Give the public key: the .pub file, or what 'ssh-keygen -y -f KEYFILE' or PuTTYgen's upper box shows",
    );
  }
  if (/^-+ ?BEGIN (RSA )?PUBLIC KEY/.test(line)) {
    throw new KeyFormatError("this is a PEM public key; convert it with: ssh-keygen -i -m PKCS8 -f FILE (or -m PEM for 'RSA PUBLIC KEY')");
  }
  if (/^\d+ \d+ \d+/.test(line)) throw new KeyFormatError("this is a key of SSH protocol 1; make a new one with: ssh-keygen -t ed25519");
  if (/^AAAA[A-Za-z0-9+/]/.test(line)) throw new KeyFormatError("the key type before AAAA… is missing; write: ssh-ed25519 AAAA… comment");
}

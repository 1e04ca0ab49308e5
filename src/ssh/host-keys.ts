/**
 * The server's own keys: OpenSSH private key files in one folder, generated when there are none, and their rotation in
 * two steps. Knows no connections.
 */
import { createPrivateKey, generateKeyPair, type KeyObject, randomBytes } from "node:crypto";
import { chmod, open, readdir, readFile, rename, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { makeFolder } from "../make-folder.ts";
import { fingerprint } from "../auth/public-key.ts";
import { wireString } from "../auth/wire-reader.ts";
import { ConfigError } from "../errors.ts";
import { type ParsedHostKey, parseHostKey } from "./ssh2-adapter.ts";

const FILE_NAME = /^ssh_host_[a-z0-9_-]+_key(?:\.next)?$/;
/** Suffix of a key that is announced and not used yet. */
const NEXT = ".next";
const RSA_BITS = 3072;
const OPENSSH_MAGIC = "openssh-key-v1\0";
const CIPHER_BLOCK = 8;

/** One of the server's keys. */
export interface HostKey {
  /** e.g. `ssh-ed25519`. */
  readonly type: string;
  /** `SHA256:…` as `ssh-keygen -lf` prints it. */
  readonly fingerprint: string;
  /** Line for a client's known_hosts, without the host: type and base64. */
  readonly publicKey: string;
  /** The key in RFC 4253 §6.6 encoding. */
  readonly blob: Buffer;
  readonly path: string;
  /** False for a key that clients only learn for now (`*.next`). */
  readonly active: boolean;
  /** For ssh2. */
  readonly key: ParsedHostKey;
  /** For our own signatures. */
  readonly privateKey: KeyObject;
}

/**
 * Loads `ssh_host_*_key` from `folder`; generates ed25519 and RSA keys when there is none. Throws `ConfigError` for a
 * folder or file that cannot be used, among them keys that others can read.
 */
export async function loadHostKeys(folder: string): Promise<HostKey[]> {
  let names: string[];
  try {
    await makeFolder(folder, 0o700);
    names = (await readdir(folder)).filter((name) => FILE_NAME.test(name)).sort();
    if (!names.some((name) => !name.endsWith(NEXT))) {
      await generateHostKeys(folder);
      names = (await readdir(folder)).filter((name) => FILE_NAME.test(name)).sort();
    }
  } catch (error) {
    throw new ConfigError(`host keys: cannot use the folder ${folder}: ${errorText(error)}`, undefined, { cause: error });
  }
  const keys: HostKey[] = [];
  for (const name of names) keys.push(await loadHostKey(join(folder, name)));
  const seen = new Map<string, string>();
  for (const key of keys.filter(({ active }) => active)) {
    const other = seen.get(key.type);
    if (other !== undefined) throw new ConfigError(`host keys: ${other} and ${key.path} are both ${key.type}; keep one of them`);
    seen.set(key.type, key.path);
  }
  return keys;
}

/** Writes new ed25519 and RSA keys into `folder`, mode 0600, with their `.pub` files. Existing files are kept. */
export async function generateHostKeys(folder: string): Promise<void> {
  await writeKeyFiles(join(folder, "ssh_host_ed25519_key"), await ed25519Parts());
  await writeKeyFiles(join(folder, "ssh_host_rsa_key"), await rsaParts());
}

/**
 * First step of a rotation: writes `*.next` keys beside those in use. A running server that loads them announces them
 * to its clients; those that connect in the meantime know them when they are put to use.
 */
export async function prepareHostKeyRotation(folder: string): Promise<void> {
  await writeKeyFiles(join(folder, `ssh_host_ed25519_key${NEXT}`), await ed25519Parts());
  await writeKeyFiles(join(folder, `ssh_host_rsa_key${NEXT}`), await rsaParts());
}

/**
 * Second step: the `*.next` keys replace those in use, which stay as `*.old`. Returns the paths put to use; throws
 * `ConfigError` if the first step was not done.
 */
export async function completeHostKeyRotation(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter((name) => FILE_NAME.test(name) && name.endsWith(NEXT));
  if (names.length === 0) throw new ConfigError(`host keys: there is no new key in ${folder}; prepare the rotation first`);
  const paths = names.map((name) => join(folder, name.slice(0, -NEXT.length)));
  for (const path of paths) {
    for (const suffix of ["", ".pub"]) {
      await rename(path + suffix, `${path}.old${suffix}`).catch(ignoreMissing);
      await rename(path + NEXT + suffix, path + suffix).catch(ignoreMissing);
    }
  }
  return paths;
}

/** Maps each signature algorithm name to the key that makes it, as ssh2 wants it. */
export function keysByAlgorithm(keys: readonly HostKey[]): Record<string, ParsedHostKey> {
  const map: Record<string, ParsedHostKey> = Object.create(null) as Record<string, ParsedHostKey>;
  for (const { type, key, active } of keys) {
    if (!active) continue;
    for (const algorithm of type === "ssh-rsa" ? ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"] : [type]) map[algorithm] = key;
  }
  return map;
}

async function loadHostKey(path: string): Promise<HostKey> {
  let text: string;
  try {
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) {
      throw new ConfigError(`host keys: ${path} can be read by others (mode ${(mode & 0o777).toString(8)}); run: chmod 600 ${path}`);
    }
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`host keys: cannot read ${path}: ${errorText(error)}`, undefined, { cause: error });
  }
  const key = parseHostKey(text);
  if (!key)
    throw new ConfigError(`host keys: ${path} is no unencrypted private key; make one with: ssh-keygen -t ed25519 -N '' -f ${path}`);
  if (key.type === "ssh-dss") throw new ConfigError(`host keys: ${path} is a DSA key, which clients refuse; remove it`);
  const blob = key.getPublicSSH();
  return {
    type: key.type,
    fingerprint: fingerprint(blob),
    publicKey: `${key.type} ${blob.toString("base64")}`,
    blob,
    path,
    active: !path.endsWith(NEXT),
    key,
    privateKey: createPrivateKey(key.getPrivatePEM() ?? ""),
  };
}

/** The type, the public blob and the private fields of PROTOCOL.key's private section. */
interface KeyParts {
  readonly type: string;
  readonly publicBlob: Buffer;
  readonly privateFields: readonly Buffer[];
}

async function ed25519Parts(): Promise<KeyParts> {
  const { privateKey } = await promisify(generateKeyPair)("ed25519");
  const jwk = exportJwk(privateKey);
  const publicBytes = jwk("x");
  return {
    type: "ssh-ed25519",
    publicBlob: Buffer.concat([wireString("ssh-ed25519"), wireString(publicBytes)]),
    privateFields: [wireString(publicBytes), wireString(Buffer.concat([jwk("d"), publicBytes]))],
  };
}

async function rsaParts(): Promise<KeyParts> {
  const { privateKey } = await promisify(generateKeyPair)("rsa", { modulusLength: RSA_BITS });
  const jwk = exportJwk(privateKey);
  return {
    type: "ssh-rsa",
    publicBlob: Buffer.concat([wireString("ssh-rsa"), mpint(jwk("e")), mpint(jwk("n"))]),
    privateFields: [mpint(jwk("n")), mpint(jwk("e")), mpint(jwk("d")), mpint(jwk("qi")), mpint(jwk("p")), mpint(jwk("q"))],
  };
}

function exportJwk(key: KeyObject): (field: "x" | "d" | "e" | "n" | "qi" | "p" | "q") => Buffer {
  const jwk = key.export({ format: "jwk" });
  return (field) => Buffer.from(jwk[field] ?? "", "base64url");
}

function mpint(bytes: Buffer): Buffer {
  return wireString(((bytes[0] ?? 0) & 0x80) !== 0 ? Buffer.concat([Buffer.alloc(1), bytes]) : bytes);
}

async function writeKeyFiles(path: string, parts: KeyParts): Promise<void> {
  const comment = `gateway@${hostname()}`;
  await writeNew(path, encodePrivateKey(parts, comment), 0o600);
  await writeNew(`${path}.pub`, `${parts.type} ${parts.publicBlob.toString("base64")} ${comment}\n`, 0o644);
}

/** OpenSSH PROTOCOL.key, cipher none. */
function encodePrivateKey(parts: KeyParts, comment: string): string {
  const check = randomBytes(4);
  const fields = Buffer.concat([check, check, wireString(parts.type), ...parts.privateFields, wireString(comment)]);
  const padding = Buffer.from(
    Array.from({ length: (CIPHER_BLOCK - (fields.length % CIPHER_BLOCK)) % CIPHER_BLOCK }, (_, index) => index + 1),
  );
  const one = Buffer.from([0, 0, 0, 1]);
  const body = Buffer.concat([
    Buffer.from(OPENSSH_MAGIC),
    wireString("none"),
    wireString("none"),
    wireString(""),
    one,
    wireString(parts.publicBlob),
    wireString(Buffer.concat([fields, padding])),
  ]);
  const lines = body.toString("base64").match(/.{1,70}/g) ?? [];
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join("\n")}\n-----END OPENSSH PRIVATE KEY-----\n`;
}

/** Whole or not at all, and never over an existing file of another process that started at the same time. */
async function writeNew(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.${process.pid}.new`;
  const file = await open(temporary, "w", mode);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await chmod(temporary, mode);
  await rename(temporary, path);
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
}

function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * The only place that touches ssh2, and ssh2 only as the transport layer (RFC 4253): key exchange, ciphers, framing.
 * Its `Server`, `Session` and `Channel` classes are not used. Everything relied on that its documentation does not
 * promise is typed here and asserted at start, for exactly version 1.17.0. Knows no users and no channels.
 */
import { createRequire } from "node:module";
import { withholdUnsafeBinding } from "./native-binding.ts";
import { type CipherConfig, type NativeModule, PacketCipher, PacketDecipher, type PayloadResult } from "./packet-cipher.ts";

const VERSION = "1.17.0";
const PADDING_POOL_BYTES = 64 * 1024;
const LARGEST_POOLED_REQUEST = 64;

/** ssh2's packet writer of the moment: it allocates raw payloads while keys are exchanged and whole packets otherwise. */
interface PacketWriter {
  readonly allocStart: number;
  readonly allocStartKEX: number;
  alloc(payloadBytes: number, force?: boolean): Buffer;
  finalize(packet: Buffer, force?: boolean): Buffer;
}

/** What ssh2 agreed on in a key exchange. */
export interface Negotiated {
  kex: string;
  readonly serverHostKey: string;
  readonly cs: { readonly cipher: string; readonly mac: string };
  readonly sc: { readonly cipher: string; readonly mac: string };
}

/** ssh2's running key exchange; the methods are replaced for exchanges it does not know. */
export interface Ssh2KeyExchange {
  readonly sessionID: Buffer | undefined;
  readonly negotiated: Negotiated;
  remoteExtInfoEnabled: boolean;
  _remoteKexinit: Buffer | undefined;
  hashName: string;
  type: string;
  generateKeys(): void;
  convertPublicKey(key: Buffer): Buffer;
  getPublicKey(): Buffer | undefined;
  computeSecret(otherPublicKey: Buffer): Buffer | Error;
}

/** ssh2's Protocol object of one connection, as far as it is used. */
export interface Ssh2Protocol {
  /** One step of `parse`: returns where to go on, or nothing that is less than `end`. */
  _parse(chunk: Buffer, start: number, end: number): number | undefined;
  rekey(): void;
  cleanup(): void;
  _destruct: ((reason?: string) => void) | undefined;
  _onPayload: (payload: Buffer) => PayloadResult;
  _onHandshakeComplete: (negotiated: Negotiated) => void;
  readonly _offer: KexOffer;
  readonly _kex: Ssh2KeyExchange | undefined;
  readonly _kexinit: Buffer | undefined;
  readonly _decipher: { readonly inSeqno: number; _onPayload: (payload: Buffer) => PayloadResult } | undefined;
  readonly _cipher: object | undefined;
  _skipNextInboundPacket: boolean;
  readonly _packetRW: { readonly write: PacketWriter };
}

/** A host key as ssh2 parsed it. */
export interface ParsedHostKey {
  readonly type: string;
  getPublicSSH(): Buffer;
  getPrivatePEM(): string | null;
  sign(data: Buffer, hash?: string): Buffer | Error;
}

/** Algorithm lists in order of preference. */
export interface AlgorithmLists {
  readonly kex: readonly string[];
  readonly serverHostKey: readonly string[];
  readonly cipher: readonly string[];
  readonly mac: readonly string[];
}

/** A ready-made KEXINIT offer. */
export interface KexOffer {
  readonly lists: { readonly kex: { readonly array: readonly string[] }; readonly serverHostKey: { readonly array: readonly string[] } };
}

/** What a connection gives ssh2. */
export interface ProtocolOptions {
  /** Keys by signature algorithm name. */
  readonly hostKeys: Readonly<Record<string, ParsedHostKey>>;
  /** Software version without `SSH-2.0-`. */
  readonly softwareVersion: string;
  readonly offer: KexOffer;
  readonly onWrite: (bytes: Buffer) => void;
  readonly onError: (error: Error) => void;
  readonly onHeader: () => void;
  readonly onHandshake: (negotiated: Negotiated) => void;
  readonly onDisconnect: (reason: number, text: string) => void;
}

type ProtocolConstructor = new (config: object) => Ssh2Protocol;
type KexInitConstructor = new (lists: object) => KexOffer;
type MessageHandler = (protocol: Ssh2Protocol, payload: Buffer) => PayloadResult;

interface Ssh2Internals {
  readonly Protocol: ProtocolConstructor;
  readonly KexInit: KexInitConstructor;
  readonly handleKexInit: MessageHandler;
  readonly sendPacket: (protocol: Ssh2Protocol, packet: Buffer, bypass?: boolean) => boolean;
  readonly parseKey: (text: Buffer | string) => ParsedHostKey | ParsedHostKey[] | Error;
  readonly cryptoReady: Promise<unknown>;
  readonly nativeCrypto: NativeCrypto;
}

/** The connections whose ciphers are ours: those of ssh2's own clients in this process (tests have some) are not. */
const ownProtocols = new WeakSet<(payload: Buffer) => PayloadResult>();

const internals = load();

/** Resolves once ssh2's ciphers can be used; await it before the first connection. */
export const cryptoReady: Promise<unknown> = internals.cryptoReady;

/** Whether ssh2's compiled cipher module is there, and safe (native-binding.ts); ciphers cost about twice the CPU without it. */
export type NativeCrypto = "used" | "withheld" | "missing";

/** See `NativeCrypto`. */
export const nativeCrypto: NativeCrypto = internals.nativeCrypto;

/** Makes the KEXINIT offer for `lists`; compression is never offered. */
export function createOffer(lists: AlgorithmLists): KexOffer {
  const side = { cipher: [...lists.cipher], mac: [...lists.mac], compress: ["none"], lang: [] };
  const kex = [...lists.kex, "kex-strict-s-v00@openssh.com"];
  return new internals.KexInit({ kex, serverHostKey: [...lists.serverHostKey], cs: side, sc: side });
}

/** Starts the transport of one connection. The caller has sent the server's identification line already. */
export function createProtocol(options: ProtocolOptions): Ssh2Protocol {
  const protocol = new internals.Protocol({
    server: true,
    hostKeys: options.hostKeys,
    ident: options.softwareVersion,
    offer: options.offer,
    onWrite: options.onWrite,
    onError: options.onError,
    onHeader: options.onHeader,
    onHandshakeComplete: options.onHandshake,
    messageHandlers: {
      DISCONNECT: (_protocol: unknown, reason: number, text: string) => options.onDisconnect(reason, text),
    },
  });
  for (const member of ["_parse", "_onPayload", "_onHandshakeComplete", "_destruct", "_packetRW", "_offer"] as const) {
    if (protocol[member] === undefined) throw mismatch(`Protocol has no ${member}`);
  }
  return protocol;
}

/** From now on `onPayload` gets every message. A payload is lent: it is overwritten soon after the call. */
export function deliverTo(protocol: Ssh2Protocol, onPayload: (payload: Buffer) => PayloadResult): void {
  protocol._onPayload = onPayload;
  ownProtocols.add(onPayload);
}

/** True if `parse` keeps no view of the bytes it gets, so that the caller may overwrite them afterwards. */
export function parsesInPlace(protocol: Ssh2Protocol): boolean {
  return protocol._decipher instanceof PacketDecipher;
}

/** Works through `bytes` from `start` on to the end, or to a message whose receiver returned `false` and after which `goesOn` is. Returns where it stopped. */
export function parseWhile(protocol: Ssh2Protocol, bytes: Buffer, start: number, goesOn: () => boolean): number {
  for (let at = start; at < bytes.length; ) {
    const next = protocol._parse(bytes, at, bytes.length);
    if (next === undefined || next >= bytes.length) break;
    if (!goesOn()) return next;
    at = next;
  }
  return bytes.length;
}

/** Says that everything built has been sent. */
export function allSent(protocol: Ssh2Protocol): void {
  if (protocol._cipher instanceof PacketCipher) protocol._cipher.rest();
}

/** Lets ssh2 handle a KEXINIT that starts another key exchange. */
export function handleKexInit(protocol: Ssh2Protocol, payload: Buffer): PayloadResult {
  return internals.handleKexInit(protocol, payload);
}

/** Sends one message; `fill` writes `payloadBytes` bytes at `start`. Queued by ssh2 while keys are exchanged. */
export function sendPayload(protocol: Ssh2Protocol, payloadBytes: number, fill: (packet: Buffer, start: number) => void): void {
  const writer = protocol._packetRW.write;
  const packet = writer.alloc(payloadBytes);
  fill(packet, writer.allocStart);
  internals.sendPacket(protocol, writer.finalize(packet));
}

/** Sends one message at once, also in the middle of a key exchange; for DISCONNECT only. */
export function sendUrgentPayload(protocol: Ssh2Protocol, payload: Uint8Array): void {
  const writer = protocol._packetRW.write;
  const packet = writer.alloc(payload.length, true);
  packet.set(payload, writer.allocStartKEX);
  internals.sendPacket(protocol, writer.finalize(packet, true), true);
}

/** Parses an unencrypted private key file. Returns undefined for anything else. */
export function parseHostKey(text: string): ParsedHostKey | undefined {
  const parsed = internals.parseKey(text);
  if (parsed instanceof Error) return undefined;
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  return key && key.getPrivatePEM() !== null ? key : undefined;
}

/** Loads ssh2's inner modules and checks that they are what this file was written for. */
function load(): Ssh2Internals {
  const require = createRequire(import.meta.url);
  const version = (require("ssh2/package.json") as { version?: string }).version;
  if (version !== VERSION) throw mismatch(`found version ${String(version)}`);
  const isWithheld = withholdUnsafeBinding(require);
  const restore = poolPadding(require("node:crypto") as { randomFillSync: RandomFill });
  try {
    const crypto = require("ssh2/lib/protocol/crypto.js") as Ssh2Crypto;
    if (!crypto.createCipher || !crypto.createDecipher) throw mismatch("no ciphers");
    replaceCiphers(crypto, require);
    const kex = require("ssh2/lib/protocol/kex.js") as { KexInit?: KexInitConstructor };
    const handlers = require("ssh2/lib/protocol/handlers.js") as (MessageHandler | undefined)[];
    const utilities = require("ssh2/lib/protocol/utils.js") as { sendPacket?: Ssh2Internals["sendPacket"] };
    const keys = require("ssh2/lib/protocol/keyParser.js") as { parseKey?: Ssh2Internals["parseKey"] };
    const Protocol = require("ssh2/lib/protocol/Protocol.js") as ProtocolConstructor | undefined;
    const handleKexInit = handlers[20];
    if (!crypto.init || !kex.KexInit || !handleKexInit || !utilities.sendPacket || !keys.parseKey || typeof Protocol !== "function") {
      throw mismatch("inner modules are not as expected");
    }
    return {
      Protocol,
      KexInit: kex.KexInit,
      handleKexInit,
      sendPacket: utilities.sendPacket,
      parseKey: keys.parseKey,
      cryptoReady: crypto.init,
      nativeCrypto: crypto.bindingAvailable === true ? "used" : isWithheld ? "withheld" : "missing",
    };
  } finally {
    restore();
  }
}

interface Ssh2Crypto {
  readonly init?: Promise<unknown>;
  readonly bindingAvailable?: boolean;
  createCipher?: (config: CipherConfig) => object;
  createDecipher?: (config: CipherConfig) => object;
}

/** Lets the key exchange make our ciphers for our connections. A key exchange that was loaded before keeps ssh2's own. */
function replaceCiphers(crypto: Ssh2Crypto, require: NodeJS.Require): void {
  const { createCipher, createDecipher } = crypto;
  if (crypto.bindingAvailable !== true || !createCipher || !createDecipher) return;
  const native = require("ssh2/lib/protocol/crypto/build/Release/sshcrypto.node") as NativeModule;
  const { randomFillSync } = require("node:crypto") as { randomFillSync: RandomFill };
  const isOurs = ({ inbound }: CipherConfig): boolean => ownProtocols.has(inbound.onPayload);
  crypto.createCipher = (config) => (isOurs(config) && PacketCipher.create(native, config, randomFillSync)) || createCipher(config);
  crypto.createDecipher = (config) => (isOurs(config) && PacketDecipher.create(native, config)) || createDecipher(config);
}

type RandomFill = (buffer: Uint8Array, offset?: number, size?: number) => Uint8Array;

/**
 * ssh2 1.17.0 fetches each packet's padding from the kernel, which is a sixth of the CPU of small packets. While its
 * modules load, they see a version that serves small requests from a pool; each random byte is used once.
 */
function poolPadding(crypto: { randomFillSync: RandomFill }): () => void {
  const original = crypto.randomFillSync;
  const pool = Buffer.allocUnsafeSlow(PADDING_POOL_BYTES);
  let used = pool.length;
  crypto.randomFillSync = (buffer, offset = 0, size = buffer.length - offset) => {
    if (size > LARGEST_POOLED_REQUEST) return original(buffer, offset, size);
    if (used + size > pool.length) {
      original(pool);
      used = 0;
    }
    const end = used + size;
    for (let at = offset; used < end; at++, used++) {
      buffer[at] = pool[used] as number;
      pool[used] = 0;
    }
    return buffer;
  };
  return () => {
    crypto.randomFillSync = original;
  };
}

function mismatch(what: string): Error {
  return new Error(
    `the SSH transport needs ssh2 ${VERSION} exactly (${what}); run 'npm ci', or revise src/ssh/ssh2-adapter.ts for the new version`,
  );
}

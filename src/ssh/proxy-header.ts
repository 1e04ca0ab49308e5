/**
 * The header that a load balancer writes before a connection's own bytes, to say where it comes from: PROXY protocol
 * versions 1 and 2 (haproxy.org, proxy-protocol.txt §2.1 and §2.2). Knows no SSH and trusts nobody: whose header counts is
 * the caller's business.
 */
import { isIP, type Socket } from "node:net";
import { ProtocolError } from "../errors.ts";

/** §2.1: 107 bytes with the line end. */
const MAX_V1_BYTES = 107;
const V2_SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
const V2_HEAD_BYTES = 16;
/** Addresses, and what balancers add about TLS and their own ids. */
const MAX_V2_BODY_BYTES = 2048;
const IPV4_BODY_BYTES = 12;
const IPV6_BODY_BYTES = 36;

/** What a header says. */
export interface ProxyHeader {
  /** The client's address; undefined: the balancer speaks for itself, as in health checks. */
  readonly address: string | undefined;
  /** Bytes of the header. */
  readonly length: number;
}

/** The header at the start of `bytes`, or undefined if it is not complete. Throws `ProtocolError` for what is none. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader | undefined {
  const compared = Math.min(bytes.length, V2_SIGNATURE.length);
  if (compared > 0 && bytes.compare(V2_SIGNATURE, 0, compared, 0, compared) === 0) return parseV2(bytes);
  return parseV1(bytes);
}

function parseV1(bytes: Buffer): ProxyHeader | undefined {
  const text = bytes.toString("latin1", 0, Math.min(bytes.length, MAX_V1_BYTES));
  if (!"PROXY ".startsWith(text.slice(0, 6))) throw new ProtocolError("no PROXY header");
  const end = text.indexOf("\r\n");
  if (end < 0) {
    if (bytes.length >= MAX_V1_BYTES) throw new ProtocolError("the PROXY header is too long");
    return undefined;
  }
  const length = end + 2;
  if (/^PROXY UNKNOWN(?: |$)/.test(text.slice(0, end))) return { address: undefined, length };
  const match = /^PROXY TCP([46]) ([0-9A-Fa-f:.]{2,45}) ([0-9A-Fa-f:.]{2,45}) ([0-9]{1,5}) ([0-9]{1,5})$/.exec(text.slice(0, end));
  const [, family, source = "", destination = "", sourcePort, destinationPort] = match ?? [];
  const isSound = isIP(source) === Number(family) && isIP(destination) === Number(family) && isPort(sourcePort) && isPort(destinationPort);
  if (!isSound) throw new ProtocolError("malformed PROXY header");
  return { address: source, length };
}

function isPort(text: string | undefined): boolean {
  return text !== undefined && Number(text) <= 65_535 && (text === "0" || !text.startsWith("0"));
}

function parseV2(bytes: Buffer): ProxyHeader | undefined {
  if (bytes.length < V2_HEAD_BYTES) return undefined;
  const command = bytes.readUInt8(12);
  const family = bytes.readUInt8(13);
  const bodyBytes = bytes.readUInt16BE(14);
  if (command !== 0x20 && command !== 0x21) throw new ProtocolError("malformed PROXY header");
  if (bodyBytes > MAX_V2_BODY_BYTES) throw new ProtocolError("the PROXY header is too long");
  const length = V2_HEAD_BYTES + bodyBytes;
  if (bytes.length < length) return undefined;
  // LOCAL, and families without addresses that we could use: UNSPEC and Unix sockets
  if (command === 0x20 || family === 0x00 || family === 0x31) return { address: undefined, length };
  if (family === 0x11 && bodyBytes >= IPV4_BODY_BYTES) return { address: bytes.subarray(16, 20).join("."), length };
  if (family === 0x21 && bodyBytes >= IPV6_BODY_BYTES) return { address: ipv6Text(bytes.subarray(16, 32)), length };
  throw new ProtocolError("malformed PROXY header");
}

/** Not the shortest form, but one that every parser reads; mapped IPv4 addresses look as they do elsewhere. */
function ipv6Text(bytes: Buffer): string {
  const isMapped = bytes.readUInt32BE(0) === 0 && bytes.readUInt32BE(4) === 0 && bytes.readUInt32BE(8) === 0xffff;
  if (isMapped) return `::ffff:${bytes.subarray(12).join(".")}`;
  return Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16)).join(":");
}

/**
 * Reads the header from a socket that nobody has read from; what came after it is put back and the socket is paused.
 * Rejects with a `ProtocolError` if there is none within `timeoutMs`; the socket is the caller's to destroy.
 */
export function readProxyHeader(socket: Socket, timeoutMs: number): Promise<ProxyHeader> {
  return new Promise((resolve, reject) => {
    let received: Buffer = Buffer.alloc(0);
    const timer = setTimeout(() => settle(() => reject(new ProtocolError("no PROXY header in time"))), timeoutMs);
    const onClose = (): void => settle(() => reject(new Error("the connection was closed before its PROXY header")));
    const onData = (chunk: Buffer): void => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      try {
        const header = parseProxyHeader(received);
        if (!header) return;
        settle(() => resolve(header));
        if (received.length > header.length) socket.unshift(received.subarray(header.length));
      } catch (error) {
        settle(() => reject(error));
      }
    };
    function settle(then: () => void): void {
      clearTimeout(timer);
      socket.off("data", onData).off("close", onClose).off("end", onClose);
      socket.pause();
      then();
    }
    socket.on("data", onData).on("close", onClose).on("end", onClose);
    socket.resume();
  });
}

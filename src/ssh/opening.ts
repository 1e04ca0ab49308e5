/**
 * The first bytes of a connection, before ssh2 sees any: the client's identification line, however it is split over
 * segments, and the KEXINIT of clients that send it unasked. Knows no encryption.
 */
import type { Socket } from "node:net";
import { ProtocolError } from "../errors.ts";
import { kexInitPatienceMs } from "./algorithms.ts";

const MAX_IDENT_LINE = 255; // RFC 4253 §4.2
const MAX_FIRST_PACKET = 35_000;
const IDENT = /^SSH-(?:2\.0|1\.99)-([\x21-\x7e]+)(?: ([\x20-\x7e]*))?$/;
const KEXINIT = 20;

/** What a connection began with. */
export interface Opening {
  /** The identification line without CR LF. */
  readonly ident: string;
  /** The part after `SSH-2.0-`, without the comment. */
  readonly software: string;
  /** Payload of the KEXINIT, if it came in time. */
  readonly kexInit: Uint8Array | undefined;
  /** Everything that came after the identification line, unread by anybody. */
  readonly rest: Buffer;
}

/**
 * Reads the opening. The socket is left paused and without `data` listener. Rejects with `ProtocolError` for a wrong
 * line, with the signal's reason when it aborts, and with an error when the socket ends first.
 */
export function readOpening(socket: Socket, signal: AbortSignal): Promise<Opening> {
  return new Promise((resolve, reject) => {
    let received: Buffer = Buffer.alloc(0);
    let ident: { line: string; software: string; end: number } | undefined;
    let timer: NodeJS.Timeout | undefined;

    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      socket.off("data", onData).off("close", onClose);
      signal.removeEventListener("abort", onAbort);
      socket.pause();
      settle();
    };
    const fail = (error: unknown): void => finish(() => reject(error));
    const succeed = (kexInit: Uint8Array | undefined): void => {
      const { line, software, end } = ident ?? { line: "", software: "", end: 0 };
      finish(() => resolve({ ident: line, software, kexInit, rest: received.subarray(end) }));
    };
    const onClose = (): void => fail(new Error("the client left before its identification line"));
    const onAbort = (): void => fail(signal.reason);
    const onData = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk]); // the socket may overwrite what it lends
      try {
        ident ??= parseIdent(received);
        if (!ident) return;
        const kexInit = firstPacket(received.subarray(ident.end));
        if (kexInit !== "incomplete") {
          succeed(kexInit);
          return;
        }
        timer ??= setTimeout(() => succeed(undefined), kexInitPatienceMs(ident.software));
      } catch (error) {
        fail(error);
      }
    };
    socket.on("data", onData).on("close", onClose);
    signal.addEventListener("abort", onAbort, { once: true });
    socket.resume();
  });
}

function parseIdent(received: Buffer): { line: string; software: string; end: number } | undefined {
  const newline = received.indexOf(0x0a);
  if (newline < 0 ? received.length >= MAX_IDENT_LINE : newline >= MAX_IDENT_LINE) {
    throw new ProtocolError("the identification line is too long");
  }
  // RFC 4253 §4.2 lets only servers send other lines first; say so at once to what is not SSH at all
  const start = received.subarray(0, Math.min(4, received.length)).toString("latin1");
  if (!"SSH-".startsWith(start)) throw new ProtocolError("not an SSH client");
  if (newline < 0) return undefined;
  const line = received.subarray(0, newline).toString("latin1").replace(/\r$/, "");
  const software = IDENT.exec(line)?.[1];
  if (software === undefined) throw new ProtocolError("malformed identification line");
  return { line, software, end: newline + 1 };
}

/** The payload of the unencrypted first packet if it is a KEXINIT (RFC 4253 §6); what is wrong with it, ssh2 finds out. */
function firstPacket(bytes: Buffer): Uint8Array | undefined | "incomplete" {
  if (bytes.length < 6) return "incomplete";
  const length = bytes.readUInt32BE(0);
  const padding = bytes[4] ?? 0;
  if (length > MAX_FIRST_PACKET || length < padding + 2 || bytes[5] !== KEXINIT) return undefined;
  return bytes.length < 4 + length ? "incomplete" : bytes.subarray(5, 4 + length - padding);
}

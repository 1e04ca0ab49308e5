/**
 * Tells a client that it will not be served: by a plain line, or by a version line and a DISCONNECT, which RFC 4253 §11.1
 * allows at any time, also before any key exchange. Never throws. Knows no reasons.
 */
import type { Socket } from "node:net";
import { DisconnectReason, encodeMessage, Message } from "./messages.ts";

/** Without a minus sign, which RFC 4253 §4.2 does not allow here, and without a version, which is nobody's business. */
export const SOFTWARE_VERSION = "SftpS3Gateway";
/** How long a client may take to read why. */
const LINGER_MS = 1_000;
/** RFC 4253 §6: the length of the packet is a multiple of this, with at least 4 bytes of padding. */
const BLOCK_BYTES = 8;
const MIN_PADDING = 4;

/** Writes `reason` as a plain line, which costs least and shows a flood no more than it must see; then closes. */
export function turnAway(socket: Socket, reason: string): void {
  close(socket, Buffer.from(`${reason}\r\n`)); // RFC 4253 §4.2 allows lines before the identification
}

/** Writes `reason` so that SSH clients show it to their users, then closes. `spoken`: the version line was sent already. */
export function sendAway(socket: Socket, reason: string, options: { readonly spoken?: boolean } = {}): void {
  const line = options.spoken ? "" : `SSH-2.0-${SOFTWARE_VERSION}\r\n`;
  close(socket, Buffer.concat([Buffer.from(line), disconnectPacket(reason)]));
}

function close(socket: Socket, farewell: Buffer): void {
  socket.on("error", () => socket.destroy());
  socket.end(farewell);
  socket.resume(); // a reset for unread bytes could overtake our answer
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}

function disconnectPacket(reason: string): Buffer {
  const payload = encodeMessage(Message.DISCONNECT, DisconnectReason.TOO_MANY_CONNECTIONS, reason, "");
  const padding = MIN_PADDING + ((BLOCK_BYTES - ((5 + payload.length + MIN_PADDING) % BLOCK_BYTES)) % BLOCK_BYTES);
  const packet = Buffer.alloc(5 + payload.length + padding);
  packet.writeUInt32BE(packet.length - 4);
  packet.writeUInt8(padding, 4);
  packet.set(payload, 5);
  return packet;
}

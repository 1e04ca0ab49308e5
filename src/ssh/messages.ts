/**
 * The numbers of RFC 4250 and OpenSSH's PROTOCOL that the server side uses, and the few messages it sends that have
 * no other home. Knows no connection.
 */

/** Message numbers (RFC 4250 §4.1.2, RFC 8308 §2.3). */
export const Message = {
  DISCONNECT: 1,
  IGNORE: 2,
  UNIMPLEMENTED: 3,
  DEBUG: 4,
  SERVICE_REQUEST: 5,
  SERVICE_ACCEPT: 6,
  EXT_INFO: 7,
  KEXINIT: 20,
  USERAUTH_REQUEST: 50,
  USERAUTH_FAILURE: 51,
  USERAUTH_SUCCESS: 52,
  USERAUTH_BANNER: 53,
  USERAUTH_PK_OK: 60,
  GLOBAL_REQUEST: 80,
  REQUEST_SUCCESS: 81,
  REQUEST_FAILURE: 82,
  CHANNEL_OPEN: 90,
  CHANNEL_OPEN_CONFIRMATION: 91,
  CHANNEL_OPEN_FAILURE: 92,
  CHANNEL_WINDOW_ADJUST: 93,
  CHANNEL_DATA: 94,
  CHANNEL_EXTENDED_DATA: 95,
  CHANNEL_EOF: 96,
  CHANNEL_CLOSE: 97,
  CHANNEL_REQUEST: 98,
  CHANNEL_SUCCESS: 99,
  CHANNEL_FAILURE: 100,
} as const;

/** Disconnect reasons (RFC 4253 §11.1). */
export const DisconnectReason = {
  PROTOCOL_ERROR: 2,
  SERVICE_NOT_AVAILABLE: 7,
  CONNECTION_LOST: 10,
  BY_APPLICATION: 11,
  TOO_MANY_CONNECTIONS: 12,
  NO_MORE_AUTH_METHODS: 14,
} as const;

/** Channel open failures (RFC 4254 §5.1). */
export const OpenFailure = {
  ADMINISTRATIVELY_PROHIBITED: 1,
  UNKNOWN_CHANNEL_TYPE: 3,
  RESOURCE_SHORTAGE: 4,
} as const;

/** A message of a number, 32-bit numbers and strings, in the order given; booleans are one byte. */
export function encodeMessage(type: number, ...fields: readonly (number | boolean | string | Uint8Array)[]): Buffer {
  const parts = fields.map((field) => (typeof field === "string" ? Buffer.from(field) : field));
  let length = 1;
  for (const part of parts) length += typeof part === "boolean" ? 1 : typeof part === "number" ? 4 : 4 + part.length;
  const out = Buffer.allocUnsafe(length);
  let at = out.writeUInt8(type, 0);
  for (const part of parts) {
    if (typeof part === "boolean") at = out.writeUInt8(part ? 1 : 0, at);
    else if (typeof part === "number") at = out.writeUInt32BE(part, at);
    else {
      at = out.writeUInt32BE(part.length, at);
      out.set(part, at);
      at += part.length;
    }
  }
  return out;
}

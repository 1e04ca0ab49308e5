/**
 * Reads the primitive values of a packet (RFC 4251 §5) from a peer that is not trusted: every length is checked
 * against the bytes that are there. Knows no packet.
 */
import { isUtf8 } from "node:buffer";
import { ProtocolError } from "../../errors.ts";

const TWO_POW_32 = 2 ** 32;

/** A position in some bytes. Every method throws `ProtocolError` when the bytes do not hold what it is to read. */
export class WireReader {
  readonly #bytes: Buffer;
  #position: number;

  /** Reads from `bytes`, beginning at `position`; nothing is copied. */
  constructor(bytes: Uint8Array, position = 0) {
    this.#bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#position = position;
  }

  /** How many bytes are left. */
  get remaining(): number {
    return this.#bytes.length - this.#position;
  }

  /** How many bytes were read, counted from the beginning of the bytes. */
  get position(): number {
    return this.#position;
  }

  byte(): number {
    return this.#bytes.readUInt8(this.#advance(1));
  }

  /** 0 to 2³²−1. */
  uint32(): number {
    return this.#bytes.readUInt32BE(this.#advance(4));
  }

  /** A 64-bit value; refused above 2⁵³−1, which no offset or size here can reach. */
  uint64(): number {
    const at = this.#advance(8);
    const value = this.#bytes.readUInt32BE(at) * TWO_POW_32 + this.#bytes.readUInt32BE(at + 4);
    if (!Number.isSafeInteger(value)) throw new ProtocolError("64-bit value out of range");
    return value;
  }

  /** A counted string as bytes: a view, not a copy. Refused if longer than `limit`. */
  string(limit: number): Buffer {
    const length = this.uint32();
    if (length > this.remaining) throw new ProtocolError(`string of ${length} bytes, only ${this.remaining} left`);
    if (length > limit) throw new ProtocolError(`string of ${length} bytes is longer than ${limit}`);
    const at = this.#advance(length);
    return this.#bytes.subarray(at, at + length);
  }

  /** A counted string that must be UTF-8 without NUL. Refused if longer than `limit` bytes. */
  text(limit: number): string {
    const bytes = this.string(limit);
    if (!isUtf8(bytes)) throw new ProtocolError("text is not valid UTF-8");
    if (bytes.includes(0)) throw new ProtocolError("text contains a NUL character");
    return bytes.toString("utf8");
  }

  #advance(length: number): number {
    const at = this.#position;
    if (length > this.#bytes.length - at) throw new ProtocolError(`packet ends early: ${length} bytes expected, ${this.remaining} left`);
    this.#position = at + length;
    return at;
  }
}

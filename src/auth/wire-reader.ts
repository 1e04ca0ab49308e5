/**
 * Reads the data types of RFC 4251 §5 from one buffer, never past its end. Knows no message.
 */
import { ProtocolError } from "../errors.ts";

/** A cursor over bytes that a peer or a file supplied. Every method throws `ProtocolError` when the bytes run out. */
export class WireReader {
  readonly #bytes: Buffer;
  #position = 0;

  constructor(bytes: Uint8Array, position = 0) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#position = position;
  }

  /** Offset of the next byte. */
  get position(): number {
    return this.#position;
  }

  /** Bytes not read yet. */
  get remaining(): number {
    return this.#bytes.length - this.#position;
  }

  uint8(): number {
    return this.#bytes[this.#advance(1)] as number;
  }

  /** Any value but 0 is true (RFC 4251 §5). */
  boolean(): boolean {
    return this.uint8() !== 0;
  }

  uint32(): number {
    return this.#bytes.readUInt32BE(this.#advance(4));
  }

  uint64(): bigint {
    return this.#bytes.readBigUInt64BE(this.#advance(8));
  }

  /** A view, not a copy. */
  string(): Buffer {
    const length = this.uint32();
    const start = this.#advance(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** A string as text; invalid UTF-8 becomes U+FFFD. */
  text(): string {
    return this.string().toString("utf8");
  }

  /** A comma-separated list of names; the empty list is []. */
  nameList(): string[] {
    const text = this.string().toString("latin1");
    return text === "" ? [] : text.split(",");
  }

  /** A non-negative mpint without its leading zeros. */
  mpint(): Buffer {
    const bytes = this.string();
    let start = 0;
    while (start < bytes.length && bytes[start] === 0) start++;
    return bytes.subarray(start);
  }

  /** Everything that is left, as a view. */
  rest(): Buffer {
    return this.#bytes.subarray(this.#advance(this.remaining));
  }

  #advance(bytes: number): number {
    if (bytes > this.remaining) throw new ProtocolError("the message is shorter than it says");
    const start = this.#position;
    this.#position += bytes;
    return start;
  }
}

/** `bytes` with its length before it (RFC 4251 §5 string). */
export function wireString(bytes: Uint8Array | string): Buffer {
  const content = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
  const out = Buffer.allocUnsafe(4 + content.length);
  out.writeUInt32BE(content.length);
  out.set(content, 4);
  return out;
}

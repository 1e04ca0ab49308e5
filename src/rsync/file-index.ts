/**
 * The file index ("ndx") on the wire: rsync io.c `read_ndx`/`write_ndx`. From protocol 30 on it is differential, with
 * one state per direction. Pure.
 */
import type { ByteBuilder } from "./byte-builder.ts";
import type { ByteCursor } from "./byte-cursor.ts";
import { ProtocolError } from "../errors.ts";

/** End of a phase. */
export const NDX_DONE = -1;
/** Deletion statistics follow (protocol 31). */
export const NDX_DEL_STATS = -3;

/** Reads file indexes of one direction. */
export class FileIndexDecoder {
  readonly #protocol: number;
  #positive = -1;
  #negative = 1;

  constructor(protocol: number) {
    this.#protocol = protocol;
  }

  /** The next index; negative values as above. Changes its state only when all bytes were there. */
  decode(cursor: ByteCursor): number {
    if (this.#protocol < 30) return cursor.i32();
    const first = cursor.u8();
    if (first === 0) return NDX_DONE;
    const negative = first === 0xff;
    const previous = negative ? this.#negative : this.#positive;
    const value = this.#magnitude(cursor, negative ? cursor.u8() : first, previous);
    if (value > 0x7fffffff || value < 0) throw new ProtocolError("file index out of range");
    if (negative) {
      this.#negative = value;
      return -value;
    }
    this.#positive = value;
    return value;
  }

  #magnitude(cursor: ByteCursor, first: number, previous: number): number {
    if (first !== 0xfe) return first + previous;
    const high = cursor.u8();
    const low = cursor.u8();
    if (!(high & 0x80)) return (high << 8) + low + previous;
    const third = cursor.u8();
    const fourth = cursor.u8();
    return (((high & 0x7f) << 24) | (fourth << 16) | (third << 8) | low) >>> 0;
  }
}

/** Writes file indexes of one direction. */
export class FileIndexEncoder {
  readonly #protocol: number;
  #positive = -1;
  #negative = 1;

  constructor(protocol: number) {
    this.#protocol = protocol;
  }

  /** Appends `ndx` to `out`. */
  encode(out: ByteBuilder, ndx: number): void {
    if (this.#protocol < 30) {
      out.i32(ndx);
      return;
    }
    if (ndx === NDX_DONE) {
      out.u8(0);
      return;
    }
    let value = ndx;
    let difference: number;
    if (ndx < 0) {
      out.u8(0xff);
      value = -ndx;
      difference = value - this.#negative;
      this.#negative = value;
    } else {
      difference = value - this.#positive;
      this.#positive = value;
    }
    if (difference > 0 && difference < 0xfe) {
      out.u8(difference);
      return;
    }
    out.u8(0xfe);
    if (difference < 0 || difference > 0x7fff) {
      out.u8((value >>> 24) | 0x80);
      out.u8(value & 0xff);
      out.u8((value >>> 8) & 0xff);
      out.u8((value >>> 16) & 0xff);
      return;
    }
    out.u8(difference >> 8);
    out.u8(difference & 0xff);
  }
}

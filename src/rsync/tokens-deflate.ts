/**
 * The compressed token stream of `-z` (rsync token.c `send_deflated_token`, `recv_deflated_token`), formats zlib and
 * zlibx. With zlib the bytes of matched blocks are part of the compression history, with zlibx they are not.
 * Knows no files.
 */
import { ProtocolError } from "../errors.ts";
import type { MultiplexReader } from "./multiplex-reader.ts";
import type { MultiplexWriter } from "./multiplex-writer.ts";
import type { BlockRun, TokenReader, TokenWriter } from "./tokens.ts";
import { ZlibPump } from "./zlib-pump.ts";

const END = 0x00;
const TOKEN_LONG = 0x20;
const RUN_LONG = 0x21;
const DEFLATED = 0x40;
const TOKEN_RELATIVE = 0x80;
const RUN_RELATIVE = 0xc0;
/** Longest piece of deflated data with one head: 14 bits. */
const MAX_PIECE = 16383;
/** Longest stored block of deflate. */
const MAX_STORED = 0xffff;
/** What ends a sync flush and is not sent. */
const SYNC_MARK = Uint8Array.of(0x00, 0x00, 0xff, 0xff);

/** See `TokenReader`. */
export class DeflateTokenReader implements TokenReader {
  readonly #reader: MultiplexReader;
  readonly #history: boolean;
  #inflate: ZlibPump | undefined;
  #pending: Uint8Array[] = [];
  /** Deflated data came and their sync mark was not put in yet. */
  #unmarked = false;
  #last = 0;

  /** `history`: matched bytes enter the compression history (zlib). */
  constructor(reader: MultiplexReader, history: boolean) {
    this.#reader = reader;
    this.#history = history;
  }

  async next(): Promise<Uint8Array | BlockRun | undefined> {
    for (;;) {
      const ready = this.#pending.shift();
      if (ready) return ready;
      if (this.#unmarked && !(await this.#nextIsData())) {
        this.#unmarked = false;
        this.#pending.push(...(await this.#put(SYNC_MARK)));
        continue;
      }
      const flag = await this.#reader.decode((cursor) => cursor.u8());
      if ((flag & 0xc0) === DEFLATED) await this.#data(flag);
      else if (flag === END) {
        this.#last = 0;
        this.#inflate?.reset();
        return undefined;
      } else return await this.#blocks(flag);
    }
  }

  #nextIsData(): Promise<boolean> {
    return this.#reader.decode((cursor) => {
      const flag = cursor.u8();
      cursor.position--;
      return (flag & 0xc0) === DEFLATED;
    });
  }

  #put(bytes: Uint8Array): Promise<readonly Uint8Array[]> {
    this.#inflate ??= ZlibPump.inflate();
    return this.#inflate.push(bytes);
  }

  async #data(flag: number): Promise<void> {
    const length = await this.#reader.decode((cursor) => ((flag & 0x3f) << 8) | cursor.u8());
    for (let left = length; left > 0; ) {
      const bytes = await this.#reader.take(left);
      left -= bytes.length;
      this.#pending.push(...(await this.#put(bytes)));
    }
    this.#unmarked = true;
  }

  async #blocks(flag: number): Promise<BlockRun> {
    const run = await this.#reader.decode((cursor): BlockRun => {
      if (flag & TOKEN_RELATIVE) {
        const index = this.#last + (flag & 0x3f);
        return { index, count: 1 + ((flag & RUN_RELATIVE) === RUN_RELATIVE ? cursor.u16() : 0) };
      }
      if (flag !== TOKEN_LONG && flag !== RUN_LONG) throw new ProtocolError(`invalid token 0x${flag.toString(16)}`);
      const index = cursor.i32();
      return { index, count: 1 + (flag === RUN_LONG ? cursor.u16() : 0) };
    });
    this.#last = run.index + run.count - 1;
    if (run.index < 0 || this.#last > 0x7fffffff) throw new ProtocolError("block number out of range");
    return run;
  }

  /** Enters the bytes into the history as stored blocks (rsync token.c `see_deflate_token`). */
  async matched(bytes: Uint8Array): Promise<void> {
    if (!this.#history) return;
    for (let offset = 0; offset < bytes.length; offset += MAX_STORED) {
      const piece = bytes.subarray(offset, offset + MAX_STORED);
      const head = Buffer.alloc(5);
      head.writeUInt16LE(piece.length, 1);
      head.writeUInt16LE(~piece.length & 0xffff, 3);
      await this.#put(Buffer.concat([head, piece]));
    }
  }

  close(): void {
    this.#inflate?.close();
  }
}

/** See `TokenWriter`. */
export class DeflateTokenWriter implements TokenWriter {
  readonly #writer: MultiplexWriter;
  readonly #history: boolean;
  #deflate: ZlibPump | undefined;
  #compressed: Uint8Array[] = [];
  #literals = false;
  #used = false;
  /** The block run not written yet. */
  #run: { index: number; count: number } | undefined;
  #last = 0;

  /** `history`: matched bytes enter the compression history (zlib). */
  constructor(writer: MultiplexWriter, history: boolean) {
    this.#writer = writer;
    this.#history = history;
  }

  async literal(bytes: Uint8Array): Promise<void> {
    this.#writeRun();
    this.#literals = true;
    this.#used = true;
    this.#deflate ??= ZlibPump.deflate();
    this.#sendAllButMark(await this.#deflate.push(bytes));
    await this.#writer.ready();
  }

  async block(index: number, bytes: Uint8Array): Promise<void> {
    await this.#endLiterals();
    const run = this.#run;
    if (run && index === run.index + run.count && run.count <= MAX_STORED) run.count++;
    else {
      this.#writeRun();
      this.#run = { index, count: 1 };
    }
    if (!this.#history) return;
    this.#used = true;
    this.#deflate ??= ZlibPump.deflate();
    await this.#deflate.push(bytes);
    await this.#deflate.flush();
  }

  async end(): Promise<void> {
    await this.#endLiterals();
    this.#writeRun();
    this.#writer.out.u8(END);
    this.#writer.written();
    this.#last = 0;
    if (this.#used) this.#deflate?.reset();
    this.#used = false;
  }

  close(): void {
    this.#deflate?.close();
  }

  async #endLiterals(): Promise<void> {
    if (!this.#literals || !this.#deflate) return;
    this.#literals = false;
    this.#compressed.push(...(await this.#deflate.flush()));
    const all = Buffer.concat(this.#compressed);
    this.#compressed = [];
    this.#sendPieces(all.subarray(0, all.length - SYNC_MARK.length));
    await this.#writer.ready();
  }

  /** Sends what came out so far but for what could be the beginning of the final sync mark. */
  #sendAllButMark(output: readonly Uint8Array[]): void {
    this.#compressed.push(...output);
    const size = this.#compressed.reduce((sum, chunk) => sum + chunk.length, 0);
    if (size < MAX_PIECE + SYNC_MARK.length) return;
    const all = Buffer.concat(this.#compressed);
    const whole = Math.floor((all.length - SYNC_MARK.length) / MAX_PIECE) * MAX_PIECE;
    this.#sendPieces(all.subarray(0, whole));
    this.#compressed = [all.subarray(whole)];
  }

  #sendPieces(bytes: Uint8Array): void {
    for (let offset = 0; offset < bytes.length; offset += MAX_PIECE) {
      const piece = bytes.subarray(offset, offset + MAX_PIECE);
      this.#writer.out.u8(DEFLATED | (piece.length >> 8));
      this.#writer.out.u8(piece.length & 0xff);
      this.#writer.out.bytes(piece);
      this.#writer.written();
    }
  }

  #writeRun(): void {
    const run = this.#run;
    if (!run) return;
    this.#run = undefined;
    const { out } = this.#writer;
    const relative = run.index - this.#last;
    const more = run.count - 1;
    if (relative >= 0 && relative <= 63) out.u8((more === 0 ? TOKEN_RELATIVE : RUN_RELATIVE) + relative);
    else {
      out.u8(more === 0 ? TOKEN_LONG : RUN_LONG);
      out.i32(run.index);
    }
    if (more > 0) out.u16(more);
    this.#last = run.index + more;
    this.#writer.written();
  }
}

/**
 * Keeps the chunks that a channel lends until somebody reads them. Small ones are put together: a peer that sends single
 * bytes must not make a list of a million, each with the memory and the time of a whole chunk. Knows no reader.
 */

/** Chunks below this are put together. Bytes. */
const SMALL = 4 * 1024;
/** Room for small chunks. Bytes. */
const ROOM = 32 * 1024;

/** See the head of this file. One for each list. */
export class ChunkKeeper {
  #room: Buffer | undefined;
  #used = 0;

  /**
   * Copies `chunk` to the end of `chunks`; the last of these may be replaced by a longer view that begins where it began.
   * The list may be changed in any way meanwhile, its bytes may not.
   */
  keep(chunks: Uint8Array[], chunk: Uint8Array): void {
    const last = chunks.at(-1);
    if (!last || chunk.length >= SMALL) {
      chunks.push(Buffer.from(chunk));
      return;
    }
    if (this.#room && this.#endsAtUsed(last, this.#room) && this.#used + chunk.length <= ROOM) {
      const start = last.byteOffset - this.#room.byteOffset;
      this.#room.set(chunk, this.#used);
      this.#used += chunk.length;
      chunks[chunks.length - 1] = this.#room.subarray(start, this.#used);
      return;
    }
    this.#room = Buffer.allocUnsafeSlow(ROOM);
    this.#room.set(chunk);
    this.#used = chunk.length;
    chunks.push(this.#room.subarray(0, chunk.length));
  }

  #endsAtUsed(last: Uint8Array, room: Buffer): boolean {
    return last.buffer === room.buffer && last.byteOffset + last.length === room.byteOffset + this.#used;
  }
}

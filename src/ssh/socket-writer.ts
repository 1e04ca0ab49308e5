/**
 * The sending side of one socket: packets of one loop turn leave together, those that lie one behind the other in a slab
 * by a single write, and their slab is released when the kernel has them. Knows no messages.
 */
import type { Socket } from "node:net";
import { holdSlab, releaseSlab } from "../slab-pool.ts";

/** So many bytes leave without waiting for the end of the turn, so that the peer begins to work on them. */
const FLUSH_BYTES = 192 * 1024;

/** See the head of this file. */
export class SocketWriter {
  readonly #socket: Socket;
  readonly #allSent: () => void;
  /** Not handed to the socket yet; the last one may still grow. Each holds its slab. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #isScheduled = false;

  /** `allSent` is called whenever the kernel has taken everything. */
  constructor(socket: Socket, allSent: () => void) {
    this.#socket = socket;
    this.#allSent = allSent;
  }

  /** Bytes written here that the kernel has not taken yet. */
  get unsentBytes(): number {
    return this.#waitingBytes + this.#socket.writableLength;
  }

  /** Sends `bytes` soon; they must not change before they have left. */
  write(bytes: Buffer): void {
    if (this.#socket.destroyed || !this.#socket.writable) return;
    const last = this.#waiting.at(-1);
    if (last && last.buffer === bytes.buffer && last.byteOffset + last.length === bytes.byteOffset) {
      this.#waiting[this.#waiting.length - 1] = Buffer.from(last.buffer, last.byteOffset, last.length + bytes.length);
    } else {
      holdSlab(bytes);
      this.#waiting.push(bytes);
    }
    this.#waitingBytes += bytes.length;
    if (this.#waitingBytes >= FLUSH_BYTES) this.flush();
    else if (!this.#isScheduled) {
      this.#isScheduled = true;
      process.nextTick(() => {
        this.#isScheduled = false;
        this.flush();
      });
    }
  }

  /** Hands everything to the socket now. */
  flush(): void {
    const waiting = this.#waiting;
    if (waiting.length === 0) return;
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (waiting.length === 1) {
      this.#send(waiting[0] as Buffer);
      return;
    }
    this.#socket.cork();
    for (const bytes of waiting) this.#send(bytes);
    this.#socket.uncork();
  }

  #send(bytes: Buffer): void {
    this.#socket.write(bytes, (error) => {
      if (error) return; // whether the kernel is done with them is not known: left to the garbage collector
      releaseSlab(bytes);
      if (this.unsentBytes === 0) this.#allSent();
    });
  }
}

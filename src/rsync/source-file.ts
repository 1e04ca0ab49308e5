/**
 * A file that a client asked for: opened ahead of its turn, a small one read ahead whole. Knows no wire.
 */
import type { ByteBudget } from "../byte-budget.ts";
import type { FileHandle, FileSystem } from "../vfs/file-system.ts";

/** Files up to this size are read before their turn. Bytes. */
const SMALL = 256 * 1024;
/** How much of a larger one is read at once. Bytes. */
const READ_SIZE = 512 * 1024;

/** See the head of this file. Owes `close`. */
export class SourceFile {
  readonly #handle: FileHandle;
  readonly #budget: ByteBudget | undefined;
  readonly size: number;
  #ahead: Promise<readonly Uint8Array[]> | undefined;
  #reserved = 0;

  private constructor(handle: FileHandle, size: number, budget: ByteBudget | undefined) {
    this.#handle = handle;
    this.size = size;
    this.#budget = budget;
  }

  /** Opens `path`; `readAhead`: its beginning may be read at once. Rejects with `FsError`. */
  static async open(fileSystem: FileSystem, path: string, budget: ByteBudget | undefined, readAhead: boolean): Promise<SourceFile> {
    const handle = await fileSystem.open(path, { read: true });
    try {
      const source = new SourceFile(handle, (await handle.stat()).size, budget);
      if (readAhead) source.#readSmall();
      return source;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  #readSmall(): void {
    if (this.size === 0 || this.size > SMALL) return;
    if (this.#budget && !this.#budget.tryTake(this.size)) return;
    if (this.#budget) this.#reserved = this.size;
    this.#ahead = this.#read(0, this.size);
  }

  #read(offset: number, length: number): Promise<readonly Uint8Array[]> {
    const reading = this.#handle.read(offset, length);
    // Awaited when its turn comes; until then a failure must not count as unhandled.
    reading.catch(() => undefined);
    return reading;
  }

  /** The bytes from `from` on, in order, the next piece always under way. Rejects with `FsError`. */
  async *pieces(from: number): AsyncGenerator<readonly Uint8Array[]> {
    let offset = from;
    let next = from === 0 && this.#ahead ? this.#ahead : this.#read(offset, READ_SIZE);
    while (offset < this.size) {
      const chunks = await next;
      if (chunks.length === 0) return;
      for (const chunk of chunks) offset += chunk.length;
      if (offset < this.size) next = this.#read(offset, READ_SIZE);
      yield chunks;
    }
  }

  async close(): Promise<void> {
    if (this.#reserved > 0) this.#budget?.release(this.#reserved);
    this.#reserved = 0;
    await this.#handle.close();
  }
}

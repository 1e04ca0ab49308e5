/**
 * Where the data of one incoming file go: into memory while they may fit a small file, else into an open handle.
 * After a failure it swallows the rest, since the sender cannot be stopped in the middle of a file. Knows no tokens.
 */
import type { ByteBudget } from "../byte-budget.ts";
import type { FileHandle, FileSystem, AttributeChange } from "../vfs/file-system.ts";

/** Files up to this size are collected first and written when their checksum is right. Bytes. */
const SMALL = 256 * 1024;

/** What is needed to begin. */
export interface IncomingFileOptions {
  readonly fileSystem: FileSystem;
  readonly budget: ByteBudget | undefined;
  readonly path: string;
  readonly attributes: AttributeChange;
  /** The size the list tells; another number of bytes may come. */
  readonly expected: number;
  /** Continue the file at this length instead of replacing it. */
  readonly appendTo: number | undefined;
  /** Go on with this very upload, cut to `length` bytes. */
  readonly resume?: { readonly id: string; readonly length: number };
}

/** See the head of this file. Owes `publish` or `discard`. */
export class IncomingFile {
  readonly #options: IncomingFileOptions;
  #handle: FileHandle | undefined;
  #small: Uint8Array[] | undefined;
  #reserved = 0;
  #offset: number;
  /** Why nothing more is kept. */
  failure: unknown;

  constructor(options: IncomingFileOptions) {
    this.#options = options;
    this.#offset = options.resume?.length ?? options.appendTo ?? 0;
    if (this.#offset === 0 && options.expected <= SMALL && this.#reserve(options.expected)) this.#small = [];
  }

  #reserve(bytes: number): boolean {
    const { budget } = this.#options;
    if (budget && !budget.tryTake(bytes)) return false;
    if (budget) this.#reserved = bytes;
    return true;
  }

  /** Where the next byte goes. */
  get offset(): number {
    return this.#offset;
  }

  /** True if the list told so few bytes that nothing of it is worth being kept. */
  get isSmall(): boolean {
    return this.#options.expected <= SMALL;
  }

  /** What an interrupted upload of it will be called, once its first bytes are on their way. */
  get uploadId(): string | undefined {
    return this.#handle?.uploadId;
  }

  /** Adds bytes at the end; resolves when they are accepted. Never rejects: see `failure`. */
  async write(chunks: readonly Uint8Array[]): Promise<void> {
    const offset = this.#offset;
    for (const chunk of chunks) this.#offset += chunk.length;
    if (this.failure !== undefined) return;
    try {
      if (this.#small && this.#offset <= this.#options.expected) this.#small.push(...chunks);
      else await (await this.#opened()).write(offset, chunks);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Adds `length` bytes that `source` has at `from`, within the store where that is possible. Never rejects. */
  async copyFrom(source: FileHandle, from: number, length: number): Promise<void> {
    const offset = this.#offset;
    this.#offset += length;
    if (this.failure !== undefined) return;
    try {
      const copied = await (await this.#opened()).copyFrom(source, from, length, offset);
      if (copied !== length) throw new Error(`${copied} of ${length} bytes copied`);
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.failure = error;
    this.#release();
  }

  #release(): void {
    this.#small = undefined;
    if (this.#reserved > 0) this.#options.budget?.release(this.#reserved);
    this.#reserved = 0;
  }

  /** The handle; opening it writes what was collected. */
  async #opened(): Promise<FileHandle> {
    if (this.#handle) return this.#handle;
    const { fileSystem, path, attributes, appendTo, resume } = this.#options;
    const truncate = appendTo === undefined && resume === undefined;
    const kind = { sequential: true, finalName: true, keepsCopies: true };
    const flags = { write: true, create: true, truncate, ...kind, ...(resume && { resume }) };
    const handle = await fileSystem.open(path, flags, attributes);
    this.#handle = handle;
    // Attributes of `open` are for new files, and subject to a umask.
    if (Object.keys(attributes).length > 0) await handle.setstat(attributes);
    const collected = this.#small;
    if (collected && collected.length > 0) await handle.write(0, collected);
    this.#release();
    return handle;
  }

  /** Makes the file visible. Rejects with the first failure; nothing is visible then. */
  async publish(): Promise<void> {
    if (this.failure !== undefined) {
      await this.discard(new Error("writing failed", { cause: this.failure }));
      throw this.failure;
    }
    try {
      const handle = await this.#opened();
      await handle.close();
    } catch (error) {
      this.failure = error;
      await this.discard(new Error("publishing failed", { cause: error }));
      throw error;
    }
  }

  /** Ends it without making anything visible. */
  async discard(cause: Error): Promise<void> {
    this.#release();
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.abort(cause);
  }
}

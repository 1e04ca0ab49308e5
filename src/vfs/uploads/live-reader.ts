/**
 * Reading of a file that somebody is still writing: the same session reads all that was received without a gap, another
 * session of the owner what the writer has made safe (`sync`). Reads change nothing for the writer. Once the file is published the handle goes on with exactly that version. Knows the writer; no names, no store.
 */
import { FsError } from "../../errors.ts";
import type { ObjectInfo } from "../../objectstore/objectstore.ts";
import type { AttributeChange, Attributes, FileHandle } from "../file-system.ts";
import { toFsError } from "../store-fault.ts";
import type { Piece } from "./peek.ts";

/** Bytes move while they are read: from memory to a file, from a file to the store. So often a read is tried again. */
const maxAttempts = 5;

/** A version that has just been published. */
export type PublishedVersion = Pick<ObjectInfo, "key" | "etag" | "size" | "lastModifiedMs">;

/** What a reader asks of the handle that writes the file. */
export interface LiveWriter {
  /** False once it is being closed or given up. */
  readonly isLive: boolean;
  /** Bytes received without a gap. */
  readonly received: number;
  /** Bytes that the last `sync` made safe; undefined: there was none. */
  readonly synced: number | undefined;
  readonly snapshot: Attributes;
  /** What its CLOSE published, if it did. */
  readonly published: PublishedVersion | undefined;
  /** Resolves once the writer's calls so far have taken effect. */
  caughtUp(): Promise<void>;
  /** See `UploadContent.peek`. */
  peek(start: number, end: number): Promise<Piece[]>;
  ended(): Promise<void>;
}

/** How it is opened. */
export interface LiveReaderOptions {
  readonly writer: LiveWriter;
  /** Only what the writer has made safe is shown. */
  readonly syncedOnly: boolean;
  /** The virtual path, for texts. */
  readonly path: string;
  readonly setstat: (change: AttributeChange) => Promise<void>;
  /** Opens what the writer has published. */
  readonly openVersion: (version: PublishedVersion) => FileHandle;
}

/** See the head of this file. */
export class LiveReader implements FileHandle {
  readonly #options: LiveReaderOptions;
  #after: FileHandle | undefined;
  #isClosed = false;

  constructor(options: LiveReaderOptions) {
    this.#options = options;
  }

  async read(offset: number, length: number): Promise<readonly Uint8Array[]> {
    await this.#catchUp();
    return this.readNow(offset, length);
  }

  /**
   * As `read`, but waits for none of the writer's calls: for one of them. `givenUp`: whoever reads may be what the end of the
   * writer waits for, and stops waiting for that end.
   */
  async readNow(offset: number, length: number, givenUp?: AbortSignal): Promise<readonly Uint8Array[]> {
    const { writer, path } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      if (!writer.isLive) return (await this.#published(givenUp)).read(offset, length);
      this.#requireOpen();
      const end = Math.min(offset + length, this.#readable);
      if (end <= offset) return [];
      try {
        const chunks: Uint8Array[] = [];
        for (const piece of await writer.peek(offset, end)) chunks.push(typeof piece === "function" ? await piece() : piece);
        return chunks;
      } catch (error) {
        if (writer.isLive && (error instanceof FsError || attempt === maxAttempts)) throw toFsError(error, path);
      }
    }
  }

  write(): Promise<void> {
    return this.#refuse();
  }

  copyFrom(): Promise<number> {
    return this.#refuse();
  }

  async stat(): Promise<Attributes> {
    const { writer } = this.#options;
    await this.#catchUp();
    if (!writer.isLive) return (await this.#published()).stat();
    this.#requireOpen();
    return { ...writer.snapshot, size: this.#readable };
  }

  async setstat(change: AttributeChange): Promise<void> {
    this.#requireOpen();
    if (change.size !== undefined) {
      throw new FsError("invalid-argument", `${this.#options.path}: the file is open for reading only, its size cannot be set`);
    }
    await this.#options.setstat(change);
  }

  async sync(): Promise<void> {
    this.#requireOpen();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#after?.close();
  }

  abort(): Promise<void> {
    return this.close();
  }

  /** A session's requests take effect in the order it made them: what it wrote before it reads is there. */
  async #catchUp(): Promise<void> {
    const { writer, syncedOnly } = this.#options;
    if (!syncedOnly && writer.isLive) await writer.caughtUp();
  }

  get #readable(): number {
    const { writer, syncedOnly } = this.#options;
    return syncedOnly ? Math.min(writer.received, writer.synced ?? 0) : writer.received;
  }

  /** The version that the writer made of it. Rejects `stale` if it made none. */
  async #published(givenUp?: AbortSignal): Promise<FileHandle> {
    const { writer, path, openVersion } = this.#options;
    await unless(givenUp, writer.ended());
    this.#requireOpen();
    if (!this.#after && !writer.published) {
      throw new FsError("stale", `${path}: the upload of this file ended before it was whole; it cannot be read any more`);
    }
    if (!this.#after && writer.published) this.#after = openVersion(writer.published);
    return this.#after ?? this.#refuse();
  }

  #requireOpen(): void {
    if (this.#isClosed) throw new FsError("io", `${this.#options.path}: the file is closed`);
  }

  #refuse(): Promise<never> {
    return Promise.reject(new FsError("permission-denied", `${this.#options.path}: the file is open for reading only`));
  }
}

/** Resolves with `event`, or as soon as `signal` is aborted. */
async function unless(signal: AbortSignal | undefined, event: Promise<void>): Promise<void> {
  if (!signal) return event;
  if (signal.aborted) return;
  let stop = (): void => undefined;
  const aborted = new Promise<void>((resolve) => {
    stop = resolve;
    signal.addEventListener("abort", stop);
  });
  await Promise.race([event, aborted]).finally(() => signal.removeEventListener("abort", stop));
}

/**
 * `scp -f`: sends files and, with `-r`, directories, entry by entry as they are listed. Counterpart: `source()` and
 * `rsource()` in OpenSSH's scp.c.
 */
import type { ByteChannel } from "../byte-channel.ts";
import type { ByteReader } from "../byte-reader.ts";
import { FsError, ProtocolError } from "../errors.ts";
import { expandGlob } from "../exec/glob.ts";
import type { Attributes, FileSystem } from "../vfs/file-system.ts";
import { errorText } from "./error-text.ts";
import type { ScpArguments } from "./scp-args.ts";
import { encodeMessage, MAX_LINE_LENGTH, OK } from "./scp-wire.ts";

const READ_LENGTH = 256 * 1024;
/** Unsent bytes after which reading pauses. */
const MAX_PENDING = 1024 * 1024;

/** Sends the operands. One use. */
export class ScpSource {
  readonly #channel: ByteChannel;
  readonly #reader: ByteReader;
  readonly #fileSystem: FileSystem;
  readonly #arguments: ScpArguments;
  #failures = 0;

  constructor(channel: ByteChannel, reader: ByteReader, fileSystem: FileSystem, args: ScpArguments) {
    this.#channel = channel;
    this.#reader = reader;
    this.#fileSystem = fileSystem;
    this.#arguments = args;
  }

  /** Runs it; resolves to the exit status: 0, or 1 if anything could not be sent. Rejects with `ProtocolError`. */
  async run(): Promise<number> {
    if (!(await this.#confirmed())) return 1;
    for (const word of this.#arguments.operands) {
      const expanded = word.pattern === undefined ? [] : await expandGlob(this.#fileSystem, word.pattern);
      for (const path of expanded.length > 0 ? expanded : [word.text]) await this.#sendPath(path);
    }
    return this.#failures > 0 ? 1 : 0;
  }

  /**
   * The receiver's answer: true for go on, false after a warning (it does not want this entry). Rejects if it gave up
   * or left.
   */
  async #confirmed(): Promise<boolean> {
    const code = await this.#reader.byte();
    if (code === 0) return true;
    if (code === undefined) throw new ProtocolError("scp: the receiver left");
    const line = code === 1 || code === 2 ? await this.#reader.line(MAX_LINE_LENGTH) : undefined;
    this.#failures++;
    if (code === 1) return false;
    throw new ProtocolError(`scp: the receiver gave up: ${Buffer.from(line ?? []).toString("utf8")}`);
  }

  #warn(text: string): void {
    this.#failures++;
    this.#channel.write(encodeMessage({ kind: "warning", text }));
  }

  async #sendPath(path: string): Promise<void> {
    try {
      const attributes = await this.#fileSystem.stat(path);
      const name = (await this.#fileSystem.realpath(path)).split("/").pop() || ".";
      await this.#sendEntry(path, name, attributes);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.#warn(errorText(path, error));
    }
  }

  async #sendEntry(path: string, name: string, attributes: Attributes): Promise<void> {
    if (attributes.type === "file") return this.#sendFile(path, name);
    if (attributes.type === "directory" && this.#arguments.recursive) return this.#sendDirectory(path, name, attributes);
    return this.#warn(`scp: ${path}: not a regular file`);
  }

  async #sendTimes(attributes: Attributes): Promise<boolean> {
    if (!this.#arguments.preserve) return true;
    this.#channel.write(encodeMessage({ kind: "times", mtime: attributes.mtime, atime: attributes.atime }));
    return this.#confirmed();
  }

  async #sendDirectory(path: string, name: string, attributes: Attributes): Promise<void> {
    const directory = await this.#fileSystem.opendir(path);
    try {
      if (!(await this.#sendTimes(attributes))) return;
      this.#channel.write(encodeMessage({ kind: "directory", mode: attributes.mode, name: name === "." ? "home" : name }));
      if (!(await this.#confirmed())) return;
      for (let batch = await directory.next(); batch.length > 0; batch = await directory.next()) {
        for (const entry of batch) await this.#sendListed(`${path.replace(/\/+$/, "")}/${entry.name}`, entry.name, entry.attributes);
      }
      this.#channel.write(encodeMessage({ kind: "end" }));
      await this.#confirmed();
    } finally {
      await directory.close();
    }
  }

  /** One entry of a directory: what fails is told, and the rest still goes. */
  async #sendListed(path: string, name: string, attributes: Attributes): Promise<void> {
    try {
      await this.#sendEntry(path, name, attributes);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.#warn(errorText(path, error));
    }
  }

  async #sendFile(path: string, name: string): Promise<void> {
    const handle = await this.#fileSystem.open(path, { read: true });
    try {
      const attributes = await handle.stat();
      if (!(await this.#sendTimes(attributes))) return;
      this.#channel.write(encodeMessage({ kind: "file", mode: attributes.mode, size: attributes.size, name }));
      if (!(await this.#confirmed())) return;
      for (let offset = 0; offset < attributes.size; ) {
        const chunks = await this.#readExactly(handle, offset, attributes.size);
        this.#channel.write(...chunks);
        offset += chunks.reduce((sum, chunk) => sum + chunk.length, 0);
        if (this.#channel.pendingBytes > MAX_PENDING) await this.#channel.drained(MAX_PENDING / 2);
        if (this.#channel.closed.aborted) throw new ProtocolError("scp: the receiver left");
      }
      this.#channel.write(OK);
      await this.#confirmed();
    } finally {
      await handle.close();
    }
  }

  /**
   * Once the size is announced the protocol has no way to end a file early but padding it, which would leave a file of
   * the right size with wrong bytes. So a failing read ends the connection instead: the client sees that.
   */
  async #readExactly(handle: { read(offset: number, length: number): Promise<readonly Uint8Array[]> }, offset: number, size: number) {
    let chunks: readonly Uint8Array[];
    try {
      chunks = await handle.read(offset, Math.min(READ_LENGTH, size - offset));
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      throw new ProtocolError(`scp: ${error.message}`, { cause: error });
    }
    if (chunks.length === 0) throw new ProtocolError("scp: the file became shorter while it was sent");
    return chunks;
  }
}

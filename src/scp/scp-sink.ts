/**
 * `scp -t`: receives files. Nothing is published unless the announced number of bytes came and the sender did not take
 * them back; a connection that ends in the middle publishes nothing. Counterpart: `sink()` in OpenSSH's scp.c.
 */
import type { ByteChannel } from "../byte-channel.ts";
import type { ByteReader } from "../byte-reader.ts";
import { FsError, ProtocolError } from "../errors.ts";
import type { Attributes, FileHandle, FileSystem } from "../vfs/file-system.ts";
import { errorText } from "./error-text.ts";
import type { ScpArguments } from "./scp-args.ts";
import { decodeMessage, encodeMessage, MAX_LINE_LENGTH, OK, type ScpMessage } from "./scp-wire.ts";

/** Most bytes taken from the channel for one write. */
const WRITE_LENGTH = 256 * 1024;
/** Directories deeper than this cannot be keys anyway. */
const MAX_DEPTH = 512;

type FileMessage = Extract<ScpMessage, { kind: "file" }>;
type DirectoryMessage = Extract<ScpMessage, { kind: "directory" }>;
type TimesMessage = Extract<ScpMessage, { kind: "times" }>;

/** Where received names go. */
interface Target {
  readonly path: string;
  /** Received entries go into it rather than to this very name. */
  readonly isDirectory: boolean;
  readonly depth: number;
}

/** Receives until the sender is done. One use. */
export class ScpSink {
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

  /** Runs it; resolves to the exit status: 0, or 1 if anything was refused. Rejects with `ProtocolError`. */
  async run(): Promise<number> {
    const path = this.#arguments.operands[0]?.text || ".";
    const found = await this.#lookUp(path);
    if (this.#arguments.targetShouldBeDirectory && found?.type !== "directory") {
      this.#fail("error", `scp: ${path}: ${found ? "Not a directory" : "No such file or directory"}`);
      return 1;
    }
    await this.#receiveInto({ path, isDirectory: found?.type === "directory", depth: 0 });
    return this.#failures > 0 ? 1 : 0;
  }

  async #lookUp(path: string): Promise<Attributes | undefined> {
    try {
      return await this.#fileSystem.stat(path);
    } catch (error) {
      if (error instanceof FsError && error.code === "not-found") return undefined;
      throw error;
    }
  }

  #answer(...chunks: Uint8Array[]): void {
    this.#channel.write(...chunks);
  }

  /** Tells the sender what went wrong; it goes on with the next file after a warning and stops after an error. */
  #fail(kind: "warning" | "error", text: string): void {
    this.#failures++;
    this.#answer(encodeMessage({ kind, text }));
  }

  async #receiveInto(target: Target): Promise<void> {
    this.#answer(OK);
    let times: TimesMessage | undefined;
    for (;;) {
      const line = await this.#reader.line(MAX_LINE_LENGTH);
      if (!line) {
        if (target.depth > 0) throw new ProtocolError("scp: the connection ended within a directory");
        return;
      }
      const message = this.#decode(line);
      switch (message.kind) {
        case "warning":
          this.#failures++;
          break;
        case "error":
          this.#failures++;
          return;
        case "times":
          times = message;
          this.#answer(OK);
          break;
        case "end":
          // At the top it ends the run, as WinSCP asks for.
          this.#answer(OK);
          return;
        case "file":
          await this.#receiveFile(target, message, times);
          times = undefined;
          break;
        case "directory":
          await this.#receiveDirectory(target, message, times);
          times = undefined;
          break;
      }
    }
  }

  #decode(line: Uint8Array): ScpMessage {
    try {
      return decodeMessage(line);
    } catch (error) {
      if (error instanceof ProtocolError) this.#fail("error", error.message);
      throw error;
    }
  }

  #pathOf(target: Target, name: string): string {
    return target.isDirectory ? `${target.path.replace(/\/+$/, "")}/${name}` : target.path;
  }

  async #receiveDirectory(target: Target, message: DirectoryMessage, times: TimesMessage | undefined): Promise<void> {
    if (!this.#arguments.recursive) throw this.#violation("scp: received a directory without -r");
    if (target.depth >= MAX_DEPTH) throw this.#violation("scp: directories are nested too deeply");
    const path = this.#pathOf(target, message.name);
    try {
      const found = await this.#lookUp(path);
      if (found && found.type !== "directory") throw new FsError("not-a-directory", `${path}: not a directory`);
      if (!found) await this.#fileSystem.mkdir(path, this.#arguments.preserve ? { mode: message.mode } : {});
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      // As rcp does: the sender then leaves the whole directory out.
      this.#fail("warning", errorText(path, error));
      return;
    }
    await this.#receiveInto({ path, isDirectory: true, depth: target.depth + 1 });
    if (times) await this.#fileSystem.setstat(path, { mtime: times.mtime, atime: times.atime });
  }

  #violation(text: string): ProtocolError {
    this.#fail("error", text);
    return new ProtocolError(text);
  }

  async #receiveFile(target: Target, message: FileMessage, times: TimesMessage | undefined): Promise<void> {
    const path = this.#pathOf(target, message.name);
    let handle: FileHandle;
    try {
      handle = await this.#fileSystem.open(
        path,
        { write: true, create: true, truncate: true, sequential: true, finalName: true },
        {
          size: message.size,
          mode: this.#arguments.preserve ? message.mode : message.mode & ~0o022,
          ...(times && { mtime: times.mtime, atime: times.atime }),
        },
      );
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.#fail("warning", errorText(path, error));
      return;
    }
    this.#answer(OK);
    await this.#receiveData(path, handle, message.size);
  }

  /** Takes the announced bytes and the sender's verdict; publishes only if all is well. */
  async #receiveData(path: string, handle: FileHandle, size: number): Promise<void> {
    let failure: FsError | undefined;
    try {
      for (let offset = 0; offset < size; ) {
        const chunks = await this.#reader.take(Math.min(WRITE_LENGTH, size - offset));
        if (chunks.length === 0) throw new ProtocolError(`scp: the connection ended after ${offset} of ${size} bytes`);
        const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
        failure ??= await this.#write(handle, offset, chunks);
        this.#channel.consume(length);
        offset += length;
      }
      const verdict = await this.#senderVerdict();
      if (verdict !== undefined) {
        this.#failures++;
        await handle.abort(new Error(`the sender reported: ${verdict}`));
        this.#answer(OK);
        return;
      }
      if (failure) throw failure;
      await handle.close();
      this.#answer(OK);
    } catch (error) {
      await handle.abort(error instanceof Error ? error : new Error(String(error)));
      if (!(error instanceof FsError)) throw error;
      this.#fail("warning", errorText(path, error));
    }
  }

  /** The error of the write, so that the rest of the announced bytes can still be read past. */
  async #write(handle: FileHandle, offset: number, chunks: readonly Uint8Array[]): Promise<FsError | undefined> {
    try {
      await handle.write(offset, chunks);
      return undefined;
    } catch (error) {
      if (error instanceof FsError) return error;
      throw error;
    }
  }

  /**
   * What the sender says after the data: undefined for success, else its text. A sender that leaves now has sent all it
   * announced: libssh2 (curl) never confirms.
   */
  async #senderVerdict(): Promise<string | undefined> {
    const code = await this.#reader.byte();
    if (code === 0 || code === undefined) return undefined;
    const line = await this.#reader.line(MAX_LINE_LENGTH);
    return Buffer.from(line ?? []).toString("utf8");
  }
}

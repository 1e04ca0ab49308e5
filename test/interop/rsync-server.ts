/**
 * Runs real rsync clients against `serveRsync` over a Unix socket, or against the real server in a directory. For the
 * interop tests: knows no SSH.
 */
import { execFile, type ExecFileException } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ByteChannel, ByteReceiver } from "../../src/byte-channel.ts";
import { CommandLineError, splitCommandLine } from "../../src/exec/command-line.ts";
import { type RsyncServerOptions, serveRsync } from "../../src/rsync/session.ts";
import type { FileSystem } from "../../src/vfs/file-system.ts";

const RSH = new URL("./rsync-rsh.py", import.meta.url).pathname;
const WINDOW = 2 * 1024 * 1024;

/** What a client run came to. */
export interface ClientResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `rsync` with `-e` set to the test's remote shell at `place`: a socket, or a directory for the real server. */
export function runRsync(place: string, args: readonly string[], cwd: string): Promise<ClientResult> {
  return new Promise((resolve) => {
    const done = (error: ExecFileException | null, stdout: string, stderr: string): void =>
      resolve({ status: error ? Number(error.code ?? -1) : 0, stdout, stderr });
    const environment = { ...process.env, LC_ALL: "C.UTF-8", TZ: "UTC" };
    const settings = { cwd, env: environment, maxBuffer: 64 * 1024 * 1024, timeout: 240_000 };
    execFile("rsync", ["-e", `${RSH} ${place}`, ...args], settings, done);
  });
}

/** A socket as a ByteChannel: what we send is framed as kind, length, payload. */
class SocketChannel implements ByteChannel {
  readonly #socket: Socket;
  readonly #closed = new AbortController();
  #receiver: ByteReceiver | undefined;
  #early: Uint8Array[] = [];
  #ended = false;
  #held = 0;

  constructor(socket: Socket, early: Uint8Array) {
    this.#socket = socket;
    if (early.length > 0) this.#early.push(early);
    socket.on("data", (chunk: Uint8Array) => this.#data(chunk));
    socket.on("end", () => this.#end());
    socket.on("error", () => undefined);
    socket.on("close", () => this.#closed.abort(new Error("socket closed")));
  }

  #data(chunk: Uint8Array): void {
    this.#held += chunk.length;
    if (this.#held > WINDOW) this.#socket.pause();
    if (this.#receiver) this.#receiver.data(chunk);
    else this.#early.push(chunk);
  }

  #end(): void {
    this.#ended = true;
    this.#receiver?.end();
  }

  receive(receiver: ByteReceiver): void {
    this.#receiver = receiver;
    for (const chunk of this.#early.splice(0)) receiver.data(chunk);
    if (this.#ended) receiver.end();
  }

  consume(bytes: number): void {
    this.#held -= bytes;
    if (this.#held <= WINDOW) this.#socket.resume();
  }

  #frame(kind: number, chunks: readonly Uint8Array[]): void {
    if (this.#closed.signal.aborted || this.#socket.writableEnded) return;
    const header = Buffer.alloc(5);
    header[0] = kind;
    header.writeUInt32LE(
      chunks.reduce((sum, chunk) => sum + chunk.length, 0),
      1,
    );
    this.#socket.write(header);
    for (const chunk of chunks) this.#socket.write(chunk);
  }

  write(...chunks: readonly Uint8Array[]): void {
    this.#frame(0, chunks);
  }

  writeError(chunk: Uint8Array): void {
    this.#frame(1, [chunk]);
  }

  get pendingBytes(): number {
    return this.#socket.writableLength;
  }

  async drained(limit = 256 * 1024): Promise<void> {
    while (this.pendingBytes > limit && !this.#closed.signal.aborted) {
      await new Promise<void>((resolve) => {
        const settle = (): void => {
          this.#socket.off("drain", settle);
          this.#socket.off("close", settle);
          resolve();
        };
        this.#socket.on("drain", settle);
        this.#socket.on("close", settle);
      });
    }
  }

  exit(status: number): void {
    const frame = Buffer.alloc(5);
    frame[0] = 2;
    frame.writeUInt32LE(status, 1);
    this.#socket.end(frame);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  get closed(): AbortSignal {
    return this.#closed.signal;
  }
}

/** A server for one file system at a time. */
export class RsyncTestServer {
  readonly #server: Server;
  readonly #directory = mkdtempSync(join(tmpdir(), "rsync-test-"));
  readonly #sockets = new Set<Socket>();
  readonly #settings: Partial<RsyncServerOptions>;
  fileSystem: FileSystem;
  /** Exit statuses of the runs, in order. */
  readonly statuses: number[] = [];
  /** What the server logged at warn. */
  readonly warnings: unknown[] = [];

  constructor(fileSystem: FileSystem, settings: Partial<RsyncServerOptions> = {}) {
    this.fileSystem = fileSystem;
    this.#settings = settings;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /** What `runRsync` takes as place. */
  get place(): string {
    return join(this.#directory, "socket");
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.place, resolve));
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#directory, { recursive: true });
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    let begin = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      begin = Buffer.concat([begin, chunk]);
      if (begin.length < 4 || begin.length < 4 + begin.readUInt32LE()) return;
      socket.off("data", onData);
      const end = 4 + begin.readUInt32LE();
      const line = begin.subarray(4, end).toString();
      void this.#serve(line, new SocketChannel(socket, begin.subarray(end)));
    };
    socket.on("data", onData);
  }

  async #serve(line: string, channel: SocketChannel): Promise<void> {
    const log = { debug: () => undefined, info: () => undefined, warn: (fields: object) => void this.warnings.push(fields) };
    try {
      const words = splitCommandLine(line).slice(1);
      const status = await serveRsync(words, channel, this.fileSystem, { log, lingerMs: 300, ...this.#settings });
      this.statuses.push(status);
      channel.exit(status);
    } catch (error) {
      if (!(error instanceof CommandLineError)) throw error;
      channel.writeError(Buffer.from(`${error.message}\n`));
      channel.exit(127);
    }
  }
}

/**
 * One run of `rsync --server` on a channel, from the arguments to the exit status: handshake, direction, keep-alive,
 * and what the client is told when the run breaks. Knows nothing of SSH and of what the words of the command line were
 * before they were split.
 */
import { randomInt } from "node:crypto";
import type { ByteBudget } from "../byte-budget.ts";
import type { ByteChannel } from "../byte-channel.ts";
import { FsError, ProtocolError } from "../errors.ts";
import type { Word } from "../exec/command-line.ts";
import type { FileSystem } from "../vfs/file-system.ts";
import { reasonText } from "./error-text.ts";
import { ExitStatus, exitLine, PeerGone, RsyncExit, statusOf } from "./exit-codes.ts";
import { type Handshake, receiveSecludedArguments, shakeHands } from "./handshake.ts";
import { handleMessage, PeerExit } from "./messages.ts";
import { Tag } from "./multiplex.ts";
import { MultiplexReader } from "./multiplex-reader.ts";
import { MultiplexWriter } from "./multiplex-writer.ts";
import { OptionParser } from "./option-parser.ts";
import { Run, type RunLog } from "./run.ts";
import { serveDownload } from "./serve-download.ts";
import { serveUpload } from "./serve-upload.ts";
import type { ServerOptions } from "./server-options.ts";
import { ListMemory, type ListShare } from "./list-memory.ts";
import type { UploadNotesStore } from "./upload-notes.ts";

/** What a run needs beside the channel. Times in milliseconds. */
export interface RsyncServerOptions {
  readonly log: RunLog;
  /** The process's budget; none: small files are not counted. */
  readonly budget?: ByteBudget;
  /** The process's memory for lists; none: one for this run alone. */
  readonly lists?: ListMemory;
  /** Whose run it is, for `lists`. */
  readonly user?: string;
  /** Notes about interrupted uploads; none: only `--append` goes on with them. */
  readonly notes?: UploadNotesStore;
  readonly now?: () => number;
  /** A checksum seed other than 0; default random. */
  readonly randomSeed?: () => number;
  /** Silence of ours after which an empty frame is sent; default 15 s, or a third of the client's `--timeout`. */
  readonly keepAliveMs?: number;
  /** Time for arguments and versions; default 30 s. */
  readonly handshakeMs?: number;
  /** Time without a byte in either direction, keep-alives apart, after which the run ends; default 1 h. */
  readonly idleMs?: number;
  /** How long the client may take to read an error; default 3 s. */
  readonly lingerMs?: number;
}

const DEFAULT_KEEP_ALIVE = 15_000;
const DEFAULT_HANDSHAKE = 30_000;
const DEFAULT_IDLE = 3_600_000;
const DEFAULT_LINGER = 3_000;

/**
 * Serves one `rsync --server …`; `words` are the words after the program's name. Resolves to the exit status (rsync(1)
 * EXIT VALUES) when everything is sent; the caller passes it to `channel.exit`. Never rejects.
 */
export async function serveRsync(
  words: readonly Word[],
  channel: ByteChannel,
  fileSystem: FileSystem,
  options: RsyncServerOptions,
): Promise<number> {
  if (words[0]?.text !== "--server") {
    channel.writeError(Buffer.from("rsync: only the server side (rsync --server) is available here\n"));
    return ExitStatus.usage;
  }
  const session = new RsyncSession(words, channel, fileSystem, options);
  return session.run();
}

/** See `serveRsync`. */
class RsyncSession {
  readonly #words: readonly Word[];
  readonly #channel: ByteChannel;
  readonly #fileSystem: FileSystem;
  readonly #settings: RsyncServerOptions;
  readonly #reader: MultiplexReader;
  readonly #writer: MultiplexWriter;
  readonly #parser = new OptionParser();
  readonly #now: () => number;
  readonly #list: ListShare;
  #run: Run | undefined;
  #activeAt: number;
  #onNotSent: (index: number) => void = () => undefined;

  constructor(words: readonly Word[], channel: ByteChannel, fileSystem: FileSystem, settings: RsyncServerOptions) {
    this.#words = words;
    this.#channel = channel;
    this.#fileSystem = fileSystem;
    this.#settings = settings;
    this.#now = settings.now ?? Date.now;
    this.#list = (settings.lists ?? new ListMemory()).open(settings.user ?? "");
    this.#activeAt = this.#now();
    this.#writer = new MultiplexWriter(channel, this.#now);
    this.#reader = new MultiplexReader(channel, (tag, payload) => this.#message(tag, payload));
    this.#reader.onProgress(() => {
      this.#activeAt = this.#now();
    });
  }

  #message(tag: number, payload: Uint8Array): void {
    handleMessage(tag, payload, {
      ioError: (bits) => {
        if (this.#run && !this.#run.options.ignoreErrors) this.#run.ioError |= bits;
      },
      success: (index) => this.#run?.onSuccess(index),
      notSent: (index) => this.#onNotSent(index),
      text: (text) => this.#settings.log.debug({ text }, "rsync client message"),
    });
  }

  async run(): Promise<number> {
    this.#channel.receive(this.#reader);
    try {
      return await this.#serve();
    } catch (error) {
      return await this.#broken(error);
    } finally {
      this.#list.release();
      this.#writer.flush();
      this.#reader.close();
    }
  }

  async #serve(): Promise<number> {
    this.#parser.parse(this.#words.slice(1));
    if (this.#parser.options.daemon) {
      this.#channel.write(Buffer.from("@ERROR: daemon mode is not supported\n"));
      return ExitStatus.usage;
    }
    const handshake = await this.#handshake();
    const { options } = this.#parser;
    const run = this.#newRun(options, handshake);
    this.#run = run;
    if (this.#parser.refusal) throw this.#parser.refusal;
    const timer = this.#startTimer(run);
    try {
      if (options.sender) await serveDownload(run);
      else await serveUpload(run);
    } finally {
      clearInterval(timer);
    }
    const status = statusOf(run.ioError, run.transferErrors);
    const direction = options.sender ? "download" : "upload";
    this.#settings.log.info({ direction, received: this.#reader.received, sent: this.#writer.sent, status }, "rsync run finished");
    return status;
  }

  async #handshake(): Promise<Handshake> {
    const deadline = setTimeout(
      () => this.#reader.fail(new RsyncExit(ExitStatus.timeout, "rsync: no handshake in time")),
      this.#settings.handshakeMs ?? DEFAULT_HANDSHAKE,
    );
    try {
      if (this.#parser.options.secluded) {
        this.#parser.parse(await receiveSecludedArguments(this.#reader));
      }
      return await shakeHands(this.#reader, this.#writer, this.#parser.finish(), await this.#seed());
    } finally {
      clearTimeout(deadline);
    }
  }

  /** Uploads have one seed for ever, so that notes about one stay true; downloads have one each. */
  async #seed(): Promise<number> {
    const { randomSeed, notes } = this.#settings;
    if (randomSeed) return randomSeed();
    return notes && !this.#parser.options.sender ? notes.seed() : randomInt(1, 2 ** 31);
  }

  #newRun(options: ServerOptions, { protocol, seed, compat }: Handshake): Run {
    return new Run({
      options,
      format: { protocol, safe: protocol >= 31 || (compat & 0x08) !== 0 },
      checksums: { protocol, seed, seedFirst: (compat & 0x20) !== 0 },
      reader: this.#reader,
      writer: this.#writer,
      fileSystem: this.#fileSystem,
      budget: this.#settings.budget,
      hold: (textBytes) => this.#list.entry(textBytes),
      notes: this.#settings.notes,
      log: this.#settings.log,
    });
  }

  /** Keep-alives while we are silent, and the end of a run in which nothing moves. */
  #startTimer(run: Run): NodeJS.Timeout {
    const wanted = run.options.timeout > 0 ? (run.options.timeout * 1000) / 3 : DEFAULT_KEEP_ALIVE;
    const keepAlive = this.#settings.keepAliveMs ?? Math.min(wanted, DEFAULT_KEEP_ALIVE);
    const idle = this.#settings.idleMs ?? DEFAULT_IDLE;
    let sent = this.#writer.sent;
    let unsent = 0;
    let takenAt = this.#now();
    const timer = setInterval(() => {
      const now = this.#now();
      const { pendingBytes } = this.#channel;
      if (this.#writer.sent !== sent || pendingBytes < unsent) this.#activeAt = now;
      if (pendingBytes === 0) takenAt = now;
      unsent = pendingBytes;
      const allowed = run.listed || run.options.sender || run.protocol >= 31;
      if (allowed && pendingBytes === 0 && now - this.#writer.lastSentAt >= keepAlive) this.#writer.keepAlive();
      sent = this.#writer.sent;
      const silence = now - this.#activeAt;
      if (silence < idle && !isTimeout(run, silence, now - takenAt)) return;
      const error = new RsyncExit(ExitStatus.timeout, `[server] io timeout after ${Math.floor(silence / 1000)} seconds -- exiting`);
      this.#reader.fail(error);
      this.#writer.fail(error);
    }, keepAlive / 3);
    timer.unref();
    return timer;
  }

  /** Tells the client why the run ends, as far as it can be told, and returns the exit status. */
  async #broken(error: unknown): Promise<number> {
    const { log } = this.#settings;
    if (error instanceof PeerExit) return error.status === 0 ? ExitStatus.stream : error.status;
    if (error instanceof PeerGone || this.#channel.closed.aborted) {
      log.info({ reason: error instanceof Error ? error.message : "" }, "rsync ended early");
      return ExitStatus.stream;
    }
    const { status, text } = describe(error);
    if (error instanceof RsyncExit || error instanceof ProtocolError) log.info({ status, text }, "rsync run ended early");
    else log.warn({ err: error }, "rsync run failed");
    const run = this.#run;
    if (!run) {
      this.#channel.writeError(Buffer.from(`${text}\n${exitLine(status)}\n`));
      return status;
    }
    this.#writer.text(run.protocol >= 30 ? Tag.error : Tag.errorXfer, `${text}\n${exitLine(status)}`);
    if (run.protocol >= 31) this.#writer.numberMessage(Tag.errorExit, status);
    await this.#linger();
    return status;
  }

  /** Reads on for a moment, so that the client gets to read what was sent. */
  async #linger(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.#settings.lingerMs ?? DEFAULT_LINGER);
    });
    await Promise.race([this.#reader.discard(), late]);
    clearTimeout(timer);
  }
}

/**
 * True when `--timeout` ends the run, as it does in rsync's servers: the client's list does not come, or the client does not
 * take what we send. Later it may be silent, for what it takes shows that it lives. Times in milliseconds.
 */
function isTimeout({ options, listed }: Run, silence: number, notTaken: number): boolean {
  if (options.timeout === 0) return false;
  const listIsLate = !listed && !options.sender;
  return (listIsLate ? silence : Math.min(silence, notTaken)) >= options.timeout * 1000;
}

/** Exit status and text for an error that broke the run. */
function describe(error: unknown): { readonly status: number; readonly text: string } {
  if (error instanceof RsyncExit) return { status: error.status, text: error.message };
  if (error instanceof ProtocolError) return { status: ExitStatus.stream, text: `rsync: ${error.message}` };
  if (error instanceof FsError) return { status: ExitStatus.fileIo, text: `rsync: ${reasonText(error)}` };
  return { status: ExitStatus.fileIo, text: "rsync: internal error; the server's log has the details" };
}

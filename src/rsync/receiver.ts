/**
 * The receiver of an upload (rsync receiver.c): reads the sender's answers, rebuilds every file from literal bytes and
 * blocks of its basis, compares the checksum of the whole, and publishes. What cannot be stored is read and dropped.
 * Knows nothing of how requests are decided.
 */
import { FsError, ProtocolError } from "../errors.ts";
import type { FileHandle } from "../vfs/file-system.ts";
import type { Backups } from "./backups.ts";
import { CHECKSUM_LENGTH, type Digest, sameBytes, transferDigest } from "./checksums.ts";
import { ExitStatus, PeerGone, RsyncExit } from "./exit-codes.ts";
import { FileIndexDecoder, NDX_DONE } from "./file-index.ts";
import { TaskPool } from "./in-order.ts";
import { IncomingFile } from "./incoming-file.ts";
import { decodeItem, ItemFlag } from "./item.ts";
import { readThrough } from "./quick-check.ts";
import type { Run } from "./run.ts";
import { basisLength, decodeSumHeader, lengthOfBlock, type SumHeader } from "./sums.ts";
import type { BlockRun, TokenReader } from "./tokens.ts";
import type { Basis, Upload } from "./upload.ts";
import { reasonText } from "./error-text.ts";

/** Files being published at the same time. */
const PUBLISHING = 24;
/** Runs of matched bytes at least this long are copied within the store. */
const MIN_STORE_COPY = 5 * 1024 * 1024;
/** Consecutive blocks are collected up to this many bytes. */
const MAX_RUN = 1024 * 1024 * 1024;
const MODE_BITS = 0o7777;

/** A basis opened for reading. */
interface OpenBasis {
  readonly handle: FileHandle | undefined;
  readonly header: SumHeader;
}

/** See the head of this file. */
export class Receiver {
  readonly #upload: Upload;
  readonly #run: Run;
  readonly #tokens: TokenReader;
  readonly #backups: Backups | undefined;
  readonly #indexes: FileIndexDecoder;
  readonly #publishing = new TaskPool(PUBLISHING);

  constructor(upload: Upload, tokens: TokenReader, backups: Backups | undefined) {
    this.#upload = upload;
    this.#run = upload.run;
    this.#tokens = tokens;
    this.#backups = backups;
    this.#indexes = new FileIndexDecoder(upload.run.protocol);
  }

  /** Reads answers up to the end of the given number of phases. */
  async run(phases: number): Promise<void> {
    while (this.#upload.phase < phases) {
      const index = await this.readIndex();
      if (index === NDX_DONE) this.#upload.endPhase();
      else await this.#answer(index);
    }
  }

  /** Reads the next file index. */
  readIndex(): Promise<number> {
    return this.#run.reader.decode((cursor) => this.#indexes.decode(cursor));
  }

  /** Resolves when every file is published or has failed. */
  published(): Promise<void> {
    return this.#publishing.idle();
  }

  /** As `published`, also after the run broke. */
  settled(): Promise<void> {
    return this.#publishing.settled();
  }

  async #answer(index: number): Promise<void> {
    const { list } = this.#upload;
    const item = await this.#run.reader.decode(decodeItem);
    // Protocol 29 says in this way that it is alive.
    if (index === list.length && this.#run.protocol < 30 && item.flags === ItemFlag.isNew) return;
    const position = list.positionOf(index);
    if (position < 0) throw new ProtocolError(`file index ${index} is not in the list`);
    if (!(item.flags & ItemFlag.transfer) || this.#run.options.dryRun) return;
    if (!(await this.#upload.answer(position))) throw new ProtocolError(`data for file ${index}, which was not asked for`);
    const header = await this.#run.reader.decode((cursor) => decodeSumHeader(cursor, this.#run.protocol));
    await this.#file(position, header, item.flags);
  }

  async #file(position: number, header: SumHeader, flags: number): Promise<void> {
    const path = this.#upload.path(position);
    if (path === undefined) throw new ProtocolError("data for a name that was not asked for");
    const basis = this.#upload.bases.get(position);
    this.#upload.bases.delete(position);
    const incoming = this.#incoming(position, path, basis);
    const digest = transferDigest(this.#run.checksums);
    try {
      const open: OpenBasis = { handle: await this.#openBasis(basis, header), header };
      try {
        if (basis?.appendTo !== undefined) await this.#prefix(open, basis.appendTo, digest);
        await this.#data(open, incoming, digest);
      } finally {
        await open.handle?.close();
      }
      const sum = await this.#run.reader.exactly(CHECKSUM_LENGTH);
      if (sameBytes(sum, digest.digest()) || incoming.failure !== undefined) {
        await this.#publishing.add(() => this.#publish(position, path, incoming));
      } else await this.#mismatch(position, incoming, flags);
    } catch (error) {
      await incoming.discard(error instanceof Error ? error : new Error("rsync receiver failed"));
      throw error;
    }
  }

  #incoming(position: number, path: string, basis: Basis | undefined): IncomingFile {
    const { options, fileSystem, budget } = this.#run;
    const { list } = this.#upload;
    const executable = options.executability && (list.mode(position) & 0o111) !== 0;
    return new IncomingFile({
      fileSystem,
      budget,
      path,
      expected: list.size(position),
      appendTo: basis?.appendTo,
      attributes: {
        ...(options.times && { mtime: list.mtime(position) }),
        ...(options.perms && { mode: list.mode(position) & MODE_BITS }),
        ...(!options.perms && executable && { mode: 0o755 }),
      },
    });
  }

  /** The basis for reading; undefined if there is none or it cannot be read (the checksum will tell). */
  async #openBasis(basis: Basis | undefined, header: SumHeader): Promise<FileHandle | undefined> {
    if (!basis || header.count === 0) return undefined;
    if (basis.appendTo !== undefined && this.#run.options.append !== "verify" && this.#run.protocol >= 30) return undefined;
    try {
      return await this.#run.fileSystem.open(basis.path, { read: true });
    } catch (error) {
      if (error instanceof FsError) return undefined;
      throw error;
    }
  }

  /** What is continued counts for the checksum if it is verified; below protocol 30 always. */
  async #prefix(open: OpenBasis, length: number, digest: Digest): Promise<void> {
    if (basisLength(open.header) !== length) throw new ProtocolError("the sender continues at another length");
    if (!open.handle) return;
    await this.#readBasis(open.handle, 0, length, (chunks) => {
      for (const chunk of chunks) digest.update(chunk);
    });
  }

  /** Reads a piece of the basis; what cannot be read is left out: the checksum will not match. */
  async #readBasis(
    handle: FileHandle,
    from: number,
    length: number,
    use: (chunks: readonly Uint8Array[]) => void | Promise<void>,
  ): Promise<void> {
    try {
      await readThrough(handle, from, from + length, use);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.#run.log.debug({ err: error }, "rsync basis cannot be read");
    }
  }

  async #data(open: OpenBasis, incoming: IncomingFile, digest: Digest): Promise<void> {
    let run: { from: number; length: number } | undefined;
    const collects = this.#run.options.compression !== "zlib";
    for (let token = await this.#tokens.next(); token; token = await this.#tokens.next()) {
      if (token instanceof Uint8Array) {
        if (run) await this.#matched(open, run.from, run.length, incoming, digest);
        run = undefined;
        digest.update(token);
        await incoming.write([token]);
        continue;
      }
      const { from, length } = this.#extent(open.header, token);
      if (run && (!collects || run.from + run.length !== from || run.length + length > MAX_RUN)) {
        await this.#matched(open, run.from, run.length, incoming, digest);
        run = undefined;
      }
      if (run) run.length += length;
      else run = { from, length };
      if (collects) continue;
      await this.#matched(open, from, length, incoming, digest);
      run = undefined;
    }
    if (run) await this.#matched(open, run.from, run.length, incoming, digest);
  }

  /** The bytes of the basis that a token stands for. */
  #extent(header: SumHeader, token: BlockRun): { from: number; length: number } {
    const last = token.index + token.count - 1;
    if (last >= header.count) throw new ProtocolError(`block ${last} of ${header.count}`);
    const from = token.index * header.blockLength;
    return { from, length: last * header.blockLength + lengthOfBlock(header, last) - from };
  }

  async #matched(open: OpenBasis, from: number, length: number, incoming: IncomingFile, digest: Digest): Promise<void> {
    const { handle } = open;
    if (!handle) return;
    const copies = length >= MIN_STORE_COPY;
    if (copies) await incoming.copyFrom(handle, from, length);
    await this.#readBasis(handle, from, length, async (chunks) => {
      for (const chunk of chunks) {
        digest.update(chunk);
        await this.#tokens.matched(chunk);
      }
      if (!copies) await incoming.write(chunks);
    });
  }

  /** The checksum of the whole file is another one than the sender's. */
  async #mismatch(position: number, incoming: IncomingFile, flags: number): Promise<void> {
    await incoming.discard(new Error("checksum mismatch"));
    const name = this.#upload.list.name(position);
    if (this.#upload.phase === 0) {
      this.#upload.redo.push({ position, flags });
      if (this.#run.options.verbose > 0 || this.#run.options.itemize)
        this.#run.warning(`WARNING: ${name} failed verification -- update discarded (will try again).`);
    } else this.#run.problem(`ERROR: ${name} failed verification -- update discarded.`);
  }

  async #publish(position: number, path: string, incoming: IncomingFile): Promise<void> {
    const { list } = this.#upload;
    try {
      const replaced = this.#upload.replaced.get(position);
      if (incoming.failure === undefined && replaced !== undefined) await this.#backups?.copy(path, list.name(position), replaced);
      await incoming.publish();
      this.#run.log.debug({ path, bytes: list.size(position) }, "rsync file received");
      this.#upload.confirm(position);
    } catch (error) {
      await incoming.discard(new Error("publishing failed", { cause: error }));
      this.#reportFailure(path, error);
    }
  }

  #reportFailure(path: string, error: unknown): void {
    if (error instanceof PeerGone || error instanceof RsyncExit) throw error;
    const full = error instanceof FsError && (error.code === "no-space" || error.code === "quota");
    const text = `rsync: [receiver] write failed on "${path}": ${reasonText(error)}`;
    if (full) throw new RsyncExit(ExitStatus.fileIo, text);
    this.#run.log.debug({ err: error, path }, "rsync file failed");
    this.#run.problem(text);
  }
}

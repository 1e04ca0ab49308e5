/**
 * The receiver of an upload (rsync receiver.c): reads the sender's answers, rebuilds every file from literal bytes and
 * blocks of its basis, compares the checksum of the whole, and publishes. What cannot be stored is read and dropped.
 * Knows nothing of how requests are decided.
 */
import { FsError, ProtocolError } from "../errors.ts";
import type { Assembly } from "./assembly.ts";
import type { Backups } from "./backups.ts";
import { BasisBlocks } from "./basis-blocks.ts";
import { CHECKSUM_LENGTH, transferDigest } from "./checksums.ts";
import { ContinuedFile } from "./continued-file.ts";
import { isNoted } from "./continuation.ts";
import { reasonText } from "./error-text.ts";
import { ExitStatus, PeerGone, RsyncExit } from "./exit-codes.ts";
import { destinationMode } from "./file-mode.ts";
import { FileIndexDecoder, NDX_DONE } from "./file-index.ts";
import { FileSink } from "./file-sink.ts";
import { TaskPool } from "./in-order.ts";
import { IncomingFile, type IncomingFileOptions } from "./incoming-file.ts";
import { decodeItem, ItemFlag } from "./item.ts";
import { NotesRecorder } from "./notes-recorder.ts";
import { RebuiltFile } from "./rebuilt-file.ts";
import type { Run } from "./run.ts";
import { decodeSumHeader, type SumHeader } from "./sums.ts";
import type { TokenReader } from "./tokens.ts";
import type { Basis, Upload } from "./upload.ts";
import { notesRules } from "./upload-notes.ts";

/** Files being published at the same time. */
const PUBLISHING = 24;

/** The upload to go on with was not there any more. */
function isStale({ incoming }: FileSink): boolean {
  return incoming.failure instanceof FsError && incoming.failure.code === "stale";
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
    const file = this.#assembly(position, path, header, basis);
    try {
      await file.read(this.#tokens);
      const sum = await this.#run.reader.exactly(CHECKSUM_LENGTH);
      const { sink } = file;
      const { continuation } = basis ?? {};
      if (!sink || file.isUnusable || (continuation && isStale(sink))) {
        if (continuation) await continuation.notes.store.remove(continuation.id);
        await sink?.discard(new Error("the upload cannot be gone on with"), true);
        this.#upload.redo.push({ position, flags, isDelta: continuation?.published !== undefined });
      } else if (sink.matches(sum) || sink.incoming.failure !== undefined) {
        await this.#publishing.add(() => this.#publish(position, path, sink));
      } else await this.#mismatch(position, sink, flags);
    } catch (error) {
      await file.sink?.discard(error instanceof Error ? error : new Error("rsync receiver failed"));
      throw error;
    }
  }

  #assembly(position: number, path: string, header: SumHeader, basis: Basis | undefined): Assembly {
    const run = this.#run;
    const continuation = basis?.continuation;
    if (!continuation) {
      const size = this.#upload.list.size(position);
      const incoming = this.#incoming(position, path, { appendTo: basis?.appendTo });
      const notes = isNoted(run, size) && basis?.appendTo === undefined ? run.notes : undefined;
      const rules = notesRules(run.checksums, size, basis && header.blockLength);
      const digest = notes ? new NotesRecorder(notes, rules) : transferDigest(run.checksums);
      return new RebuiltFile(run, header, basis, new FileSink(incoming, digest));
    }
    const { id, notes, published } = continuation;
    const blocks = published && new BasisBlocks(run, basis.path, published);
    const file = new ContinuedFile(continuation, blocks, (start) => {
      const incoming = this.#incoming(position, path, start ? { resume: { id, length: start.length } } : {});
      return new FileSink(incoming, new NotesRecorder(notes.store, notes.rules, start && { ...start, id }));
    });
    if (basis.appendTo !== undefined) file.takeAll(header);
    return file;
  }

  #incoming(
    position: number,
    path: string,
    begin: Pick<IncomingFileOptions, "resume"> & { readonly appendTo?: number | undefined },
  ): IncomingFile {
    const { options, fileSystem, budget } = this.#run;
    const { list } = this.#upload;
    const mode = this.#upload.modes.get(position) ?? destinationMode(options, list.mode(position));
    return new IncomingFile({
      fileSystem,
      budget,
      path,
      expected: list.size(position),
      appendTo: begin.appendTo,
      ...(begin.resume && { resume: begin.resume }),
      attributes: { mode, ...(options.times && { mtime: list.mtime(position) }) },
    });
  }

  /** The checksum of the whole file is another one than the sender's. */
  async #mismatch(position: number, sink: FileSink, flags: number): Promise<void> {
    await sink.discard(new Error("checksum mismatch"), true);
    const name = this.#upload.shown(position);
    if (this.#upload.phase === 0) {
      this.#upload.redo.push({ position, flags });
      if (this.#run.levels.name > 0 || this.#run.options.itemize)
        this.#run.warning(`WARNING: ${name} failed verification -- update discarded (will try again).`);
    } else this.#run.problem(`ERROR: ${name} failed verification -- update discarded.`);
  }

  async #publish(position: number, path: string, sink: FileSink): Promise<void> {
    const { list } = this.#upload;
    const { incoming } = sink;
    try {
      const replaced = this.#upload.replaced.get(position);
      if (incoming.failure === undefined && replaced !== undefined) await this.#backups?.copy(path, list.name(position), replaced);
      await incoming.publish();
      await sink.settle(this.#run.notes);
      this.#run.log.debug({ path, bytes: list.size(position) }, "rsync file received");
      this.#upload.confirm(position);
    } catch (error) {
      await sink.discard(new Error("publishing failed", { cause: error }));
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

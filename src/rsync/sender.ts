/**
 * The sender of a download (rsync sender.c): reads the client's requests some way ahead and answers them in order with
 * file data, as literal bytes and as blocks the client has already. Knows nothing of how the list came about.
 */
import { FsError, ProtocolError } from "../errors.ts";
import { CHECKSUM_LENGTH, type Digest, sameBytes, transferDigest } from "./checksums.ts";
import { isMissing, reasonText } from "./error-text.ts";
import { IoError } from "./exit-codes.ts";
import { FileIndexDecoder, FileIndexEncoder, NDX_DEL_STATS, NDX_DONE } from "./file-index.ts";
import type { FileList } from "./file-list.ts";
import { decodeItem, encodeItem, type Item, ItemFlag } from "./item.ts";
import { BlockSearch, BlockTable } from "./match.ts";
import { Tag } from "./multiplex.ts";
import type { Run } from "./run.ts";
import { SourceFile } from "./source-file.ts";
import { basisLength, decodeSumHeader, encodeSumHeader, type SumHeader } from "./sums.ts";
import type { TokenWriter } from "./tokens.ts";

/** Requests read ahead. */
const AHEAD = 24;
/** Sums kept of one request, and of all read ahead. Bytes. */
const MAX_SUMS = 16 * 1024 * 1024;
/** Blocks searched for in one file. */
const MAX_BLOCKS = 1_000_000;
/** Ends of phases until the last. */
const LAST_PHASE = 2;
/** Protocol < 31 has a defect in compressed streams with matches of longer blocks. */
const MAX_COMPRESSED_BLOCK = 65_535;

/** One request in its turn. */
interface Request {
  readonly index: number;
  readonly item?: Item;
  readonly position: number;
  readonly header?: SumHeader;
  /** Absent: send all of it. */
  readonly sums?: Uint8Array | undefined;
  readonly source?: Promise<SourceFile>;
  readonly counts?: readonly number[];
}

/** See the head of this file. */
export class Sender {
  readonly #run: Run;
  readonly #list: FileList;
  readonly #pathOf: (position: number) => string;
  readonly #tokens: TokenWriter;
  readonly #indexes: FileIndexDecoder;
  readonly #outIndexes: FileIndexEncoder;
  readonly #queue: Request[] = [];
  #queuedSums = 0;
  #changed: (() => void) | undefined;
  #failure: Error | undefined;
  /** Phases ended in the order of reading. */
  #phasesRead = 0;

  constructor(run: Run, list: FileList, pathOf: (position: number) => string, tokens: TokenWriter) {
    this.#run = run;
    this.#list = list;
    this.#pathOf = pathOf;
    this.#tokens = tokens;
    this.#indexes = new FileIndexDecoder(run.protocol);
    this.#outIndexes = new FileIndexEncoder(run.protocol);
  }

  /** Answers all requests up to the end of the last phase. */
  async run(): Promise<void> {
    const stop = (error: unknown): never => {
      const cause = error instanceof Error ? error : new Error("rsync sender failed", { cause: error });
      this.#failure ??= cause;
      this.#run.reader.fail(cause);
      this.#run.writer.fail(cause);
      this.#wake();
      throw error;
    };
    const results = await Promise.allSettled([this.#readRequests().catch(stop), this.#answerRequests().catch(stop)]);
    for (const request of this.#queue.splice(0)) await request.source?.then((source) => source.close()).catch(() => undefined);
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }

  /** Reads the next file index, outside the phases. */
  readIndex(): Promise<number> {
    return this.#run.reader.decode((cursor) => this.#indexes.decode(cursor));
  }

  /** Writes the end of a phase. */
  done(): void {
    this.#outIndexes.encode(this.#run.writer.out, NDX_DONE);
    this.#run.writer.written();
  }

  /** Reads the counts of what the client deleted. */
  readCounts(): Promise<number[]> {
    return this.#run.reader.decode((cursor) => Array.from({ length: 5 }, () => cursor.varint()));
  }

  /** Sends such counts back, as the client waits for. */
  echoCounts(counts: readonly number[]): void {
    const { writer } = this.#run;
    this.#outIndexes.encode(writer.out, NDX_DEL_STATS);
    for (const count of counts) writer.out.varint(count);
    writer.written();
  }

  #wake(): void {
    const changed = this.#changed;
    this.#changed = undefined;
    changed?.();
  }

  async #change(): Promise<void> {
    if (this.#failure) throw this.#failure;
    await new Promise<void>((resolve) => {
      this.#changed = resolve;
    });
    if (this.#failure) throw this.#failure;
  }

  async #readRequests(): Promise<void> {
    while (this.#phasesRead <= LAST_PHASE) {
      while (this.#queue.length >= AHEAD || this.#queuedSums > MAX_SUMS) await this.#change();
      const request = await this.#readRequest();
      if (!request) continue;
      this.#queue.push(request);
      this.#queuedSums += request.sums?.length ?? 0;
      this.#wake();
    }
  }

  async #readRequest(): Promise<Request | undefined> {
    const index = await this.readIndex();
    if (index === NDX_DONE) {
      this.#phasesRead++;
      return { index, position: -1 };
    }
    if (index === NDX_DEL_STATS && this.#run.protocol >= 31) {
      return { index, position: -1, counts: await this.readCounts() };
    }
    const item = await this.#run.reader.decode(decodeItem);
    if (index === this.#list.length && this.#run.protocol < 30 && item.flags === ItemFlag.isNew) return undefined;
    const position = this.#list.positionOf(index);
    if (position < 0) throw new ProtocolError(`file index ${index} is not in the list`);
    if (!(item.flags & ItemFlag.transfer) || this.#run.options.dryRun) return { index, item, position };
    if (!this.#list.isFile(position)) throw new ProtocolError(`file ${index} is no regular file`);
    if (this.#phasesRead >= LAST_PHASE) throw new ProtocolError("a request after the last phase");
    const header = await this.#run.reader.decode((cursor) => decodeSumHeader(cursor, this.#run.protocol));
    const sums = await this.#readSums(header);
    const source = SourceFile.open(this.#run.fileSystem, this.#pathOf(position), this.#run.budget, header.count === 0);
    // Awaited when its turn comes; until then a failure must not count as unhandled.
    source.catch(() => undefined);
    return { index, item, position, header, sums, source };
  }

  get #appends(): boolean {
    return this.#run.options.append !== "no" && this.#phasesRead === 0;
  }

  /** Reads the block sums; undefined if there are none or they cannot be used. */
  async #readSums(header: SumHeader): Promise<Uint8Array | undefined> {
    if (header.count === 0 || this.#appends) return undefined;
    const size = header.count * (4 + header.strongLength);
    const { options, protocol } = this.#run;
    const defect = options.compression === "zlib" && protocol < 31 && header.blockLength > MAX_COMPRESSED_BLOCK;
    // With --inplace the client overwrites the blocks it offers.
    if (size <= MAX_SUMS && header.count <= MAX_BLOCKS && !defect && !options.inplace) return this.#run.reader.exactly(size);
    for (let left = size; left > 0; ) left -= (await this.#run.reader.take(left)).length;
    return undefined;
  }

  async #answerRequests(): Promise<void> {
    for (let phase = 0; phase <= LAST_PHASE; ) {
      while (this.#queue.length === 0) await this.#change();
      const request = this.#queue[0];
      if (!request) continue;
      if (request.index === NDX_DONE) {
        phase++;
        if (phase <= LAST_PHASE) this.done();
      } else await this.#answer(request, phase);
      this.#queue.shift();
      this.#queuedSums -= request.sums?.length ?? 0;
      this.#wake();
    }
  }

  async #answer(request: Request, phase: number): Promise<void> {
    const { writer } = this.#run;
    if (request.counts) {
      this.echoCounts(request.counts);
      return;
    }
    if (!request.source || !request.header || !request.item) {
      this.#echo(request);
      await writer.ready();
      return;
    }
    const path = this.#pathOf(request.position);
    let source: SourceFile;
    try {
      source = await request.source;
    } catch (error) {
      this.#notOpened(request.index, path, error);
      return;
    }
    try {
      if (this.#tooShort(source, request, phase)) this.#notSent(request.index);
      else await this.#sendFile(source, request, request.header, path, phase);
    } finally {
      await source.close();
    }
  }

  #echo(request: Request): void {
    const { writer } = this.#run;
    this.#outIndexes.encode(writer.out, request.index);
    if (request.item) encodeItem(writer.out, request.item);
    writer.written();
  }

  #notOpened(index: number, path: string, error: unknown): void {
    if (!(error instanceof FsError)) throw error;
    if (isMissing(error)) {
      this.#run.ioError |= IoError.vanished;
      this.#run.warning(`file has vanished: "${path}"`);
    } else this.#run.problem(`rsync: [sender] send_files failed to open "${path}": ${reasonText(error)}`);
    this.#notSent(index);
  }

  #notSent(index: number): void {
    if (this.#run.protocol >= 30) this.#run.writer.numberMessage(Tag.noSend, index);
  }

  #continues(request: Request, phase: number): boolean {
    return this.#run.options.append !== "no" && phase === 0 && (request.header?.count ?? 0) > 0;
  }

  #tooShort(source: SourceFile, request: Request, phase: number): boolean {
    return this.#continues(request, phase) && request.header !== undefined && source.size < basisLength(request.header);
  }

  async #sendFile(source: SourceFile, request: Request, header: SumHeader, path: string, phase: number): Promise<void> {
    const { writer, checksums, options, protocol } = this.#run;
    this.#echo(request);
    encodeSumHeader(writer.out, header);
    writer.written();
    const digest = transferDigest(checksums);
    const skipped = this.#continues(request, phase) ? basisLength(header) : 0;
    let failure: unknown;
    try {
      if (skipped > 0 && (options.append === "verify" || protocol < 30)) await this.#digestPrefix(source, skipped, digest);
      await this.#sendData(source, skipped, request.sums && new BlockTable(header, request.sums), digest);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      failure = error;
    }
    await this.#tokens.end();
    const sum = Uint8Array.from(digest.digest());
    if (failure !== undefined) {
      this.#run.problem(`rsync: [sender] read errors mapping "${path}": ${reasonText(failure)}`);
      spoil(sum);
    }
    writer.out.bytes(sum);
    writer.written();
    await writer.ready();
  }

  async #digestPrefix(source: SourceFile, length: number, digest: Digest): Promise<void> {
    let left = length;
    for await (const chunks of source.pieces(0)) {
      for (const chunk of chunks) {
        digest.update(chunk.subarray(0, left));
        left -= Math.min(left, chunk.length);
      }
      if (left === 0) return;
    }
  }

  async #sendData(source: SourceFile, from: number, table: BlockTable | undefined, digest: Digest): Promise<void> {
    const search = table && new BlockSearch(table, this.#run.checksums, this.#tokens);
    for await (const chunks of source.pieces(from)) {
      for (const chunk of chunks) digest.update(chunk);
      if (search) await search.add(chunks);
      else for (const chunk of chunks) await this.#tokens.literal(chunk);
    }
    await search?.end();
  }
}

/** Makes a checksum wrong for certain. */
function spoil(sum: Uint8Array): void {
  const right = Uint8Array.from(sum);
  sum.fill(0, 0, CHECKSUM_LENGTH);
  if (sameBytes(sum, right)) sum[0] = 1;
}

/**
 * An upload from the file list to the end of the run: list, destination, generator and receiver side by side,
 * deletions, and the exchange that ends the phases (rsync main.c `do_server_recv`, generator.c `generate_files`).
 */
import { AlternateBases } from "./alternate-bases.ts";
import { Backups } from "./backups.ts";
import { Deletion } from "./deletion.ts";
import { resolveDestination } from "./destination.ts";
import { beginWalk, DestinationIndex } from "./destination-index.ts";
import { FileIndexEncoder, NDX_DEL_STATS } from "./file-index.ts";
import { DEFAULT_LIMITS, type ReceivedFileList, receiveFileList } from "./file-list-receive.ts";
import { sortFileList } from "./file-list-sort.ts";
import { FilePlanner } from "./file-plan.ts";
import { FilterList } from "./filter-list.ts";
import { parseRule, receiveFilterRules } from "./filter-rules.ts";
import { Generator } from "./generator.ts";
import { forwardNames } from "./listed-names.ts";
import { mergeFileReader } from "./merge-files.ts";
import { absolutePath, parentName, toWire } from "./names.ts";
import { EntryFlag, type FileList } from "./file-list.ts";
import { Receiver } from "./receiver.ts";
import { Removals } from "./removals.ts";
import type { Run } from "./run.ts";
import { expectsFilterList } from "./server-options.ts";
import { DeflateTokenReader } from "./tokens-deflate.ts";
import { PlainTokenReader } from "./tokens-plain.ts";
import { ProtocolError } from "../errors.ts";
import type { TokenReader } from "./tokens.ts";
import { Turns } from "./turns.ts";
import { Upload } from "./upload.ts";

/** The parts of one upload. */
interface Parts {
  readonly upload: Upload;
  readonly generator: Generator;
  readonly receiver: Receiver;
  readonly deletion: Deletion | undefined;
  readonly removals: Removals;
  readonly indexes: FileIndexEncoder;
}

function tokenReader(run: Run): TokenReader {
  const { compression } = run.options;
  return compression === "none" ? new PlainTokenReader(run.reader) : new DeflateTokenReader(run.reader, compression === "zlib");
}

/** Serves one upload up to the last byte of the protocol. What failed on the way is in `run`. */
export async function serveUpload(run: Run): Promise<void> {
  const { options, protocol } = run;
  const rules = expectsFilterList(options, protocol) ? await receiveFilterRules(run.reader, options.deleteExcluded, run.hold) : [];
  const received = await receiveList(run);
  if (!options.ignoreErrors) run.ioError |= received.ioError;
  run.listed = true;
  const { list } = received;
  await sortFileList(list, options.iconv, run.hold);
  if (options.relative) list.stripRoot();
  const byName = await list.indexNames();
  if (options.pruneEmptyDirs) await pruneEmptyDirectories(run, list, byName, new FilterList(rules, "receiver", ""));
  const argument = options.paths[0]?.text || ".";
  const begun = sendsWholeRoot(run, list) ? await beginWalk(run.fileSystem, absolutePath(argument)) : undefined;
  const destination = await resolveDestination(run, list, argument, begun !== undefined);
  const deletes = options.deleteTiming !== undefined && destination.single === undefined && list.length > 0;
  const index = new DestinationIndex(run, list, byName, destination, deletes);
  await index.fill(begun);
  const upload = new Upload(run, list, byName, destination, index);
  const backups = options.backup ? new Backups(run, destination) : undefined;
  if (options.backup && options.backupDir === undefined && !options.deleteExcluded) {
    const protection = parseRule(`P *${options.suffix ?? "~"}`, false);
    if (protection !== "clear") rules.push(...protection);
  }
  const merging = {
    read: mergeFileReader(run.fileSystem, destination.root),
    deleteExcluded: options.deleteExcluded,
    counts: (directory: string) => isInList(byName, directory),
  };
  const filters = new FilterList(rules, "receiver", toWire(destination.root), merging);
  const removals = new Removals(run, destination, filters, backups);
  const deletion = deletes ? new Deletion(upload, filters, removals) : undefined;
  await deletion?.prepare();
  const alternates = options.alternate ? new AlternateBases(run, list, byName, destination, options.alternate) : undefined;
  await alternates?.fill();
  const tokens = tokenReader(run);
  const indexes = new FileIndexEncoder(protocol);
  const during = options.deleteTiming === "during" ? deletion : undefined;
  const planner = new FilePlanner(upload, alternates, removals);
  const beforeDirectory = async (position: number): Promise<void> => during?.deleteIn(position);
  const generator = new Generator({ upload, planner, indexes, removals, beforeDirectory });
  const receiver = new Receiver(upload, tokens, backups);
  try {
    await transfer({ upload, generator, receiver, deletion, removals, indexes });
  } finally {
    await receiver.settled();
    tokens.close();
  }
}

/** The list of the client, who may be told the names it is to hold meanwhile (`--files-from=:FILE`). */
async function receiveList(run: Run): Promise<ReceivedFileList> {
  const { filesFrom } = run.options;
  const receiving = receiveFileList(run.reader, run.options, run.format, { ...DEFAULT_LIMITS, hold: run.hold });
  if (filesFrom === undefined || filesFrom === "-") return receiving;
  const forwarding = forwardNames(run, filesFrom).catch((error: unknown) => {
    run.reader.fail(error instanceof Error ? error : new Error("names not forwarded", { cause: error }));
    throw error;
  });
  const [received, forwarded] = await Promise.allSettled([receiving, forwarding]);
  if (forwarded.status === "rejected") throw forwarded.reason;
  if (received.status === "rejected") throw received.reason;
  return received.value;
}

/** True if a directory, or one above it, is in the list. */
function isInList(byName: ReadonlyMap<string, number>, directory: string): boolean {
  for (let name = directory; ; name = parentName(name)) {
    if (byName.has(name)) return true;
    if (name === ".") return false;
  }
}

/** True if everything below the destination will be compared. */
function sendsWholeRoot({ options }: Run, list: FileList): boolean {
  return options.recurse && list.length > 1 && list.name(0) === "." && list.has(0, EntryFlag.content);
}

/** `-m`: directories without a file somewhere below count as not sent, unless a rule names them (rsync flist.c `flist_sort_and_clean`). */
async function pruneEmptyDirectories(run: Run, list: FileList, byName: Map<string, number>, filters: FilterList): Promise<void> {
  const full = new Set<string>(["."]);
  const turns = new Turns();
  for (let position = list.length - 1; position >= 0; position--) {
    await turns.due();
    const name = list.name(position);
    if (!list.isDirectory(position) || full.has(name) || filters.excludes(name, true)) {
      for (let parent = parentName(name); !full.has(parent); parent = parentName(parent)) {
        if (full.size > list.length) run.hold(0);
        full.add(parent);
      }
      continue;
    }
    list.setFlag(position, EntryFlag.duplicate);
    byName.delete(name);
  }
}

/** Runs both sides; when one breaks the other is told and awaited. */
async function transfer(parts: Parts): Promise<void> {
  const { upload } = parts;
  const stop = (error: unknown): never => {
    const cause = error instanceof Error ? error : new Error("rsync run failed", { cause: error });
    upload.fail(cause);
    upload.run.reader.fail(cause);
    upload.run.writer.fail(cause);
    throw error;
  };
  const results = await Promise.allSettled([generate(parts).catch(stop), receive(parts).catch(stop)]);
  for (const result of results) if (result.status === "rejected") throw result.reason;
}

/** Phases the sender announces the end of while it sends data. */
const PHASES = 3;

async function generate(parts: Parts): Promise<void> {
  const { upload, generator, receiver, deletion, removals, indexes } = parts;
  const { run } = upload;
  const timing = run.options.deleteTiming;
  if (timing === "before") await deletion?.deleteAll();
  await generator.requestAll();
  generator.done();
  await upload.phaseEnded(1);
  await generator.requestAgain();
  generator.done();
  generator.done();
  await upload.phaseEnded(PHASES);
  await receiver.published();
  await deletion?.deleteAll();
  removals.finish();
  if (run.protocol >= 31) {
    if (deletion || run.options.force) sendDeletionCounts(run, indexes, removals);
    generator.done();
    await upload.phaseEnded(PHASES + 1);
  }
  generator.done();
  run.writer.flush();
}

function sendDeletionCounts(run: Run, indexes: FileIndexEncoder, removals: Removals): void {
  const { out } = run.writer;
  indexes.encode(out, NDX_DEL_STATS);
  const { files, directories } = removals.counts;
  for (const count of [files, directories, 0, 0, 0]) out.varint(count);
  run.writer.written();
}

async function receive(parts: Parts): Promise<void> {
  const { upload, receiver } = parts;
  await receiver.run(PHASES);
  if (upload.run.protocol < 31) return;
  if ((await receiver.readIndex()) !== -1) throw new ProtocolError("unexpected file index at the end of the run");
  upload.endPhase();
}

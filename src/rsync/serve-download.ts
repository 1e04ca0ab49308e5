/**
 * A download from the filter list to the end of the run: file list, sender, statistics, and the exchange that ends the
 * phases (rsync main.c `do_server_sender`).
 */
import { ProtocolError } from "../errors.ts";
import { DownloadListBuilder } from "./download-list.ts";
import { NDX_DEL_STATS, NDX_DONE } from "./file-index.ts";
import type { FileList } from "./file-list.ts";
import { sortFileList } from "./file-list-sort.ts";
import { FilterList } from "./filter-list.ts";
import { parseRule, receiveFilterRules } from "./filter-rules.ts";
import { readNames, receiveNames } from "./listed-names.ts";
import { mergeFileReader } from "./merge-files.ts";
import { joinPath, shownName, toText, toWire } from "./names.ts";
import type { Run } from "./run.ts";
import { Sender } from "./sender.ts";
import { DeflateTokenWriter } from "./tokens-deflate.ts";
import { PlainTokenWriter } from "./tokens-plain.ts";

/** Files removed at the same time (`--remove-source-files`). */
const REMOVING = 16;

/** Serves one download up to the last byte of the protocol. What failed on the way is in `run`. */
export async function serveDownload(run: Run): Promise<void> {
  const { options, reader, writer } = run;
  const startedAt = Date.now();
  const rules = await receiveFilterRules(reader, options.deleteExcluded, run.hold);
  if (options.cvsExclude)
    for (const text of [":C", "-C"])
      rules.push(...[parseRule(text, options.deleteExcluded)].flatMap((parsed) => (parsed === "clear" ? [] : parsed)));
  const first = options.paths[0]?.text || ".";
  const builder = new DownloadListBuilder(run, (root, counts) => {
    const merging = { read: mergeFileReader(run.fileSystem, root), deleteExcluded: options.deleteExcluded, counts };
    return new FilterList(rules, "sender", toWire(root), merging);
  });
  const list = options.filesFrom === undefined ? await builder.fromArguments(argumentsOf(run)) : await fromNames(run, builder, first);
  writer.flush();
  if (list.length === 0) return;
  const order = await sortFileList(list, options.iconv);
  const listedAt = Date.now();
  const pathOf = (position: number): string => joinPath(builder.root(order[position] ?? 0), toText(list.name(position)) ?? "");
  const tokens =
    options.compression === "none" ? new PlainTokenWriter(writer) : new DeflateTokenWriter(writer, options.compression === "zlib");
  const sender = new Sender(run, list, pathOf, tokens);
  const removals = new SourceRemovals((position) => removeSource(run, list, position, pathOf(position)));
  run.onSuccess = (index) => {
    const position = list.positionOf(index);
    if (options.removeSourceFiles && position >= 0 && list.isFile(position)) removals.add(position);
  };
  try {
    await sender.run();
  } finally {
    tokens.close();
  }
  await finish(run, list, sender, removals, listedAt - startedAt);
}

function argumentsOf(run: Run): Run["options"]["paths"] {
  const { paths } = run.options;
  return paths.length > 0 ? paths.map((word) => (word.text === "" ? { text: "." } : word)) : [{ text: "." }];
}

async function fromNames(run: Run, builder: DownloadListBuilder, directory: string): Promise<FileList> {
  const { filesFrom } = run.options;
  const names = filesFrom === "-" ? await receiveNames(run) : await readNames(run, filesFrom ?? "");
  return builder.fromNames(directory, names);
}

/** Removes what arrived safely at the client, a few files at a time and each once, however often the client says so. */
class SourceRemovals {
  readonly #remove: (position: number) => Promise<void>;
  readonly #known = new Set<number>();
  readonly #waiting: number[] = [];
  readonly #workers = new Set<Promise<void>>();

  /** `remove` does not reject. */
  constructor(remove: (position: number) => Promise<void>) {
    this.#remove = remove;
  }

  add(position: number): void {
    if (this.#known.has(position)) return;
    this.#known.add(position);
    this.#waiting.push(position);
    if (this.#workers.size >= REMOVING) return;
    const worker = this.#work().finally(() => this.#workers.delete(worker));
    this.#workers.add(worker);
  }

  /** Resolves when everything added so far is removed, or has failed. */
  async settled(): Promise<void> {
    while (this.#workers.size > 0) await Promise.all(this.#workers);
  }

  async #work(): Promise<void> {
    for (let position = this.#waiting.pop(); position !== undefined; position = this.#waiting.pop()) await this.#remove(position);
  }
}

async function removeSource(run: Run, list: FileList, position: number, path: string): Promise<void> {
  const name = shownName(list.name(position));
  try {
    const now = await run.fileSystem.lstat(path);
    if (now.size !== list.size(position) || now.mtime !== list.mtime(position)) {
      run.problem(`ERROR: Skipping sender remove for changed file: ${name}`);
      return;
    }
    await run.fileSystem.remove(path);
    if (run.levels.remove > 0) run.info(`sender removed ${name}`);
  } catch (error) {
    run.log.debug({ err: error, path }, "rsync source not removed");
    run.problem(`rsync: [sender] sender failed to remove ${name}`);
  }
}

/** Statistics and the last exchange. */
async function finish(run: Run, list: FileList, sender: Sender, removals: SourceRemovals, listMilliseconds: number): Promise<void> {
  const { writer, reader, protocol } = run;
  sender.done();
  let total = 0;
  for (let position = 0; position < list.length; position++) if (list.isFile(position)) total += list.size(position);
  writer.flush();
  const sent = writer.sent;
  for (const value of [reader.received, sent, total, Math.max(1, listMilliseconds), 0]) {
    if (protocol >= 30) writer.out.varlong(value, 3);
    else writer.out.longint(value);
  }
  writer.written();
  await expectEnd(run, sender);
  // The client has named all files it has; what fails must be told before the end.
  await removals.settled();
  if (protocol < 31) return;
  sender.done();
  await expectEnd(run, sender);
}

/** Reads the end of a phase; counts of what the client deleted may come before it. */
async function expectEnd(run: Run, sender: Sender): Promise<void> {
  let index = await sender.readIndex();
  while (index === NDX_DEL_STATS && run.protocol >= 31) {
    sender.echoCounts(await sender.readCounts());
    index = await sender.readIndex();
  }
  if (index !== NDX_DONE) throw new ProtocolError("unexpected file index at the end of the run");
}

/**
 * The generator of an upload (rsync generator.c): goes through the list in order, compares every entry with what lies
 * at the destination, makes directories, and asks the sender for the files that are needed. Looks ahead, asks in
 * order. Knows nothing of how file data arrive.
 */
import { FsError } from "../errors.ts";
import { reasonText } from "./error-text.ts";
import { EntryFlag } from "./file-list.ts";
import { IoError } from "./exit-codes.ts";
import { type FileIndexEncoder, NDX_DONE } from "./file-index.ts";
import { destinationMode } from "./file-mode.ts";
import type { FilePlanner, Plan } from "./file-plan.ts";
import type { HardLinks, LinkDecision } from "./hard-links.ts";
import { inOrder } from "./in-order.ts";
import { encodeItem, type Item, ItemFlag } from "./item.ts";
import { parentName, shownName } from "./names.ts";
import type { Removals } from "./removals.ts";
import type { Run } from "./run.ts";
import { encodeSumHeader, NO_SUMS } from "./sums.ts";
import type { Upload } from "./upload.ts";

/** Entries looked at ahead. */
const WINDOW = 32;

/** What is done for one entry when its turn comes. */
type Step = (() => void | Promise<void>) | undefined;

/** Flags that tell how a file differs from what is there. */
const DIFFERENCES = ItemFlag.isNew | ItemFlag.reportSize | ItemFlag.reportTime | ItemFlag.reportPerms;

/** What a generator works with. */
export interface GeneratorParts {
  readonly upload: Upload;
  readonly planner: FilePlanner;
  readonly indexes: FileIndexEncoder;
  readonly removals: Removals;
  /** Called when the turn of a directory comes (deletions during the transfer). */
  beforeDirectory(position: number): Promise<void>;
}

/** See the head of this file. */
export class Generator {
  readonly #upload: Upload;
  readonly #run: Run;
  readonly #planner: FilePlanner;
  readonly #indexes: FileIndexEncoder;
  readonly #removals: Removals;
  readonly #beforeDirectory: (position: number) => Promise<void>;
  #skippedBelow: string | undefined;
  /** What the step of a name with hard links came to; undefined: nothing is done for it. */
  #linkedPlan: Plan | undefined;
  /** Names of directories of the list where a file is and stays (`--ignore-existing`). */
  readonly #files = new Set<string>();

  constructor({ upload, planner, indexes, removals, beforeDirectory }: GeneratorParts) {
    this.#upload = upload;
    this.#removals = removals;
    this.#run = upload.run;
    this.#planner = planner;
    this.#indexes = indexes;
    this.#beforeDirectory = beforeDirectory;
  }

  /** First phase: goes through the whole list. */
  async requestAll(): Promise<void> {
    const { list } = this.#upload;
    await inOrder(
      list.length,
      WINDOW,
      (position) => this.#look(position),
      (position, step) => this.#act(position, step),
    );
    this.#upload.decidedBefore(list.length);
  }

  /** Second phase: asks again, for the whole of each file where the checksum did not match. */
  async requestAgain(): Promise<void> {
    for (const { position, flags, isDelta } of this.#upload.redo.splice(0)) {
      this.#upload.bases.delete(position);
      const appended = this.#run.options.append !== "no";
      const change = appended ? (flags & ~ItemFlag.reportSize) | ItemFlag.reportTime : flags;
      const path = isDelta ? this.#upload.path(position) : undefined;
      const plan = path === undefined ? undefined : await this.#planner.delta(flags, path);
      this.#transfer(position, { flags: change & ~(ItemFlag.basisTypeFollows | ItemFlag.nameFollows) }, plan);
      await this.#run.writer.ready();
    }
  }

  /** Ends a phase. */
  done(): void {
    this.#indexes.encode(this.#run.writer.out, NDX_DONE);
    this.#run.writer.written();
  }

  #act(position: number, step: Step): void | Promise<void> {
    this.#upload.decidedBefore(position);
    const { links } = this.#upload;
    if (links?.isLinked(position)) {
      this.#linkedPlan = undefined;
      return this.#actOnce(position, step ?? (() => undefined))?.then(() => this.#linked(links, position, this.#linkedPlan));
    }
    return this.#actOnce(position, step);
  }

  #actOnce(position: number, step: Step): undefined | Promise<void> {
    const isDirectory = this.#upload.list.isDirectory(position);
    if (this.#files.size > 0 && this.#files.has(parentName(this.#upload.list.name(position)))) {
      return this.#actLater(position, () => this.#belowFile(position, step), isDirectory);
    }
    if (!step && !isDirectory) return undefined;
    return this.#actLater(position, step, isDirectory);
  }

  async #actLater(position: number, step: Step, isDirectory: boolean): Promise<void> {
    if (this.#isSkipped(this.#upload.list.name(position))) return;
    await step?.();
    const name = this.#upload.list.name(position);
    if (this.#files.has(name)) this.#cannotList(position, name);
    else if (isDirectory && !this.#isSkipped(name)) await this.#beforeDirectory(position);
    await this.#run.writer.ready();
  }

  /** The entry would be in a directory that is a file: the real server finds out when it looks there. */
  async #belowFile(position: number, step: Step): Promise<void> {
    const { list } = this.#upload;
    const { options } = this.#run;
    const path = this.#upload.path(position) ?? list.name(position);
    const why = new FsError("not-a-directory", "a file");
    if (list.isDirectory(position) && !options.dryRun) {
      this.#report(position, { flags: ItemFlag.isNew | ItemFlag.localChange });
      this.#run.failure("generator", "recv_generator: mkdir", path, why);
      this.#failedDirectory(list.name(position));
      return;
    }
    const size = list.size(position);
    const isWanted = size <= (options.maxSize ?? size) && size >= (options.minSize ?? size);
    if (list.type(position) !== "file" || !isWanted) return step?.();
    this.#run.problem(`rsync: [generator] recv_generator: failed to stat "${path}": ${reasonText(why)}`);
  }

  /** What is to be deleted as the transfer goes on cannot be found in a file: that is an error, and forbids further deletions. */
  #cannotList(position: number, name: string): void {
    const { options } = this.#run;
    if (options.deleteTiming !== "during" || !this.#upload.list.has(position, EntryFlag.content)) return;
    if (this.#run.ioError & IoError.general) return;
    this.#run.failure("generator", "opendir", this.#upload.path(position) ?? name, new FsError("not-a-directory", "a file"));
    this.#run.noteIoError();
  }

  #failedDirectory(name: string): void {
    this.#skippedBelow = name;
    this.#run.error("*** Skipping any contents from this failed directory ***");
  }

  #isSkipped(name: string): boolean {
    const below = this.#skippedBelow;
    return below !== undefined && (name === below || name.startsWith(`${below}/`));
  }

  /** Decides what to do for an entry; errors of one entry are steps that report them. */
  #look(position: number): Step | Promise<Step> {
    const { list } = this.#upload;
    if (list.has(position, EntryFlag.duplicate)) return undefined;
    const path = this.#upload.path(position);
    const name = list.name(position);
    if (path === undefined) return () => this.#run.problem(`rsync: [generator] "${name}": name is not valid UTF-8 or too long`);
    const guarded = (result: Promise<Step>): Promise<Step> =>
      result.catch((error: unknown) => () => {
        this.#run.failure("generator", "recv_generator: stat", path, error);
        if (list.isDirectory(position)) this.#skippedBelow = name;
      });
    switch (list.type(position)) {
      case "directory":
        return guarded(this.#directory(position, path));
      case "file": {
        const plan = this.#planner.plan(position, path);
        if (plan instanceof Promise) return guarded(plan.then((settled) => this.#stepFor(position, settled)));
        return this.#stepFor(position, plan);
      }
      default:
        return () => this.#special(position, name, path);
    }
  }

  #stepFor(position: number, plan: Plan | undefined): Step {
    if (!plan) return undefined;
    if (this.#upload.links?.isLinked(position)) {
      return () => {
        this.#linkedPlan = plan;
      };
    }
    return () => this.#carryOut(position, plan);
  }

  #carryOut(position: number, plan: Plan): void {
    if (plan.kind === "transfer") {
      this.#transfer(position, plan.item, plan);
      return;
    }
    plan.act?.();
    if (plan.item) this.#report(position, plan.item);
  }

  /** A name with hard links is stored as a file of its own; then it is told that a link cannot be made. A dry run tells of the link. */
  #linked(links: HardLinks, position: number, plan: Plan | undefined): void {
    const { dryRun, times } = this.#run.options;
    const isSkipped = !plan || (plan.kind === "local" && plan.isSkipped === true);
    const flags = plan?.item?.flags ?? 0;
    const decisions = links.turn(position, isSkipped ? "skipped" : flags & ItemFlag.isNew ? "missing" : "there");
    const isLeader = decisions[0]?.position === position && decisions[0].leader === position;
    if (plan && (isSkipped || isLeader || !dryRun)) this.#carryOut(position, plan);
    for (const decision of decisions) {
      const isEarlier = decision.position !== position;
      if (decision.position === decision.leader) {
        if (isEarlier) this.#leads(links, decision.leader);
      } else if (dryRun) {
        const differences = isEarlier ? ItemFlag.isNew : (flags & DIFFERENCES) | (times ? 0 : ItemFlag.reportTime);
        const name = this.#upload.list.name(decision.leader);
        this.#report(decision.position, { flags: differences | ItemFlag.localChange | ItemFlag.nameFollows, name });
      } else this.#cannotLink(decision);
    }
  }

  /** The name waited, and stands for its group now that those after it are skipped. */
  #leads(links: HardLinks, leader: number): void {
    if (this.#run.options.dryRun) this.#report(leader, { flags: ItemFlag.transfer | ItemFlag.isNew });
    else if (links.wasStored(leader)) this.#upload.confirm(leader);
  }

  #cannotLink({ position, leader }: LinkDecision): void {
    const path = this.#upload.path(position) ?? this.#upload.shown(position);
    const why = new FsError("unsupported", "stored as a file of its own");
    this.#run.problem(`rsync: [generator] link "${path}" => ${this.#upload.shown(leader)} failed: ${reasonText(why)}`);
  }

  #report(position: number, item: Item): void {
    const { writer } = this.#run;
    this.#indexes.encode(writer.out, this.#upload.list.indexOf(position));
    encodeItem(writer.out, item);
    writer.written();
  }

  #transfer(position: number, item: Item, plan: Extract<Plan, { kind: "transfer" }> | undefined): void {
    const { writer, options } = this.#run;
    this.#report(position, item);
    if (options.dryRun) return;
    this.#upload.request(position);
    encodeSumHeader(writer.out, plan?.sums ?? NO_SUMS);
    if (plan?.blockSums) writer.out.bytes(plan.blockSums);
    if (plan?.basis) this.#upload.bases.set(position, plan.basis);
    writer.written();
  }

  /** Without the right to keep such things rsync says which it leaves out; what was asked for (`-l`, `-D`) is an error. */
  #special(position: number, name: string, path: string): void {
    const { list } = this.#upload;
    const { options } = this.#run;
    const type = list.type(position);
    const unsupported = new FsError("unsupported", "not kept on object storage");
    if (type === "symlink" && options.links) {
      this.#run.problem(`rsync: [generator] symlink "${path}" -> "${list.target(name) ?? ""}" failed: ${reasonText(unsupported)}`);
    } else if (type === "special" && options.specials) {
      this.#run.problem(`rsync: [generator] mknod "${path}" failed: ${reasonText(unsupported)}`);
    } else if (this.#run.levels.nonreg > 0) this.#run.info(`skipping non-regular file "${shownName(name)}"`);
  }

  #directory(position: number, path: string): Promise<Step> {
    const name = this.#upload.list.name(position);
    // What lies below waits for this, so it must be known before anything is awaited.
    let settle: (made: boolean) => void = () => undefined;
    const made = new Promise<boolean>((resolve) => {
      settle = resolve;
    });
    this.#upload.made.set(name, made);
    return this.#directoryStep(position, name, path, settle).finally(() => settle(true));
  }

  async #directoryStep(position: number, name: string, path: string, settle: (made: boolean) => void): Promise<Step> {
    const { options, levels } = this.#run;
    const { destination } = this.#upload;
    const existing = await this.#upload.index.existing(position);
    const isRoot = name === "." && destination.single === undefined;
    if (existing?.type === "directory" || (isRoot && (!destination.isNew || destination.madeParents))) {
      return options.reportUnchanged || levels.name > 1 ? () => this.#report(position, { flags: 0 }) : undefined;
    }
    if (!existing && options.existing) {
      return () => {
        this.#skippedBelow = name;
        if (levels.skip > 0) this.#run.info(`not creating new directory "${shownName(name)}"`);
      };
    }
    if (existing && options.ignoreExisting) {
      settle(false);
      return () => {
        this.#files.add(name);
        if (levels.skip > 0) this.#run.info(`${shownName(name)} exists${levels.skip > 1 ? " (type change)" : ""}`);
      };
    }
    const made = options.dryRun || isRoot || (await this.#make(position, name, path, existing !== undefined));
    settle(made);
    const known = await this.#planner.isKnownDirectory(position);
    const { list } = this.#upload;
    // Parents of what was named: with --no-implied-dirs they are none of the transfer's business, but must be there.
    const isImplied = !options.impliedDirs && list.has(position, EntryFlag.top) && !list.has(position, EntryFlag.content);
    if (made && isImplied) return undefined;
    return () => {
      if (made && known) {
        if (!options.itemize && levels.name > 1) this.#run.info(`${shownName(name)}/ is uptodate`);
        else if (options.reportUnchanged || levels.name > 1) this.#report(position, { flags: ItemFlag.localChange });
        return;
      }
      if (made) this.#report(position, { flags: ItemFlag.isNew | ItemFlag.localChange });
      else this.#failedDirectory(name);
    };
  }

  /** Makes a directory after its parent, in place of a file if one is in the way. Says whether that worked. */
  async #make(position: number, name: string, path: string, inTheWay: boolean): Promise<boolean> {
    const parent = name === "." ? undefined : this.#upload.made.get(parentName(name));
    if (parent && !(await parent)) return false;
    const { options } = this.#run;
    const { list } = this.#upload;
    const attributes = {
      ...(options.times && { mtime: list.mtime(position) }),
      mode: destinationMode(options, list.mode(position)),
    };
    try {
      if (inTheWay) await this.#removals.removeFile(path, name);
      await this.#makeWithParents(name, path, attributes);
      return true;
    } catch (error) {
      this.#run.failure("generator", "recv_generator: mkdir", path, error);
      return false;
    }
  }

  /** With -R and --no-implied-dirs the parents are not in the list. */
  async #makeWithParents(name: string, path: string, attributes: { mtime?: number; mode?: number }): Promise<void> {
    const { fileSystem, options } = this.#run;
    try {
      await fileSystem.mkdir(path, attributes);
    } catch (error) {
      if (error instanceof FsError && error.code === "exists") return;
      const missing = error instanceof FsError && error.code === "not-found";
      if (!missing || !options.relative || name === "." || !name.includes("/")) throw error;
      await this.#makeWithParents(parentName(name), path.slice(0, path.lastIndexOf("/")), {});
      await fileSystem.mkdir(path, attributes);
    }
  }
}

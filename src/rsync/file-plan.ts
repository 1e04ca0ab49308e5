/**
 * What the generator does about one regular file (rsync generator.c `recv_generator`): nothing, a report, a local
 * change, or a request with or without sums of what is there. Knows no wire format.
 */
import { FsError } from "../errors.ts";
import type { AlternateBases } from "./alternate-bases.ts";
import { continuationHeader, findContinuation, mayContinue, offerContinuation } from "./continuation.ts";
import { BlockSums } from "./block-sums.ts";
import type { Existing } from "./destination-index.ts";
import { isMissing } from "./error-text.ts";
import { destinationMode, KEPT_MODE_BITS } from "./file-mode.ts";
import { type Item, ItemFlag } from "./item.ts";
import { parentName } from "./names.ts";
import { isUnchanged, timesDiffer } from "./quick-check.ts";
import type { Removals } from "./removals.ts";
import type { Run } from "./run.ts";
import { basisLength, NO_SUMS, type SumHeader, sumHeaderFor } from "./sums.ts";
import type { Basis, Upload } from "./upload.ts";

/** What is to be done about a file. */
export type Plan =
  /** Everything happened already, or happens in `act`; then `item` is reported. `isSkipped`: nothing is done for this name. */
  | {
      readonly kind: "local";
      readonly act?: (() => void) | undefined;
      readonly item?: Item | undefined;
      readonly isSkipped?: boolean;
    }
  | {
      readonly kind: "transfer";
      readonly item: Item;
      readonly sums: SumHeader;
      readonly blockSums?: Uint8Array | undefined;
      readonly basis?: Basis | undefined;
    };

/** The basis is what an interrupted run left, and is changed in place (rsync.h `FNAMECMP_PARTIAL_DIR`). */
const PARTIAL_BASIS = 0x81;

/** See the head of this file. */
export class FilePlanner {
  readonly #upload: Upload;
  readonly #run: Run;
  readonly #alternates: AlternateBases | undefined;
  readonly #removals: Removals;
  readonly #blockSums: BlockSums;

  constructor(upload: Upload, alternates: AlternateBases | undefined, removals: Removals) {
    this.#removals = removals;
    this.#upload = upload;
    this.#run = upload.run;
    this.#alternates = alternates;
    this.#blockSums = new BlockSums(upload.run);
  }

  /** Decides; at once where a listing told enough. May reject with `FsError`. */
  plan(position: number, path: string): Plan | undefined | Promise<Plan | undefined> {
    const { list, index } = this.#upload;
    const { options } = this.#run;
    const size = list.size(position);
    if (options.maxSize !== undefined && size > options.maxSize) return this.#skipped(position, "is over max-size");
    if (options.minSize !== undefined && size < options.minSize) return this.#skipped(position, "is under min-size");
    const existing = index.existing(position);
    if (existing instanceof Promise) return existing.then((found) => this.#compare(position, path, found));
    return this.#compare(position, path, existing);
  }

  /** True if an alternate place has this directory: then it is not reported as new. */
  async isKnownDirectory(position: number): Promise<boolean> {
    return this.#alternates !== undefined && (await this.#alternates.hasDirectory(position));
  }

  #skipped(position: number, why: string): Plan | undefined {
    return this.#skip(`${this.#upload.shown(position)} ${why}`);
  }

  #skip(text: string): Plan | undefined {
    return this.#run.levels.skip > 0 ? { kind: "local", act: () => this.#run.info(text), isSkipped: true } : undefined;
  }

  /** Without itemised output a file that is not sent is told of in words. */
  #mention(position: number, isChanged: boolean): void {
    const { options, levels } = this.#run;
    const name = this.#upload.shown(position);
    if (!options.itemize && levels.name > 1) this.#run.info(isChanged ? name : `${name} is uptodate`);
  }

  #compare(position: number, path: string, existing: Existing | undefined): Plan | undefined | Promise<Plan | undefined> {
    if (existing?.listed && existing.type === "file" && this.#upload.index.unversioned(position)) {
      return this.#isPublished(path).then((published) => {
        // An upload that was interrupted can be continued, but it is not there yet.
        const counts = published || this.#run.options.append === "append";
        return this.#compareVisible(position, path, counts ? existing : undefined);
      });
    }
    return this.#compareVisible(position, path, existing);
  }

  /** False if `stat` shows an upload of ours that was never published. */
  async #isPublished(path: string): Promise<boolean> {
    try {
      await this.#run.fileSystem.storedChecksum(path, "md5");
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  #compareVisible(position: number, path: string, existing: Existing | undefined): Plan | undefined | Promise<Plan | undefined> {
    const { options } = this.#run;
    if (!existing) {
      if (options.existing) return this.#skip(`not creating new file "${this.#upload.shown(position)}"`);
      return this.#alternates ? this.#withAlternates(position, path, this.#alternates) : this.#fresh(position, ItemFlag.isNew, path);
    }
    if (options.ignoreExisting) return this.#exists(position, path, existing);
    if (existing.type !== "file") return this.#inTheWay(position, path);
    if (this.#needsExact(position, existing)) {
      return this.#upload.index.exact(position).then((exact) => {
        if (exact?.type !== "file") return this.#compare(position, path, exact);
        return this.#settle(position, path, exact);
      });
    }
    return this.#settle(position, path, existing);
  }

  /** `--ignore-existing`; with `--info=skip2` it says what would have been done. */
  #exists(position: number, path: string, existing: Existing): Plan | undefined | Promise<Plan | undefined> {
    if (this.#run.levels.skip < 2) return this.#skipped(position, "exists");
    return this.#wouldBe(position, path, existing).then((change) => this.#skipped(position, `exists (${change})`));
  }

  async #wouldBe(position: number, path: string, listed: Existing): Promise<string> {
    if (listed.type !== "file") return "type change";
    const existing = this.#needsExact(position, listed) ? ((await this.#upload.index.exact(position)) ?? listed) : listed;
    if (!(await isUnchanged(this.#run, this.#upload.list, position, existing, path))) {
      return this.#run.options.checksum ? "sum change" : "file change";
    }
    return this.#attributeDifferences(position, existing) === 0 ? "uptodate" : "attr change";
  }

  /** A listing may give another time than the file has: before that costs a transfer the file itself is asked. */
  #needsExact(position: number, existing: Existing): boolean {
    const { list } = this.#upload;
    const { options } = this.#run;
    if (!existing.listed || !timesDiffer(this.#run, list.mtime(position), existing.mtime)) return false;
    if (options.update) return true;
    return existing.size === list.size(position) && !options.ignoreTimes && (options.times || !options.sizeOnly);
  }

  #settle(position: number, path: string, existing: Existing): Plan | undefined | Promise<Plan | undefined> {
    const { list } = this.#upload;
    const { options } = this.#run;
    if (options.update && existing.mtime - list.mtime(position) > options.modifyWindow) return this.#skipped(position, "is newer");
    if (this.#alternates && this.#alternates.kind !== "copy") return this.#orAlternate(position, path, existing, this.#alternates);
    return this.#quickCheck(position, path, existing);
  }

  #quickCheck(position: number, path: string, existing: Existing): Plan | undefined | Promise<Plan | undefined> {
    const { list } = this.#upload;
    const unchanged = isUnchanged(this.#run, list, position, existing, path);
    if (typeof unchanged !== "boolean") return unchanged.then((same) => this.#conclude(position, path, existing, same));
    return this.#conclude(position, path, existing, unchanged);
  }

  #conclude(position: number, path: string, existing: Existing, unchanged: boolean): Plan | undefined | Promise<Plan | undefined> {
    const { list } = this.#upload;
    const { options } = this.#run;
    if (unchanged && !existing.listed) {
      return this.#isPublished(path).then((published) =>
        published ? this.#keep(position, path, existing) : this.#wholeFile(ItemFlag.isNew),
      );
    }
    if (unchanged) return this.#keep(position, path, existing);
    if (options.append !== "no" && existing.size >= list.size(position)) return undefined;
    const flags = this.#differences(position, existing) | (options.times ? 0 : ItemFlag.reportTime);
    if (options.backup) this.#upload.replaced.set(position, existing.mtime);
    const mode = destinationMode(options, list.mode(position), existing.mode);
    if (mode !== destinationMode(options, list.mode(position))) this.#upload.modes.set(position, mode);
    return this.#changed(position, flags, path, existing);
  }

  /** What is reported of a file that is sent in place of another. */
  #differences(position: number, existing: Existing): number {
    const { list } = this.#upload;
    const { options } = this.#run;
    return (
      (existing.size === list.size(position) ? 0 : ItemFlag.reportSize) |
      this.#attributeDifferences(position, existing) |
      (options.checksum ? ItemFlag.reportChange : 0)
    );
  }

  #attributeDifferences(position: number, existing: Existing): number {
    const { list } = this.#upload;
    const { options } = this.#run;
    const time = options.times && timesDiffer(this.#run, list.mtime(position), existing.mtime);
    const perms = destinationMode(options, list.mode(position), existing.mode) !== (existing.mode & KEPT_MODE_BITS);
    return (time ? ItemFlag.reportTime : 0) | (perms ? ItemFlag.reportPerms : 0);
  }

  /** The content stays; its time and mode are set if they differ. */
  #keep(position: number, path: string, existing: Existing): Plan | undefined | Promise<Plan | undefined> {
    const { options } = this.#run;
    const differences = this.#attributeDifferences(position, existing);
    const item = differences !== 0 || this.#reportsUnchanged ? { flags: differences } : undefined;
    const act = (): void => {
      this.#mention(position, differences !== 0);
      if (!options.dryRun) this.#upload.confirm(position);
    };
    const isAwaited = options.removeSourceFiles || this.#upload.links?.isLinked(position) === true;
    const plan: Plan | undefined = isAwaited || item ? { kind: "local", act, item } : undefined;
    if (differences === 0 || options.dryRun) return plan;
    return this.#setAttributes(position, path, existing, differences).then(() => plan);
  }

  get #reportsUnchanged(): boolean {
    return this.#run.options.reportUnchanged || this.#run.levels.name > 1;
  }

  async #setAttributes(position: number, path: string, existing: Existing, differences: number): Promise<void> {
    const { list } = this.#upload;
    const { fileSystem, options } = this.#run;
    try {
      await fileSystem.setstat(path, {
        ...(differences & ItemFlag.reportTime && { mtime: list.mtime(position) }),
        ...(differences & ItemFlag.reportPerms && { mode: destinationMode(options, list.mode(position), existing.mode) }),
      });
    } catch (error) {
      this.#run.failure("generator", `failed to set ${differences & ItemFlag.reportTime ? "times" : "permissions"} on`, path, error);
    }
  }

  /** The file is there and differs: all of it, its continuation, or what differs. */
  #changed(position: number, flags: number, path: string, existing: Existing): Plan | Promise<Plan> {
    const { options } = this.#run;
    const { size } = existing;
    if (options.dryRun || size === 0) return this.#wholeFile(flags);
    if (options.append === "append") return this.#continued(flags, path, size);
    return this.#interrupted(position, flags, path, size).then((plan) => {
      if (plan) return plan;
      if (options.append === "verify")
        return this.#readable(path).then((ok) => (ok ? this.#continued(flags, path, size) : this.#wholeFile(flags)));
      if (!this.#blockSums.worthwhile(size, this.#upload.list.size(position))) return this.#wholeFile(flags);
      return this.delta(flags, path);
    });
  }

  /** Nothing is there: all of the file, or the rest of an upload that was interrupted. */
  #fresh(position: number, flags: number, path: string): Plan | Promise<Plan> {
    if (!mayContinue(this.#run, this.#upload.list.size(position))) return this.#wholeFile(flags);
    return this.#interrupted(position, flags, path, 0).then((plan) => plan ?? this.#wholeFile(flags));
  }

  async #interrupted(position: number, flags: number, path: string, publishedSize: number): Promise<Plan | undefined> {
    const size = this.#upload.list.size(position);
    const found = await findContinuation(this.#run, path, size);
    if (!found) return undefined;
    const item = { flags: flags | ItemFlag.transfer };
    if (this.#run.options.append === "verify") {
      const sums = continuationHeader(found);
      return { kind: "transfer", item, sums, basis: { path, appendTo: basisLength(sums), continuation: found } };
    }
    const { continuation, sums, blockSums } = await offerContinuation(this.#run, found, this.#blockSums, { path, publishedSize, size });
    const inPlace = continuation.ahead > 0 ? { ...item, flags: item.flags | ItemFlag.basisTypeFollows, basisType: PARTIAL_BASIS } : item;
    return { kind: "transfer", item: inPlace, sums, blockSums, basis: { path, appendTo: undefined, continuation } };
  }

  #continued(flags: number, path: string, size: number): Plan {
    const sums = sumHeaderFor(size, this.#run.protocol, this.#run.options.blockSize);
    return { kind: "transfer", item: { flags: flags | ItemFlag.transfer }, sums, basis: { path, appendTo: size } };
  }

  /** An upload that was interrupted can be continued, but not everywhere be read. */
  async #readable(path: string): Promise<boolean> {
    try {
      const handle = await this.#run.fileSystem.open(path, { read: true });
      try {
        return (await handle.read(0, 1)).length > 0;
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (error instanceof FsError) return false;
      throw error;
    }
  }

  /** All of the file but for what the one at `path` has. */
  async delta(flags: number, path: string, basisType?: number): Promise<Extract<Plan, { kind: "transfer" }>> {
    const computed = await this.#blockSums.of(path);
    if (!computed) return this.#wholeFile(flags);
    const item: Item =
      basisType === undefined
        ? { flags: flags | ItemFlag.transfer }
        : { flags: flags | ItemFlag.transfer | ItemFlag.basisTypeFollows, basisType };
    return { kind: "transfer", item, sums: computed.header, blockSums: computed.sums, basis: { path, appendTo: undefined } };
  }

  #wholeFile(flags: number): Extract<Plan, { kind: "transfer" }> {
    return { kind: "transfer", item: { flags: flags | ItemFlag.transfer }, sums: NO_SUMS };
  }

  /** Something that is no file has the name: it goes if it may (`--force`, `--delete`, or an empty directory). */
  async #inTheWay(position: number, path: string): Promise<Plan | undefined> {
    const { options } = this.#run;
    const { list } = this.#upload;
    const name = this.#upload.shown(position);
    try {
      await this.#removals.removeDirectory(path, list.name(position), options.force || options.deleteTiming !== undefined);
      return this.#wholeFile(ItemFlag.isNew);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      const why = error;
      return {
        kind: "local",
        isSkipped: true,
        act: () => {
          if (why.code === "not-empty") this.#run.info(`cannot delete non-empty directory: ${name}`);
          else this.#run.failure("generator", "delete_file: rmdir", path, why);
          this.#run.problem(`could not make way for new regular file: ${name}`);
        },
      };
    }
  }

  /**
   * The file is there, and directories were named where the very same may be. A link takes the place of one that differs
   * (one that does not may as well be that link); a file that is in the directory to compare with is not wanted here.
   */
  async #orAlternate(position: number, path: string, existing: Existing, alternates: AlternateBases): Promise<Plan | undefined> {
    const { options, fileSystem } = this.#run;
    const isLink = alternates.kind === "link";
    const found = await alternates.find(position);
    if (found?.level !== "same") return this.#quickCheck(position, path, existing);
    const looksLinked = found.existing.mode === existing.mode && !timesDiffer(this.#run, found.existing.mtime, existing.mtime);
    if (isLink && looksLinked && (await isUnchanged(this.#run, this.#upload.list, position, existing, path))) {
      return this.#quickCheck(position, path, existing);
    }
    if (!options.dryRun && isLink && !(await alternates.copyTo(position, found, path))) return this.#quickCheck(position, path, existing);
    if (!options.dryRun && !isLink) await fileSystem.remove(path);
    return this.#sameAs(position, isLink);
  }

  /** The very same file is in one of the directories, and was linked if that was wanted. */
  #sameAs(position: number, isLinked: boolean): Plan | undefined {
    const act = (): void => {
      this.#mention(position, false);
      if (!this.#run.options.dryRun) this.#upload.confirm(position);
    };
    const link: Item = { flags: ItemFlag.localChange | ItemFlag.nameFollows, name: "" };
    const item = this.#reportsUnchanged ? (isLinked ? link : { flags: 0 }) : undefined;
    return { kind: "local", act, item, isSkipped: this.#alternates?.kind === "compare" };
  }

  /** The file is missing, but directories were named where a like one may be. */
  async #withAlternates(position: number, path: string, alternates: AlternateBases): Promise<Plan | undefined> {
    const found = await alternates.find(position);
    if (!found) return this.#wholeFile(ItemFlag.isNew);
    if (found.level === "exists") {
      const flags = this.#differences(position, found.existing) | (this.#run.options.times ? 0 : ItemFlag.reportTime);
      const { size } = found.existing;
      if (this.#run.options.dryRun || !this.#blockSums.worthwhile(size, this.#upload.list.size(position))) return this.#wholeFile(flags);
      return this.delta(flags, found.path, found.number);
    }
    if (found.level === "same" && alternates.kind === "compare") return this.#sameAs(position, false);
    await this.#upload.made.get(parentName(this.#upload.list.name(position)));
    if (!this.#run.options.dryRun && !(await alternates.copyTo(position, found, path))) return this.#wholeFile(ItemFlag.isNew);
    if (found.level === "same" && alternates.kind === "link") return this.#sameAs(position, true);
    const act = (): void => {
      if (found.level === "same") this.#mention(position, false);
      if (!this.#run.options.dryRun) this.#upload.confirm(position);
    };
    const differences = this.#attributeDifferences(position, found.existing) | (this.#run.options.times ? 0 : ItemFlag.reportTime);
    const isWorthIt = differences !== 0 || this.#reportsUnchanged;
    return { kind: "local", act, item: isWorthIt ? { flags: ItemFlag.localChange | differences } : undefined };
  }
}

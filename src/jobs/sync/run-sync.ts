/**
 * One sync: two listings side by side, copies under way at once, deletions at the end and only if everything before went
 * well. Knows no command line and prints nothing; what happens is told through events.
 */
import { ByteBudget } from "../../byte-budget.ts";
import { StoreError } from "../../errors.ts";
import type { ListedObject } from "../../objectstore/objectstore.ts";
import { type CompareMode, decide } from "./decision.ts";
import type { EtagJournal } from "./etag-journal.ts";
import { type MaxDelete, refuseDeletion } from "./deletion-guard.ts";
import { type Lister, sortedOnDisk, UnorderedListing } from "../ordered-listing.ts";
import { mergeEntries, syncEntries, type SyncPair } from "./merge.ts";
import { type SyncCounts, type SyncEvent, type SyncSummary, type TransferVerb, zeroCounts } from "./sync-events.ts";
import type { SyncSide } from "./sync-places.ts";
import { transferObject, type TransferOptions } from "./transfer.ts";
import type { WorkQueue } from "./work-queue.ts";

const STREAM_MEMORY = 64 * 1024 ** 2;
const DELETE_BATCH = 1_000;
const MAX_HANDLED = 50_000;
const ARCHIVED: ReadonlySet<string> = new Set(["GLACIER", "DEEP_ARCHIVE"]);

/** What is to be done. */
export interface SyncRequest {
  readonly source: SyncSide;
  readonly destination: SyncSide;
  readonly compare: CompareMode;
  readonly dryRun: boolean;
  readonly delete: boolean;
  readonly force: boolean;
  readonly maxDelete: MaxDelete;
  readonly markers: boolean;
  readonly excluded: (name: string) => boolean;
  /** Lists each side with several requests at once. */
  readonly fastList?: boolean | undefined;
  readonly forceGlacier: boolean;
  readonly ignoreGlacierWarnings: boolean;
  readonly partThreshold?: number | undefined;
  readonly queue: WorkQueue;
  /** For `compare: etag`. */
  readonly journal?: EtagJournal | undefined;
  /** Requests so far, by operation. */
  readonly requests: () => Readonly<Record<string, number>>;
  readonly signal: AbortSignal;
  readonly onEvent: (event: SyncEvent) => void;
  /** Called after each step with what was counted so far. */
  readonly onProgress?: ((counts: Readonly<SyncCounts>) => void) | undefined;
}

/** Runs a sync. Never rejects: what ended it stands in the summary. Closes nothing. */
export async function runSync(request: SyncRequest): Promise<SyncSummary> {
  const started = performance.now();
  const run = new SyncRun(request);
  let fatal: unknown;
  try {
    await run.compareAndCopy().catch((error: unknown) => {
      if (!(error instanceof UnorderedListing)) throw error;
      return run.beginAgainSorted();
    });
    await run.deleteExtras();
  } catch (error) {
    fatal = error;
  }
  const interrupted = request.signal.aborted;
  const { counts } = run;
  const failed = fatal !== undefined || counts.failed > 0;
  const warned = counts.warnings > 0 || counts.vanished > 0;
  return {
    ...counts,
    seconds: (performance.now() - started) / 1000,
    requests: request.requests(),
    fatal: interrupted ? undefined : fatal,
    interrupted,
    exitCode: interrupted ? 130 : failed ? 1 : warned ? 2 : 0,
  };
}

/** The verb for what goes from one side to the other. */
export function verbOf({ source, destination }: Pick<SyncRequest, "source" | "destination">): TransferVerb {
  const from = source.place.location.kind;
  const to = destination.place.location.kind;
  return from === to ? "copy" : to === "s3" ? "upload" : "download";
}

class SyncRun {
  readonly counts = zeroCounts();
  readonly #request: SyncRequest;
  readonly #verb: TransferVerb;
  readonly #transfer: TransferOptions;
  /** Names on the destination only. Held until all copies are done. */
  #extras: string[] = [];
  /** What lists the two sides. */
  #lists: { readonly source: Lister; readonly destination: Lister };
  /** Names that need not be looked at again when the listings are read once more; not more of them than memory allows. */
  readonly #handled = new Set<string>();

  constructor(request: SyncRequest) {
    this.#request = request;
    this.#verb = verbOf(request);
    this.#lists = { source: request.source.store, destination: request.destination.store };
    const { source, destination, partThreshold, signal } = request;
    this.#transfer = {
      source: source.store,
      destination: destination.store,
      budget: new ByteBudget(STREAM_MEMORY),
      partThreshold,
      signal,
    };
  }

  async compareAndCopy(): Promise<void> {
    const { source, destination, markers, excluded, queue, signal } = this.#request;
    const filter = { markers, excluded, sideBySide: this.#request.fastList === true };
    const pairs = mergeEntries(
      syncEntries(this.#lists.source, source.prefix, filter, signal),
      syncEntries(this.#lists.destination, destination.prefix, filter, signal),
    );
    try {
      for await (const pair of pairs) {
        if (signal.aborted) throw signal.reason;
        await this.#judge(pair);
      }
    } finally {
      await queue.idle();
    }
  }

  /** A side does not list in order: both are listed once more and sorted. What was copied until then is not copied again. */
  async beginAgainSorted(): Promise<void> {
    const { source, destination } = this.#lists;
    this.#lists = { source: sortedOnDisk(source), destination: sortedOnDisk(destination) };
    this.#extras = [];
    Object.assign(this.counts, { scanned: 0, destinationScanned: 0, unchanged: 0 });
    await this.#request.journal?.rewind();
    await this.compareAndCopy();
  }

  async deleteExtras(): Promise<void> {
    const { delete: wanted, force, maxDelete, dryRun, destination, signal } = this.#request;
    const { counts } = this;
    if (!wanted || this.#extras.length === 0) return;
    if (counts.failed > 0 || signal.aborted) {
      this.#warn(destination.label(destination.prefix), `${this.#extras.length} objects were not deleted, because copies failed`);
      return;
    }
    if (dryRun) for (const name of this.#extras) this.#deleted(name);
    const plan = { sourceObjects: counts.scanned, destinationObjects: counts.destinationScanned };
    const refusal = force ? undefined : refuseDeletion({ ...plan, deletions: this.#extras.length, max: maxDelete });
    if (refusal !== undefined) throw new Error(refusal);
    if (dryRun) return;
    for (let start = 0; start < this.#extras.length; start += DELETE_BATCH) {
      await this.#deleteBatch(this.#extras.slice(start, start + DELETE_BATCH));
    }
  }

  async #judge(pair: SyncPair): Promise<void> {
    const { counts } = this;
    if (pair.source) counts.scanned++;
    if (pair.destination) counts.destinationScanned++;
    const { journal, compare } = this.#request;
    const isAsked = pair.source !== undefined && pair.destination !== undefined && pair.source.etag !== pair.destination.etag;
    const equal = isAsked ? await journal?.find(pair.name) : undefined;
    const decision = decide(pair, compare, this.#verb === "download", equal);
    if (decision === "same") {
      counts.unchanged++;
      if (isAsked) await journal?.note(pair.name, { source: pair.source.etag, destination: pair.destination.etag });
    } else if (decision === "extra") {
      if (this.#request.delete) this.#extras.push(pair.name);
    } else if (pair.source && !this.#handled.has(pair.name)) {
      if (this.#handled.size < MAX_HANDLED) this.#handled.add(pair.name);
      await this.#submit(pair.name, pair.source, decision === "overwrite");
    }
    this.#request.onProgress?.(counts);
  }

  async #submit(name: string, object: ListedObject, overwrite: boolean): Promise<void> {
    const { source, destination, dryRun, queue, forceGlacier, ignoreGlacierWarnings, onEvent } = this.#request;
    const from = source.label(object.key);
    if (ARCHIVED.has(object.storageClass ?? "") && !forceGlacier) {
      this.counts.skipped++;
      if (ignoreGlacierWarnings) return;
      this.counts.warnings++;
      onEvent({ kind: "glacier", verb: this.#verb, source: from });
      return;
    }
    const to = destination.prefix + name;
    const pair = { source: from, destination: destination.label(to) };
    if (this.#verb === "download" && name.split("/").includes("..")) {
      this.#warn(from, "File references a parent directory.");
      return;
    }
    if (dryRun) this.#copied({ ...pair, size: object.size }, overwrite);
    else await queue.add(() => this.#copy(object, to, { ...pair, name }, overwrite));
  }

  async #copy(
    object: ListedObject,
    to: string,
    { name, ...pair }: { readonly name: string; readonly source: string; readonly destination: string },
    overwrite: boolean,
  ): Promise<void> {
    const { onEvent, queue, signal, journal } = this.#request;
    try {
      const result = await transferObject(object, to, this.#transfer);
      if (result.kind === "vanished") {
        this.counts.vanished++;
        onEvent({ kind: "vanished", source: pair.source });
        return;
      }
      this.#copied({ ...pair, size: result.size }, overwrite);
      if (result.source !== result.destination) await journal?.note(name, result);
      if (result.warning !== undefined) this.#warn(pair.source, result.warning);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof StoreError && error.code === "slow-down") queue.slowDown();
      this.counts.failed++;
      onEvent({ kind: "failed", verb: this.#verb, ...pair, error });
    }
  }

  #copied(pair: { readonly source: string; readonly destination: string; readonly size: number }, overwrite: boolean): void {
    this.counts.bytes += pair.size;
    if (overwrite) this.counts.overwritten++;
    else this.counts.copied++;
    this.#request.onEvent({ kind: "copied", verb: this.#verb, overwrite, dryRun: this.#request.dryRun, ...pair });
    this.#request.onProgress?.(this.counts);
  }

  async #deleteBatch(names: readonly string[]): Promise<void> {
    const { destination, signal } = this.#request;
    if (signal.aborted) return;
    const { store, prefix } = destination;
    try {
      await store.delete(
        names.map((name) => prefix + name),
        signal,
      );
      for (const name of names) this.#deleted(name);
    } catch (error) {
      if (signal.aborted) return;
      if (names.length > 1) for (const name of names) await this.#deleteBatch([name]);
      else this.#deletionFailed(names[0] ?? "", error);
    }
  }

  #deleted(name: string): void {
    const { destination, dryRun, onEvent } = this.#request;
    this.counts.deleted++;
    onEvent({ kind: "deleted", destination: destination.label(destination.prefix + name), dryRun });
  }

  #deletionFailed(name: string, error: unknown): void {
    const { destination, onEvent } = this.#request;
    this.counts.failed++;
    onEvent({ kind: "failed", verb: "delete", source: destination.label(destination.prefix + name), error });
  }

  #warn(source: string, message: string): void {
    this.counts.warnings++;
    this.#request.onEvent({ kind: "warning", source, message });
  }
}

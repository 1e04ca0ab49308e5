/**
 * Removes what nobody will come back for: unfinished uploads and temporary names older than the limit, files beside the
 * archives that no catalog names, expired locks. Looks only below the prefixes of the configuration's users and of the
 * archives. Says what it would do when it may do nothing.
 */
import { StoreError } from "../errors.ts";
import type { ObjectStore } from "../objectstore/objectstore.ts";
import { CATALOG_NAME, readCatalog } from "./backup-catalog.ts";
import { filesOf } from "./backup-job.ts";
import type { JobContext, JobOutcome } from "./job.ts";
import { readLock } from "./job-lock.ts";

/** What is found. */
export type SweptKind = "unfinished upload" | "temporary file" | "archive leftover" | "stale lock";

/** One thing that goes. */
export interface Swept {
  readonly kind: SweptKind;
  /** Whose place it is in: a user, or the archives. */
  readonly owner: string;
  readonly key: string;
  readonly ageMs: number;
}

/** A prefix of a store to be swept. */
export interface SweepPlace {
  readonly owner: string;
  /** `uploads`: only unfinished uploads are looked for, as a sync that was killed leaves them. */
  readonly kind: "storage" | "archives" | "locks" | "uploads";
  readonly store: ObjectStore;
  /** Empty, or ends with `/`. */
  readonly prefix: string;
}

/** How it is swept. */
export interface SweepOptions extends JobContext {
  readonly places: readonly SweepPlace[];
  /** Uploads and temporary names younger than this stay, in milliseconds. */
  readonly expiryMs: number;
  readonly isTemporary: (key: string) => boolean;
  /** Nothing is removed. */
  readonly dryRun: boolean;
  readonly now: () => number;
  readonly onSwept?: (swept: Swept) => void;
}

/** Leftovers of an archive may belong to a run that is under way, however long that takes. */
const LEFTOVER_AGE_MS = 7 * 86_400_000;
const LOCK_AGE_MS = 86_400_000;
const BATCH = 1000;

/** Collects keys and deletes them in batches. */
class Sweeper {
  readonly #options: SweepOptions;
  readonly #counts = new Map<SweptKind, number>();
  readonly #failures: string[] = [];

  constructor(options: SweepOptions) {
    this.#options = options;
  }

  async run(): Promise<JobOutcome> {
    for (const place of this.#options.places) {
      this.#options.signal.throwIfAborted();
      try {
        await this.#sweep(place);
      } catch (error) {
        this.#options.signal.throwIfAborted();
        this.#options.log.warn({ err: error, owner: place.owner }, "a place could not be swept");
        // A backup that is not there, or where uploads may not be listed, is for `config check` and the bucket's lifecycle.
        if (place.kind !== "uploads") this.#failures.push(place.owner);
      }
    }
    const counts = Object.fromEntries([...this.#counts].map(([kind, count]) => [kind, count]));
    const found = [...this.#counts].map(([kind, count]) => `${count} ${kind}${count === 1 ? "" : "s"}`).join(", ");
    const verb = this.#options.dryRun ? "would be removed" : "removed";
    const failed = this.#failures.length > 0 ? `; not swept: ${this.#failures.join(", ")}` : "";
    return {
      exitCode: this.#failures.length > 0 ? 2 : 0,
      summary: `${found === "" ? "nothing" : found} ${verb}${failed}`,
      details: { ...counts, dryRun: this.#options.dryRun, failed: this.#failures },
    };
  }

  async #sweep(place: SweepPlace): Promise<void> {
    if (place.kind === "locks") return this.#locks(place);
    await this.#uploads(place);
    if (place.kind === "storage") await this.#temporaryNames(place);
    if (place.kind === "archives") await this.#leftovers(place);
  }

  async #uploads({ store, prefix, owner }: SweepPlace): Promise<void> {
    const { expiryMs, now, signal, dryRun } = this.#options;
    for await (const { key, uploadId, initiatedMs } of store.listUploads(prefix, signal)) {
      const ageMs = now() - initiatedMs;
      if (ageMs < expiryMs || !key.startsWith(prefix)) continue;
      if (!dryRun) await store.openUpload(key, uploadId).abort(signal);
      this.#tell({ kind: "unfinished upload", owner, key, ageMs });
    }
  }

  #temporaryNames({ store, prefix, owner }: SweepPlace): Promise<void> {
    const { expiryMs, isTemporary } = this.#options;
    return this.#objects({ store, prefix }, (key, ageMs) =>
      ageMs >= expiryMs && isTemporary(key) ? { kind: "temporary file", owner, key, ageMs } : undefined,
    );
  }

  async #leftovers({ store, prefix, owner }: SweepPlace): Promise<void> {
    const { archives } = await readCatalog(store, prefix, this.#options.signal);
    const known = new Set([CATALOG_NAME, ...archives.flatMap(filesOf)]);
    // Only names of archives: whatever else lies there is not ours.
    const isArchive = /-assets-\d{8}(T\d{6}(\d{3})?Z)?(\.\d{3})?(\.incr)?\.tar(\.xz|\.zst)?(\.sha256|\.manifest\.jsonl)?$/;
    await this.#objects({ store, prefix }, (key, ageMs) => {
      const name = key.slice(prefix.length);
      const goes = ageMs >= LEFTOVER_AGE_MS && !known.has(name) && isArchive.test(name);
      return goes ? { kind: "archive leftover", owner, key, ageMs } : undefined;
    });
  }

  async #locks({ store, prefix, owner }: SweepPlace): Promise<void> {
    const { now } = this.#options;
    for await (const page of store.list(`${prefix}locks/`, { signal: this.#options.signal })) {
      for (const entry of page) {
        if (entry.kind !== "object" || !entry.key.endsWith(".json")) continue;
        const lock = await readLock(store, entry.key);
        const ageMs = now() - (lock?.record?.expiresMs ?? entry.lastModifiedMs);
        if (!lock || ageMs < LOCK_AGE_MS) continue;
        await this.#delete(store, [{ kind: "stale lock", owner, key: entry.key, ageMs }]);
      }
    }
  }

  async #objects(
    { store, prefix }: Pick<SweepPlace, "store" | "prefix">,
    judge: (key: string, ageMs: number) => Swept | undefined,
  ): Promise<void> {
    const { now, signal } = this.#options;
    let batch: Swept[] = [];
    for await (const page of store.list(prefix, { signal })) {
      for (const entry of page) {
        if (entry.kind !== "object" || entry.key.endsWith("/")) continue;
        const swept = judge(entry.key, now() - entry.lastModifiedMs);
        if (swept) batch.push(swept);
      }
      if (batch.length < BATCH) continue;
      await this.#delete(store, batch);
      batch = [];
    }
    await this.#delete(store, batch);
  }

  async #delete(store: ObjectStore, batch: readonly Swept[]): Promise<void> {
    for (let at = 0; at < batch.length; at += BATCH) {
      const part = batch.slice(at, at + BATCH);
      if (!this.#options.dryRun)
        await store.delete(
          part.map(({ key }) => key),
          this.#options.signal,
        );
      for (const swept of part) this.#tell(swept);
    }
  }

  #tell(swept: Swept): void {
    this.#counts.set(swept.kind, (this.#counts.get(swept.kind) ?? 0) + 1);
    this.#options.onSwept?.(swept);
  }
}

/** Sweeps all places; one that cannot be swept does not keep the others from it. Rejects only when it is aborted. */
export async function sweep(options: SweepOptions): Promise<JobOutcome> {
  try {
    return await new Sweeper(options).run();
  } catch (error) {
    if (error instanceof StoreError && error.code === "aborted") throw options.signal.reason ?? error;
    throw error;
  }
}

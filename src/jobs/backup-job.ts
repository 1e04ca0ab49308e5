/**
 * One run of a user's backup: decides between a whole and an incremental archive, streams it to the destination, and
 * publishes it by one write of the catalog. Whatever fails before that leaves the previous archive as it is
 * (facts/seed-system.md §4.2).
 */
import { createHash } from "node:crypto";
import { setMaxListeners } from "node:events";
import type { BackupSettings } from "../config/gateway-config.ts";
import { StoreError } from "../errors.ts";
import type { ObjectStore } from "../objectstore/objectstore.ts";
import { listChanges, listSource, type SourceItem } from "./archive/archive-source.ts";
import { volumeStream } from "./archive/archive-stream.ts";
import { containerOf, missingProgram, pack } from "./archive/containers.ts";
import { formatEntry, isArchived, type ManifestEntry, mergeManifests, readManifest } from "./archive/manifest.ts";
import { Prefetch, type PrefetchLimits, PREFETCH_LIMITS } from "./archive/prefetch.ts";
import {
  type ArchiveRecord,
  type Catalog,
  chainOf,
  latestFull,
  openArchiveFile,
  readCatalog,
  retention,
  type VolumeRecord,
  writeCatalog,
} from "./backup-catalog.ts";
import { type BackupDestination, requireSpace } from "./backup-destination.ts";
import type { JobLog, JobOutcome, JobProgress } from "./job.ts";
import { ObjectWriter } from "./object-writer.ts";
import { type Lister, sortedOnDisk, UnorderedListing } from "./ordered-listing.ts";

/** Tar headers, padding and the container's own bytes: at most so much per file, and per byte of content. */
const OVERHEAD_PER_FILE = 3 * 512;
const OVERHEAD_SHARE = 0.001;

/** What one run works on. */
export interface BackupOptions {
  readonly user: string;
  readonly source: { readonly store: ObjectStore; readonly prefix: string; readonly isLocal: boolean };
  readonly destination: BackupDestination;
  readonly settings: BackupSettings;
  readonly graceMs: number;
  /** True for names of uploads that other programs have not finished. */
  readonly isPartial: (key: string) => boolean;
  /** The `xz` program is there. */
  readonly xz: boolean;
  readonly log: JobLog;
  readonly signal: AbortSignal;
  readonly now: () => number;
  /** Makes a whole archive although an incremental one is due. */
  readonly full?: boolean;
  /** Archives an empty storage although the last archive held files. */
  readonly allowEmpty?: boolean;
  readonly onProgress?: ((progress: JobProgress) => void) | undefined;
  /** True while somebody reads this file of the user's folder: it is not removed yet. */
  readonly isOpen?: ((name: string) => boolean | Promise<boolean>) | undefined;
  readonly limits?: PrefetchLimits | undefined;
}

/** What is to be archived. */
interface Plan {
  readonly kind: ArchiveRecord["kind"];
  readonly files: number;
  readonly bytes: number;
  readonly deleted: number;
  /** The members; can be asked for more than once. */
  readonly items: () => AsyncIterable<SourceItem>;
}

/** Runs the backup. Never publishes a part; rejects if nothing was published. The caller holds the user's lock. */
export async function runBackup(options: BackupOptions): Promise<JobOutcome> {
  try {
    return await new BackupRun(options, options.source.store).run();
  } catch (error) {
    // Shows before anything is written: the listing is read to its end first.
    if (!(error instanceof UnorderedListing)) throw error;
    options.log.warn({ err: error, user: options.user }, "the storage does not list in order: it is sorted on disk");
    return new BackupRun(options, sortedOnDisk(options.source.store)).run();
  }
}

class BackupRun {
  readonly #options: BackupOptions;
  readonly #lister: Lister;
  readonly #startedMs: number;
  readonly #warnings = new Map<string, number>();
  #files = 0;
  #bytes = 0;
  #passed = 0;

  constructor(options: BackupOptions, lister: Lister) {
    this.#options = options;
    this.#lister = lister;
    this.#startedMs = options.now();
  }

  async run(): Promise<JobOutcome> {
    const { destination, settings, signal } = this.#options;
    const missing = await missingProgram(settings.compression, this.#options.xz);
    if (missing !== undefined) throw new Error(missing);
    if (settings.compression === "auto" && !this.#options.xz)
      this.#options.log.warn({ user: this.#options.user }, "the xz program is not installed: archives are stored uncompressed");
    const catalog = await readCatalog(destination.store, destination.prefix, signal);
    const plan = await this.#plan(catalog);
    if (plan.kind === "incremental" && plan.files === 0 && plan.deleted === 0) {
      return { exitCode: 0, summary: `${this.#options.user}: nothing has changed since the last archive`, details: { files: 0, bytes: 0 } };
    }
    const expected = Math.ceil(plan.bytes * (1 + OVERHEAD_SHARE)) + plan.files * OVERHEAD_PER_FILE;
    await requireSpace(destination, expected);
    const record = await this.#write(plan, this.#nameFor(plan, catalog), expected);
    await this.#publish(catalog, record);
    return this.#outcome(record);
  }

  async #plan(catalog: Catalog): Promise<Plan> {
    const chain = chainOf(catalog);
    if (this.#options.full === true || chain.length === 0 || chain.length >= this.#options.settings.fullEvery)
      return this.#planOf(catalog, true);
    try {
      return await this.#planOf(catalog, false);
    } catch (error) {
      const isLost = error instanceof StoreError && (error.code === "not-found" || error.code === "precondition-failed");
      if (!isLost) throw error;
      this.#options.log.warn({ err: error, user: this.#options.user }, "manifest of an earlier archive is lost: a whole archive is made");
      return this.#planOf(catalog, true);
    }
  }

  async #planOf(catalog: Catalog, isFull: boolean): Promise<Plan> {
    const last = latestFull(catalog);
    const chain = chainOf(catalog);
    const items = isFull ? () => this.#source() : () => listChanges(this.#source(), this.#known(chain));
    let files = 0;
    let bytes = 0;
    let deleted = 0;
    for await (const item of items()) {
      if (item.kind === "deleted") deleted++;
      if (item.kind !== "file") continue;
      files++;
      bytes += item.size;
    }
    const isEmptied = files === 0 && ((isFull && (last?.files ?? 0) > 0) || (!isFull && deleted > 0 && (await this.#sourceIsEmpty())));
    if (isEmptied && this.#options.allowEmpty !== true) {
      throw new Error(
        `the storage of ${this.#options.user} holds no file, but the last archive holds ${last?.files ?? 0}: check the storage`,
      );
    }
    return { kind: isFull ? "full" : "incremental", files, bytes, deleted, items };
  }

  #source(): AsyncGenerator<SourceItem> {
    const { user, source, settings, isPartial, signal } = this.#options;
    return listSource({ store: this.#lister, prefix: source.prefix, user, thumbnails: settings.thumbnails, isPartial, signal });
  }

  async #sourceIsEmpty(): Promise<boolean> {
    for await (const { kind } of this.#source()) if (kind === "file") return false;
    return true;
  }

  #known(chain: readonly ArchiveRecord[]): AsyncGenerator<ManifestEntry> {
    return mergeManifests(chain.map((archive) => openManifest(this.#options.destination, archive, this.#options.signal)));
  }

  /** The day; the second or the millisecond where there is an archive of that already. */
  #nameFor({ kind }: Plan, { archives }: Catalog): { readonly base: string; readonly suffix: string } {
    const exact = new Date(this.#startedMs).toISOString().replaceAll(/[-:.]/g, "");
    const { extension } = containerOf(this.#options.settings.compression);
    const suffix = kind === "full" ? extension : `.incr${extension}`;
    const taken = new Set(archives.map(({ name }) => name));
    const stamps = [exact.slice(0, 8), `${exact.slice(0, 15)}Z`, exact];
    const base = stamps.map((stamp) => `${this.#options.user}-assets-${stamp}`).find((name) => !taken.has(name + suffix));
    if (base === undefined) throw new Error("an archive of this very moment is there already: look at the clock");
    return { base, suffix };
  }

  async #write(plan: Plan, name: { readonly base: string; readonly suffix: string }, expected: number): Promise<ArchiveRecord> {
    const { destination, source, signal, limits = PREFETCH_LIMITS, user } = this.#options;
    // Fetches under way end with the archive, however it ends.
    const stop = new AbortController();
    // Each fetch, part and block under way listens.
    setMaxListeners(0, stop.signal, signal);
    const abort = (): void => stop.abort(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    const fetch = { store: source.store, signal: stop.signal, recheck: source.isLocal };
    const feed = new Prefetch(plan.items(), fetch, limits);
    const manifestName = `${name.base}${name.suffix}.manifest.jsonl`;
    const manifest = new ObjectWriter(destination.store, {
      key: destination.prefix + manifestName,
      properties: { contentType: "application/x-ndjson" },
      signal,
    });
    const volumes: VolumeRecord[] = [];
    const deleted = plan.kind === "incremental" ? [] : undefined;
    try {
      const limit = this.#options.settings.volumeSize;
      do {
        const volume = limit === undefined ? undefined : volumes.length + 1;
        const stream = volumeStream({
          user,
          feed,
          fetch,
          limit,
          volume,
          deleted,
          onEntry: (entry) => this.#entry(entry, manifest),
          onBytes: (bytes) => this.#progress(bytes, plan),
        });
        const number = volume === undefined ? "" : `.${String(volume).padStart(3, "0")}`;
        volumes.push(await this.#upload(`${name.base}${number}${name.suffix}`, stream, expected));
      } while (await feed.peek());
      const { size } = await manifest.commit();
      return this.#record(`${name.base}${name.suffix}`, plan.kind, volumes, { name: manifestName, size });
    } catch (error) {
      await manifest.abort().catch((cause: unknown) => this.#options.log.warn({ err: cause }, "unfinished manifest could not be removed"));
      await destination.store.delete(volumes.map((volume) => destination.prefix + volume.name)).catch(() => undefined);
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
      stop.abort(new Error("the archive has ended"));
      await feed.close();
    }
  }

  async #upload(name: string, tar: AsyncIterable<Uint8Array>, estimate: number): Promise<VolumeRecord> {
    const { destination, settings, xz, signal } = this.#options;
    const { compression } = settings;
    const hash = createHash("sha256");
    let size = 0;
    const compressed = pack(tar, { compression, xz, signal });
    async function* hashed(): AsyncGenerator<Uint8Array> {
      for await (const chunk of compressed) {
        hash.update(chunk);
        size += chunk.length;
        yield chunk;
      }
    }
    const { contentType } = containerOf(compression);
    const properties = { contentType, metadata: { mtime: String(Math.floor(this.#startedMs / 1000)) } };
    await destination.upload(hashed(), { name, properties, estimate, signal });
    return { name, size, sha256: hash.digest("hex") };
  }

  async #entry(entry: ManifestEntry, manifest: ObjectWriter): Promise<void> {
    if (isArchived(entry)) {
      this.#files++;
      this.#bytes += entry.size ?? 0;
    }
    if (entry.status !== "ok" && entry.status !== "deleted") {
      this.#warnings.set(entry.status, (this.#warnings.get(entry.status) ?? 0) + 1);
      this.#options.log.warn(
        { user: this.#options.user, path: entry.path, status: entry.status, reason: entry.reason },
        "backup of a file",
      );
    }
    await manifest.write(Buffer.from(formatEntry(entry)));
  }

  #progress(bytes: number, plan: Plan): void {
    this.#passed += bytes;
    this.#options.onProgress?.({ done: this.#passed, total: plan.bytes, unit: "bytes", label: this.#options.user });
  }

  #record(name: string, kind: ArchiveRecord["kind"], volumes: readonly VolumeRecord[], manifest: ArchiveRecord["manifest"]): ArchiveRecord {
    const warnings = Object.fromEntries(this.#warnings);
    const publishedMs = this.#options.now();
    return { name, kind, startedMs: this.#startedMs, publishedMs, volumes, manifest, files: this.#files, bytes: this.#bytes, warnings };
  }

  /** From the write of the catalog on the new archive counts; what goes then, goes after it. */
  async #publish(catalog: Catalog, record: ArchiveRecord): Promise<void> {
    const { destination, settings, graceMs, user, log, isOpen = () => false, signal } = this.#options;
    const { store, prefix } = destination;
    for (const { name, sha256 } of record.volumes) {
      const line = Buffer.from(`${sha256}  ${name}\n`);
      await store.put(`${prefix}${name}.sha256`, [line], { contentType: "text/plain", signal });
    }
    const all = { archives: [...catalog.archives, record] };
    const { stay, go } = retention(all, { keep: settings.keep, graceMs, nowMs: record.publishedMs });
    const inUse: ArchiveRecord[] = [];
    for (const one of go) {
      const open = await Promise.all(one.volumes.map(({ name }) => isOpen(name)));
      if (open.includes(true)) inUse.push(one);
    }
    await writeCatalog(store, prefix, { archives: all.archives.filter((one) => stay.includes(one) || inUse.includes(one)) });
    const [only, ...more] = record.volumes;
    if (record.kind === "full" && only && more.length === 0) {
      try {
        const { extension } = containerOf(settings.compression);
        await destination.publishPlainName(only.name, `${user}-assets${extension}`, only.sha256);
      } catch (error) {
        log.warn({ err: error, user }, "the archive is published, but not under its plain name in the folder");
      }
    }
    const gone = go.filter((one) => !inUse.includes(one)).flatMap(filesOf);
    try {
      if (gone.length > 0) await store.delete(gone.map((name) => prefix + name));
    } catch (error) {
      log.warn({ err: error, user }, "old archives could not be removed");
    }
  }

  #outcome(record: ArchiveRecord): JobOutcome {
    const { user, now } = this.#options;
    const warnings = Object.entries(record.warnings).map(([status, count]) => `${count} ${status}`);
    const size = record.volumes.reduce((sum, volume) => sum + volume.size, 0);
    const note = warnings.length > 0 ? `, with warnings: ${warnings.join(", ")}` : "";
    return {
      exitCode: warnings.length > 0 ? 2 : 0,
      summary: `${user}: ${record.name} published with ${record.files} files, ${record.bytes} bytes${note}`,
      details: { ...record, archiveBytes: size, seconds: (now() - this.#startedMs) / 1000 },
    };
  }
}

/** The manifest of an archive, entry by entry. Rejects if it was replaced or damaged. */
export async function* openManifest(
  place: Pick<BackupDestination, "store" | "prefix">,
  { manifest }: ArchiveRecord,
  signal?: AbortSignal,
): AsyncGenerator<ManifestEntry> {
  const found = await openArchiveFile(place, manifest, signal);
  try {
    yield* readManifest(found.body);
  } finally {
    found.destroy();
  }
}

/** Names of everything that belongs to an archive, in the user's folder. */
export function filesOf({ volumes, manifest }: ArchiveRecord): string[] {
  return [manifest.name, ...volumes.flatMap(({ name }) => [name, `${name}.sha256`])];
}

/** A user's storage and a place for archives in memory, and runs of the backup over them. */
import { buffer } from "node:stream/consumers";
import { createMemoryStore } from "../../../src/objectstore/memory-store.ts";
import type { GetOptions, ObjectBody, ObjectStore } from "../../../src/objectstore/objectstore.ts";
import { type Catalog, readCatalog } from "../../../src/jobs/backup-catalog.ts";
import { type BackupDestination, storeDestination } from "../../../src/jobs/backup-destination.ts";
import { type BackupOptions, openManifest, runBackup } from "../../../src/jobs/backup-job.ts";
import type { JobOutcome } from "../../../src/jobs/job.ts";
import type { ManifestEntry } from "../../../src/jobs/archive/manifest.ts";

/** A log that keeps nothing. */
export const QUIET = { debug: ignore, info: ignore, warn: ignore, error: ignore };

function ignore(): void {}

/** What a test does to the next GETs of a key, in order; `undefined` lets one through. */
export type GetFault = (get: () => Promise<ObjectBody>, options: GetOptions) => Promise<ObjectBody>;

/** See the head of this file. */
export class BackupFixture {
  readonly storage: ObjectStore;
  readonly prefix = "museum/alice/";
  readonly destination: BackupDestination;
  nowMs = Date.UTC(2026, 10, 22, 3);
  readonly #faults = new Map<string, (GetFault | undefined)[]>();

  constructor(stores: { readonly storage?: ObjectStore; readonly archives?: ObjectStore } = {}) {
    this.storage = stores.storage ?? createMemoryStore({ now: () => 1_700_000_000_000 });
    const store = stores.archives ?? createMemoryStore();
    this.destination = storeDestination({ store, prefix: "archives/alice/", uri: "memory://archives/alice/", close: () => store.close() });
  }

  async put(name: string, content: Uint8Array | string, metadata: Record<string, string> = {}): Promise<void> {
    await this.storage.put(this.prefix + name, [Buffer.from(content)], { metadata });
  }

  /** Faults of the next GETs of `name`. */
  onGet(name: string, ...faults: readonly (GetFault | undefined)[]): void {
    this.#faults.set(this.prefix + name, [...faults]);
  }

  async run(
    options: Partial<Omit<BackupOptions, "settings">> & { readonly settings?: Partial<BackupOptions["settings"]> } = {},
  ): Promise<JobOutcome> {
    const { settings, ...rest } = options;
    return runBackup({
      user: "alice",
      source: { store: this.#faulty(), prefix: this.prefix, isLocal: false },
      destination: this.destination,
      graceMs: 0,
      isPartial: (key) => key.endsWith(".filepart"),
      xz: true,
      log: QUIET,
      signal: new AbortController().signal,
      now: () => this.nowMs,
      ...rest,
      settings: { compression: "store", keep: 2, fullEvery: 1, thumbnails: true, volumeSize: undefined, ...settings },
    });
  }

  catalog(): Promise<Catalog> {
    return readCatalog(this.destination.store, this.destination.prefix);
  }

  async file(name: string): Promise<Buffer> {
    return buffer((await this.destination.store.get(this.destination.prefix + name)).body);
  }

  /** The newest archive's file. */
  async archive(): Promise<Buffer> {
    const [volume] = (await this.catalog()).archives.at(-1)?.volumes ?? [];
    return this.file(volume?.name ?? "");
  }

  /** The newest archive's manifest. */
  async manifest(): Promise<ManifestEntry[]> {
    const last = (await this.catalog()).archives.at(-1);
    const entries: ManifestEntry[] = [];
    if (last) for await (const entry of openManifest(this.destination, last)) entries.push(entry);
    return entries;
  }

  /** Names of all files in the user's folder of archives. */
  async names(): Promise<string[]> {
    const names: string[] = [];
    for await (const page of this.destination.store.list(this.destination.prefix)) {
      for (const entry of page) if (entry.kind === "object") names.push(entry.key.slice(this.destination.prefix.length));
    }
    return names;
  }

  #faulty(): ObjectStore {
    const get = async (key: string, options: GetOptions = {}): Promise<ObjectBody> => {
      const fault = this.#faults.get(key)?.shift();
      return fault ? fault(() => this.storage.get(key, options), options) : this.storage.get(key, options);
    };
    return Object.assign(Object.create(this.storage) as ObjectStore, {
      get,
      list: this.storage.list.bind(this.storage),
      head: this.storage.head.bind(this.storage),
    });
  }
}

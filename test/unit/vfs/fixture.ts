/** A volume over a counting memory store, with a stand-in for the unpublished uploads and a clock that the test moves. */
import { ByteBudget } from "../../../src/byte-budget.ts";
import { FsError } from "../../../src/errors.ts";
import { createMemoryStore } from "../../../src/objectstore/memory-store.ts";
import { InMemoryMetadataCache } from "../../../src/state/metadata-cache.ts";
import type { Attributes, FileHandle } from "../../../src/vfs/file-system.ts";
import { contentTypeOf } from "../../../src/vfs/content-type.ts";
import { writeTimes } from "../../../src/vfs/object-metadata.ts";
import type { PendingEntry, PendingState, PendingUploads, WriteRequest } from "../../../src/vfs/pending-uploads.ts";
import { Vfs, type VfsOptions } from "../../../src/vfs/vfs.ts";
import { Volume, type VolumeOptions } from "../../../src/vfs/volume.ts";
import { CountingStore } from "./counting-store.ts";

/** A clock that stands still until it is told to go on. */
export class ManualClock {
  #nowMs = 1_700_000_000_000;
  readonly #timers = new Set<{ readonly atMs: number; readonly action: () => void }>();

  now(): number {
    return this.#nowMs;
  }

  after(ms: number, action: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, action };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Goes on by `ms`, firing what is due. */
  advance(ms: number): void {
    this.#nowMs += ms;
    for (const timer of [...this.#timers]) {
      if (timer.atMs > this.#nowMs || !this.#timers.delete(timer)) continue;
      timer.action();
    }
  }

  get waiting(): number {
    return this.#timers.size;
  }
}

/** Uploads that keep what is written in memory and publish it by one PUT at close. */
export class SimpleUploads implements PendingUploads {
  readonly entries = new Map<string, PendingEntry>();
  readonly requests: WriteRequest[] = [];
  readonly #store: CountingStore;
  readonly #volume: () => Volume;

  constructor(store: CountingStore, volume: () => Volume) {
    this.#store = store;
    this.#volume = volume;
  }

  /** Makes an unpublished upload appear. */
  add(key: string, state: PendingState, size: number): void {
    const attributes: Attributes = { type: "file", size, mode: 0o644, uid: 1000, gid: 1000, mtime: 1, atime: 1 };
    this.entries.set(key, { key, state, attributes });
  }

  async find(key: string): Promise<PendingEntry | undefined> {
    return this.entries.get(key);
  }

  settling(): undefined {
    return undefined;
  }

  findElsewhere(key: string): Promise<PendingEntry | undefined> {
    return this.find(key);
  }

  async read(): Promise<undefined> {
    return undefined;
  }

  async interrupted(): Promise<undefined> {
    return undefined;
  }

  async list(prefix: string): Promise<PendingEntry[]> {
    return [...this.entries.values()].filter(({ key }) => key.startsWith(prefix)).sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  async open(request: WriteRequest): Promise<FileHandle> {
    this.requests.push(request);
    const chunks: Uint8Array[] = [];
    let size: number | undefined;
    this.add(request.key, "live-here", 0);
    const publish = async (): Promise<void> => {
      const bytes = size === undefined ? Buffer.concat(chunks) : Buffer.alloc(size);
      const { mtime, mode } = request.attributes;
      const properties = { contentType: contentTypeOf(request.key), metadata: writeTimes({}, { mtime, mode }) };
      const { etag, lastModifiedMs = 0 } = await this.#store.put(request.key, [bytes], properties);
      this.entries.delete(request.key);
      await this.#volume().published({ key: request.key, size: bytes.length, etag, lastModifiedMs, mtime, mode, ...properties });
    };
    return {
      read: async () => [],
      write: async (_offset, data) => {
        chunks.push(...data);
        this.add(
          request.key,
          "live-here",
          chunks.reduce((sum, chunk) => sum + chunk.length, 0),
        );
      },
      copyFrom: async () => 0,
      stat: async () => {
        throw new FsError("unsupported", "not in this test");
      },
      setstat: async (change) => {
        size = change.size;
      },
      sync: async () => undefined,
      close: publish,
      abort: async () => {
        this.entries.delete(request.key);
      },
    };
  }

  async setAttributes(key: string): Promise<boolean> {
    return this.entries.has(key);
  }

  async discard(key: string): Promise<boolean> {
    return this.entries.get(key)?.state !== "live-here" && this.entries.delete(key);
  }

  async follow(from: string, to: string): Promise<void> {
    await this.rename(from, to);
  }

  async rename(from: string, to: string): Promise<boolean> {
    const entry = this.entries.get(from);
    if (!entry) return false;
    this.entries.delete(from);
    this.entries.set(to, { ...entry, key: to });
    return true;
  }
}

/** What a test works with. `vfs` is alice's, whose volume has the prefix `alice/`. */
export interface Fixture {
  readonly store: CountingStore;
  readonly volume: Volume;
  readonly vfs: Vfs;
  readonly uploads: SimpleUploads;
  readonly clock: ManualClock;
  readonly warnings: { readonly fields: object; readonly message: string }[];
  /** Puts an object past the gateway. Returns its ETag. */
  put(key: string, content?: string | Uint8Array, metadata?: Record<string, string>): Promise<string>;
  /** Uploads a file through the gateway. */
  write(path: string, content: string, mtime?: number): Promise<void>;
  /** All keys in the store. */
  keys(): Promise<string[]>;
  /** Names in a directory, directories with a trailing slash. */
  names(path: string): Promise<string[]>;
  /** A whole file through the gateway. */
  read(path: string): Promise<string>;
}

/** Makes a fixture; `volume` and `vfs` override their options. */
export function makeFixture(options: { readonly volume?: Partial<VolumeOptions>; readonly vfs?: Partial<VfsOptions> } = {}): Fixture {
  const clock = new ManualClock();
  const inner = createMemoryStore({ now: () => clock.now() });
  const store = new CountingStore(inner);
  const warnings: { readonly fields: object; readonly message: string }[] = [];
  const log = { debug: () => undefined, warn: (fields: object, message: string) => void warnings.push({ fields, message }) };
  const uploads = new SimpleUploads(store, () => volume);
  const volume = new Volume({
    id: "s3://bucket/alice/",
    store,
    prefix: "alice/",
    metadata: new InMemoryMetadataCache(),
    budget: new ByteBudget(64 * 1024 * 1024),
    clock,
    log,
    pendingUploads: () => uploads,
    ...options.volume,
  });
  const vfs = new Vfs({ user: "alice", session: "s1", mounts: [{ kind: "volume", name: "attachments", volume }], ...options.vfs });
  const names = async (path: string): Promise<string[]> => {
    const handle = await vfs.opendir(path);
    const found: string[] = [];
    for (let batch = await handle.next(); batch.length > 0; batch = await handle.next()) {
      found.push(...batch.map(({ name, attributes }) => (attributes.type === "directory" ? `${name}/` : name)));
    }
    await handle.close();
    return found;
  };
  return {
    store,
    volume,
    vfs,
    uploads,
    clock,
    warnings,
    names,
    put: async (key, content = "", metadata = {}) => (await inner.put(key, [Buffer.from(content)], { metadata })).etag,
    write: async (path, content, mtime) => {
      const handle = await vfs.open(path, { write: true, create: true, truncate: true }, mtime === undefined ? {} : { mtime });
      await handle.write(0, [Buffer.from(content)]);
      await handle.close();
    },
    keys: async () => {
      const keys: string[] = [];
      for await (const page of inner.list("")) keys.push(...page.flatMap((entry) => (entry.kind === "object" ? [entry.key] : [])));
      return keys;
    },
    read: async (path) => {
      const handle = await vfs.open(path, { read: true });
      const chunks: Uint8Array[] = [];
      for (let offset = 0; ; ) {
        const got = await handle.read(offset, 32 * 1024);
        if (got.length === 0) break;
        chunks.push(...got);
        offset += got.reduce((sum, chunk) => sum + chunk.length, 0);
      }
      await handle.close();
      return Buffer.concat(chunks).toString();
    },
  };
}

/** A user's file system with everything real but the store's distance: uploads, state directory, caches. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pino } from "pino";
import { ByteBudget } from "../../../src/byte-budget.ts";
import { openLocalStore } from "../../../src/objectstore/local-store.ts";
import { createMemoryStore } from "../../../src/objectstore/memory-store.ts";
import type { ObjectStore, StoreLimits } from "../../../src/objectstore/objectstore.ts";
import { InMemoryMetadataCache } from "../../../src/state/metadata-cache.ts";
import { StateDirectory } from "../../../src/state/state-directory.ts";
import { TailStore } from "../../../src/state/tail-store.ts";
import { UploadTable } from "../../../src/state/upload-table.ts";
import { contentTypeOf } from "../../../src/vfs/content-type.ts";
import type { AttributeChange, OpenFlags } from "../../../src/vfs/file-system.ts";
import { UploadRegistry } from "../../../src/vfs/uploads/upload-registry.ts";
import type { VolumeMount } from "../../../src/vfs/mount-table.ts";
import { Vfs, type VfsOptions } from "../../../src/vfs/vfs.ts";
import { Volume, type VolumeRules } from "../../../src/vfs/volume.ts";
import { WriteOrder } from "../../../src/vfs/write-order.ts";
import { CountingStore } from "./counting-store.ts";

const KIB = 1024;
const NEW_FILE: OpenFlags = { write: true, create: true, truncate: true };

/** Which store lies below. */
export type StoreKind = "memory" | "local";

/** Makes the rules of a volume over that store. */
export type MakeRules = (store: ObjectStore, volume: () => Volume) => VolumeRules;

/** See the head of this file. Whoever made it owes `close`. */
export class WholeFixture {
  readonly kind: StoreKind;
  readonly directory: string;
  readonly inner: ObjectStore;
  readonly store: CountingStore;
  readonly budget = new ByteBudget(64 * KIB * KIB);
  readonly log = pino({ level: "silent" });
  state: StateDirectory;
  registry: UploadRegistry;
  volume: Volume;
  vfs: Vfs;
  readonly #makeRules: MakeRules;

  private constructor(kind: StoreKind, directory: string, inner: ObjectStore, state: StateDirectory, makeRules: MakeRules) {
    this.#makeRules = makeRules;
    this.kind = kind;
    this.directory = directory;
    this.inner = inner;
    this.store = new CountingStore(inner);
    this.state = state;
    [this.registry, this.volume] = this.#mount();
    this.vfs = this.login("first");
  }

  static async create(kind: StoreKind = "memory", makeRules: MakeRules = () => ({})): Promise<WholeFixture> {
    const directory = await mkdtemp(path.join(tmpdir(), "vfs-"));
    const limits: Partial<StoreLimits> = { minPartSize: 64 * KIB, preferredPartSize: 128 * KIB };
    const inner = kind === "memory" ? createMemoryStore({ limits }) : await openLocalStore({ root: path.join(directory, "files") });
    return new WholeFixture(kind, directory, inner, await StateDirectory.open(path.join(directory, "state")), makeRules);
  }

  /** Another session; of alice unless told otherwise. */
  login(session: string, options: Partial<VfsOptions> = {}): Vfs {
    return new Vfs({
      user: "alice",
      session,
      mounts: [{ kind: "volume", name: "attachments", volume: this.volume }],
      ...options,
    });
  }

  /** The process dies and another begins with the same state directory and store. */
  async restart(): Promise<void> {
    await this.state.close();
    this.state = await StateDirectory.open(path.join(this.directory, "state"));
    [this.registry, this.volume] = this.#mount();
    this.vfs = this.login("after the restart");
  }

  /** What bob has on the same bucket. */
  bobsMount(): VolumeMount {
    return { kind: "volume", name: "attachments", volume: this.#mount("bob")[1] };
  }

  async write(file: string, content: string | Uint8Array, attributes: AttributeChange = {}, vfs: Vfs = this.vfs): Promise<void> {
    const handle = await vfs.open(file, NEW_FILE, attributes);
    try {
      await handle.write(0, [Buffer.from(content)]);
    } catch (error) {
      await handle.abort(new Error("write failed"));
      throw error;
    }
    await handle.close();
  }

  async read(file: string, vfs: Vfs = this.vfs): Promise<Buffer> {
    const handle = await vfs.open(file, { read: true });
    try {
      const chunks: Uint8Array[] = [];
      for (let offset = 0; ; ) {
        const got = await handle.read(offset, 32 * KIB);
        if (got.length === 0) return Buffer.concat(chunks);
        chunks.push(...got);
        offset += got.reduce((sum, chunk) => sum + chunk.length, 0);
      }
    } finally {
      await handle.close();
    }
  }

  /** Names in a directory, directories with a trailing slash. */
  async names(directory: string, vfs: Vfs = this.vfs): Promise<string[]> {
    const handle = await vfs.opendir(directory);
    const names: string[] = [];
    try {
      for (let batch = await handle.next(); batch.length > 0; batch = await handle.next()) {
        names.push(...batch.map(({ name, attributes }) => (attributes.type === "directory" ? `${name}/` : name)));
      }
    } finally {
      await handle.close();
    }
    return names;
  }

  /** Keys of published objects. */
  async keys(): Promise<string[]> {
    const keys: string[] = [];
    for await (const page of this.inner.list("")) keys.push(...page.flatMap((entry) => (entry.kind === "object" ? [entry.key] : [])));
    return keys;
  }

  async close(): Promise<void> {
    await this.registry.close();
    await this.state.close();
    await this.inner.close();
    await rm(this.directory, { recursive: true, force: true });
  }

  #mount(user = "alice"): [UploadRegistry, Volume] {
    const clock = { now: () => Date.now(), after: (ms: number, action: () => void) => afterUnref(ms, action) };
    const order = new WriteOrder({ clock });
    const registry: UploadRegistry = new UploadRegistry({
      store: this.store,
      order,
      prefix: `${user}/`,
      table: new UploadTable(this.state, user),
      tails: new TailStore(this.state),
      budget: this.budget,
      log: this.log,
      contentType: contentTypeOf,
      onPublished: (change) => volume.published(change),
      replaces: (key) => volume.replaces(key),
    });
    const volume: Volume = new Volume({
      id: `${user}'s`,
      store: this.store,
      prefix: `${user}/`,
      metadata: new InMemoryMetadataCache(),
      budget: this.budget,
      clock,
      order,
      log: this.log,
      pendingUploads: (session) => registry.view({ user, session }),
      rules: this.#makeRules(this.store, () => volume),
      cheapRequests: this.kind === "local",
      ...(this.kind === "local" ? { maxNameBytes: 255 } : {}),
    });
    return [registry, volume];
  }
}

function afterUnref(ms: number, action: () => void): () => void {
  const timer = setTimeout(action, ms);
  timer.unref();
  return () => clearTimeout(timer);
}

/** A volume in memory for the tests of uploads: small parts, a clock that stands still, a store that counts and fails. */
import { afterEach, beforeEach, expect } from "vitest";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pino } from "pino";
import { ByteBudget } from "../../../../src/byte-budget.ts";
import { StoreError } from "../../../../src/errors.ts";
import { createMemoryStore } from "../../../../src/objectstore/memory-store.ts";
import type { MultipartUpload, ObjectStore, StoreLimits } from "../../../../src/objectstore/objectstore.ts";
import { StateDirectory } from "../../../../src/state/state-directory.ts";
import { TailStore } from "../../../../src/state/tail-store.ts";
import { UploadTable } from "../../../../src/state/upload-table.ts";
import type { FileHandle } from "../../../../src/vfs/file-system.ts";
import type { PendingUploads, PublishedChange, WriteRequest } from "../../../../src/vfs/pending-uploads.ts";
import type { Clock } from "../../../../src/vfs/uploads/clock.ts";
import { systemClock } from "../../../../src/vfs/uploads/clock.ts";
import { UploadRegistry, type UploadRegistryOptions } from "../../../../src/vfs/uploads/upload-registry.ts";

export const KIB = 1024;
export const MIB = 1024 * 1024;

/** Parts of 64 KiB at least, 128 KiB by preference. */
export const smallLimits: Partial<StoreLimits> = { minPartSize: 64 * KIB, preferredPartSize: 128 * KIB };

/** A store around another that counts requests and fails or waits where told. */
export interface WatchedStore {
  readonly store: ObjectStore;
  /** Names of the requests so far. */
  readonly requests: string[];
  /** Called before each request; may throw or wait. */
  onRequest: (name: string, index: number) => Promise<void> | void;
}

/** Wraps `inner`. */
export function watch(inner: ObjectStore): WatchedStore {
  const requests: string[] = [];
  const watched: WatchedStore = { store: inner, requests, onRequest: () => undefined };
  const request = async <Result>(name: string, run: () => Promise<Result>): Promise<Result> => {
    requests.push(name);
    await watched.onRequest(name, requests.length - 1);
    return run();
  };
  const wrapUpload = (upload: MultipartUpload): MultipartUpload => ({
    key: upload.key,
    uploadId: upload.uploadId,
    uploadPart: (...args) => request("uploadPart", () => upload.uploadPart(...args)),
    copyPart: (...args) => request("copyPart", () => upload.copyPart(...args)),
    listParts: (...args) => request("listParts", () => upload.listParts(...args)),
    complete: (...args) => request("complete", () => upload.complete(...args)),
    abort: (...args) => request("abort", () => upload.abort(...args)),
  });
  const store: ObjectStore = {
    limits: inner.limits,
    head: (...args) => request("head", () => inner.head(...args)),
    get: (...args) => request("get", () => inner.get(...args)),
    put: (...args) => request("put", () => inner.put(...args)),
    createUpload: async (...args) => wrapUpload(await request("createUpload", () => inner.createUpload(...args))),
    openUpload: (...args) => wrapUpload(inner.openUpload(...args)),
    async *listUploads(...args) {
      await request("listUploads", async () => undefined);
      yield* inner.listUploads(...args);
    },
    copy: (...args) => request("copy", () => inner.copy(...args)),
    delete: (...args) => request("delete", () => inner.delete(...args)),
    list: (...args) => inner.list(...args),
    close: () => inner.close(),
  };
  return Object.assign(watched, { store });
}

/** A failure of the store. */
export function storeDown(): StoreError {
  return new StoreError("unavailable", "the test makes the store fail");
}

/** One volume with everything around it. */
export class Fixture {
  readonly inner: ObjectStore;
  readonly watched: WatchedStore;
  readonly published: PublishedChange[] = [];
  readonly directory: string;
  readonly options: Partial<UploadRegistryOptions>;
  budget: ByteBudget;
  registry: UploadRegistry;
  state: StateDirectory;

  private constructor(
    directory: string,
    state: StateDirectory,
    inner: ObjectStore,
    options: Partial<UploadRegistryOptions> & { readonly budgetBytes?: number },
  ) {
    this.directory = directory;
    this.state = state;
    this.inner = inner;
    this.watched = watch(inner);
    const { budgetBytes, ...rest } = options;
    this.options = rest;
    this.budget = new ByteBudget(budgetBytes ?? 64 * MIB);
    this.registry = this.#newRegistry();
  }

  static async create(
    options: Partial<UploadRegistryOptions> & { readonly budgetBytes?: number; readonly limits?: Partial<StoreLimits> } = {},
  ): Promise<Fixture> {
    const { limits, ...rest } = options;
    const directory = await mkdtemp(path.join(tmpdir(), "uploads-"));
    const inner = createMemoryStore({ limits: limits ?? smallLimits });
    return new Fixture(directory, await StateDirectory.open(path.join(directory, "state")), inner, rest);
  }

  /** Names of requests since the last call, without the one-time look for uploads of other nodes. */
  takeRequests(): string[] {
    return this.watched.requests.splice(0).filter((name) => name !== "listUploads");
  }

  view(session = "one", user = "alice"): PendingUploads {
    return this.registry.view({ user, session });
  }

  /** Opens `key` for writing; truncating and creating unless told otherwise. */
  open(request: Partial<WriteRequest> = {}, view = this.view()): Promise<FileHandle> {
    const key = request.key ?? "a/file.bin";
    const flags = { write: true, create: true, truncate: true };
    return view.open({ key, path: `/${key}`, flags, attributes: {}, published: "unknown", ...request });
  }

  /** The published bytes; undefined if there are none. */
  async read(key = "a/file.bin"): Promise<Buffer | undefined> {
    try {
      const { body } = await this.inner.get(key);
      const chunks: Uint8Array[] = [];
      for await (const chunk of body) chunks.push(chunk);
      return Buffer.concat(chunks);
    } catch (error) {
      if (error instanceof StoreError && error.code === "not-found") return undefined;
      throw error;
    }
  }

  async unfinished(): Promise<string[]> {
    const keys: string[] = [];
    for await (const upload of this.inner.listUploads("")) keys.push(upload.key);
    return keys;
  }

  /** The process dies without a word and another begins; `loseState`: on a node that knows nothing. */
  async restart(options: { readonly loseState?: boolean } = {}): Promise<void> {
    await this.state.close();
    this.watched.requests.length = 0;
    if (options.loseState) await rm(path.join(this.directory, "state"), { recursive: true });
    this.state = await StateDirectory.open(path.join(this.directory, "state"));
    this.registry = this.#newRegistry();
  }

  /** Makes the table believe that the process that has `name` open is dead, and goes on as another one. */
  async pretendDeath(name: string): Promise<void> {
    this.registry = this.#newRegistry();
    const { table } = this.registry.volume;
    for (const row of table.find(name)) await table.put({ ...row, processId: "1:0" });
  }

  async close(): Promise<void> {
    await this.registry.close();
    await this.state.close();
    await rm(this.directory, { recursive: true, force: true });
  }

  #newRegistry(): UploadRegistry {
    return new UploadRegistry({
      store: this.watched.store,
      prefix: "",
      table: new UploadTable(this.state, "volume"),
      tails: new TailStore(this.state),
      budget: this.budget,
      log: pino({ level: "silent" }),
      contentType: (key) => (key.endsWith(".jpg") ? "image/jpeg" : "application/octet-stream"),
      onPublished: (change) => {
        this.published.push(change);
      },
      ...this.options,
    });
  }
}

/** Bytes that differ from place to place and from seed to seed. */
export function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let value = seed * 2654435761;
  for (let index = 0; index + 4 <= length; index += 4) {
    value = (Math.imul(value, 1664525) + 1013904223) >>> 0;
    bytes.writeUInt32LE(value, index);
  }
  return bytes;
}

/** Byte for byte; vitest's own comparison takes seconds for a megabyte. */
export function same(found: Uint8Array | undefined, expected: Uint8Array): boolean {
  return found !== undefined && Buffer.compare(found, expected) === 0;
}

/** Writes `bytes` from `offset` in steps. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array, offset = 0, step = 32 * KIB): Promise<void> {
  for (let at = 0; at < bytes.length; at += step) await handle.write(offset + at, [bytes.subarray(at, at + step)]);
}

/** A clock whose waits are over at once when the test says so. */
export class ManualClock implements Clock {
  timeMs = Date.now();
  #timers: { readonly dueMs: number; readonly action: () => void }[] = [];

  now(): number {
    return this.timeMs;
  }

  after(ms: number, action: () => void): () => void {
    const timer = { dueMs: this.timeMs + ms, action };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Lets time pass. */
  pass(ms: number): void {
    this.timeMs += ms;
    const due = this.#timers.filter((timer) => timer.dueMs <= this.timeMs);
    this.#timers = this.#timers.filter((timer) => timer.dueMs > this.timeMs);
    for (const timer of due) timer.action();
  }
}

/** The machine's clock with short waits. */
export const hastyClock: Clock = { now: systemClock.now, after: (ms, action) => systemClock.after(Math.min(ms, 20), action) };

/** The fixture of the test that runs, in files that begin with `withFreshFixture()`. */
export let fixture: Fixture;

/** Gives each test of the file a fixture, and checks after each that no byte of the budget stays taken. */
export function withFreshFixture(): void {
  beforeEach(async () => {
    fixture = await Fixture.create();
  });
  afterEach(async () => {
    await fixture.close();
    expect(fixture.budget.used).toBe(0);
  });
}

/**
 * The real file system over a memory store, with a state directory of its own: everything behind SFTP but the network.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ByteBudget } from "../../src/byte-budget.ts";
import type { Logger } from "../../src/log.ts";
import { createMemoryStore } from "../../src/objectstore/memory-store.ts";
import type { ObjectStore } from "../../src/objectstore/objectstore.ts";
import { InMemoryMetadataCache } from "../../src/state/metadata-cache.ts";
import { StateDirectory } from "../../src/state/state-directory.ts";
import { TailStore } from "../../src/state/tail-store.ts";
import { UploadTable } from "../../src/state/upload-table.ts";
import { contentTypeOf } from "../../src/vfs/content-type.ts";
import { type Clock, systemClock } from "../../src/vfs/uploads/clock.ts";
import { UploadRegistry } from "../../src/vfs/uploads/upload-registry.ts";
import { Vfs } from "../../src/vfs/vfs.ts";
import { Volume } from "../../src/vfs/volume.ts";
import { WriteOrder } from "../../src/vfs/write-order.ts";

/** Where the volume is mounted. */
export const MOUNT = "/attachments";

/** Files of user `alice`; `close` is owed. */
export interface StoredFiles {
  readonly fs: Vfs;
  readonly store: ObjectStore;
  close(): Promise<void>;
}

/** What the files are made with. */
export interface StoredFilesOptions {
  readonly budget: ByteBudget;
  readonly log: Logger;
  /** Default: a memory store with parts of 64 KiB at least. */
  readonly store?: ObjectStore;
  /** Key prefix; default `alice/`. */
  readonly prefix?: string;
  /** The store is a local disk: requests are cheap, names end at 255 bytes. */
  readonly isLocal?: boolean;
  /** Default: the system's. */
  readonly clock?: Clock;
}

/** New and empty. */
export async function createStoredFiles(options: StoredFilesOptions): Promise<StoredFiles> {
  const { budget, log, prefix = "alice/", isLocal = false } = options;
  const store = options.store ?? createMemoryStore({ limits: SMALL_PARTS });
  const directory = await mkdtemp(join(tmpdir(), "stored-files-"));
  const state = await StateDirectory.open(directory);
  const { clock, runOut } = hurriedClock(options.clock ?? systemClock);
  const order = new WriteOrder({ clock });
  const uploads: UploadRegistry = new UploadRegistry({
    store,
    order,
    prefix,
    table: new UploadTable(state, "volume"),
    tails: new TailStore(state),
    budget,
    log,
    ...(options.clock && { clock }),
    contentType: contentTypeOf,
    onPublished: (change) => volume.published(change),
  });
  const volume: Volume = new Volume({
    id: "volume",
    store,
    order,
    prefix,
    metadata: new InMemoryMetadataCache(),
    budget,
    clock,
    log,
    pendingUploads: (session) => uploads.view({ user: "alice", session }),
    alwaysShown: [],
    cheapRequests: isLocal,
    ...(isLocal ? { maxNameBytes: 255 } : {}),
  });
  const fs = new Vfs({ user: "alice", session: "s1", mounts: [{ kind: "volume", name: MOUNT.slice(1), volume }] });
  return {
    fs,
    store,
    close: async () => {
      await uploads.close();
      await runOut();
      await state.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Limits under which small files have several parts. */
export const SMALL_PARTS = { minPartSize: 64 * 1024, preferredPartSize: 128 * 1024 };

/** As `inner`; `runOut` does at once what it was asked to do later, such as giving up what is held for a while. */
function hurriedClock(inner: Clock): { readonly clock: Clock; readonly runOut: () => Promise<void> } {
  const due = new Map<() => void, () => void>();
  const after = (ms: number, action: () => void): (() => void) => {
    const run = (): void => {
      due.delete(run);
      action();
    };
    const cancel = inner.after(ms, run);
    const forget = (): void => {
      due.delete(run);
      cancel();
    };
    due.set(run, cancel);
    return forget;
  };
  const runOut = async (): Promise<void> => {
    for (const [run, cancel] of [...due]) {
      cancel();
      run();
    }
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { clock: { now: () => inner.now(), after }, runOut };
}

/**
 * A process of its own with uploads under way: `uploading-process.ts <directory>`. Says `ready` when everything is
 * written and waits to be killed.
 */
import path from "node:path";
import { pino } from "pino";
import { ByteBudget } from "../../../../src/byte-budget.ts";
import { openLocalStore } from "../../../../src/objectstore/local-store.ts";
import { StateDirectory } from "../../../../src/state/state-directory.ts";
import { TailStore } from "../../../../src/state/tail-store.ts";
import { UploadTable } from "../../../../src/state/upload-table.ts";
import type { PendingUploads } from "../../../../src/vfs/pending-uploads.ts";
import { UploadRegistry } from "../../../../src/vfs/uploads/upload-registry.ts";

const MIB = 1024 * 1024;

/** A registry over a local store and a state directory that other processes share. */
export async function openShared(directory: string): Promise<{ registry: UploadRegistry; state: StateDirectory }> {
  const state = await StateDirectory.open(path.join(directory, "state"));
  const store = await openLocalStore({ root: path.join(directory, "store") });
  const registry = new UploadRegistry({
    store,
    prefix: "",
    table: new UploadTable(state, "shared"),
    tails: new TailStore(state),
    budget: new ByteBudget(64 * MIB),
    log: pino({ level: "silent" }),
    contentType: () => "application/octet-stream",
  });
  return { registry, state };
}

/** What is in every file. */
export function content(length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, index) => (index * 31) >> 3));
}

async function upload(view: PendingUploads, key: string, bytes: Uint8Array) {
  const flags = { write: true, create: true, truncate: true };
  const handle = await view.open({ key, path: `/${key}`, flags, attributes: {}, published: "unknown" });
  for (let at = 0; at < bytes.length; at += 100_000) await handle.write(at, [bytes.subarray(at, at + 100_000)]);
  return handle;
}

async function run(directory: string): Promise<void> {
  const { registry } = await openShared(directory);
  const view = registry.view({ user: "alice", session: "dying" });
  await upload(view, "large", content(5 * MIB + 1000));
  await (await upload(view, "synced", content(300_000))).sync();
  await (await upload(view, "parked.filepart", content(2 * MIB))).close();
  await (await upload(view, "published", content(2 * MIB))).close();
  for (const key of ["overwritten", "opened", "moved"]) await registry.volume.store.put(key, [content(1000)]);
  await upload(view, "overwritten", content(5000));
  await upload(view, "opened", new Uint8Array());
  await upload(view, "other", content(5000));
  await view.rename("other", "moved", { replace: true, path: "/other" });
  // As if it had died when the store had it and the note was not taken back yet.
  const closing = { user: "alice", name: "published", key: "published", startedMs: Date.now() + 1_000, length: 2 * MIB };
  registry.volume.table.noteBegun("closing", closing);
  await registry.volume.table.flushed();
  process.stdout.write("ready\n");
  setInterval(() => undefined, 1_000);
}

const [, script, directory] = process.argv;
if (script?.endsWith("uploading-process.ts") && directory) await run(directory);

/**
 * Renaming a directory: every object below it is copied, many at a time, and only when all are there under the new name
 * are the old ones deleted. Whatever interrupts it, each file is readable under its old or its new name. Two requests a
 * file at most: its copy and its share of a batch of deletes.
 */
import { FsError, StoreError } from "../errors.ts";
import { compareKeys } from "../objectstore/key-order.ts";
import type { ListedObject } from "../objectstore/objectstore.ts";
import { forEachBounded } from "./bounded.ts";
import { keepParent, writeMarker } from "./directories.ts";
import { head, isMissing } from "./lookup.ts";
import { directoryKey, type Target } from "./view.ts";
import { MAX_KEY_BYTES, type Volume } from "./volume.ts";
import type { WriteWatch } from "./write-order.ts";

/** Copies at once. */
const COPIES_AT_ONCE = 64;
/** Batches of deletes at once, and keys per batch (S3's limit). */
const DELETES_AT_ONCE = 4;
const DELETE_BATCH = 1_000;
/** How often one copy is begun again because its source was replaced meanwhile. */
const MAX_ATTEMPTS = 3;

/** Renames the directory `from`, which is there, to `to`, which is not. Rejects with the store's error or an `FsError`. */
export async function renameDirectory(from: Target, to: Target): Promise<void> {
  const { volume, pending } = from.view;
  const fromKey = directoryKey(from);
  const toKey = directoryKey(to);
  for (const { key } of await pending.list(fromKey)) {
    const newKey = toKey + key.slice(fromKey.length);
    await pending.rename(key, newKey, { replace: false, path: to.path + key.slice(from.key.length) });
  }
  if (volume.store.move) await moveAll(from, to);
  else await copyAll(from, to);
  volume.tree.forgetBelow(fromKey);
  volume.tree.forgetBelow(toKey);
  await volume.removed([fromKey]);
  volume.learnDirectory(toKey, undefined, volume.tree.tick());
}

/** Where the store renames in one step: each object has one of its names at any moment. */
async function moveAll(from: Target, to: Target): Promise<void> {
  const { volume } = from.view;
  const fromKey = directoryKey(from);
  await keepParent(from, fromKey);
  // The list is complete before anything moves, so that nothing is passed over.
  const files: ListedObject[] = [];
  const markers: ListedObject[] = [];
  for await (const object of objectsBelow(volume, fromKey)) {
    newKeyOf(object, from, to);
    (object.key.endsWith("/") ? markers : files).push(object);
  }
  const move = async (object: ListedObject): Promise<void> => {
    if (await transfer(volume, object, newKeyOf(object, from, to))) await volume.removed([object.key]);
  };
  await forEachBounded(files, COPIES_AT_ONCE, move);
  // A directory of a disk goes only when it is empty: the deepest first.
  for (const marker of markers.reverse()) await move(marker);
  if (files.length + markers.length === 0) await writeMarker(volume, directoryKey(to), { mtime: undefined, mode: undefined });
}

async function copyAll(from: Target, to: Target): Promise<void> {
  const { volume } = from.view;
  const fromKey = directoryKey(from);
  const copies: { readonly from: string; readonly to: string }[] = [];
  using written = volume.order.watch(fromKey);
  try {
    await forEachBounded(objectsBelow(volume, fromKey), COPIES_AT_ONCE, async (object) => {
      const newKey = newKeyOf(object, from, to);
      if (await transfer(volume, object, newKey)) copies.push({ from: object.key, to: newKey });
    });
    if (copies.length === 0) await writeMarker(volume, directoryKey(to), { mtime: undefined, mode: undefined });
    await keepParent(from, fromKey);
  } catch (error) {
    const keys = copies.map((copy) => copy.to);
    await removeCopies(volume, keys);
    throw error;
  }
  const gone = copies.map((copy) => copy.from);
  const standIn = volume.tree.directory(fromKey, Number.POSITIVE_INFINITY)?.marker;
  if (standIn && standIn.key !== fromKey) gone.push(standIn.key);
  // Backwards: what lies in a directory before its marker, as a disk needs it.
  await forEachBounded(batchesOf(gone.sort(compareKeys).reverse()), DELETES_AT_ONCE, (keys) => removeCopied(from, keys, written));
}

/** Deletes what was copied, but for what has been written again since: that is nobody's copy. */
async function removeCopied({ path, view: { volume } }: Target, keys: readonly string[], { changed }: WriteWatch): Promise<void> {
  await volume.order.run(keys, path, async () => {
    volume.noticeForeignChanges();
    const copied = keys.filter((key) => !changed.has(key));
    await volume.store.delete(copied);
    await volume.removed(copied);
  });
}

/** The key of something below `from` when it is below `to`. Throws if it would be too long. */
function newKeyOf({ key }: ListedObject, from: Target, to: Target): string {
  const newKey = directoryKey(to) + key.slice(directoryKey(from).length);
  if (Buffer.byteLength(newKey) > MAX_KEY_BYTES) throw new FsError("invalid-argument", `${to.path}: a path below it would be too long`);
  return newKey;
}

async function* objectsBelow(volume: Volume, key: string): AsyncGenerator<ListedObject> {
  for await (const page of volume.store.list(key)) {
    for (const entry of page) if (entry.kind === "object") yield entry;
  }
}

/** Copies one object with all its properties, or moves it where the store can. False if it is gone. */
function transfer(volume: Volume, listed: ListedObject, to: string): Promise<boolean> {
  return volume.order.run([listed.key, to], listed.key, () => transferNow(volume, listed, to));
}

async function transferNow(volume: Volume, listed: ListedObject, to: string): Promise<boolean> {
  let source: { readonly etag: string; readonly size: number } = listed;
  for (let attempt = 1; ; attempt++) {
    const { etag, size } = source;
    const times = volume.metadata.get(volume.id, listed.key, etag);
    try {
      const run = volume.store.move?.(listed.key, to, { sourceIfMatch: etag });
      const copy = await (run ?? volume.store.copy(listed.key, to, { sourceIfMatch: etag, sourceSize: size }));
      if (times) volume.metadata.set(volume.id, to, copy.etag, times);
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      if (!(error instanceof StoreError && error.code === "precondition-failed") || attempt === MAX_ATTEMPTS) throw error;
      source = await head(volume, listed.key);
    }
  }
}

/** Takes back what a failed rename has copied. What cannot be deleted now stays: a copy too many loses nothing. */
async function removeCopies(volume: Volume, keys: readonly string[]): Promise<void> {
  try {
    await forEachBounded(batchesOf(keys), DELETES_AT_ONCE, (batch) => volume.store.delete(batch));
  } catch (error) {
    volume.log.warn({ volume: volume.id, err: error }, "copies of a rename that failed could not be removed");
  }
}

function* batchesOf(keys: readonly string[]): Generator<string[]> {
  for (let start = 0; start < keys.length; start += DELETE_BATCH) yield keys.slice(start, start + DELETE_BATCH);
}

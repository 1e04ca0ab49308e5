/**
 * Making and removing directories. A directory is what has a marker (`name/`, an empty object) or something below it;
 * one that loses its last child keeps existing, because its marker is written before that child goes.
 */
import { FsError } from "../errors.ts";
import type { ListEntry } from "../objectstore/objectstore.ts";
import { DIRECTORY_CONTENT_TYPE } from "./content-type.ts";
import type { AttributeChange } from "./file-system.ts";
import { learnPage, lookup, lookupForCreation, requireParent } from "./lookup.ts";
import { type StoredTimes, writeTimes } from "./object-metadata.ts";
import { toFsError } from "./store-fault.ts";
import { PARENT_TRUST_MS } from "./tree-cache.ts";
import { directoryKey, notFound, parentOf, requireWritable, type Target } from "./view.ts";
import { isFolderMark, type Volume } from "./volume.ts";

/** Children learned when a parent is looked at. */
const SIBLING_PAGE = 100;
/** What a new directory's mode never has, as on a server with the usual umask; setuid and setgid mkdir(2) leaves out too. */
const UMASK = 0o022;

/** Makes an empty directory. Rejects `exists` if anything has the name, `not-found` if its parent is missing. */
export async function makeDirectory(target: Target, { mtime, mode }: AttributeChange = {}): Promise<void> {
  requireWritable(target, "make-directory");
  const { volume, pending } = target.view;
  const [known, unpublished] = await Promise.all([lookupForCreation(target), pending.find(target.key)]);
  if (known.kind !== "absent" || unpublished) throw new FsError("exists", `${target.path}: it already exists`);
  await requireParent(target);
  try {
    await writeMarker(volume, directoryKey(target), { mtime, mode: mode === undefined ? undefined : mode & 0o1777 & ~UMASK });
  } catch (error) {
    throw toFsError(error, target.path);
  }
  volume.tree.learnWhole(directoryKey(target), volume.tree.tick());
}

/** Removes an empty directory. Rejects `not-empty`, `not-found`, `not-a-directory`. */
export async function removeDirectory(target: Target): Promise<void> {
  requireWritable(target, "remove");
  const { volume, pending } = target.view;
  if (volume.isAlwaysDirectory(target.key)) throw new FsError("permission-denied", `${target.path}: this directory always exists`);
  const key = directoryKey(target);
  try {
    const [entries, unpublished] = await Promise.all([someBelow(volume, key), pending.list(key)]);
    const children = entries.filter((entry) => entry.kind === "prefix" || (entry.key !== key && !isFolderMark(entry)));
    if (children.length > 0 || unpublished.length > 0) throw new FsError("not-empty", `${target.path}: the directory is not empty`);
    const gone = entries.flatMap((entry) => (entry.kind === "object" ? [entry.key] : []));
    if (gone.length === 0) gone.push(await standInKey(target));
    await keepParent(target, key);
    await volume.order.run(gone, target.path, async () => {
      await volume.store.delete(gone);
      await volume.removed([...new Set([...gone, key])]);
    });
  } catch (error) {
    throw toFsError(error, target.path);
  }
}

/** Writes a directory's marker and remembers it. Rejects with the store's error. */
export async function writeMarker(volume: Volume, key: string, times: StoredTimes, metadata: Readonly<Record<string, string>> = {}) {
  const properties = { contentType: DIRECTORY_CONTENT_TYPE, metadata: writeTimes(metadata, times, "directory") };
  const { etag, size, lastModifiedMs = volume.clock.now() } = await volume.store.put(key, [], properties);
  await volume.published({ key, size, etag, lastModifiedMs, mtime: times.mtime, mode: times.mode, ...properties });
}

/**
 * To be called before `childKey` goes from the directory that `target` lies in: writes the directory's marker if it has
 * none and nothing else is in it. Asks the store only where that is not known. Rejects with the store's error.
 */
export async function keepParent(target: Target, childKey: string = target.key): Promise<void> {
  const { volume } = target.view;
  const parent = parentOf(target);
  if (volume.isAlwaysDirectory(parent.key)) return;
  const key = directoryKey(parent);
  const known = volume.tree.directory(key, PARENT_TRUST_MS);
  if (known?.marker || (known && volume.tree.hasOtherChild(key, childKey))) return;
  const tick = volume.tree.tick();
  const entries = await someOf(volume, key);
  learnPage(volume, { key, entries, complete: false, tick });
  const others = entries.filter((entry) => (entry.kind === "prefix" ? entry.prefix : entry.key) !== childKey);
  if (others.length === 0) await writeMarker(volume, key, { mtime: undefined, mode: undefined });
}

/** The old kind of marker, an empty object without the slash; rejects if `target` is no directory at all. */
async function standInKey(target: Target): Promise<string> {
  const known = await lookup(target);
  if (known.kind === "file") throw new FsError("not-a-directory", `${target.path}: not a directory`);
  if (known.kind === "absent" || !known.marker) throw notFound(target);
  return known.marker.key;
}

/** Enough of what lies below `key`, at any depth, to see whether there is more than the marker. */
function someBelow(volume: Volume, key: string): Promise<ListEntry[]> {
  return firstEntries(volume.store.list(key, { pageSize: 3 }));
}

/** Some children of `key`, the marker first. */
function someOf(volume: Volume, key: string): Promise<ListEntry[]> {
  return firstEntries(volume.store.list(key, { delimiter: "/", pageSize: SIBLING_PAGE }));
}

async function firstEntries(pages: AsyncIterable<ListEntry[]>): Promise<ListEntry[]> {
  for await (const page of pages) if (page.length > 0) return page;
  return [];
}

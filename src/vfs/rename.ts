/**
 * Renaming files: an unpublished upload is renamed by whoever keeps it; a published object is copied under its new key
 * and then deleted under the old one. Directories: see rename-directory.ts.
 */
import { FsError, StoreError } from "../errors.ts";
import type { CopyOptions, ObjectInfo } from "../objectstore/objectstore.ts";
import { contentTypeOf } from "./content-type.ts";
import { keepParent, removeDirectory } from "./directories.ts";
import { head, isMissing, lookup, lookupForCreation, requireParent, wholeObject } from "./lookup.ts";
import { readTimes, writeTimes } from "./object-metadata.ts";
import type { PendingEntry } from "./pending-uploads.ts";
import { renameDirectory } from "./rename-directory.ts";
import { toFsError } from "./store-fault.ts";
import { isWhole, type Known, type SeenObject, STAT_TRUST_MS } from "./tree-cache.ts";
import { notFound, requireWritable, type Target } from "./view.ts";
import type { Volume } from "./volume.ts";

/** How often a copy is begun again because its source was replaced meanwhile. */
const MAX_ATTEMPTS = 3;

/** Renames `from` to `to` in the same volume. See `FileSystem.rename`. */
export async function rename(from: Target, to: Target, options: { readonly replace: boolean }): Promise<void> {
  requireRenamable(from, to);
  const { volume, pending } = from.view;
  const unpublished = await pending.find(from.key);
  if (unpublished && (await goesFirst(from, unpublished)) && (await renameUnpublished(from, to, options))) return;
  const [source, occupant, unpublishedThere] = await Promise.all([
    lookup(from),
    from.key === to.key ? undefined : lookupForCreation(to),
    pending.find(to.key),
  ]);
  if (source.kind === "absent") {
    if (unpublished && (await renameUnpublished(from, to, options))) return;
    throw notFound(from);
  }
  // As sshd, whose RENAME makes a link first; rename(2), which replaces, has nothing to do.
  if (!occupant && !options.replace) throw exists(to);
  if (!occupant) return;
  if (source.kind === "directory" && to.key.startsWith(`${from.key}/`)) {
    throw new FsError("invalid-argument", `${to.path}: a directory cannot be moved into itself`);
  }
  checkOccupant(source, occupant, to, options);
  // As rename(2): a directory takes the place of an empty one.
  if (source.kind === "directory" && occupant.kind === "directory") await removeDirectory(to);
  if (unpublishedThere && occupant.kind === "absent" && !options.replace) throw exists(to);
  await requireParent(to);
  try {
    if (source.kind === "directory") await renameDirectory(from, to);
    else await renameFile(from, to, { object: source.object, replaced: occupant.kind === "file", ...options });
  } catch (error) {
    if (error instanceof StoreError && error.code === "precondition-failed" && !options.replace) throw exists(to, error);
    throw isMissing(error) ? notFound(from) : toFsError(error, from.path);
  }
  if (unpublishedThere) await pending.discard(to.key, to.path);
  if (unpublished) await pending.follow(from.key, to.key);
  volume.tree.learnNoFile(from.key, volume.tree.tick());
}

function requireRenamable(from: Target, to: Target): void {
  requireWritable(from, "remove");
  requireWritable(to, "write");
  const { volume } = from.view;
  if (volume.isAlwaysDirectory(from.key)) throw new FsError("permission-denied", `${from.path}: this directory always exists`);
  if (volume.isAlwaysDirectory(to.key)) throw exists(to);
}

/** Whether the upload is what its owner sees under that name. */
async function goesFirst(target: Target, { state }: PendingEntry): Promise<boolean> {
  return state === "live-here" || state === "parked" || (await lookup(target)).kind === "absent";
}

/** False if something is published under the name too, which is still to be renamed. */
async function renameUnpublished(from: Target, to: Target, options: { readonly replace: boolean }): Promise<boolean> {
  const occupant = to.view.volume.tree.lookup(to.key, STAT_TRUST_MS);
  if (occupant?.kind === "directory") throw new FsError("is-a-directory", `${to.path}: is a directory`);
  await requireParent(to);
  if (from.key === to.key && !options.replace) throw exists(to);
  if (from.key === to.key) return true;
  return from.view.pending.rename(from.key, to.key, { ...options, path: to.path });
}

function checkOccupant(source: Known, occupant: Known, to: Target, { replace }: { readonly replace: boolean }): void {
  if (occupant.kind === "absent") return;
  if (!replace) throw exists(to);
  if (source.kind === "directory") {
    if (occupant.kind === "directory") return;
    throw new FsError("not-a-directory", `${to.path}: not a directory`);
  }
  if (occupant.kind === "directory") throw new FsError("is-a-directory", `${to.path}: is a directory`);
}

function exists({ path }: Target, cause?: unknown): FsError {
  return new FsError("exists", `${path}: it already exists`, cause === undefined ? {} : { cause });
}

function renameFile(from: Target, to: Target, options: Pick<ObjectCopy, "object" | "replace" | "replaced">): Promise<void> {
  const { volume } = from.view;
  return volume.order.run([from.key, to.key], from.path, () => moveFile(from, to, options));
}

async function moveFile(from: Target, to: Target, options: Pick<ObjectCopy, "object" | "replace" | "replaced">): Promise<void> {
  const { volume } = from.view;
  const canMove = volume.store.move !== undefined;
  if (canMove) await keepParent(from);
  await copyObject(volume, { ...options, to: to.key, isMove: canMove });
  if (!canMove) {
    await keepParent(from);
    await volume.store.delete([from.key]);
  }
  await volume.removed([from.key]);
}

/** What to copy where. */
export interface ObjectCopy {
  readonly object: SeenObject;
  readonly to: string;
  readonly replace: boolean;
  /** A file was seen there. */
  readonly replaced: boolean;
  /** By the store's own `move`, which it has. */
  readonly isMove?: boolean;
}

/**
 * Copies a published object with its times to another key and remembers the copy. The content type follows the new name
 * where it followed the old one. Begins again if the source is replaced meanwhile. Rejects with the store's error.
 */
export async function copyObject(volume: Volume, { object, to, replace, replaced, isMove = false }: ObjectCopy): Promise<void> {
  let source = await withProperties(volume, object, to);
  for (let attempt = 1; ; attempt++) {
    try {
      await copyVersion(volume, source, { to, replace, replaced, isMove });
      return;
    } catch (error) {
      if (!(error instanceof StoreError && error.code === "precondition-failed") || attempt === MAX_ATTEMPTS) throw error;
      const current = await head(volume, object.key);
      if (current.etag === source.etag) throw error;
      source = current;
    }
  }
}

/** The source with its properties, where the copy has to restate them. */
async function withProperties(volume: Volume, object: SeenObject, to: string): Promise<SeenObject> {
  const hasOwnTime = volume.times(object)?.mtime !== undefined;
  return hasOwnTime && contentTypeOf(to) === contentTypeOf(object.key) ? object : wholeObject(volume, object);
}

async function copyVersion(volume: Volume, source: SeenObject, target: Omit<Required<ObjectCopy>, "object">): Promise<void> {
  const { to, replace, replaced, isMove } = target;
  const properties = isWhole(source) ? propertiesUnderNewName(source, to) : undefined;
  const options: CopyOptions = {
    sourceIfMatch: source.etag,
    sourceSize: source.size,
    ...(replace ? {} : { ifNoneMatch: "*" as const }),
    ...(properties ? { replaceProperties: properties } : {}),
  };
  const run = isMove ? volume.store.move?.(source.key, to, options) : undefined;
  const { etag, size, lastModifiedMs = volume.clock.now() } = await (run ?? volume.store.copy(source.key, to, options));
  const times = properties ? readTimes(properties.metadata) : volume.times(source);
  await volume.published({ key: to, size, etag, lastModifiedMs, mtime: times?.mtime, mode: times?.mode, ...properties, replaced });
}

function propertiesUnderNewName(source: ObjectInfo, to: string) {
  const stored = source.contentType ?? contentTypeOf(source.key);
  const contentType = stored === contentTypeOf(source.key) ? contentTypeOf(to) : stored;
  const mtime = readTimes(source.metadata).mtime ?? Math.floor(source.lastModifiedMs / 1000);
  return { contentType, metadata: writeTimes(source.metadata, { mtime, mode: undefined }) };
}

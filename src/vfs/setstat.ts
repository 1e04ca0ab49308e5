/**
 * Times, modes and sizes set by path. An unchanged value costs nothing; a changed one is a copy of the object onto itself
 * with new metadata, or for a directory its marker written again. Owner and group are accepted and not kept, atime is
 * always mtime. The size goes through the uploads, which can cut and extend.
 */
import { FsError, StoreError } from "../errors.ts";
import type { ObjectInfo } from "../objectstore/objectstore.ts";
import { fileAttributes } from "./attributes.ts";
import { writeMarker } from "./directories.ts";
import type { AttributeChange } from "./file-system.ts";
import { head, isMissing, lookupFile, wholeObject } from "./lookup.ts";
import { writeTimes } from "./object-metadata.ts";
import { statDirectory } from "./stat.ts";
import { toFsError } from "./store-fault.ts";
import { isWhole, type SeenObject } from "./tree-cache.ts";
import { directoryKey, notFound, requireWritable, type Target } from "./view.ts";
import type { Volume } from "./volume.ts";

const MAX_ATTEMPTS = 3;

/** Applies `change` to whatever `target` is. */
export async function setAttributes(target: Target, change: AttributeChange): Promise<void> {
  requireWritable(target, change.size === undefined ? "set-attributes" : "write");
  const { pending } = target.view;
  const unpublished = await pending.find(target.key);
  const goesFirst = unpublished?.state === "live-here" || unpublished?.state === "parked";
  if (goesFirst && (await pending.setAttributes(target.key, change, target.path))) return;
  const known = await lookupFile(target);
  if (known.kind === "directory") return setDirectory(target, change);
  if (known.kind === "absent") {
    if (unpublished && (await pending.setAttributes(target.key, change, target.path))) return;
    throw notFound(target);
  }
  if (change.size !== undefined && change.size !== known.object.size) return resize(target, known.object, change);
  try {
    const { volume } = target.view;
    await volume.order.run([target.key], target.path, () => setTimes(volume, known.object, change));
  } catch (error) {
    throw isMissing(error) ? notFound(target) : toFsError(error, target.path);
  }
}

async function setDirectory(target: Target, change: AttributeChange): Promise<void> {
  if (change.size !== undefined) throw new FsError("is-a-directory", `${target.path}: is a directory`);
  const { volume } = target.view;
  if (target.names.length === 0 || !changes(statDirectory(target), change)) return;
  const key = directoryKey(target);
  const { mtime, mode } = statDirectory(target);
  const isTimed = change.mtime !== undefined || volume.directoryTimes(key)?.mtime !== undefined;
  const times = { mtime: isTimed ? (change.mtime ?? mtime) : undefined, mode: change.mode === undefined ? mode : change.mode & 0o7777 };
  try {
    await writeMarker(volume, key, times);
  } catch (error) {
    throw toFsError(error, target.path);
  }
}

async function resize(target: Target, object: SeenObject, change: AttributeChange): Promise<void> {
  const published: ObjectInfo | "unknown" = isWhole(object) ? object : "unknown";
  const { key, path } = target;
  const handle = await target.view.pending.open({ key, path, flags: { write: true }, attributes: {}, published });
  try {
    await handle.setstat(change);
  } catch (error) {
    await handle.abort(toFsError(error, path));
    throw error;
  }
  await handle.close();
}

/** One self-copy, if anything changes; again if the object is replaced meanwhile. Rejects with the store's error. */
async function setTimes(volume: Volume, object: SeenObject, { mtime, mode }: AttributeChange): Promise<void> {
  const change = { mtime, mode: mode === undefined ? undefined : mode & 0o7777 };
  const known = volume.times(object);
  if (known && !changes(fileAttributes(object, known), change)) return;
  let info = await wholeObject(volume, object);
  for (let attempt = 1; ; attempt++) {
    const current = fileAttributes(info, volume.times(info));
    if (!changes(current, change)) return;
    // A copy changes LastModified: an object without a time of its own gets the one it has had until now.
    const metadata = writeTimes(info.metadata, { mtime: change.mtime ?? current.mtime, mode: change.mode });
    const properties = { ...(info.contentType === undefined ? {} : { contentType: info.contentType }), metadata };
    try {
      const options = { sourceIfMatch: info.etag, sourceSize: info.size, replaceProperties: properties };
      const { etag, size, lastModifiedMs = volume.clock.now() } = await volume.store.copy(info.key, info.key, options);
      const times = { mtime: change.mtime ?? current.mtime, mode: change.mode ?? current.mode };
      return await volume.published({ key: info.key, size, etag, lastModifiedMs, ...times, ...properties, replaced: false });
    } catch (error) {
      if (!(error instanceof StoreError && error.code === "precondition-failed") || attempt === MAX_ATTEMPTS) throw error;
      info = await head(volume, info.key);
    }
  }
}

/** Whether times or mode wanted differ from the current ones. */
function changes(
  current: { readonly mtime: number; readonly mode: number },
  { mtime, mode }: { readonly mtime?: number | undefined; readonly mode?: number | undefined },
): boolean {
  return (mtime !== undefined && mtime !== current.mtime) || (mode !== undefined && (mode & 0o7777) !== current.mode);
}

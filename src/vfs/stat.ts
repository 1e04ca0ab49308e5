/**
 * `stat`: attributes of a name, published or not. One round trip at most; none after a listing or an own write.
 */
import { FsError } from "../errors.ts";
import { directoryAttributes, fileAttributes } from "./attributes.ts";
import type { Attributes } from "./file-system.ts";
import { head, isMissing, lookup } from "./lookup.ts";
import { toFsError } from "./store-fault.ts";
import { type SeenObject, STAT_TRUST_MS } from "./tree-cache.ts";
import { directoryKey, notFound, type Target } from "./view.ts";

/** What `target` is as its owner's session sees it: an upload of this session goes before the published version. */
export async function stat(target: Target): Promise<Attributes> {
  const pending = await target.view.pending.find(target.key);
  // Nobody publishes under a temporary name what waits there for its rename.
  if (pending?.state === "live-here" || pending?.state === "parked") return pending.attributes;
  const known = await lookup(target);
  if (known.kind === "directory") return statDirectory(target);
  if (known.kind === "file") return statFile(target, known.object);
  const unpublished = pending ?? (await target.view.pending.findElsewhere(target.key));
  if (unpublished) return unpublished.attributes;
  throw notFound(target);
}

/** Of a directory that is there. */
export function statDirectory(target: Target): Attributes {
  return directoryAttributes(target.view.volume.directoryTimes(directoryKey(target)));
}

async function statFile(target: Target, object: SeenObject): Promise<Attributes> {
  const { volume } = target.view;
  if (target.asDirectory) throw new FsError("not-a-directory", `${target.path}: not a directory`);
  const times = volume.times(object);
  if (times || volume.listingTimes === "listing") return fileAttributes(object, times);
  try {
    const info = await head(volume, target.key);
    // What looked like an empty file may turn out to be a directory's stand-in.
    if (volume.tree.lookup(target.key, STAT_TRUST_MS)?.kind === "directory") return statDirectory(target);
    return fileAttributes(info, volume.times(info));
  } catch (error) {
    throw isMissing(error) ? notFound(target) : toFsError(error, target.path);
  }
}

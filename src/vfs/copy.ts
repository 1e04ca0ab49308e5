/** Copying a published file inside the store, and checksums that the store already knows. */
import { FsError } from "../errors.ts";
import { isMissing, lookup, lookupFile, lookupForCreation, requireParent } from "./lookup.ts";
import { copyObject } from "./rename.ts";
import { toFsError } from "./store-fault.ts";
import { isWhole } from "./tree-cache.ts";
import { notFound, requireWritable, type Target } from "./view.ts";

/** Copies the published file `from` to `to`, replacing it. See `FileSystem.copy`. */
export async function copyFile(from: Target, to: Target): Promise<void> {
  requireWritable(to, "write");
  const { volume } = from.view;
  const [source, occupant] = await Promise.all([lookup(from), lookupForCreation(to)]);
  if (source.kind === "absent") throw notFound(from);
  if (source.kind === "directory") throw new FsError("is-a-directory", `${from.path}: is a directory`);
  if (occupant.kind === "directory") throw new FsError("is-a-directory", `${to.path}: is a directory`);
  if (from.key === to.key) return;
  await requireParent(to);
  try {
    const copy = { object: source.object, to: to.key, replace: true, replaced: occupant.kind === "file" };
    await volume.order.run([to.key], to.path, () => copyObject(volume, copy));
  } catch (error) {
    throw isMissing(error) ? notFound(from) : toFsError(error, to.path);
  }
}

/** See `FileSystem.storedChecksum`. Knows `md5` only: from the ETag of a plain PUT, or as rclone keeps it (`md5chksum`). */
export async function storedChecksum(target: Target, algorithm: string): Promise<string | undefined> {
  if (algorithm !== "md5") return undefined;
  const known = await lookupFile(target);
  if (known.kind === "absent") {
    if (await target.view.pending.find(target.key)) return undefined;
    throw notFound(target);
  }
  if (known.kind === "directory") throw new FsError("is-a-directory", `${target.path}: is a directory`);
  const { object } = known;
  if (target.view.volume.etagIsMd5 && /^[0-9a-f]{32}$/.test(object.etag)) return object.etag;
  const kept = isWhole(object) ? object.metadata.md5chksum : undefined;
  const digest = kept === undefined ? undefined : Buffer.from(kept, "base64");
  return digest?.length === 16 ? digest.toString("hex") : undefined;
}

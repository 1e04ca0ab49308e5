/** Removing files, published or not. */
import { FsError } from "../errors.ts";
import { keepParent } from "./directories.ts";
import { lookupFile } from "./lookup.ts";
import { toFsError } from "./store-fault.ts";
import { notFound, requireWritable, type Target } from "./view.ts";

/** Removes a file and discards what its owner has of it unpublished. Rejects `is-a-directory`, `not-found`. */
export async function removeFile(target: Target): Promise<void> {
  requireWritable(target, "remove");
  const { volume, pending } = target.view;
  // First: it waits for an upload that is just being closed in this session, which is there after that.
  const unpublished = await pending.find(target.key);
  const known = await lookupFile(target);
  if (known.kind === "directory") throw new FsError("is-a-directory", `${target.path}: is a directory`);
  if (target.asDirectory && (unpublished || known.kind === "file")) throw new FsError("not-a-directory", `${target.path}: not a directory`);
  const isDiscarded = unpublished !== undefined && (await pending.discard(target.key, target.path));
  if (known.kind === "absent") {
    if (isDiscarded) return;
    if (unpublished) throw new FsError("permission-denied", `${target.path}: it is being uploaded; close it first`);
    throw notFound(target);
  }
  try {
    await volume.order.run([target.key], target.path, async () => {
      await keepParent(target);
      await volume.store.delete([target.key]);
      await volume.removed([target.key]);
    });
  } catch (error) {
    throw toFsError(error, target.path);
  }
}

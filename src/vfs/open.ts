/**
 * Opening files: for reading by what is known of the published version, for writing through the unpublished uploads.
 * Asks the store for as little as can be: nothing for a file that was just listed, nothing for a new file in a known
 * directory.
 */
import { FsError } from "../errors.ts";
import type { AttributeChange, FileHandle, OpenFlags } from "./file-system.ts";
import type { FetchedFile } from "./files-ahead.ts";
import { isDirectory, lookupFile, lookupForCreation, requireParent } from "./lookup.ts";
import type { WriteRequest } from "./pending-uploads.ts";
import { ReadHandle } from "./read-handle.ts";
import { setAttributes } from "./setstat.ts";
import { isWhole, type Known, OPEN_TRUST_MS, type SeenObject, STAT_TRUST_MS } from "./tree-cache.ts";
import { notFound, requireWritable, type Target } from "./view.ts";

/** Opens `target` as `FileSystem.open` says. */
export async function openFile(target: Target, flags: OpenFlags, attributes: AttributeChange): Promise<FileHandle> {
  if (flags.write || flags.append) return openForWriting(target, flags, attributes);
  const { volume, pending } = target.view;
  volume.noticeForeignChanges();
  const seen = volume.tree.lookup(target.key, OPEN_TRUST_MS);
  // Old knowledge is good enough for a file, whose version the first GET checks; for nothing else.
  const known = seen?.kind === "file" ? seen : await lookupFile(target);
  if (known.kind === "directory") throw isDirectoryError(target);
  if (known.kind === "file" && flags.create && flags.exclusive) throw new FsError("exists", `${target.path}: it already exists`);
  if (known.kind === "absent" && flags.create) {
    await createEmpty(target, flags, attributes);
    return openFile(target, { read: true }, {});
  }
  if (known.kind === "absent") {
    if (!(await pending.find(target.key))) throw notFound(target);
    const handle = await pending.read(target.key, target.path, (version) => readVersion(target, { kind: "object", ...version }, true));
    if (handle) return handle;
    throw new FsError("unavailable", `${target.path}: the upload of this file is not finished; it cannot be read yet`);
  }
  if (target.asDirectory) throw new FsError("not-a-directory", `${target.path}: not a directory`);
  const isVerified = seen?.kind !== "file";
  const ahead = isVerified ? undefined : volume.ahead.open(known.object);
  return readVersion(target, known.object, isVerified, ahead);
}

function readVersion(target: Target, object: SeenObject, isVerified: boolean, ahead?: Promise<FetchedFile | undefined>): FileHandle {
  return new ReadHandle({ target, object, isVerified, ...(ahead && { ahead }), setstat: (change) => setAttributes(target, change) });
}

/** What `O_RDONLY | O_CREAT` does where nothing is. */
async function createEmpty(target: Target, { exclusive = false }: OpenFlags, attributes: AttributeChange): Promise<void> {
  const handle = await openForWriting(target, { write: true, create: true, exclusive }, attributes);
  await handle.close();
}

async function openForWriting(target: Target, flags: OpenFlags, attributes: AttributeChange): Promise<FileHandle> {
  requireWritable(target, "write");
  const { volume, pending } = target.view;
  if (target.asDirectory || volume.isAlwaysDirectory(target.key)) throw isDirectoryError(target);
  volume.noticeForeignChanges();
  const known = await knownBeforeWriting(target, flags);
  if (known?.kind === "directory") throw isDirectoryError(target);
  if (known?.kind === "file" && flags.create && flags.exclusive) throw new FsError("exists", `${target.path}: it already exists`);
  if (known?.kind === "absent" && !flags.create && !flags.resume && !(await pending.findElsewhere(target.key))) throw notFound(target);
  if (flags.create && known?.kind !== "file") await requireParent(target);
  const oldMode = known?.kind === "file" ? volume.times(known.object)?.mode : undefined;
  return pending.open({ key: target.key, path: target.path, flags, attributes, oldMode, published: publishedOf(known) });
}

/** What is known of the name without asking, where asking can be spared. */
async function knownBeforeWriting(target: Target, flags: OpenFlags): Promise<Known | undefined> {
  const { volume } = target.view;
  const { sinceTick } = target.view;
  const seen = volume.tree.lookup(target.key, STAT_TRUST_MS, flags.create ? sinceTick : undefined);
  if (seen) return seen;
  if (flags.create && volume.tree.wasMissing(target.key, sinceTick)) return { kind: "absent" };
  // Seen as a directory some time ago: that may no longer hold, and must not be overwritten if it does.
  if (volume.mayBeDirectory(`${target.key}/`)) return lookupForCreation(target);
  if (volume.cheapRequests && (await isDirectory(target, STAT_TRUST_MS))) return { kind: "directory", marker: undefined };
  // A new file is not asked for, unless its being there must be told now.
  return flags.create && !flags.exclusive ? undefined : lookupFile(target);
}

function publishedOf(known: Known | undefined): WriteRequest["published"] {
  if (known?.kind === "absent") return "absent";
  return known?.kind === "file" && isWhole(known.object) ? known.object : "unknown";
}

function isDirectoryError({ path }: Target): FsError {
  return new FsError("is-a-directory", `${path}: is a directory`);
}

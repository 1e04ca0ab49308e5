/**
 * Removes many files that a walk or listing has just shown, with few requests: one for a thousand of them, and one look
 * at each directory they lie in.
 */
import type { FsError } from "../errors.ts";
import type { ListEntry } from "../objectstore/objectstore.ts";
import { Lanes } from "./bounded.ts";
import { writeMarker } from "./directories.ts";
import { removeFile } from "./remove.ts";
import { toFsError } from "./store-fault.ts";
import { directoryKey, parentOf, requireWritable, type Target } from "./view.ts";

/** Keys in one request, as S3 limits it. */
const BATCH = 1000;
/** Directories and single files looked at at the same time. */
const PARALLEL = 16;

/** Removes the files of one volume. The result says for each why it is still there, or undefined. */
export async function removeFiles(targets: readonly Target[]): Promise<(FsError | undefined)[]> {
  const results: (FsError | undefined)[] = [];
  for (let start = 0; start < targets.length; start += BATCH) results.push(...(await removeBatch(targets.slice(start, start + BATCH))));
  return results;
}

async function removeBatch(targets: readonly Target[]): Promise<(FsError | undefined)[]> {
  const first = targets[0];
  if (!first) return [];
  try {
    requireWritable(first, "remove");
    const { volume, pending } = first.view;
    const unpublished = await Promise.all(targets.map(({ key }) => pending.find(key)));
    if (unpublished.some((entry) => entry !== undefined)) return await removeEach(targets);
    await keepParents(targets);
    const keys = targets.map(({ key }) => key);
    await volume.order.run(keys, first.path, async () => {
      await volume.store.delete(keys);
      await volume.removed(keys);
    });
    return targets.map(() => undefined);
  } catch {
    // Which of them failed, and why, shows when they are tried one by one.
    return removeEach(targets);
  }
}

async function removeEach(targets: readonly Target[]): Promise<(FsError | undefined)[]> {
  const lanes = new Lanes(PARALLEL);
  const remove = async (target: Target): Promise<FsError | undefined> => {
    try {
      await removeFile(target);
      return undefined;
    } catch (error) {
      const failure = toFsError(error, target.path);
      return failure.code === "not-found" ? undefined : failure;
    }
  };
  return Promise.all(targets.map((target) => lanes.run(() => remove(target))));
}

/** Directories that lose all their children keep existing: they get a marker first. */
async function keepParents(targets: readonly Target[]): Promise<void> {
  const going = new Set(targets.map(({ key }) => key));
  const parents = new Map(targets.map((target) => [directoryKey(parentOf(target)), parentOf(target)]));
  const lanes = new Lanes(PARALLEL);
  await Promise.all([...parents.values()].map((parent) => lanes.run(() => keepParent(parent, going))));
}

async function keepParent(parent: Target, going: ReadonlySet<string>): Promise<void> {
  const { volume } = parent.view;
  if (volume.isAlwaysDirectory(parent.key)) return;
  const key = directoryKey(parent);
  const nameOf = (entry: ListEntry): string => (entry.kind === "prefix" ? entry.prefix : entry.key);
  for await (const page of volume.store.list(key, { delimiter: "/" })) {
    if (page.some((entry) => !going.has(nameOf(entry)))) return;
  }
  await writeMarker(volume, key, { mtime: undefined, mode: undefined });
}

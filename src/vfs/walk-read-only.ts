/** Walking a read-only branch of the home: directory by directory, as its mount lists them. */
import { FsError } from "../errors.ts";
import type { WalkEntry } from "./file-system.ts";
import type { ReadOnlyMount } from "./mount-table.ts";
import { notFound } from "./view.ts";

/** See `FileSystem.walk`. */
export async function* walkReadOnly(mount: ReadOnlyMount, names: readonly string[], path: string): AsyncGenerator<readonly WalkEntry[]> {
  const attributes = await mount.stat(names);
  if (!attributes) throw notFound({ path });
  if (attributes.type !== "directory") throw new FsError("not-a-directory", `${path}: not a directory`);
  for (const entry of await mount.list(names)) {
    yield [{ path: entry.name, attributes: entry.attributes }];
    if (entry.attributes.type !== "directory") continue;
    for await (const batch of walkReadOnly(mount, [...names, entry.name], `${path}/${entry.name}`)) {
      yield batch.map((below) => ({ ...below, path: `${entry.name}/${below.path}` }));
    }
  }
}

/** Compares a customer's old mount with the new storage before the switch: names, sizes, times. Reads only. */
import { opendir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ObjectStore } from "../../objectstore/objectstore.ts";

/** What differs, with the first examples of each kind. */
export interface ViewComparison {
  readonly same: number;
  readonly differences: Readonly<Record<Difference, { count: number; readonly examples: string[] }>>;
}

/** How a file differs. */
export type Difference = "only-old" | "only-new" | "size" | "time";

const EXAMPLES = 5;

/** Compares the files below `folder` with those below `prefix`. Rejects as file system and store do. */
export async function compareViews(
  folder: string,
  store: ObjectStore,
  prefix: string,
  options: { readonly times: boolean },
): Promise<ViewComparison> {
  const differences = { "only-old": none(), "only-new": none(), size: none(), time: none() };
  const found = (kind: Difference, name: string): void => {
    differences[kind].count++;
    if (differences[kind].examples.length < EXAMPLES) differences[kind].examples.push(name);
  };
  const old = new Map<string, { readonly size: number; readonly mtime: number }>();
  for await (const file of filesBelow(folder, "")) old.set(file.name, file);
  let same = 0;
  for await (const page of store.list(prefix)) {
    for (const entry of page) {
      if (entry.kind !== "object" || entry.key.endsWith("/")) continue;
      const name = entry.key.slice(prefix.length);
      const before = old.get(name);
      old.delete(name);
      if (!before) found("only-new", name);
      else if (before.size !== entry.size) found("size", name);
      else if (options.times && !(await sameTime(before.mtime, store, entry))) found("time", name);
      else same++;
    }
  }
  for (const name of old.keys()) found("only-old", name);
  return { same, differences };
}

function none(): { count: number; examples: string[] } {
  return { count: 0, examples: [] };
}

async function sameTime(
  old: number,
  store: ObjectStore,
  object: { readonly key: string; readonly lastModifiedMs: number; readonly metadata?: Readonly<Record<string, string>> },
): Promise<boolean> {
  const metadata = object.metadata ?? (await store.head(object.key)).metadata;
  return Math.floor(Number(metadata.mtime ?? object.lastModifiedMs / 1000)) === Math.floor(old);
}

async function* filesBelow(folder: string, below: string): AsyncGenerator<{ name: string; size: number; mtime: number }> {
  for await (const entry of await opendir(join(folder, below))) {
    const name = below === "" ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) yield* filesBelow(folder, name);
    else if (entry.isFile()) {
      const { size, mtimeMs } = await stat(join(folder, name));
      yield { name, size, mtime: mtimeMs / 1000 };
    }
  }
}

/**
 * The names in one page of a listing: what is a name, what is a marker, what cannot be a name at all; and the names that
 * the store does not list (unpublished uploads, directories that are always shown), merged in their order. Pure but for
 * reports of odd keys.
 */
import { compareKeys } from "../objectstore/key-order.ts";
import type { ListEntry } from "../objectstore/objectstore.ts";
import type { Attributes } from "./file-system.ts";
import type { PendingEntry } from "./pending-uploads.ts";
import { isStandIn } from "./lookup.ts";
import type { SeenObject } from "./tree-cache.ts";
import { isFolderMark, type Volume } from "./volume.ts";

/** A name in a directory before its times are known. */
export type Entry =
  | { readonly kind: "file"; readonly name: string; readonly object: SeenObject }
  | { readonly kind: "directory"; readonly name: string; readonly key: string }
  | { readonly kind: "unpublished"; readonly name: string; readonly attributes: Attributes; readonly isLive: boolean };

/** The names that a page of a LIST with delimiter shows of the directory `directory` (a key that ends with `/`, or empty). */
export function entriesOf(volume: Volume, directory: string, page: readonly ListEntry[]): Entry[] {
  const directories = new Set<string>();
  for (const entry of page) if (entry.kind === "prefix") directories.add(entry.prefix.slice(directory.length, -1));
  const entries: Entry[] = [];
  for (const listed of page) {
    const key = listed.kind === "prefix" ? listed.prefix : listed.key;
    if (key === directory) continue;
    const name = listed.kind === "prefix" ? key.slice(directory.length, -1) : key.slice(directory.length);
    if (!isName(name)) volume.reportOnce(key, "a stored key cannot be shown as a path; it is hidden");
    else if (listed.kind === "prefix") entries.push({ kind: "directory", name, key });
    else if (isFolderMark(listed)) continue;
    else if (directories.has(name)) reportClash(volume, listed);
    else if (isStandIn(volume, listed)) entries.push({ kind: "directory", name, key: `${key}/` });
    else entries.push({ kind: "file", name, object: listed });
  }
  return entries;
}

/** True if a path can name it. */
export function isName(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && !name.includes("\0");
}

function reportClash(volume: Volume, { key, size }: SeenObject): void {
  if (size > 0) volume.reportOnce(key, "a file and a directory have one name; the file is hidden");
}

/** Names to be shown in `directory` that the store does not list, in order. */
export function extraEntries(volume: Volume, directory: string, pending: readonly PendingEntry[]): Entry[] {
  const extras = new Map<string, Entry>();
  if (directory === volume.prefix) {
    for (const name of volume.alwaysShown) extras.set(`${name}/`, { kind: "directory", name, key: `${directory}${name}/` });
  }
  for (const { key, state, attributes } of pending) {
    const rest = key.slice(directory.length);
    const cut = rest.indexOf("/");
    const name = cut < 0 ? rest : rest.slice(0, cut);
    if (!isName(name)) continue;
    if (cut < 0) extras.set(name, { kind: "unpublished", name, attributes, isLive: state === "live-here" });
    else extras.set(`${name}/`, { kind: "directory", name, key: `${directory}${name}/` });
  }
  return [...extras.values()].sort((a, b) => compareKeys(sortKey(a), sortKey(b)));
}

/** Where an entry stands in a listing: directories as if their name ended with `/`, as the store sorts them. */
export function sortKey(entry: Entry): string {
  return entry.kind === "directory" ? `${entry.name}/` : entry.name;
}

/**
 * Merges `extras` (consumed from the front) into one page. `isLast`: no page follows, so what is left goes to the end.
 * Where both have a name the published version is shown, unless the upload is open in this session.
 */
export function mergeExtras(page: readonly Entry[], extras: Entry[], isLast: boolean): Entry[] {
  if (extras.length === 0) return [...page];
  const merged: Entry[] = [];
  for (const entry of page) {
    const position = sortKey(entry);
    for (let extra = extras[0]; extra && compareKeys(sortKey(extra), position) < 0; extra = extras[0]) {
      merged.push(extra);
      extras.shift();
    }
    const extra = extras[0];
    const isSame = extra !== undefined && sortKey(extra) === position;
    if (isSame) extras.shift();
    merged.push(isSame && extra.kind === "unpublished" && extra.isLive ? extra : entry);
  }
  if (isLast) merged.push(...extras.splice(0));
  return merged;
}

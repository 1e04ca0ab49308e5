/**
 * The order of a file list (rsync flist.c `f_name_cmp`, protocol ≥ 29): at every level files before directories, else
 * by bytes, a directory compared with its trailing `/`. Both sides sort alike, or files would be stored under wrong
 * names. Sorting gives way to other work now and then. Pure.
 */
import type { FileList } from "./file-list.ts";

const CHUNK = 8192;

/**
 * A string that compares by `<` as rsync compares names: every component is marked as file (`\1`) or directory (`\2`),
 * directories keep their `/`.
 */
export function sortKey(name: string, isDirectory: boolean): string {
  if (!isDirectory) {
    const slash = name.lastIndexOf("/");
    return slash < 0 ? `\u0001${name}` : `${directoryKey(name.slice(0, slash))}\u0001${name.slice(slash + 1)}`;
  }
  return name === "." ? "" : directoryKey(name);
}

function directoryKey(path: string): string {
  return `\u0002${path.replaceAll("/", "/\u0002")}/`;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * Sorts `list` as both sides do; equal names keep their order. `keepSentOrder`: see `FileList.reorder`. Returns the old
 * position of every entry.
 */
export async function sortFileList(list: FileList, keepSentOrder: boolean): Promise<Uint32Array> {
  const keys: string[] = new Array(list.length);
  for (let position = 0; position < list.length; position++) keys[position] = sortKey(list.name(position), list.isDirectory(position));
  const order = await sortedOrder(keys);
  list.reorder(order, keepSentOrder);
  return order;
}

/** The positions of `keys` in ascending order of the keys, stable. */
export async function sortedOrder(keys: readonly string[]): Promise<Uint32Array> {
  const count = keys.length;
  let from: Uint32Array = new Uint32Array(count);
  for (let start = 0; start < count; start += CHUNK) {
    const positions = Array.from({ length: Math.min(CHUNK, count - start) }, (_, index) => start + index);
    positions.sort((left, right) => compare(keys[left] ?? "", keys[right] ?? "") || left - right);
    from.set(positions, start);
    if (start % (CHUNK * 4) === 0 && start > 0) await turn();
  }
  let into: Uint32Array = new Uint32Array(count);
  for (let width = CHUNK; width < count; width *= 2) {
    for (let start = 0; start < count; start += 2 * width) {
      await merge(keys, from, into, start, Math.min(start + width, count), Math.min(start + 2 * width, count));
    }
    [from, into] = [into, from];
  }
  return from;
}

function compare(left: string, right: string): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}

/** Merges the sorted runs [start, middle) and [middle, end) of `from` into `into`. */
async function merge(
  keys: readonly string[],
  from: Uint32Array,
  into: Uint32Array,
  start: number,
  middle: number,
  end: number,
): Promise<void> {
  let left = start;
  let right = middle;
  for (let at = start; at < end; at++) {
    const takeLeft = right >= end || (left < middle && (keys[from[left] ?? 0] ?? "") <= (keys[from[right] ?? 0] ?? ""));
    into[at] = from[takeLeft ? left++ : right++] ?? 0;
    if ((at & 0x7fff) === 0x7fff) await turn();
  }
}

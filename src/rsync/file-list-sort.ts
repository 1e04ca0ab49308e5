/**
 * The order of a file list (rsync flist.c `f_name_cmp`, protocol ≥ 29): at every level files before directories, else
 * by bytes, a directory compared with its trailing `/`. Both sides sort alike, or files would be stored under wrong
 * names. Sorting gives way to other work now and then. Pure.
 */
import type { FileList } from "./file-list.ts";
import { Turns } from "./turns.ts";

/** Entries sorted in one go. */
const CHUNK = 8192;
/** Entries looked at before other work gets a turn. */
const TURN_EVERY = 32_768;
/** What a directory takes in the tree beyond what an entry takes. */
const NODE_BYTES = 100;

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

/** A directory of the list, or above one: what lies directly in it. */
interface Node {
  /** Entries that are this directory. */
  own?: number[];
  files?: number[];
  /** By name, without the path. */
  children?: Map<string, Node>;
}

/** Called with the bytes of text of each directory that is no entry of the list; throws when there is no room for more. */
type Hold = (textBytes: number) => void;

/** The tree of a list: long lists are sorted directory by directory, which spares a key for every name. */
class ListTree {
  readonly root: Node = {};
  readonly #list: FileList;
  readonly #hold: Hold;
  #nodes = 0;
  #lastPath = "";
  #lastNode: Node = this.root;

  constructor(list: FileList, hold: Hold) {
    this.#list = list;
    this.#hold = hold;
  }

  add(position: number): void {
    const name = this.#list.name(position);
    if (this.#list.isDirectory(position)) {
      const node = this.#node(name === "." ? "" : name);
      node.own ??= [];
      node.own.push(position);
      return;
    }
    const node = this.#node(name.slice(0, Math.max(0, name.lastIndexOf("/"))));
    node.files ??= [];
    node.files.push(position);
  }

  /** The node of a path, one step for each component: a name of some KiB may have two thousand, all of them new. */
  #node(path: string): Node {
    if (path === this.#lastPath) return this.#lastNode;
    let node = this.root;
    for (let from = 0; path !== "" && from <= path.length; ) {
      const slash = path.indexOf("/", from);
      const end = slash < 0 ? path.length : slash;
      node = this.#child(node, path.slice(from, end));
      from = end + 1;
    }
    this.#lastPath = path;
    this.#lastNode = node;
    return node;
  }

  #child(node: Node, component: string): Node {
    const known = node.children?.get(component);
    if (known) return known;
    if (++this.#nodes > this.#list.length) this.#hold(component.length + NODE_BYTES);
    const child: Node = {};
    node.children ??= new Map();
    node.children.set(component, child);
    return child;
  }
}

/**
 * Sorts `list` as both sides do; equal names keep their order. `keepSentOrder`: see `FileList.reorder`. Returns the old
 * position of every entry.
 */
export async function sortFileList(list: FileList, keepSentOrder: boolean, hold: Hold = () => undefined): Promise<Uint32Array> {
  const tree = new ListTree(list, hold);
  const turns = new Turns();
  for (let position = 0; position < list.length; position++) {
    tree.add(position);
    if (position % 16 === 0) await turns.due();
  }
  const order = new Uint32Array(list.length);
  const waiting: Node[] = [tree.root];
  let filled = 0;
  for (let node = waiting.pop(); node; node = waiting.pop()) {
    const { own = [], files, children } = node;
    order.set(own, filled);
    filled += own.length;
    if (files) {
      const sorted = await sortedBy(files.length, (left, right) => compare(list.name(files[left] ?? 0), list.name(files[right] ?? 0)));
      for (const at of sorted) order[filled++] = files[at] ?? 0;
    }
    if (children) {
      const ordered = [...children].sort(([left], [right]) => compare(`${left}/`, `${right}/`));
      for (const [, child] of ordered.reverse()) waiting.push(child);
    }
    await turns.due();
  }
  list.reorder(order, keepSentOrder);
  return order;
}

/** The positions of `keys` in ascending order of the keys, stable. */
export function sortedOrder(keys: readonly string[]): Promise<Uint32Array> {
  return sortedBy(keys.length, (left, right) => compare(keys[left] ?? "", keys[right] ?? ""));
}

type Compare = (left: number, right: number) => number;

/** The numbers below `count` in ascending order by `order`, stable. */
async function sortedBy(count: number, order: Compare): Promise<Uint32Array> {
  let from: Uint32Array = new Uint32Array(count);
  for (let start = 0; start < count; start += CHUNK) {
    const positions = Array.from({ length: Math.min(CHUNK, count - start) }, (_, index) => start + index);
    positions.sort((left, right) => order(left, right) || left - right);
    from.set(positions, start);
    if (start % (CHUNK * 4) === 0 && start > 0) await turn();
  }
  let into: Uint32Array = new Uint32Array(count <= CHUNK ? 0 : count);
  for (let width = CHUNK; width < count; width *= 2) {
    for (let start = 0; start < count; start += 2 * width) {
      await merge(order, from, into, [start, Math.min(start + width, count), Math.min(start + 2 * width, count)]);
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
async function merge(order: Compare, from: Uint32Array, into: Uint32Array, [start, middle, end]: [number, number, number]): Promise<void> {
  let left = start;
  let right = middle;
  for (let at = start; at < end; at++) {
    const takeLeft = right >= end || (left < middle && order(from[left] ?? 0, from[right] ?? 0) <= 0);
    into[at] = from[takeLeft ? left++ : right++] ?? 0;
    if (at % TURN_EVERY === TURN_EVERY - 1) await turn();
  }
}

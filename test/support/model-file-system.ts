/**
 * An in-memory, POSIX-like model of the FileSystem port for unit and property tests: publish on close, unpublished
 * bytes shown to `stat`, an aborted upload kept for a resume where nothing is published. Knows no store, no limits of
 * S3 and no time but the injected clock. `before` lets a test delay or fail any call.
 */
import { createHash } from "node:crypto";
import { FsError } from "../../src/errors.ts";
import type {
  AttributeChange,
  Attributes,
  DirectoryEntry,
  DirectoryHandle,
  FileHandle,
  FileSystem,
  FileSystemStatistics,
  OpenFlags,
  WalkEntry,
} from "../../src/vfs/file-system.ts";
import { Content } from "./model-content.ts";
import { ModelHandle } from "./model-file-handle.ts";
import { applyChange, attributesOf, type DirectoryNode, type FileNode, type Meta, type Node, notFound } from "./model-nodes.ts";

/** What the model can be told. */
export interface ModelOptions {
  /** The user whose `/home/<user>/…` is `/…`; default `alice`. */
  readonly user?: string;
  /** Seconds since the epoch; default the system's clock. */
  readonly now?: () => number;
  /** Entries of one `DirectoryHandle.next()`; default 100. */
  readonly batchSize?: number;
  /** Symbolic links can be made; default false (`unsupported`, as on S3). */
  readonly symlinks?: boolean;
  /** `storedChecksum` answers; default false. */
  readonly checksums?: boolean;
  /**
   * Called before each call takes effect, with its name (`stat`, `open`, `read`, `write`, `close`, `abort`, …) and
   * normalised path. What it rejects with, the call rejects with; what it awaits, the call waits for.
   */
  readonly before?: (operation: string, path: string) => Promise<void> | void;
}

const byUtf8 = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
const parentOf = (path: string): string => path.slice(0, Math.max(path.lastIndexOf("/"), 1));
const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

/** See the head of this file. */
export class ModelFileSystem implements FileSystem {
  readonly #options: ModelOptions;
  readonly #root: DirectoryNode;
  /** Open for writing, by path, latest last. */
  readonly #drafts = new Map<string, FileNode[]>();
  /** Aborted uploads kept for a resume. */
  readonly #dropped = new Map<string, FileNode>();
  /** Handles opened and neither closed nor aborted. */
  openHandles = 0;
  /** Paths whose writers were closed, and aborted, in that order of events. */
  readonly published: string[] = [];
  readonly aborted: string[] = [];

  constructor(options: ModelOptions = {}) {
    this.#options = options;
    this.#root = { type: "directory", children: new Map(), ...this.#meta(0o755) };
  }

  /** Puts a published file, making its parents. For setting up tests. */
  put(path: string, content: Uint8Array | string, meta: Partial<Meta> = {}): void {
    const full = this.#normalise(path);
    let directory = this.#root;
    for (const segment of parentOf(full).split("/").filter(Boolean)) {
      const next: Node = directory.children.get(segment) ?? { type: "directory", children: new Map(), ...this.#meta(0o755) };
      directory.children.set(segment, next);
      if (next.type !== "directory") throw new Error(`${segment} is no directory`);
      directory = next;
    }
    const bytes = typeof content === "string" ? Buffer.from(content) : content;
    directory.children.set(nameOf(full), { type: "file", content: new Content(bytes), ...this.#meta(0o644), ...meta });
  }

  /** The published bytes of a file, or undefined. For assertions. */
  get(path: string): Uint8Array | undefined {
    const node = this.#find(this.#normalise(path));
    return node?.type === "file" ? Uint8Array.from(node.content.bytes) : undefined;
  }

  /** Every published path, directories with a trailing `/`, sorted. For assertions. */
  paths(): string[] {
    const collect = (directory: DirectoryNode, prefix: string): string[] =>
      [...directory.children].flatMap(([name, node]) =>
        node.type === "directory" ? [`${prefix}${name}/`, ...collect(node, `${prefix}${name}/`)] : [`${prefix}${name}`],
      );
    return collect(this.#root, "/").sort(byUtf8);
  }

  async stat(path: string): Promise<Attributes> {
    const full = await this.#enter("stat", path);
    return attributesOf(this.#visible(this.#follow(full)) ?? notFound(full));
  }

  async lstat(path: string): Promise<Attributes> {
    const full = await this.#enter("lstat", path);
    return attributesOf(this.#visible(full) ?? notFound(full));
  }

  async setstat(path: string, change: AttributeChange): Promise<void> {
    const full = this.#follow(await this.#enter("setstat", path));
    applyChange(this.#visible(full) ?? notFound(full), full, change);
  }

  async open(path: string, flags: OpenFlags, attributes: AttributeChange = {}): Promise<FileHandle> {
    const full = this.#follow(await this.#enter("open", path));
    const existing = this.#find(full);
    const dropped = existing ? undefined : this.#dropped.get(full);
    if (existing?.type === "directory") throw new FsError("is-a-directory", `${full}: is a directory`);
    this.#directory(parentOf(full));
    const node = existing?.type === "file" ? existing : dropped;
    if (!node && !(flags.create && flags.write)) notFound(full);
    if (node && flags.create && flags.exclusive) throw new FsError("exists", `${full}: already exists`);
    this.openHandles++;
    if (!flags.write) return new ModelHandle(this, full, node ?? notFound(full), flags, undefined);
    const old = node && !flags.truncate ? node.content.copy() : new Content();
    const draft: FileNode = { ...(node ?? { type: "file", ...this.#meta(0o644) }), content: old };
    const { size: announced, ...meta } = attributes;
    if (!node) applyChange(draft, full, meta);
    this.#drafts.set(full, [...(this.#drafts.get(full) ?? []), draft]);
    this.#dropped.delete(full);
    return new ModelHandle(this, full, draft, flags, announced, !node && meta.mtime !== undefined);
  }

  /** For the handles: ends a writer, publishing its draft or keeping it as dropped. */
  settle(path: string, draft: FileNode, outcome: "publish" | "drop"): void {
    const left = (this.#drafts.get(path) ?? []).filter((other) => other !== draft);
    if (left.length > 0) this.#drafts.set(path, left);
    else this.#drafts.delete(path);
    if (outcome === "drop") {
      this.aborted.push(path);
      this.#dropped.set(path, draft);
      return;
    }
    this.#directory(parentOf(path)).children.set(nameOf(path), draft);
    this.published.push(path);
  }

  /** For the handles: the hook of the options. */
  async hook(operation: string, path: string): Promise<void> {
    await this.#options.before?.(operation, path);
  }

  /** For the handles: the injected clock. */
  now(): number {
    return this.#options.now?.() ?? Math.floor(Date.now() / 1000);
  }

  async opendir(path: string): Promise<DirectoryHandle> {
    const full = this.#follow(await this.#enter("opendir", path));
    const directory = this.#directory(full);
    const entries = this.#list(full, directory);
    const batchSize = this.#options.batchSize ?? 100;
    let position = 0;
    this.openHandles++;
    let open = true;
    return {
      next: async () => {
        await this.hook("readdir", full);
        if (!open) throw new FsError("invalid-argument", `${full}: directory handle is closed`);
        position += batchSize;
        return entries.slice(position - batchSize, position);
      },
      stat: async () => attributesOf(directory),
      close: async () => {
        if (open) this.openHandles--;
        open = false;
        await this.hook("closedir", full);
      },
    };
  }

  async mkdir(path: string, attributes: AttributeChange = {}): Promise<void> {
    const full = await this.#enter("mkdir", path);
    if (full === "/" || this.#visible(full)) throw new FsError("exists", `${full}: already exists`);
    const node: DirectoryNode = { type: "directory", children: new Map(), ...this.#meta(0o755) };
    applyChange(node, full, attributes);
    this.#directory(parentOf(full)).children.set(nameOf(full), node);
  }

  async rmdir(path: string): Promise<void> {
    const full = await this.#enter("rmdir", path);
    const directory = this.#directory(full);
    if (full === "/") throw new FsError("permission-denied", "/: the home cannot be removed");
    if (this.#list(full, directory).length > 0) throw new FsError("not-empty", `${full}: directory is not empty`);
    this.#directory(parentOf(full)).children.delete(nameOf(full));
  }

  async remove(path: string): Promise<void> {
    const full = await this.#enter("remove", path);
    const node = this.#find(full);
    if (node?.type === "directory") throw new FsError("is-a-directory", `${full}: is a directory`);
    if (!this.#dropped.delete(full) && !node) notFound(full);
    if (node) this.#directory(parentOf(full)).children.delete(nameOf(full));
  }

  async rename(from: string, to: string, options: { readonly replace: boolean }): Promise<void> {
    const source = await this.#enter("rename", from);
    const target = this.#normalise(to);
    const node = this.#find(source) ?? this.#dropped.get(source) ?? notFound(source);
    if (source === "/") throw new FsError("permission-denied", "/: the home cannot be renamed");
    if (source === target && options.replace) return;
    if (node.type === "directory" && target.startsWith(`${source}/`))
      throw new FsError("invalid-argument", `${target}: lies inside ${source}`);
    const existing = this.#find(target);
    if (existing && !(options.replace && existing.type === "file" && node.type === "file")) {
      const isNoDirectory = options.replace && node.type === "directory" && existing.type === "file";
      throw new FsError(isNoDirectory ? "not-a-directory" : "exists", `${target}: already exists`);
    }
    const directory = this.#directory(parentOf(target));
    if (!this.#dropped.delete(source) || this.#find(source)) this.#directory(parentOf(source)).children.delete(nameOf(source));
    directory.children.set(nameOf(target), node);
  }

  async realpath(path: string): Promise<string> {
    return this.#enter("realpath", path);
  }

  async readlink(path: string): Promise<string> {
    const full = await this.#enter("readlink", path);
    const node = this.#find(full) ?? notFound(full);
    if (node.type !== "symlink") throw new FsError("invalid-argument", `${full}: is no symbolic link`);
    return node.target;
  }

  async symlink(target: string, path: string): Promise<void> {
    const full = await this.#enter("symlink", path);
    if (!this.#options.symlinks) throw new FsError("unsupported", `${full}: symbolic links are not supported`);
    if (this.#find(full)) throw new FsError("exists", `${full}: already exists`);
    this.#directory(parentOf(full)).children.set(nameOf(full), { type: "symlink", target, ...this.#meta(0o777) });
  }

  async statvfs(path: string): Promise<FileSystemStatistics> {
    await this.#enter("statvfs", path);
    return { totalBytes: 2 ** 40, freeBytes: 2 ** 39, totalFiles: 1e6, freeFiles: 5e5, readOnly: false, maxNameLength: 255 };
  }

  async copy(from: string, to: string): Promise<void> {
    const source = this.#follow(await this.#enter("copy", from));
    const target = this.#normalise(to);
    const node = this.#find(source) ?? notFound(source);
    if (node.type !== "file") throw new FsError("is-a-directory", `${source}: is a directory`);
    if (this.#find(target)?.type === "directory") throw new FsError("is-a-directory", `${target}: is a directory`);
    this.#directory(parentOf(target)).children.set(nameOf(target), { ...node, content: node.content.copy(), mtime: this.now() });
  }

  async *walk(path: string): AsyncIterable<readonly WalkEntry[]> {
    const full = this.#follow(await this.#enter("walk", path));
    const stack = [{ directory: this.#directory(full), prefix: "" }];
    for (let top = stack.pop(); top; top = stack.pop()) {
      const { directory, prefix } = top;
      const names = [...directory.children].sort(([a], [b]) => byUtf8(a, b));
      if (names.length > 0) yield names.map(([name, node]) => ({ path: prefix + name, attributes: attributesOf(node) }));
      for (const [name, node] of names.reverse()) {
        if (node.type === "directory") stack.push({ directory: node, prefix: `${prefix}${name}/` });
      }
    }
  }

  async storedChecksum(path: string, algorithm: string): Promise<string | undefined> {
    const full = await this.#enter("storedChecksum", path);
    const node = this.#find(full) ?? notFound(full);
    if (!this.#options.checksums || node.type !== "file" || !["md5", "sha1", "sha256"].includes(algorithm)) return undefined;
    return createHash(algorithm).update(node.content.bytes).digest("hex");
  }

  async #enter(operation: string, path: string): Promise<string> {
    const full = this.#normalise(path);
    await this.hook(operation, full);
    return full;
  }

  #meta(mode: number): Meta {
    const now = this.now();
    return { mode, uid: 1000, gid: 1000, mtime: now, atime: now };
  }

  #normalise(path: string): string {
    if (path.includes("\0")) throw new FsError("invalid-argument", "path contains a NUL character");
    const segments: string[] = [];
    for (const segment of path.split("/")) {
      if (segment === "..") segments.pop();
      else if (segment !== "" && segment !== ".") segments.push(segment);
    }
    if (path.startsWith("/") && segments[0] === "home" && segments[1] === (this.#options.user ?? "alice")) segments.splice(0, 2);
    return `/${segments.join("/")}`;
  }

  #find(full: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const segment of full.split("/").filter(Boolean)) {
      if (node?.type !== "directory") return undefined;
      node = node.children.get(segment);
    }
    return node;
  }

  /** What the owner sees under a path: a writer's bytes so far, else what is published, else what was dropped. */
  #visible(full: string): Node | undefined {
    return this.#drafts.get(full)?.at(-1) ?? this.#find(full) ?? this.#dropped.get(full);
  }

  #follow(full: string): string {
    let path = full;
    for (let hops = 0; hops < 8; hops++) {
      const node = this.#find(path);
      if (node?.type !== "symlink") return path;
      path = this.#normalise(node.target.startsWith("/") ? node.target : `${parentOf(path)}/${node.target}`);
    }
    throw new FsError("invalid-argument", `${full}: too many symbolic links`);
  }

  #directory(full: string): DirectoryNode {
    let node: Node = this.#root;
    for (const segment of full.split("/").filter(Boolean)) {
      if (node.type !== "directory") throw new FsError("not-a-directory", `${full}: is not a directory`);
      node = node.children.get(segment) ?? notFound(full);
    }
    if (node.type !== "directory") throw new FsError("not-a-directory", `${full}: is not a directory`);
    return node;
  }

  #list(full: string, directory: DirectoryNode): DirectoryEntry[] {
    const prefix = full === "/" ? "/" : `${full}/`;
    const names = new Set(directory.children.keys());
    for (const path of [...this.#drafts.keys(), ...this.#dropped.keys()]) {
      if (path.startsWith(prefix) && parentOf(path) === full) names.add(nameOf(path));
    }
    return [...names]
      .sort(byUtf8)
      .map((name) => ({ name, attributes: attributesOf(this.#visible(prefix + name) ?? notFound(prefix + name)) }));
  }
}

/**
 * What the tree of the model file system is made of. Knows neither paths nor handles.
 */
import { FsError } from "../../src/errors.ts";
import type { AttributeChange, Attributes } from "../../src/vfs/file-system.ts";
import type { Content } from "./model-content.ts";

/** Attributes that can be set. */
export interface Meta {
  mode: number;
  uid: number;
  gid: number;
  mtime: number;
  atime: number;
}
/** A file. */
export interface FileNode extends Meta {
  readonly type: "file";
  content: Content;
}
/** A directory. */
export interface DirectoryNode extends Meta {
  readonly type: "directory";
  readonly children: Map<string, Node>;
}
/** A symbolic link. */
export interface LinkNode extends Meta {
  readonly type: "symlink";
  readonly target: string;
}
/** Any of them. */
export type Node = FileNode | DirectoryNode | LinkNode;

/** Throws `not-found`. */
export function notFound(path: string): never {
  throw new FsError("not-found", `${path}: no such file or directory`);
}

/** What `stat` says of a node. */
export function attributesOf(node: Node): Attributes {
  const { type, mode, uid, gid, mtime, atime } = node;
  const size = node.type === "file" ? node.content.size : node.type === "symlink" ? Buffer.byteLength(node.target) : 0;
  return { type, size, mode, uid, gid, mtime, atime };
}

/** Sets what `change` names. Throws for the size of anything but a file. */
export function applyChange(node: Node, path: string, change: AttributeChange): void {
  if (change.size !== undefined) {
    if (node.type !== "file") throw new FsError("is-a-directory", `${path}: is a directory`);
    node.content.truncate(change.size);
  }
  if (change.mode !== undefined) node.mode = change.mode & 0o7777;
  if (change.uid !== undefined) node.uid = change.uid;
  if (change.gid !== undefined) node.gid = change.gid;
  if (change.mtime !== undefined) node.mtime = change.mtime;
  if (change.atime !== undefined) node.atime = change.atime;
}

/**
 * The port through which the protocols (sftp, scp, rsync) see one logged-in user's files. Implemented by `vfs.ts` over
 * object stores and by a model in the tests. Knows nothing of SSH, keys or buckets.
 *
 * Paths are virtual: well-formed Unicode, `/`-separated, relative ones counted from the home `/`; `.` and `..` are
 * resolved lexically and never leave the home; `/home/<user>/…` is the same as `/…`. Names are kept byte for byte
 * (no Unicode normalisation). Sizes and offsets are bytes (safe integers), times whole seconds since the epoch.
 * Every method rejects with an `FsError`.
 */

import type { FsError } from "../errors.ts";

/** What a path is. Sockets, devices and the like do not exist here. */
export type FileType = "file" | "directory" | "symlink";

/** What `stat` says. */
export interface Attributes {
  readonly type: FileType;
  readonly size: number;
  /** Permission bits only (0 to 0o7777). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: number;
  readonly atime: number;
}

/** What `setstat`, `open` and `mkdir` may set; absent fields stay as they are. */
export interface AttributeChange {
  /** On `open`: the size the client announces; the file is not published when another number of bytes arrives. */
  readonly size?: number;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly atime?: number;
}

/** How a file is opened; the meaning of each is POSIX `open(2)`'s, as in SFTP v3 pflags (draft-ietf-secsh-filexfer-02 §6.3). */
export interface OpenFlags {
  readonly read?: boolean;
  readonly write?: boolean;
  /** Every write goes to the end of the file whatever its offset. */
  readonly append?: boolean;
  readonly create?: boolean;
  readonly truncate?: boolean;
  /** With `create`: fail with `exists` if the path is there. */
  readonly exclusive?: boolean;
  /**
   * With `write`: go on with this very upload (see `FileSystem.interrupted`), of which the first `length` bytes stay;
   * writes begin there. The first call on the handle rejects with `stale` if that cannot be done any more.
   */
  readonly resume?: { readonly id: string; readonly length: number };
  /** The name is meant even if it looks like one that clients use for a while before they rename: `close` publishes. */
  readonly finalName?: boolean;
  /**
   * A hint: this client is known to write its files from their beginning to their end and never to go back, so that
   * nothing has to be kept for it to write over. Wrong hints lead to refusals, never to wrong files.
   */
  readonly sequential?: boolean;
  /**
   * What `copyFrom` brought is kept with the rest when the file is given up. For writers that find out themselves how far
   * they have come (`FileSystem.interrupted`): others would take bytes for sent that they never sent.
   */
  readonly keepsCopies?: boolean;
}

/** An upload of the caller that has not come to its end. Sizes in bytes. */
export interface InterruptedUpload {
  /** Names this upload for good; another one of the same path has another id. */
  readonly id: string;
  /** What was received without a gap. */
  readonly length: number;
  /** It can be gone on with from any length between this and `length`. */
  readonly keepsAtLeast: number;
}

/** One name of a directory. `attributes.mtime` is as exact as the user's `listing.times` asks for. */
export interface DirectoryEntry {
  /** Without `/`; never `.` or `..`. */
  readonly name: string;
  readonly attributes: Attributes;
}

/**
 * An open file. Whoever opened it owes exactly one of `close` and `abort`; both are idempotent, and all other
 * calls fail after them. Calls on one handle take effect in the order they were made.
 */
export interface FileHandle {
  /** Bytes of a file open for reading only, where known without asking the store; a hint of how much there is to read. */
  readonly knownSize?: number | undefined;
  /** Of a file that is being written, once its first bytes were accepted: the id it will have in `FileSystem.interrupted`. */
  readonly uploadId?: string | undefined;
  /**
   * Up to `length` bytes from `offset` as a list of chunks; fewer only at the end of the file; an empty list is the
   * end. The chunks stay unchanged and belong to the caller; where one lies in a slab (slab-pool.ts), the caller is one of
   * its holders, and may release it when nobody reads the chunk any more.
   */
  read(offset: number, length: number): Promise<readonly Uint8Array[]>;
  /**
   * Writes the chunks at `offset`. Resolves when they are accepted: this is the back-pressure. Once it has resolved the
   * caller may use the chunks' memory for something else; until then, and after a rejection, they must not change.
   */
  write(offset: number, chunks: readonly Uint8Array[]): Promise<void>;
  /**
   * Writes `length` bytes (0: up to the end) that `source`, a read handle of the same file system, has at
   * `sourceOffset` to `offset` here; inside the store where both lie in one and the run is long enough, else through
   * the gateway. Returns how many bytes that were.
   */
  copyFrom(source: FileHandle, sourceOffset: number, length: number, offset: number): Promise<number>;
  /** Of this open file: a writer sees the bytes so far. */
  stat(): Promise<Attributes>;
  setstat(change: AttributeChange): Promise<void>;
  /** Everything written so far is kept for a resume even if this process dies now. Publishes nothing. */
  sync(): Promise<void>;
  /** Ends it. For a writer: publishes; rejects unless the object is durably stored, whole, under its name. */
  close(): Promise<void>;
  /** Ends it without publishing; what was received is kept for its owner to resume. `cause` goes to the log. */
  abort(cause: Error): Promise<void>;
}

/** An open directory. Whoever opened it owes `close`. */
export interface DirectoryHandle {
  /** The next entries (some hundred at most), in UTF-8 byte order, without `.` and `..`; an empty list is the end. */
  next(): Promise<readonly DirectoryEntry[]>;
  /** Of the directory itself. */
  stat(): Promise<Attributes>;
  close(): Promise<void>;
}

/** Room and usage for `df`; bytes and counts. */
export interface FileSystemStatistics {
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly totalFiles: number;
  readonly freeFiles: number;
  readonly readOnly: boolean;
  /** Longest name of one path segment in bytes. */
  readonly maxNameLength: number;
}

/** One entry of a recursive walk: `path` is relative to where the walk began, without leading `/`. */
export interface WalkEntry {
  readonly path: string;
  readonly attributes: Attributes;
  /** Version of the content where there is one: equal etags mean equal bytes. */
  readonly etag?: string;
}

/** One logged-in user's files: see the head of this file. */
export interface FileSystem {
  stat(path: string): Promise<Attributes>;
  /** As `stat`, but of a symbolic link itself. */
  lstat(path: string): Promise<Attributes>;
  setstat(path: string, change: AttributeChange): Promise<void>;
  open(path: string, flags: OpenFlags, attributes?: AttributeChange): Promise<FileHandle>;
  opendir(path: string): Promise<DirectoryHandle>;
  mkdir(path: string, attributes?: AttributeChange): Promise<void>;
  rmdir(path: string): Promise<void>;
  /** Removes a file; a directory is `is-a-directory`. */
  remove(path: string): Promise<void>;
  /**
   * Removes files that a walk or listing has just shown, many in one request. The result says for each why it is still
   * there, or undefined. Absent where nothing is gained over `remove`.
   */
  removeFiles?(paths: readonly string[]): Promise<readonly (FsError | undefined)[]>;
  /** Renames a file or a whole directory. An existing target is `exists` unless `replace`, which replaces files only. */
  rename(from: string, to: string, options: { readonly replace: boolean }): Promise<void>;
  /** The absolute, normalised path; it need not exist. */
  realpath(path: string): Promise<string>;
  readlink(path: string): Promise<string>;
  symlink(target: string, path: string): Promise<void>;
  statvfs(path: string): Promise<FileSystemStatistics>;
  /** Copies a published file's content within the store; `to` must not be open. Replaces `to`. */
  copy(from: string, to: string): Promise<void>;
  /**
   * The caller's upload to `path` that was interrupted, if `OpenFlags.resume` can go on with it; whatever is published
   * there. Costs no request. Absent where nothing is kept of interrupted uploads.
   */
  interrupted?(path: string): Promise<InterruptedUpload | undefined>;
  /**
   * Everything below `path`, recursively, parents before children, siblings in UTF-8 byte order, in batches; few
   * requests (one listing by prefix where the store can) and bounded memory. `path` must be a directory.
   */
  walk(path: string): AsyncIterable<readonly WalkEntry[]>;
  /**
   * A checksum of the published file in lower-case hex if one is stored and costs no download; else undefined.
   * Algorithms: `md5`, `sha1`, `sha256`, `crc32`.
   */
  storedChecksum(path: string, algorithm: string): Promise<string | undefined>;
}

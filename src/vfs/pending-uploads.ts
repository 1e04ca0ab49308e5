/**
 * The port inside `vfs/` between the visible tree (published objects, directories) and the uploads that are not
 * published yet. One instance serves one logged-in session's view of one volume (a store and a key prefix).
 *
 * Life of an upload: `open → (dropped ⇄ resumed)* → closed → published`, with the ways out `replaced` and `expired`
 * and the waiting room `parked` (closed under a temporary name, waiting for its rename).
 *
 * What the owner sees of it (nobody else sees anything):
 * - open in this very session: the bytes so far, instead of any published version (`live-here`);
 * - open in another session of the owner, dropped, or parked: its size, but only where nothing is published under that
 *   name (`partial`, `parked`): a published version goes first, so that no client continues the old version with the
 *   new one's tail.
 */
import type { AttributeChange, Attributes, FileHandle, InterruptedUpload, OpenFlags } from "./file-system.ts";
import type { ObjectInfo } from "../objectstore/objectstore.ts";
import type { PublishedVersion } from "./uploads/live-reader.ts";

/** How far an upload has come, as its owner's session sees it. */
export type PendingState = "live-here" | "live-elsewhere" | "dropped" | "parked";

/** An unpublished upload of the owner. `name` keys are full object keys as the client named them (temporary names included). */
export interface PendingEntry {
  readonly key: string;
  readonly state: PendingState;
  readonly attributes: Attributes;
}

/** What the tree knows about the published object under the key that is opened for writing. */
export interface WriteRequest {
  readonly key: string;
  /** The virtual path, for error texts. */
  readonly path: string;
  readonly flags: OpenFlags;
  readonly attributes: AttributeChange;
  /** Mode of the published version if that is known: a file that is written over keeps it. */
  readonly oldMode?: number | undefined;
  /** The published version, if the tree already knows; `unknown`: nobody asked the store yet (a new file costs one PUT, no HEAD). */
  readonly published: ObjectInfo | "absent" | "unknown";
}

/** What changed in the store under a key, so that caches of the tree are dropped or filled. */
export interface PublishedChange {
  readonly key: string;
  readonly size: number;
  readonly etag: string;
  readonly lastModifiedMs: number;
  readonly mtime: number | undefined;
  readonly mode: number | undefined;
  /**
   * What was stored with it, where the writer knows: saves the HEAD before a later change of times, which has to restate
   * it. Both or none.
   */
  readonly contentType?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  /** Whether the content of a file that was there before is replaced; undefined: nobody knows. */
  readonly replaced?: boolean | undefined;
}

/** See the head of this file. Keys are full keys in the volume's store; a `path` is the virtual one, for error texts. */
export interface PendingUploads {
  /**
   * What to wait for before anything is said about `key`, or what lies directly in it: uploads in the owner's other
   * sessions that are being closed or look finished. Two seconds at most; undefined: nothing. No request.
   */
  settling(key: string): Promise<unknown> | undefined;
  /** The owner's unpublished upload under `key` as far as this node knows, whatever is published there. No request. */
  find(key: string): Promise<PendingEntry | undefined>;
  /**
   * As `find`, but also asks the store for uploads begun on another node (at most once every few seconds): for a name where
   * nothing is published and this node knows of nothing.
   */
  findElsewhere(key: string): Promise<PendingEntry | undefined>;
  /** All of them whose key begins with `prefix`, in UTF-8 byte order. */
  list(prefix: string): Promise<PendingEntry[]>;
  /** Opens `key` for writing: new, replacing, appending, resuming or editing in place, as flags and first write ask. */
  open(request: WriteRequest): Promise<FileHandle>;
  /**
   * Opens an upload for reading: one that waits for its rename, whole, on this node's disk; one that this very session is
   * writing; what another session of the owner is writing as far as its `sync` made it safe. Once the latter two are
   * published the handle goes on with what `openVersion` opens. Undefined: it cannot be read.
   */
  read(key: string, path: string, openVersion: (version: PublishedVersion) => FileHandle): Promise<FileHandle | undefined>;
  /** The owner's upload of `key` that `OpenFlags.resume` can go on with. Waits for one that is just being dropped. No request. */
  interrupted(key: string): Promise<InterruptedUpload | undefined>;
  /** Applies times and mode to an unpublished upload. False if there is none under `key`. */
  setAttributes(key: string, change: AttributeChange, path?: string): Promise<boolean>;
  /**
   * Discards an unpublished upload; one that is open in this session goes on, but its CLOSE publishes nothing. False if
   * there is none under `key`.
   */
  discard(key: string, path?: string): Promise<boolean>;
  /**
   * Renames an unpublished upload to `to`: a parked one is published if `to` is its final name (or published and then
   * copied if it is another), one that is open goes on under the new name, a dropped one can be continued under it. False if there is none under `from`, or
   * something published besides, which is the caller's to rename; `exists` if `to` is published and not `replace`.
   */
  rename(from: string, to: string, options: { readonly replace: boolean; readonly path: string }): Promise<boolean>;
  /** What is published under `from` was renamed to `to`: an interrupted upload that would have replaced it goes along. */
  follow(from: string, to: string): Promise<void>;
}

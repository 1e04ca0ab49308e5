/**
 * What the first write (or change of size) to an opened file means: a new file, an append to the published version, the
 * resume of an interrupted upload, or an edit in place. Decided once per handle; the one place where an old version
 * and a new one could be mixed, and are not. Knows no bytes.
 */
import { FsError } from "../../errors.ts";
import type { ObjectInfo } from "../../objectstore/objectstore.ts";
import type { UploadRow } from "../../state/upload-table.ts";
import type { OpenFlags } from "../file-system.ts";
import type { WriteRequest } from "../pending-uploads.ts";

/** An unpublished upload of the owner that could be continued. */
export interface Resumable {
  /** The one it is; undefined for one that has no name of its own yet. */
  readonly id: string | undefined;
  /** Bytes it has. */
  readonly length: number;
  /** Bytes its owner is shown, from where a client goes on as well: see end-signs.ts. */
  readonly shown: number;
  /** The published version it continues, if any. */
  readonly base: { readonly etag: string; readonly size: number } | undefined;
  /** When the store began it, if that is all that is known of it: it came from another node. */
  readonly foreignSinceMs?: number;
  /** When it was opened, in milliseconds since the epoch, if it was to be a new version and nothing has come of it. */
  readonly begunMs?: number;
  /** Ends whatever else holds it and hands it over; undefined if nothing is left of it. */
  take(): Promise<UploadRow | undefined>;
}

/** Where the decision gets its knowledge; each may cost a request. */
export interface OpeningSources {
  /**
   * What is published now. A version that was seen some time ago is as good, since whatever is made of it is bound to
   * that version; that there was none some time ago is not: another session may just have closed its upload.
   */
  published(): Promise<ObjectInfo | "absent">;
  /** What this node knows. */
  pending(): Promise<Resumable | undefined>;
  /** What the store knows, for an upload that was begun on another node. */
  pendingElsewhere(): Promise<Resumable | undefined>;
}

/** What a file opened for writing turned out to be. */
export type Opening =
  /** A new version from its first byte; `overwrites`: not truncated, so that bytes of the old one beyond its end stay. */
  | { readonly kind: "fresh"; readonly overwrites: boolean }
  /** An empty file, unless one has come into being meanwhile. */
  | { readonly kind: "create" }
  | { readonly kind: "append"; readonly base: ObjectInfo }
  /** `offset`: where the client goes on; undefined if it has not said so. */
  | { readonly kind: "resume"; readonly pending: Resumable; readonly offset: number | undefined }
  | { readonly kind: "edit"; readonly base: ObjectInfo };

/** Decides by the flags and the offset of the first write. Rejects `stale` where going on would mix versions. */
export async function openingOfWrite(request: WriteRequest, offset: number, sources: OpeningSources): Promise<Opening> {
  const { flags } = request;
  if (flags.resume) return resumeOf(request.path, flags.resume, sources);
  if (flags.truncate || flags.exclusive) return { kind: "fresh", overwrites: false };
  if (offset === 0 && !flags.append) return { kind: "fresh", overwrites: true };
  // In this order: an upload that is just being closed is waited for, and then it is published.
  const known = await sources.pending();
  const published = await sources.published();
  const explained = known !== undefined || (published !== "absent" && (flags.append || offset === published.size)) || offset === 0;
  const pending = known ?? (explained ? undefined : await sources.pendingElsewhere());
  if (!pending || isOlder(pending, published) || (pending.begunMs !== undefined && published === "absent"))
    return withoutPending(request, offset, published);
  if (pending.begunMs !== undefined) throw interrupted(request.path, 0);
  if (published === "absent") {
    // The client may know a length of a moment ago; what came since is cut off if that can be done.
    if (flags.append && offset === 0) return { kind: "resume", pending, offset: undefined };
    if (offset <= pending.length) return { kind: "resume", pending, offset };
    throw interrupted(request.path, pending.shown);
  }
  const isItsEnd = offset === pending.length || (offset === pending.shown && offset !== published.size);
  // A new try of an append that was interrupted: the version it began with is still the published one.
  if (pending.base?.etag === published.etag && (flags.append ? !isItsEnd : offset === published.size)) {
    return { kind: "append", base: published };
  }
  if (isItsEnd) return { kind: "resume", pending, offset };
  throw interrupted(request.path, pending.shown);
}

/** Decides for a handle that gets its size set, is asked for its attributes, or is closed before any write. */
export async function openingWithoutWrite(request: WriteRequest, sources: OpeningSources): Promise<Opening> {
  if (request.flags.resume) return resumeOf(request.path, request.flags.resume, sources);
  if (request.flags.truncate || request.flags.exclusive) return { kind: "fresh", overwrites: false };
  const pending = await sources.pending();
  const published = await sources.published();
  if (published !== "absent") return { kind: "edit", base: published };
  return pending && pending.begunMs === undefined ? { kind: "resume", pending, offset: undefined } : { kind: "create" };
}

/** What a client is told that must not go on where it wants to. */
export function interrupted(path: string, length: number): FsError {
  const advice = `${length > 0 ? `continue at ${length}, ` : ""}send it again from the start, or remove it`;
  return new FsError("stale", `${path}: an upload of this file was interrupted at ${length} bytes; ${advice}`);
}

/** A client that knows what the upload holds says which one it means: what is published does not matter then. */
async function resumeOf(path: string, wanted: NonNullable<OpenFlags["resume"]>, sources: OpeningSources): Promise<Opening> {
  const pending = await sources.pending();
  const isThere = pending !== undefined && pending.id === wanted.id && wanted.length <= pending.length && pending.base === undefined;
  if (isThere) return { kind: "resume", pending, offset: wanted.length };
  throw new FsError("stale", `${path}: the upload to go on with is not there any more`);
}

function withoutPending(request: WriteRequest, offset: number, published: ObjectInfo | "absent"): Opening {
  const { append } = request.flags;
  const size = published === "absent" ? 0 : published.size;
  // A client that appends somewhere else than at the end has seen another version: its tail does not belong to this one.
  // Where nothing is, there is nothing to mix it with: the offset means nothing then (POSIX O_APPEND).
  if (append && published !== "absent" && offset !== 0 && offset !== size) {
    throw new FsError("stale", `${request.path}: the file has ${size} bytes by now; look again before you append to it`);
  }
  if (published === "absent") return { kind: "fresh", overwrites: false };
  return append || offset === size ? { kind: "append", base: published } : { kind: "edit", base: published };
}

/** An upload of another node, or one without bytes, that began before the published version was made has nothing to do with it. */
function isOlder(pending: Resumable, published: ObjectInfo | "absent"): boolean {
  if (published === "absent") return false;
  if (pending.begunMs !== undefined) return published.lastModifiedMs > pending.begunMs;
  if (pending.foreignSinceMs === undefined) return false;
  return published.lastModifiedMs >= pending.foreignSinceMs;
}

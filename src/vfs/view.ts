/**
 * What one session needs to work on one volume. The functions of each operation take it as their first argument.
 */
import { FsError } from "../errors.ts";
import type { PendingUploads } from "./pending-uploads.ts";
import type { Intent, Volume } from "./volume.ts";

/** One session's view of one volume. */
export interface View {
  readonly volume: Volume;
  readonly pending: PendingUploads;
  readonly readOnly: boolean;
  /** Tick of the tree cache when the session began: what was missing before may be there by now. */
  readonly sinceTick: number;
}

/** A name in a volume: what a virtual path was resolved to. */
export interface Target {
  readonly view: View;
  /** Full key without trailing slash; for the volume's root its prefix. */
  readonly key: string;
  /** Names below the volume's root; empty for the root itself. */
  readonly names: readonly string[];
  /** The virtual path, for texts. */
  readonly path: string;
  /** The client wrote it as a directory (`x/`). */
  readonly asDirectory: boolean;
}

/** The key under which a directory's children lie and its marker may be: ends with `/` unless it is an empty prefix. */
export function directoryKey({ view, key, names }: Target): string {
  return names.length === 0 ? view.volume.prefix : `${key}/`;
}

/** The directory that `target` lies in; the root's is the root. */
export function parentOf(target: Target): Target {
  const names = target.names.slice(0, -1);
  const path = target.path.slice(0, Math.max(target.path.lastIndexOf("/"), 1));
  return { view: target.view, key: target.view.volume.key(names, path), names, path, asDirectory: true };
}

/** Throws unless the session may do that to `target`. */
export function requireWritable({ view, names, path }: Target, intent: Intent): void {
  if (view.readOnly) throw new FsError("permission-denied", `${path}: you may only read here`);
  view.volume.rules.checkWrite?.(names.join("/"), path, intent);
}

/** The error for a path where nothing is. */
export function notFound({ path }: { readonly path: string }): FsError {
  return new FsError("not-found", `${path}: no such file or directory`);
}

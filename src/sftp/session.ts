/**
 * What the handlers of one channel's requests share. Knows no request.
 */
import { FsError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { FileSystem } from "../vfs/file-system.ts";
import { parsePath } from "../vfs/virtual-path.ts";
import type { ClientHabits } from "./client-habits.ts";
import type { FileEntry, HandleTable } from "./handle-table.ts";
import type { LongnameFormatter } from "./longname.ts";
import type { PathOrder, PathScope } from "./path-order.ts";
import type { ReplyQueue } from "./reply-queue.ts";
import { failureOf } from "./status.ts";

/** See the head of this file. */
export interface Session {
  readonly fs: FileSystem;
  readonly user: string;
  readonly log: Logger;
  readonly replies: ReplyQueue;
  readonly handles: HandleTable;
  readonly order: PathOrder;
  readonly longname: LongnameFormatter;
  readonly habits: ClientHabits;
  /** Handles that may be open at once, as announced. */
  readonly maxHandles: number;
  /** What stands for a uid or gid; undefined if nobody knows it. */
  readonly nameOf: (id: number) => string | undefined;
  /** Milliseconds of a clock that never goes back. */
  readonly nowMs: () => number;
}

/** The normalised form of a path, by which requests are ordered. Throws `invalid-argument` for what can be no path. */
export function canonical(session: Session, path: string): string {
  return parsePath(path, session.user).text;
}

/** Runs `operation` when no earlier request on these paths, which are normalised, is in its way. */
export async function ordered<T>(session: Session, scope: PathScope, paths: readonly string[], operation: () => Promise<T>): Promise<T> {
  const place = session.order.enter(scope, paths);
  try {
    if (place.ready) await place.ready;
    return await operation();
  } finally {
    session.order.leave(place);
  }
}

/** Logs the end of a file's transfer; `error` is why it did not end well. */
export function logTransfer(session: Session, entry: FileEntry, outcome: "complete" | "failed" | "aborted", error?: unknown): void {
  const { path, writes, bytesRead, bytesWritten } = entry;
  const fields = {
    path,
    direction: writes ? "upload" : "download",
    bytes: writes ? bytesWritten : bytesRead,
    ms: Math.round(session.nowMs() - entry.openedAtMs),
    result: outcome,
  };
  if (error === undefined) session.log.info(fields, "transfer end");
  else session.log.info({ ...fields, reason: failureOf(error).text }, "transfer end");
}

/** `error` as the cause of an abort, whatever was thrown. */
export function causeOf(error: unknown): Error {
  return error instanceof Error ? error : new FsError("io", String(error));
}

/**
 * Requests on open files: OPEN, CLOSE, READ, WRITE, FSTAT, FSETSTAT, draft-ietf-secsh-filexfer-02 §6.3, §6.4, §6.8, §6.9.
 * They throw what goes wrong; the dispatcher answers it.
 */
import { FsError } from "../errors.ts";
import type { AttributeChange, OpenFlags } from "../vfs/file-system.ts";
import { type FileEntry, type HandleEntry, idle, runOn } from "./handle-table.ts";
import { releaseData } from "./packet-stream.ts";
import { canonical, causeOf, logTransfer, ordered, type Session } from "./session.ts";
import { MAX_TRANSFER_BYTES, OpenFlag } from "./wire/constants.ts";
import type { RequestOf } from "./wire/requests.ts";

/** OPEN. The reply is the handle; a file open for writing is seen by nobody before its CLOSE. */
export async function open(session: Session, request: RequestOf<"open">): Promise<void> {
  const { id, path } = request;
  const flags = { ...openFlags(request.pflags), ...(session.habits.writesInOrder && { sequential: true }) };
  const writes = flags.write === true;
  const canonicalPath = canonical(session, path);
  const openedAtMs = session.nowMs();
  claimPlace(session);
  const handle = await ordered(session, writes ? "change" : "look", [canonicalPath], () =>
    session.fs.open(path, flags, openAttributes(flags, request.attributes)),
  ).catch((error: unknown) => {
    session.handles.release();
    throw error;
  });
  const entry: FileEntry = {
    kind: "file",
    path,
    handle,
    canonicalPath,
    reads: flags.read === true,
    writes,
    openedAtMs,
    bytesRead: 0,
    bytesWritten: 0,
    failure: undefined,
    running: 0,
    tail: writes && flags.read ? Promise.resolve() : undefined,
    onIdle: undefined,
  };
  if (session.handles.sealed) {
    session.handles.release();
    await handle.abort(new FsError("io", `${path}: the channel was closed while it was opened`));
    return;
  }
  session.replies.handle(id, session.handles.add(entry));
}

/** Claims a handle's place, and tells the log the first time a channel wants too many. Throws `io`. */
export function claimPlace(session: Session): void {
  if (session.handles.claim()) return;
  if (session.handles.refusals === 1) session.log.warn({ audit: true, limit: session.maxHandles }, "too many open handles");
  throw new FsError("io", `too many open handles: at most ${session.maxHandles} at once, close some first`);
}

/**
 * CLOSE of a file or directory: waits for the requests before it on this handle, and for nothing else but what its path
 * asks. A file of which a WRITE failed is not published; the CLOSE fails as the WRITE did.
 */
export async function close(session: Session, request: RequestOf<"close">): Promise<void> {
  const entry = session.handles.take(request.handle);
  try {
    if (entry.kind === "directory") {
      await idle(entry);
      await entry.handle.close();
    } else if (entry.writes) {
      await ordered(session, "change", [entry.canonicalPath], () => closeFile(session, entry));
    } else {
      await closeFile(session, entry);
    }
  } finally {
    session.handles.release();
  }
  session.replies.ok(request.id);
}

async function closeFile(session: Session, entry: FileEntry): Promise<void> {
  await idle(entry);
  try {
    if (entry.failure) {
      await entry.handle.abort(entry.failure);
      throw entry.failure;
    }
    await entry.handle.close();
  } catch (error) {
    logTransfer(session, entry, "failed", error);
    throw error;
  }
  logTransfer(session, entry, "complete");
}

/** Ends a handle that the client did not close. Never rejects. */
export async function abandon(session: Session, entry: HandleEntry, cause: Error): Promise<void> {
  try {
    if (entry.kind === "directory") await entry.handle.close();
    else await entry.handle.abort(cause);
  } catch (error) {
    session.log.warn({ err: error, path: entry.path }, "open handle could not be given up");
  }
  if (entry.kind === "file") logTransfer(session, entry, "aborted", cause);
}

/** READ. Gives `reserved` back or uses it up. Past the end of the file it is EOF. */
export async function read(session: Session, request: RequestOf<"read">, reserved: number): Promise<void> {
  const { id, offset } = request;
  let chunks: readonly Uint8Array[];
  let entry: FileEntry;
  try {
    entry = session.handles.file(request.handle);
    if (!entry.reads) throw new FsError("permission-denied", `${entry.path}: not open for reading`);
    const { handle } = entry;
    const length = Math.min(request.length, MAX_TRANSFER_BYTES);
    const isReachable = length > 0 && Number.isSafeInteger(offset + length);
    chunks = isReachable ? await runOn([entry], () => handle.read(offset, length)) : [];
  } catch (error) {
    session.replies.unreserve(reserved);
    throw error;
  }
  let total = 0;
  for (const chunk of chunks) total += chunk.length;
  entry.bytesRead += total;
  if (total > 0) {
    session.replies.data(id, chunks, total, reserved);
    return;
  }
  session.replies.unreserve(reserved);
  session.replies.eof(id);
}

/** Bytes of data a READ may be answered with; 0 if it will fail or meet the end. */
export function readReplySize(session: Session, request: RequestOf<"read">): number {
  const entry = session.handles.peek(request.handle);
  if (entry?.kind !== "file" || !entry.reads) return 0;
  const length = Math.min(request.length, MAX_TRANSFER_BYTES);
  const { knownSize } = entry.handle;
  return knownSize === undefined ? length : Math.max(0, Math.min(length, knownSize - request.offset));
}

/** WRITE. Answered when the file accepted the data. */
export async function write(session: Session, request: RequestOf<"write">): Promise<void> {
  const entry = session.handles.file(request.handle);
  if (!entry.writes) throw new FsError("permission-denied", `${entry.path}: not open for writing`);
  const { offset, length } = request;
  if (length > 0) {
    try {
      await runOn([entry], () => entry.handle.write(offset, request.chunks));
    } catch (error) {
      entry.failure ??= writeFailure(entry, error);
      throw error;
    }
    entry.bytesWritten += length;
    releaseData(request.chunks); // not after a failure: whether all readers have ended is not known then
  }
  session.replies.ok(request.id);
}

/** FSTAT. */
export async function fstat(session: Session, request: RequestOf<"fstat">): Promise<void> {
  const entry = session.handles.find(request.handle);
  session.replies.attrs(request.id, await runOn([entry], () => entry.handle.stat()));
}

/** FSETSTAT; of a directory it is SETSTAT of its path. */
export async function fsetstat(session: Session, request: RequestOf<"fsetstat">): Promise<void> {
  const { attributes } = request;
  const entry = session.handles.find(request.handle);
  await runOn([entry], () => (entry.kind === "file" ? entry.handle.setstat(attributes) : session.fs.setstat(entry.path, attributes)));
  session.replies.ok(request.id);
}

/** Bytes of a file never came in a form that could be understood: it lacks them, and is not published. */
export function lostWrite(session: Session, handle: Uint8Array | undefined, cause: Error): void {
  const named = handle && session.handles.peek(handle);
  const entries = named ? session.handles.writers().filter((entry) => entry === named) : handle ? [] : session.handles.writers();
  for (const entry of entries) entry.failure ??= new FsError("io", `${entry.path}: a write was malformed`, { cause });
}

/** A failed write as the reason why the file is not published. */
export function writeFailure(entry: FileEntry, error: unknown): FsError {
  return error instanceof FsError ? error : new FsError("io", `${entry.path}: a write failed`, { cause: causeOf(error) });
}

/** pflags as the file system port has them. Without WRITE and READ a file is read, as OpenSSH does; nothing else changes it then. */
function openFlags(pflags: number): OpenFlags {
  const write = (pflags & OpenFlag.WRITE) !== 0;
  const create = (pflags & OpenFlag.CREAT) !== 0;
  return {
    read: (pflags & OpenFlag.READ) !== 0 || !write,
    write,
    append: write && (pflags & OpenFlag.APPEND) !== 0,
    create,
    truncate: write && (pflags & OpenFlag.TRUNC) !== 0,
    exclusive: create && (pflags & OpenFlag.EXCL) !== 0,
  };
}

/**
 * OPEN's attributes as far as they mean anything: mode and the like where a file may be created (sshfs sends mode 0
 * with every other OPEN), an announced size where it is written. A size of 0 announces nothing: clients send it unmeant.
 */
function openAttributes(flags: OpenFlags, attributes: AttributeChange): AttributeChange {
  if (!flags.write) return {};
  const { size, ...rest } = attributes;
  return { ...(flags.create ? rest : {}), ...(size ? { size } : {}) };
}

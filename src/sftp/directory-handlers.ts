/**
 * OPENDIR and READDIR, draft-ietf-secsh-filexfer-02 §6.7. They throw what goes wrong; the dispatcher answers it.
 */
import { FsError } from "../errors.ts";
import { claimPlace } from "./file-handlers.ts";
import { type DirectoryEntry, runOn } from "./handle-table.ts";
import { canonical, ordered, type Session } from "./session.ts";
import type { RequestOf } from "./wire/requests.ts";

/** What one OPENDIR or READDIR reserves of its channel's replies: more than most need, so that few run at once. */
export const LISTING_RESERVE_BYTES = 64 * 1024;

/** OPENDIR. Gives `reserved` back. */
export async function opendir(session: Session, request: RequestOf<"opendir">, reserved: number): Promise<void> {
  try {
    await openDirectory(session, request);
  } finally {
    session.replies.unreserve(reserved);
  }
}

async function openDirectory(session: Session, request: RequestOf<"opendir">): Promise<void> {
  const { id, path } = request;
  const canonicalPath = canonical(session, path);
  claimPlace(session);
  const handle = await ordered(session, "list", [canonicalPath], () => session.fs.opendir(path)).catch((error: unknown) => {
    session.handles.release();
    throw error;
  });
  if (session.handles.sealed) {
    session.handles.release();
    await handle.close();
    return;
  }
  const entry: DirectoryEntry = {
    kind: "directory",
    path,
    handle,
    batch: [],
    next: 0,
    begun: false,
    ended: false,
    running: 0,
    tail: Promise.resolve(),
    onIdle: undefined,
  };
  session.replies.handle(id, session.handles.add(entry));
}

/** READDIR: the next names, `.` and `..` first, EOF behind the last. Gives `reserved` back. */
export async function readdir(session: Session, request: RequestOf<"readdir">, reserved: number): Promise<void> {
  try {
    const entry = session.handles.directory(request.handle);
    await runOn([entry], () => answer(session, request.id, entry));
  } finally {
    session.replies.unreserve(reserved);
  }
}

async function answer(session: Session, id: number, entry: DirectoryEntry): Promise<void> {
  if (entry.next >= entry.batch.length && !entry.ended) await fill(entry);
  if (entry.ended) {
    session.replies.eof(id);
    return;
  }
  entry.next += session.replies.entries(id, entry.batch, entry.next, (name) => session.longname.format(name));
  if (entry.next < entry.batch.length) return;
  entry.batch = [];
  entry.next = 0;
}

async function fill(entry: DirectoryEntry): Promise<void> {
  entry.next = 0;
  if (entry.begun) {
    entry.batch = await entry.handle.next();
    entry.ended = entry.batch.length === 0;
    return;
  }
  const [attributes, first] = await Promise.all([entry.handle.stat(), entry.handle.next()]);
  if (attributes.type !== "directory") throw new FsError("not-a-directory", `${entry.path}: is not a directory`);
  // The parent's attributes cost a request and interest nobody: the directory's own stand for them.
  entry.batch = [{ name: ".", attributes }, { name: "..", attributes }, ...first];
  entry.begun = true;
}

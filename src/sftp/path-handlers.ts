/**
 * Requests on paths: STAT, SETSTAT, REMOVE, RENAME, MKDIR and the like, draft-ietf-secsh-filexfer-02 §6.5, §6.6, §6.8 to
 * §6.11. They throw what goes wrong; the dispatcher answers it.
 */
import { type FileEntry, runOn } from "./handle-table.ts";
import type { PathScope } from "./path-order.ts";
import { canonical, ordered, type Session } from "./session.ts";
import type { RequestOf } from "./wire/requests.ts";

/** STAT. */
export async function stat(session: Session, request: RequestOf<"stat">): Promise<void> {
  const { id, path } = request;
  session.replies.attrs(id, await inOrder(session, "look", [path], () => session.fs.stat(path)));
}

/** LSTAT. */
export async function lstat(session: Session, request: RequestOf<"lstat">): Promise<void> {
  const { id, path } = request;
  session.replies.attrs(id, await inOrder(session, "look", [path], () => session.fs.lstat(path)));
}

/** SETSTAT. */
export async function setstat(session: Session, request: RequestOf<"setstat">): Promise<void> {
  const { id, path, attributes } = request;
  await change(session, id, path, () => session.fs.setstat(path, attributes));
}

/** REMOVE. */
export async function remove(session: Session, request: RequestOf<"remove">): Promise<void> {
  const { id, path } = request;
  await change(session, id, path, () => session.fs.remove(path));
}

/** MKDIR. A size among the attributes means nothing. */
export async function mkdir(session: Session, request: RequestOf<"mkdir">): Promise<void> {
  const { id, path } = request;
  const { size: _, ...attributes } = request.attributes;
  await change(session, id, path, () => session.fs.mkdir(path, attributes));
}

/** RMDIR. */
export async function rmdir(session: Session, request: RequestOf<"rmdir">): Promise<void> {
  const { id, path } = request;
  await change(session, id, path, () => session.fs.rmdir(path));
}

/** RENAME: an existing target is refused. */
export async function rename(session: Session, request: RequestOf<"rename">): Promise<void> {
  await renamePath(session, request.id, request.from, request.to, false);
}

/** RENAME and `posix-rename@openssh.com`, which replaces an existing file. */
export async function renamePath(session: Session, id: number, from: string, to: string, replace: boolean): Promise<void> {
  await inOrder(session, "change", [from, to], () => session.fs.rename(from, to, { replace }));
  session.replies.ok(id);
}

/** REALPATH. Asks nobody but the path itself. */
export async function realpath(session: Session, request: RequestOf<"realpath">): Promise<void> {
  session.replies.path(request.id, await session.fs.realpath(request.path));
}

/** READLINK. */
export async function readlink(session: Session, request: RequestOf<"readlink">): Promise<void> {
  const { id, path } = request;
  session.replies.path(id, await inOrder(session, "look", [path], () => session.fs.readlink(path)));
}

/** SYMLINK. */
export async function symlink(session: Session, request: RequestOf<"symlink">): Promise<void> {
  const { id, path, target } = request;
  await change(session, id, path, () => session.fs.symlink(target, path));
}

/** Changes what is under a path, in order, and says OK. */
export async function change(session: Session, id: number, path: string, operation: () => Promise<void>): Promise<void> {
  await inOrder(session, "change", [path], operation);
  session.replies.ok(id);
}

/** As `ordered`, and behind the WRITEs on these paths that were received before: sshfs asks for a file's size right after them. */
async function inOrder<T>(session: Session, scope: PathScope, paths: readonly string[], operation: () => Promise<T>): Promise<T> {
  const names = paths.map((path) => canonical(session, path));
  const written = Promise.all(names.flatMap((name) => session.handles.beingWritten(name)).map((entry) => allDone(entry)));
  return ordered(session, scope, names, async () => {
    await written;
    return operation();
  });
}

/** Resolves when the requests made on the handle so far are done, well or not: it keeps its calls in order. */
async function allDone(entry: FileEntry): Promise<void> {
  await runOn([entry], () => entry.handle.stat()).catch(() => undefined);
}

/**
 * Requests on paths: STAT, SETSTAT, REMOVE, RENAME, MKDIR and the like, draft-ietf-secsh-filexfer-02 §6.5, §6.6, §6.8 to
 * §6.11. They throw what goes wrong; the dispatcher answers it.
 */
import { canonical, ordered, type Session } from "./session.ts";
import type { RequestOf } from "./wire/requests.ts";

/** STAT. */
export async function stat(session: Session, request: RequestOf<"stat">): Promise<void> {
  const { id, path } = request;
  session.replies.attrs(id, await ordered(session, "look", [canonical(session, path)], () => session.fs.stat(path)));
}

/** LSTAT. */
export async function lstat(session: Session, request: RequestOf<"lstat">): Promise<void> {
  const { id, path } = request;
  session.replies.attrs(id, await ordered(session, "look", [canonical(session, path)], () => session.fs.lstat(path)));
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
  const paths = [canonical(session, from), canonical(session, to)];
  await ordered(session, "change", paths, () => session.fs.rename(from, to, { replace }));
  session.replies.ok(id);
}

/** REALPATH. Asks nobody but the path itself. */
export async function realpath(session: Session, request: RequestOf<"realpath">): Promise<void> {
  session.replies.path(request.id, await session.fs.realpath(request.path));
}

/** READLINK. */
export async function readlink(session: Session, request: RequestOf<"readlink">): Promise<void> {
  const { id, path } = request;
  session.replies.path(id, await ordered(session, "look", [canonical(session, path)], () => session.fs.readlink(path)));
}

/** SYMLINK. */
export async function symlink(session: Session, request: RequestOf<"symlink">): Promise<void> {
  const { id, path, target } = request;
  await change(session, id, path, () => session.fs.symlink(target, path));
}

/** Changes what is under a path, in order, and says OK. */
export async function change(session: Session, id: number, path: string, operation: () => Promise<void>): Promise<void> {
  await ordered(session, "change", [canonical(session, path)], operation);
  session.replies.ok(id);
}

/**
 * EXTENDED requests: OpenSSH's (OpenSSH PROTOCOL §4), `copy-data`, `home-directory` and `check-file`. They throw what
 * goes wrong; the dispatcher answers it.
 */
import { FsError } from "../errors.ts";
import { writeFailure } from "./file-handlers.ts";
import { type HandleEntry, runOn } from "./handle-table.ts";
import { change, renamePath } from "./path-handlers.ts";
import { canonical, ordered, type Session } from "./session.ts";
import { ANNOUNCED_PACKET_BYTES, MAX_TRANSFER_BYTES } from "./wire/constants.ts";
import { type ExtensionRequest, writeChecksum, writeLimits, writeNames, writeStatvfs } from "./wire/extensions.ts";
import type { RequestOf } from "./wire/requests.ts";

type ExtensionOf<N extends ExtensionRequest["name"]> = Extract<ExtensionRequest, { name: N }>;

/** EXTENDED. What is not served is `unsupported` and harms nothing. */
export async function extended(session: Session, { id, extension }: RequestOf<"extended">): Promise<void> {
  switch (extension.name) {
    case "posix-rename@openssh.com":
      return renamePath(session, id, extension.from, extension.to, true);
    case "statvfs@openssh.com":
      // Of what is missing there is no file system, as on a server.
      await session.fs.stat(extension.path);
      return statvfs(session, id, extension.path);
    case "fstatvfs@openssh.com":
      return statvfs(session, id, session.handles.find(extension.handle).path);
    case "fsync@openssh.com":
      return fsync(session, id, session.handles.find(extension.handle));
    case "lsetstat@openssh.com":
      return change(session, id, extension.path, () => lsetstat(session, extension));
    case "limits@openssh.com":
      return limits(session, id);
    case "expand-path@openssh.com":
      session.replies.path(id, await session.fs.realpath(expandTilde(session, extension.path)));
      return undefined;
    case "home-directory":
      session.replies.path(id, await session.fs.realpath(homeOf(session, extension.user)));
      return undefined;
    case "users-groups-by-id@openssh.com":
      return usersAndGroups(session, id, extension);
    case "copy-data":
      return copyData(session, id, extension);
    case "check-file":
      return checkFile(session, id, extension);
    case "unknown":
      throw new FsError("unsupported", `extension ${extension.requested} is not supported`);
  }
}

/** No size: what is meant may be a link, which has none to be set. */
function lsetstat(session: Session, { path, attributes }: ExtensionOf<"lsetstat@openssh.com">): Promise<void> {
  if (attributes.size !== undefined) throw new FsError("invalid-argument", `${path}: lsetstat sets no size`);
  return session.fs.setstat(path, attributes);
}

function limits(session: Session, id: number): void {
  session.habits.askedForLimits();
  session.replies.extended(id, (writer) =>
    writeLimits(writer, {
      packetBytes: ANNOUNCED_PACKET_BYTES,
      readBytes: MAX_TRANSFER_BYTES,
      writeBytes: MAX_TRANSFER_BYTES,
      openHandles: session.maxHandles,
    }),
  );
}

async function statvfs(session: Session, id: number, path: string): Promise<void> {
  const statistics = await session.fs.statvfs(path);
  session.replies.extended(id, (writer) => writeStatvfs(writer, statistics));
}

/** Keeps what was written so far for a resume; there is nothing to keep of a reader or a directory. */
async function fsync(session: Session, id: number, entry: HandleEntry): Promise<void> {
  if (entry.kind === "file" && entry.writes) await runOn([entry], () => entry.handle.sync());
  session.replies.ok(id);
}

/** `~`, `~/x`, `~user`, `~user/x`: only the own home is there to be found. */
function expandTilde(session: Session, path: string): string {
  if (!path.startsWith("~")) return path;
  const slash = path.indexOf("/");
  const user = slash < 0 ? path.slice(1) : path.slice(1, slash);
  return homeOf(session, user) + (slash < 0 ? "" : path.slice(slash));
}

function homeOf(session: Session, user: string): string {
  if (user !== "" && user !== session.user) throw new FsError("not-found", `${user}: no such user`);
  return "/";
}

function usersAndGroups(session: Session, id: number, extension: ExtensionOf<"users-groups-by-id@openssh.com">): void {
  const nameOf = (ugid: number): string => session.nameOf(ugid) ?? "";
  session.replies.extended(id, (writer) => {
    writeNames(writer, extension.uids.map(nameOf));
    writeNames(writer, extension.gids.map(nameOf));
  });
}

/** `copy-data` (draft-ietf-secsh-filexfer-extensions-00 §7): from one handle to another without the client. */
async function copyData(session: Session, id: number, extension: ExtensionOf<"copy-data">): Promise<void> {
  const source = session.handles.file(extension.source);
  const target = session.handles.file(extension.handle);
  if (source === target) throw new FsError("io", `${source.path}: cannot be copied onto itself`);
  if (!source.reads) throw new FsError("permission-denied", `${source.path}: not open for reading`);
  if (!target.writes) throw new FsError("permission-denied", `${target.path}: not open for writing`);
  const { sourceOffset, length, offset } = extension;
  try {
    const copied = await runOn([source, target], () => target.handle.copyFrom(source.handle, sourceOffset, length, offset));
    target.bytesWritten += copied;
  } catch (error) {
    target.failure ??= writeFailure(target, error);
    throw error;
  }
  session.replies.ok(id);
}

/** A hash of a whole file, if one is stored: computing it would cost a download. */
async function checkFile(session: Session, id: number, extension: ExtensionOf<"check-file">): Promise<void> {
  const path = "path" in extension.of ? extension.of.path : session.handles.file(extension.of.handle).path;
  const { algorithms, start, length, blockSize } = extension;
  if (start === 0 && length === 0 && blockSize === 0) {
    for (const algorithm of algorithms) {
      const stored = await ordered(session, "look", [canonical(session, path)], () => session.fs.storedChecksum(path, algorithm));
      if (stored === undefined) continue;
      session.replies.extended(id, (writer) => writeChecksum(writer, algorithm, Buffer.from(stored, "hex")));
      return;
    }
  }
  throw new FsError("unsupported", `${path}: no such checksum is stored`);
}

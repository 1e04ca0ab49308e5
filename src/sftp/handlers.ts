/**
 * The table of requests: which function carries out which, and how a failure is answered. Knows no channel.
 */
import { FsError } from "../errors.ts";
import { opendir, LISTING_RESERVE_BYTES, readdir } from "./directory-handlers.ts";
import { extended } from "./extension-handlers.ts";
import { close, fsetstat, fstat, lostWrite, open, read, readReplySize, write } from "./file-handlers.ts";
import { lstat, mkdir, readlink, realpath, remove, rename, rmdir, setstat, stat, symlink } from "./path-handlers.ts";
import type { Dispatcher } from "./request-queue.ts";
import type { Session } from "./session.ts";
import { failureOf } from "./status.ts";
import type { Request, RequestKind, RequestOf } from "./wire/requests.ts";

/** Carries a request of one kind out and answers it, or throws. `reserved` bytes of reply are its to use or give back. */
type Handler<K extends RequestKind> = (session: Session, request: RequestOf<K>, reserved: number) => Promise<void>;

const HANDLERS: { readonly [K in RequestKind]: Handler<K> } = {
  open,
  close,
  read,
  write,
  lstat,
  fstat,
  setstat,
  fsetstat,
  opendir,
  readdir,
  remove,
  mkdir,
  rmdir,
  realpath,
  stat,
  rename,
  readlink,
  symlink,
  extended,
  unknown: async (_session, request) => {
    throw new FsError("unsupported", `request type ${request.type} is not supported`);
  },
};

/** Requests that only tell the client something, or hand it a handle it will not use. */
const POINTLESS_WHEN_GONE: ReadonlySet<RequestKind> = new Set([
  "open",
  "read",
  "lstat",
  "fstat",
  "opendir",
  "readdir",
  "realpath",
  "stat",
  "readlink",
  "unknown",
]);

/** The dispatcher of one session. */
export function dispatcherFor(session: Session): Dispatcher {
  return {
    dispatch: (request, reserved) => dispatch(session, request, reserved),
    replySize: (request) => replySize(session, request),
    lostWrite: (handle, error) => lostWrite(session, handle, error),
    isPointless: (request) => POINTLESS_WHEN_GONE.has(request.kind),
  };
}

function replySize(session: Session, request: Request): number {
  if (request.kind === "read") return readReplySize(session, request);
  return request.kind === "readdir" || request.kind === "opendir" ? LISTING_RESERVE_BYTES : 0;
}

async function dispatch(session: Session, request: Request, reserved: number): Promise<void> {
  try {
    await carryOut(session, request, reserved);
    if (session.log.isLevelEnabled("debug")) logRequest(session, request, undefined);
  } catch (error) {
    const { code, text, unexpected } = failureOf(error);
    if (unexpected) session.log.error({ err: error, request: request.kind }, "request failed unexpectedly");
    else if (session.log.isLevelEnabled("debug")) logRequest(session, request, text);
    session.replies.status(request.id, code, text);
  }
}

function carryOut<K extends RequestKind>(session: Session, request: RequestOf<K>, reserved: number): Promise<void> {
  const handler: Handler<K> = HANDLERS[request.kind as K];
  return handler(session, request, reserved);
}

function logRequest(session: Session, request: Request, failure: string | undefined): void {
  const path = "path" in request ? request.path : "from" in request ? request.from : undefined;
  const name = request.kind === "extended" ? request.extension.name : request.kind;
  session.log.debug({ request: name, path, failure }, "request");
}

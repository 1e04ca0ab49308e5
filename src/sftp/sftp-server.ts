/**
 * An SFTP version 3 server on one channel (draft-ietf-secsh-filexfer-02, OpenSSH PROTOCOL §4): its life from the first
 * byte to the exit status. Knows no SSH and no store.
 */
import type { ByteBudget } from "../byte-budget.ts";
import type { ByteChannel } from "../byte-channel.ts";
import { FsError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { FileSystem } from "../vfs/file-system.ts";
import { abandon } from "./file-handlers.ts";
import { ClientHabits } from "./client-habits.ts";
import { HandleTable } from "./handle-table.ts";
import { dispatcherFor } from "./handlers.ts";
import { LongnameFormatter } from "./longname.ts";
import { PathOrder } from "./path-order.ts";
import { ReplyQueue } from "./reply-queue.ts";
import { LONE_CHANNEL, RequestQueue, RunningRequests, type TimeShare } from "./request-queue.ts";
import type { Session } from "./session.ts";

const DEFAULT_MAX_HANDLES = 1000;
/** The uid and gid that files carry when nobody changed them. */
const DEFAULT_OWNER_ID = 1000;

/** What one channel is served with. */
export interface SftpOptions {
  /** Pays for READ data until the channel has them. */
  readonly budget: ByteBudget;
  readonly log: Logger;
  /** Whose files these are: the owner's name in listings, the only home `~user` finds. */
  readonly user: string;
  /** The client's identification, from which its habits are known. */
  readonly clientIdent?: string;
  /** Handles open at once; default 1,000. */
  readonly maxHandles?: number;
  /** The uid and gid shown under the user's name; default 1000. */
  readonly ownerId?: number;
  /** Seconds since the epoch, for the dates of listings; default the system's clock. */
  readonly now?: () => number;
  /** Divides the process's time among those it serves; default: everybody goes on in the next turn of the loop. */
  readonly time?: TimeShare;
  /** Shared by the channels of one user; default: of this channel alone. */
  readonly runningOfUser?: RunningRequests;
}

/**
 * Serves one channel until it is done: resolves, never rejects, when every request received is carried out, every
 * handle is closed or aborted and the channel has its exit status or is gone. A CLOSE that was received is carried
 * through even if the client is gone; handles nobody closed are aborted.
 */
export async function serveSftp(channel: ByteChannel, fs: FileSystem, options: SftpOptions): Promise<void> {
  const session = newSession(channel, fs, options);
  const queue = new RequestQueue(channel, {
    replies: session.replies,
    dispatcher: dispatcherFor(session),
    log: options.log,
    time: options.time ?? LONE_CHANNEL,
    runningOfUser: options.runningOfUser ?? new RunningRequests(),
  });
  const onClosed = (): void => queue.end();
  channel.closed.addEventListener("abort", onClosed, { once: true });
  channel.receive(queue);
  if (channel.closed.aborted) queue.end();
  await queue.exhausted;
  if (!channel.closed.aborted) await Promise.race([queue.idle(), whenClosed(channel.closed)]);
  const cause = new FsError("io", queue.broken ? "the client broke the protocol" : "the client went without closing the file");
  await Promise.all(session.handles.seal().map((entry) => abandon(session, entry, cause)));
  await queue.idle();
  session.replies.flush();
  channel.exit(0);
  await channel.drained(0);
  channel.closed.removeEventListener("abort", onClosed);
}

function newSession(channel: ByteChannel, fs: FileSystem, options: SftpOptions): Session {
  const { budget, log, user, maxHandles = DEFAULT_MAX_HANDLES, ownerId = DEFAULT_OWNER_ID } = options;
  const nameOf = (id: number): string | undefined => (id === ownerId ? user : undefined);
  const now = options.now ?? ((): number => Date.now() / 1000);
  return {
    fs,
    user,
    log,
    maxHandles,
    nameOf,
    replies: new ReplyQueue(channel, budget),
    handles: new HandleTable(maxHandles),
    order: new PathOrder(),
    habits: new ClientHabits(options.clientIdent),
    longname: new LongnameFormatter((id) => nameOf(id) ?? String(id), now),
    nowMs: () => performance.now(),
  };
}

function whenClosed(closed: AbortSignal): Promise<void> {
  return new Promise((resolve) => closed.addEventListener("abort", () => resolve(), { once: true }));
}

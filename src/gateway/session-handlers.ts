/**
 * What runs in the sessions of logged-in users: the sftp subsystem, commands, and a word to those who ask for a shell.
 * Keeps every session's work until it is done, so that nothing is left unawaited. Knows no sockets.
 */
import type { ByteChannel } from "../byte-channel.ts";
import { shareOf } from "../budget-share.ts";
import type { ByteBudget } from "../byte-budget.ts";
import type { Command, CommandTable } from "../exec/commands.ts";
import type { Logger } from "../log.ts";
import { type LoopTurns, userGroup } from "../loop-turns.ts";
import { mayBeWinScp, serveWinScp } from "../scp/winscp-shell.ts";
import { RunningRequests, type TimeShare } from "../sftp/request-queue.ts";
import { serveSftp } from "../sftp/sftp-server.ts";
import type { SessionInfo } from "../ssh/session-registry.ts";
import type { SessionHandlers } from "../ssh/ssh-session.ts";
import type { FileSystem } from "../vfs/file-system.ts";
import { ThrottledChannel, type UserRates } from "./throttled-channel.ts";
import type { FilesLease } from "./user-files.ts";

const EXIT_FAILURE = 1;
/** Commands of exec requests that WinSCP runs in its shell, too. */
const SHELL_COMMANDS: ReadonlySet<string> = new Set(["df", "md5sum", "sha1sum", "sha256sum"]);

/** What the handlers are made of. */
export interface SessionHandlerOptions {
  readonly budget: ByteBudget;
  readonly turns: LoopTurns;
  readonly commands: CommandTable;
  readonly log: Logger;
  /** The files of a session's user; rejects if they cannot be had. */
  readonly files: (session: SessionInfo) => Promise<FilesLease>;
  /** The rates that the user's sessions share; undefined if there is no limit. */
  readonly rates: (user: string) => UserRates | undefined;
  /** What a shell prints instead of a prompt. */
  readonly greeting: (session: SessionInfo) => string;
}

/** What a protocol gets to work with. */
interface Served {
  readonly channel: ByteChannel;
  readonly fileSystem: FileSystem;
  readonly log: Logger;
}

/** See the head of this file. */
export class GatewaySessions implements SessionHandlers {
  readonly #options: SessionHandlerOptions;
  readonly #running = new Set<Promise<void>>();
  /** By user that ever logged in. */
  readonly #requests = new Map<string, RunningRequests>();

  constructor(options: SessionHandlerOptions) {
    this.#options = options;
  }

  /** Resolves when all work that runs now is done. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }

  /** Sessions that are being served. */
  get runningCount(): number {
    return this.#running.size;
  }

  subsystem(name: string, channel: ByteChannel, session: SessionInfo): boolean {
    if (name !== "sftp") return false;
    const budget = shareOf(this.#options.budget, session.user);
    const { user, clientIdent } = session;
    const runningOfUser = this.#requests.get(user) ?? new RunningRequests();
    this.#requests.set(user, runningOfUser);
    const group = userGroup(user);
    const time: TimeShare = {
      quantum: () => this.#options.turns.quantum(group),
      nextTurn: (work) => this.#options.turns.nextTurn(group, work),
    };
    this.#run(channel, session, ({ fileSystem, log, ...served }) =>
      serveSftp(served.channel, fileSystem, { budget, log, user, clientIdent, time, runningOfUser }),
    );
    return true;
  }

  exec(command: Uint8Array, channel: ByteChannel, session: SessionInfo): void {
    this.#run(channel, session, (served) => this.#options.commands.run(command, { ...served, user: session.user }));
  }

  shell(channel: ByteChannel, session: SessionInfo, { pty }: { readonly pty: boolean }): void {
    const text = this.#options.greeting(session);
    if (!pty && mayBeWinScp(session.clientIdent)) {
      const command = (name: string): Command | undefined => (SHELL_COMMANDS.has(name) ? this.#options.commands.find(name) : undefined);
      this.#run(channel, session, (served) => serveWinScp({ ...served, user: session.user, command, greeting: text }));
      return;
    }
    channel.receive({ data: (chunk) => channel.consume(chunk.length), end: () => undefined });
    channel.write(Buffer.from(pty ? text.replaceAll("\n", "\r\n") : text));
    channel.exit(EXIT_FAILURE);
  }

  #run(channel: ByteChannel, session: SessionInfo, serve: (served: Served) => Promise<void>): void {
    const work = this.#serve(channel, session, serve).finally(() => this.#running.delete(work));
    this.#running.add(work);
  }

  /** Never rejects. */
  async #serve(channel: ByteChannel, session: SessionInfo, serve: (served: Served) => Promise<void>): Promise<void> {
    const log = this.#options.log.child({ session: session.id, user: session.user, remoteAddress: session.remoteAddress });
    let lease: FilesLease;
    try {
      lease = await this.#options.files(session);
    } catch (error) {
      log.error({ err: error }, "storage cannot be opened");
      channel.writeError(Buffer.from("your storage cannot be reached now; the operator's log has the reason\n"));
      channel.exit(EXIT_FAILURE);
      return;
    }
    const rates = this.#options.rates(session.user);
    try {
      await serve({ channel: rates ? new ThrottledChannel(channel, rates) : channel, fileSystem: lease.fileSystem, log });
    } catch (error) {
      log.error({ err: error }, "session failed");
      channel.destroy("internal error");
    } finally {
      lease.release();
    }
  }
}

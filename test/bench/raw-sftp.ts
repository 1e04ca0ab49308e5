/**
 * A bare SFTP session through OpenSSH's `ssh -s`, for what sftp(1) does not tell: when the first names of a listing come,
 * and sessions that stay idle. Reads just as much of the answers as it must.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { packet, str, u32 } from "../support/sftp-client.ts";
import { address, type LoginOptions, sshOptions } from "./clients.ts";
import type { Peer } from "./peers/peer.ts";

const FXP = { INIT: 1, VERSION: 2, OPENDIR: 11, READDIR: 12, STATUS: 101, HANDLE: 102, NAME: 104 } as const;
const EOF_STATUS = 1;

/** A listing that takes longer is given up. */
const LISTING_LIMIT_MS = 180_000;

/** When names came, in seconds after OPENDIR was sent. */
export interface ListingTimes {
  readonly firstSeconds: number;
  readonly lastSeconds: number;
  readonly names: number;
}

interface Reply {
  readonly type: number;
  /** Behind the type; begins with the request id but for VERSION. */
  readonly body: Buffer;
}

/** One session over its own ssh process. */
export class RawSftp {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #replies: AsyncGenerator<Reply, void>;

  private constructor(child: ChildProcessByStdio<Writable, Readable, null>) {
    this.#child = child;
    this.#replies = replies(child.stdout);
  }

  /** Logs in and exchanges versions. */
  static async connect(peer: Peer, options: LoginOptions = {}): Promise<RawSftp> {
    const child = spawn("ssh", [...sshOptions(peer, options), "-s", address(peer), "sftp"], { stdio: ["pipe", "pipe", "ignore"] });
    child.stdin.on("error", () => undefined); // refused: no reply follows
    const session = new RawSftp(child);
    child.stdin.write(packet(FXP.INIT, u32(3)));
    const { type } = await session.#next();
    if (type !== FXP.VERSION) throw new Error(`the server answered INIT with ${type}`);
    return session;
  }

  /** Lists a directory to its end. Rejects if that takes longer than three minutes. */
  async list(path: string): Promise<ListingTimes> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), LISTING_LIMIT_MS);
    try {
      return await this.#list(path);
    } finally {
      clearTimeout(timer);
    }
  }

  async #list(path: string): Promise<ListingTimes> {
    const began = performance.now();
    this.#send(FXP.OPENDIR, str(path));
    const opened = await this.#next();
    if (opened.type !== FXP.HANDLE) throw new Error(`${path}: OPENDIR was answered with ${opened.type}`);
    const handle = opened.body.subarray(4);
    let [names, firstSeconds] = [0, Number.NaN];
    this.#send(FXP.READDIR, handle);
    for (let reply = await this.#next(); reply.type === FXP.NAME; reply = await this.#next()) {
      if (names === 0) firstSeconds = (performance.now() - began) / 1000;
      names += reply.body.readUInt32BE(4);
      this.#send(FXP.READDIR, handle);
    }
    return { firstSeconds, lastSeconds: (performance.now() - began) / 1000, names };
  }

  /** Ends the session and its process. */
  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }

  #send(type: number, ...fields: readonly Uint8Array[]): void {
    this.#child.stdin.write(packet(type, u32(1), ...fields));
  }

  async #next(): Promise<Reply> {
    const { value } = await this.#replies.next();
    if (!value) throw new Error("the session ended, or took more than three minutes");
    if (value.type === FXP.STATUS && value.body.readUInt32BE(4) !== EOF_STATUS) throw new Error(`status ${value.body.readUInt32BE(4)}`);
    return value;
  }
}

async function* replies(source: Readable): AsyncGenerator<Reply, void> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of source) {
    rest = rest.length > 0 ? Buffer.concat([rest, chunk as Buffer]) : (chunk as Buffer);
    while (rest.length >= 5 && rest.length >= 4 + rest.readUInt32BE(0)) {
      const end = 4 + rest.readUInt32BE(0);
      yield { type: rest.readUInt8(4), body: rest.subarray(5, end) };
      rest = rest.subarray(end);
    }
  }
}

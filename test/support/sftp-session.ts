/**
 * An SFTP server over the model file system with a raw client on the other end of a loopback channel.
 */
import { pino } from "pino";
import { ByteBudget } from "../../src/byte-budget.ts";
import { serveSftp, type SftpOptions } from "../../src/sftp/sftp-server.ts";
import { type LoopbackEnd, type LoopbackOptions, loopbackPair } from "./loopback-channel.ts";
import { ModelFileSystem, type ModelOptions } from "./model-file-system.ts";
import { SftpClient } from "./sftp-client.ts";

/** What a test holds of a running server. */
export interface TestSession {
  readonly fs: ModelFileSystem;
  readonly client: SftpClient;
  /** The client's end of the channel, and the server's. */
  readonly near: LoopbackEnd;
  readonly far: LoopbackEnd;
  readonly budget: ByteBudget;
  /** `serveSftp`'s promise. */
  readonly done: Promise<void>;
  /** Log records, parsed. */
  readonly log: readonly Record<string, unknown>[];
  /** EOF from the client, then the server's end. Resolves with the exit status. */
  finish(): Promise<number | undefined>;
}

/** Options of the parts. */
export interface TestSessionOptions {
  readonly model?: ModelOptions;
  readonly channel?: LoopbackOptions;
  readonly sftp?: Partial<SftpOptions>;
  readonly fs?: ModelFileSystem;
}

/** Starts a session; `client.init()` is the test's to call. */
export function startSession(options: TestSessionOptions = {}): TestSession {
  const fs = options.fs ?? new ModelFileSystem(options.model);
  const { client: near, server: far } = loopbackPair(options.channel);
  const budget = options.sftp?.budget ?? new ByteBudget(64 * 1024 * 1024);
  const records: Record<string, unknown>[] = [];
  const log = pino({ level: "info" }, { write: (line: string) => void records.push(JSON.parse(line) as Record<string, unknown>) });
  const done = serveSftp(far, fs, { budget, log, user: "alice", ...options.sftp });
  const client = new SftpClient(near);
  const finish = async (): Promise<number | undefined> => {
    near.sendEof();
    await done;
    return near.exitStatus;
  };
  return { fs, client, near, far, budget, done, log: records, finish };
}

/** As `startSession`, with INIT done. */
export async function connect(options: TestSessionOptions = {}): Promise<TestSession> {
  const session = startSession(options);
  await session.client.init();
  return session;
}

/** Channels of one user share what may run at once, and wait for turns that somebody gives them. */
import { expect, it, vi } from "vitest";
import { RunningRequests, type TimeShare } from "../../../src/sftp/request-queue.ts";
import { ModelFileSystem } from "../../support/model-file-system.ts";
import { connect } from "../../support/sftp-session.ts";
import type { SftpClient } from "../../support/sftp-client.ts";
import { FXP, string } from "../../support/sftp-packets.ts";

const LIMIT = 128;
const LEAST = 4;

/** Files of which `stat` is answered when the test says so. */
class HangingFiles extends ModelFileSystem {
  readonly waiting: (() => void)[] = [];
  #hangs = true;

  /** All that waits, and whatever comes, is answered. */
  answer(): void {
    this.#hangs = false;
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  override async stat(path: string): ReturnType<ModelFileSystem["stat"]> {
    if (this.#hangs) await new Promise<void>((resolve) => this.waiting.push(resolve));
    return super.stat(path);
  }
}

it("lets a user's channels run so many requests together, and each a few", async () => {
  const runningOfUser = new RunningRequests();
  const [first, second] = [new HangingFiles(), new HangingFiles()];
  const sessions = [await connect({ fs: first, sftp: { runningOfUser } }), await connect({ fs: second, sftp: { runningOfUser } })];
  const ask = (client: SftpClient | undefined): Promise<unknown>[] =>
    Array.from({ length: 300 }, (_, at) => client?.request(FXP.STAT, string(`/none-${at}`)) ?? Promise.reject(new Error("no client")));
  const answers = ask(sessions[0]?.client);
  await vi.waitFor(() => expect(first.waiting).toHaveLength(LIMIT));
  answers.push(...ask(sessions[1]?.client));
  await vi.waitFor(() => expect(second.waiting).toHaveLength(LEAST));
  expect(first.waiting).toHaveLength(LIMIT);
  // Each that ends lets the next of its channel start.
  for (const files of [first, second]) files.answer();
  await Promise.all(answers);
  expect(runningOfUser.count).toBe(0);
  for (const session of sessions) expect(await session.finish()).toBe(0);
});

it("waits for the turn it is given, and says when it was mostly refused", async () => {
  const turns: { requests: number; isIdle: boolean; go: () => void }[] = [];
  const nextTurn: TimeShare["nextTurn"] = (work) => new Promise((go) => turns.push({ ...work, go }));
  const session = await connect({ sftp: { time: { quantum: () => 64, nextTurn } } });
  const ask = (count: number, type: number): Promise<unknown>[] =>
    Array.from({ length: count }, () => session.client.request(type, string("/")));
  const answered = ask(100, FXP.STAT);
  await vi.waitFor(() => expect(turns).toHaveLength(1));
  expect(turns[0]).toMatchObject({ requests: 64, isIdle: false });
  turns[0]?.go();
  await Promise.all(answered);
  const refused = ask(200, 77);
  for (let turn = 1; turn <= 3; turn++) {
    await vi.waitFor(() => expect(turns).toHaveLength(turn + 1));
    turns[turn]?.go();
  }
  await Promise.all(refused);
  expect(turns.at(-1)?.isIdle).toBe(true);
  expect(await session.finish()).toBe(0);
});

it("starts as many in a turn as it may then, and says how much data they moved", async () => {
  const block = 10_000;
  const works: { requests: number; bytes: number }[] = [];
  let quantum = 4;
  const nextTurn: TimeShare["nextTurn"] = async ({ requests, bytes }) => {
    works.push({ requests, bytes });
    quantum = 2;
  };
  const session = await connect({ sftp: { time: { quantum: () => quantum, nextTurn } } });
  const { client } = session;
  const handle = await client.open("/f", 1 | 2 | 8 | 16); // INIT was the first of this turn
  for (let at = 0; at < 4; at++) await client.write(handle, at * block, Buffer.alloc(block));
  for (let at = 0; at < 4; at++) await client.read(handle, at * block, block);
  await client.close(handle);
  expect(works.map(({ requests }) => requests)).toEqual([4, 2, 2, 2]);
  // A WRITE counts when it is started, a READ when it is answered: the last one of a turn counts for the next.
  expect(works.map(({ bytes }) => Math.round(bytes / block))).toEqual([2, 2, 1, 2]);
  expect(await session.finish()).toBe(0);
});

/** What the processes of a node tell each other of changes that take long: a child process stands for another worker. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { SlowWrites } from "../../../src/state/slow-writes.ts";
import { StateDirectory } from "../../../src/state/state-directory.ts";

let directory: string;
let state: StateDirectory;
const fail = (error: unknown): never => {
  throw error;
};

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "slow-writes-"));
  state = await StateDirectory.open(directory);
});
afterEach(async () => {
  await state.close();
  rmSync(directory, { recursive: true });
});

/** A process that tells of `key` and does what it is told: "done", or to be killed. */
async function otherProcess(key: string) {
  const child = fork(new URL("slow-writer.ts", import.meta.url), [directory, key], { execArgv: ["--import", "tsx"] });
  await once(child, "message");
  return child;
}

it("waits for another process until it is done", async () => {
  const writes = new SlowWrites(state, "volume", fail);
  const other = await otherProcess("volume/a");
  expect(writes.ended(["volume/b", "volume/c"])).toBeUndefined();
  expect(new SlowWrites(state, "another", fail).ended(["volume/a"])).toBeUndefined();
  const ended = writes.ended(["volume/b", "volume/a"]);
  expect(ended).toBeInstanceOf(Promise);
  other.send("done");
  await ended;
  expect(writes.ended(["volume/a"])).toBeUndefined();
  other.kill("SIGKILL");
  await once(other, "exit");
});

it("does not wait for one that was killed, nor for itself", async () => {
  const writes = new SlowWrites(state, "volume", fail);
  const other = await otherProcess("volume/a");
  const ended = writes.ended(["volume/a"]);
  expect(ended).toBeInstanceOf(Promise);
  other.kill("SIGKILL");
  await ended;
  const done = writes.tell(["volume/a"]);
  expect(writes.ended(["volume/a"])).toBeUndefined();
  done();
});

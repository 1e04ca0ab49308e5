import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { runOk } from "../support/processes.ts";
import { sha256 } from "../support/test-store.ts";
import { expectFiles, expectStored, type Interop, onEachStore, plant, REMOTE, STORED, writeTree } from "./on-stores.ts";
import { sample, TREE } from "./samples.ts";

async function lftp({ gateway, work }: Interop, ...commands: string[]) {
  const ssh = ["ssh", "-a", "-x", ...gateway.sshOptions].join(" ");
  const script = [
    `set sftp:connect-program "${ssh}"`,
    "set net:max-retries 1",
    "set net:timeout 20",
    "set cmd:fail-exit yes",
    "set xfer:clobber yes",
    `open -u ${gateway.user}, sftp://127.0.0.1:${gateway.port}`,
    ...commands,
  ];
  return runOk("lftp", ["--norc", "-c", script.join("; ")], { cwd: work, env: { HOME: work, LFTP_HOME: work } });
}

onEachStore("lftp", ["lftp", "ssh"], {}, (at) => {
  it("mirrors both ways, in parallel, and the second time sends nothing", async () => {
    const { work, store } = at();
    const tree = { ...TREE, "large.bin": sample(9_000_000) };
    writeTree(join(work, "tree"), tree);
    await lftp(at(), `mirror -R --parallel=4 tree ${REMOTE}/mirror`);
    expectStored(store, `${STORED}/mirror`, tree);
    const again = await lftp(at(), `mirror -R -v --parallel=4 tree ${REMOTE}/mirror`);
    expect(again.stdout).not.toMatch(/Transferring file/);
    await lftp(at(), `mirror --parallel=4 ${REMOTE}/mirror back`);
    expectFiles(join(work, "back"), tree);
    expect(statSync(join(work, "back/plain.txt")).mtimeMs).toBe(1_500_000_000_000);
  });

  it("deletes what the source does not have", async () => {
    const { work, store } = at();
    writeTree(join(work, "tree"), { "a/b": "1" });
    await plant(at(), `del/a/old`, "old");
    await plant(at(), `del/gone/x`, "old");
    await lftp(at(), `mirror -R --delete tree ${REMOTE}/del`);
    expectStored(store, `${STORED}/del`, { "a/b": "1" });
  });

  it("continues uploads and downloads", async () => {
    const { work, store } = at();
    const whole = sample(9_000_000);
    writeTree(work, { whole, part: whole.subarray(0, 4_000_000) });
    await plant(at(), `continued`, whole.subarray(0, 6_000_001));
    await lftp(at(), `put -c whole -o ${REMOTE}/continued`, `get -c ${REMOTE}/continued -o part`);
    expect(store.sha256(`${STORED}/continued`)).toBe(sha256(whole));
    expectFiles(work, { part: whole });
  });

  it("downloads in segments", async () => {
    const { work } = at();
    await plant(at(), `segments`, sample(9_000_000));
    await lftp(at(), `pget -n 4 ${REMOTE}/segments -o segments`);
    expectFiles(work, { segments: sample(9_000_000) });
  });

  it("moves, makes, lists and removes", async () => {
    const { work, store } = at();
    writeTree(work, { x: "x" });
    const { stdout } = await lftp(
      at(),
      `mkdir -p ${REMOTE}/ops/deep/er`,
      `put x -o ${REMOTE}/ops/x`,
      `mv ${REMOTE}/ops/x ${REMOTE}/ops/deep/y`,
      `chmod 600 ${REMOTE}/ops/deep/y`,
      `ls ${REMOTE}/ops/deep`,
      `du -s ${REMOTE}/ops`,
    );
    expect(stdout).toMatch(/-rw-------.* y/);
    expectStored(store, `${STORED}/ops`, { "deep/y": "x" });
    await lftp(at(), `rm -r ${REMOTE}/ops`);
    expectStored(store, `${STORED}/ops`, {});
    expect(readdirSync(work)).toContain("x");
  });
});

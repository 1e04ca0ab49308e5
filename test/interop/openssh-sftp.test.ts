import { readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { run, runOk } from "../support/processes.ts";
import { sha256 } from "../support/test-store.ts";
import { expectFiles, expectStored, type Interop, onEachStore, plant, REMOTE, STORED, writeTree } from "./on-stores.ts";
import { SIZES, sample, TREE } from "./samples.ts";

/** Runs a batch; a line with a leading `-` may fail. */
async function sftp({ gateway, work }: Interop, lines: readonly string[], options: readonly string[] = []) {
  const args = ["-b", "-", "-P", String(gateway.port), ...gateway.sshOptions, ...options, `${gateway.user}@127.0.0.1`];
  return runOk("sftp", args, { cwd: work, input: `${lines.join("\n")}\n` });
}

onEachStore("OpenSSH sftp", ["sftp"], {}, (at) => {
  it("shows the folders of a new customer", async () => {
    const { stdout } = await sftp(at(), ["ls -1", "ls -1 attachments", "pwd", "cd /home/alice/attachments", "ls -1"]);
    expect(stdout).toContain("attachments");
    expect(stdout.match(/originals/g)?.length).toBeGreaterThanOrEqual(2);
    expect(stdout).toContain("thumbnails");
  });

  it("puts and gets files of every size", async () => {
    const { work, store } = at();
    writeTree(work, Object.fromEntries(SIZES.map((size) => [`up-${size}`, sample(size)])));
    await sftp(at(), [
      `mkdir ${REMOTE}/sizes`,
      ...SIZES.flatMap((size) => [`put up-${size} ${REMOTE}/sizes/${size}.bin`, `get ${REMOTE}/sizes/${size}.bin down-${size}`]),
    ]);
    expectStored(store, `${STORED}/sizes`, Object.fromEntries(SIZES.map((size) => [`${size}.bin`, sample(size)])));
    expectFiles(work, Object.fromEntries(SIZES.map((size) => [`down-${size}`, sample(size)])));
  });

  it("puts and gets trees with people's names", async () => {
    const { work, store } = at();
    writeTree(join(work, "tree"), TREE);
    await sftp(at(), [`put -r tree ${REMOTE}`, `get -r ${REMOTE}/tree back`]);
    expectStored(store, `${STORED}/tree`, TREE);
    expectFiles(join(work, "back"), TREE);
  });

  it("keeps times and modes with -p, flushes with -f", async () => {
    const { work, store } = at();
    writeTree(work, { "a.txt": "times", "b.txt": "flush" });
    const { stdout } = await sftp(at(), [
      `put -p a.txt ${REMOTE}/p.txt`,
      `put -f b.txt ${REMOTE}/f.txt`,
      `ls -ln ${REMOTE}/p.txt`,
      `get -p ${REMOTE}/p.txt back.txt`,
    ]);
    expect(stdout).toMatch(/Jul 1[34] +2017/);
    expect(statSync(join(work, "back.txt")).mtimeMs).toBe(1_500_000_000_000);
    expect(store.sha256(`${STORED}/f.txt`)).toBe(sha256("flush"));
  });

  it("replaces longer by shorter", async () => {
    const { work, store } = at();
    writeTree(work, { long: sample(1_000_003), short: sample(70_000) });
    await sftp(at(), [`put long ${REMOTE}/replaced`, `put short ${REMOTE}/replaced`]);
    expect(store.sha256(`${STORED}/replaced`)).toBe(sha256(sample(70_000)));
  });

  it("continues uploads and downloads with reput and reget", async () => {
    const { work, store } = at();
    const whole = sample(9 * 1024 * 1024 + 11);
    writeTree(work, { whole, down: whole.subarray(0, 5_000_000) });
    await plant(at(), `resumed`, whole.subarray(0, 6_000_000));
    await sftp(at(), [`reput whole ${REMOTE}/resumed`, `reget ${REMOTE}/resumed down`]);
    expect(store.sha256(`${STORED}/resumed`)).toBe(sha256(whole));
    expectFiles(work, { down: whole });
  });

  it("renames, makes and removes", async () => {
    const { work, store } = at();
    writeTree(work, { one: "1", two: "2" });
    await sftp(at(), [
      `mkdir ${REMOTE}/work`,
      `put one ${REMOTE}/work/one`,
      `put two ${REMOTE}/work/two`,
      `rename ${REMOTE}/work/one ${REMOTE}/work/two`,
      `mkdir ${REMOTE}/work/sub`,
      `put one ${REMOTE}/work/sub/x`,
      `rename ${REMOTE}/work/sub ${REMOTE}/work/renamed`,
      `chmod 640 ${REMOTE}/work/two`,
    ]);
    expectStored(store, `${STORED}/work`, { two: "1", "renamed/x": "1" });
    const { stdout } = await sftp(at(), [`ls -la ${REMOTE}/work`]);
    expect(stdout).toMatch(/^-rw-r-----.*two$/m);
    expect(stdout).toMatch(/^drwx.*renamed$/m);
    await sftp(at(), [
      `-rmdir ${REMOTE}/work`,
      `rm ${REMOTE}/work/two`,
      `rm ${REMOTE}/work/renamed/x`,
      `rmdir ${REMOTE}/work/renamed`,
      `rmdir ${REMOTE}/work`,
      `-ls ${REMOTE}/work`,
    ]);
    expectStored(store, `${STORED}/work`, {});
  });

  it("fails with a text and exit status 1 where nothing is", async () => {
    const { gateway, work } = at();
    const args = ["-b", "-", "-P", String(gateway.port), ...gateway.sshOptions, `${gateway.user}@127.0.0.1`];
    const { code, stderr } = await run("sftp", args, { cwd: work, input: `get ${REMOTE}/missing\n` });
    expect(code).toBe(1);
    expect(stderr).toMatch(/not found|No such file/i);
  });

  it("lists 3,000 entries", async () => {
    const { store } = at();
    for (let n = 1; n < 3000; n++) store.put(`${STORED}/many/sheet-${String(n).padStart(5, "0")}.jpg`, "x");
    await plant(at(), "many/sheet-00000.jpg", "x");
    const { stdout } = await sftp(at(), [`ls -1 ${REMOTE}/many`]);
    const names = stdout.split("\n").filter((line) => line.includes("sheet-"));
    expect(names).toHaveLength(3000);
    expect(new Set(names).size).toBe(3000);
    const long = await sftp(at(), [`ls -la ${REMOTE}/many`]);
    expect(long.stdout.split("\n").filter((line) => line.includes("sheet-"))).toHaveLength(3000);
  });

  it("shows room with df", async () => {
    const { stdout } = await sftp(at(), [`df ${REMOTE}`, "df -i", "df -h"]);
    expect(stdout).toMatch(/%Capacity/);
  });

  it("moves eight files at once over one connection", async () => {
    const { gateway, work, store } = at();
    const socket = join(work, "ctl");
    writeTree(work, Object.fromEntries(Array.from({ length: 8 }, (_, n) => [`m${n}`, sample(1_000_003 + n)])));
    const master = ["-M", "-N", "-f", "-S", socket, "-p", String(gateway.port), ...gateway.sshOptions, `${gateway.user}@127.0.0.1`];
    await runOk("ssh", [...master.slice(0, 3), "-o", "ControlPersist=yes", ...master.slice(3)], { timeoutMs: 20_000 });
    try {
      const uploads = Array.from({ length: 8 }, (_, n) =>
        sftp(at(), [`put m${n} ${REMOTE}/mux-${n}`, `get ${REMOTE}/mux-${n} d${n}`], ["-o", `ControlPath=${socket}`]),
      );
      await Promise.all(uploads);
    } finally {
      await run("ssh", ["-O", "exit", "-S", socket, `${gateway.user}@127.0.0.1`]);
    }
    for (let n = 0; n < 8; n++) {
      expect(store.sha256(`${STORED}/mux-${n}`)).toBe(sha256(sample(1_000_003 + n)));
      expect(sha256(readFileSync(join(work, `d${n}`)))).toBe(sha256(sample(1_000_003 + n)));
    }
  });

  it("survives rekeying and compression", async () => {
    const { work, store } = at();
    writeFileSync(join(work, "rekey"), sample(21 * 1024 * 1024 + 7));
    utimesSync(join(work, "rekey"), 1, 1);
    const options = ["-C", "-o", "RekeyLimit=1M"];
    await sftp(at(), [`put rekey ${REMOTE}/rekey`, `get ${REMOTE}/rekey rekeyed`], options);
    expect(store.sha256(`${STORED}/rekey`)).toBe(sha256(sample(21 * 1024 * 1024 + 7)));
    expectFiles(work, { rekeyed: sample(21 * 1024 * 1024 + 7) });
  });
});

import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { run, runOk } from "../support/processes.ts";
import { sha256 } from "../support/test-store.ts";
import { expectFiles, expectStored, type Interop, onEachStore, REMOTE, STORED, writeTree } from "./on-stores.ts";
import { sample, TREE } from "./samples.ts";

function environment({ gateway, work }: Interop): Record<string, string> {
  return {
    RCLONE_CONFIG: join(work, "rclone.conf"),
    RCLONE_CONFIG_GW_TYPE: "sftp",
    RCLONE_CONFIG_GW_HOST: "127.0.0.1",
    RCLONE_CONFIG_GW_PORT: String(gateway.port),
    RCLONE_CONFIG_GW_USER: gateway.user,
    RCLONE_CONFIG_GW_KEY_FILE: gateway.keyFile,
    RCLONE_CONFIG_GW_KNOWN_HOSTS_FILE: gateway.knownHosts,
    RCLONE_RETRIES: "1",
    RCLONE_LOW_LEVEL_RETRIES: "1",
  };
}

onEachStore("rclone", ["rclone"], {}, (at) => {
  const rclone = (...args: string[]) => runOk("rclone", args, { cwd: at().work, env: environment(at()), timeoutMs: 120_000 });

  it("copies, checks and copies back", async () => {
    const { work, store } = at();
    const tree = { ...TREE, "large.bin": sample(21 * 1024 * 1024 + 7) };
    writeTree(join(work, "tree"), tree);
    await rclone("copy", "tree", `gw:${REMOTE}/rc`);
    expectStored(store, `${STORED}/rc`, tree);
    await rclone("check", "tree", `gw:${REMOTE}/rc`);
    await rclone("check", "--download", "tree", `gw:${REMOTE}/rc`);
    await rclone("copy", `gw:${REMOTE}/rc`, "back");
    expectFiles(join(work, "back"), tree);
    expect(statSync(join(work, "back/plain.txt")).mtimeMs).toBe(1_500_000_000_000);
  });

  it("finds nothing to do the second time", async () => {
    const { work } = at();
    writeTree(join(work, "tree"), TREE);
    await rclone("copy", "tree", `gw:${REMOTE}/again`);
    const { stderr } = await rclone("copy", "-vv", "tree", `gw:${REMOTE}/again`);
    expect(stderr).not.toMatch(/: Copied|: Updated modification time/);
    expect(stderr).toMatch(/There was nothing to transfer/);
  });

  it("syncs both ways", async () => {
    const { work, store } = at();
    writeTree(join(work, "tree"), TREE);
    await rclone("sync", "tree", `gw:${REMOTE}/sync`);
    writeTree(join(work, "tree"), { "plain.txt": "changed", "new/file": "new" }, 1_600_000_000);
    rmSync(join(work, "tree/deep"), { recursive: true });
    await rclone("sync", "tree", `gw:${REMOTE}/sync`);
    const { "deep/er/still/leaf#1.csv": _leaf, "deep/100%+1.txt": _percent, ...rest } = TREE;
    expectStored(store, `${STORED}/sync`, { ...rest, "plain.txt": "changed", "new/file": "new" });
    store.delete(`${STORED}/sync/new/file`);
    await rclone("sync", `gw:${REMOTE}/sync`, "tree");
    expect((await run("test", ["-e", join(work, "tree/new/file")])).code).toBe(1);
  });

  it("moves, lists, measures and removes", async () => {
    const { work, store } = at();
    writeTree(work, { x: sample(70_000) });
    await rclone("copyto", "x", `gw:${REMOTE}/ops/x`);
    await rclone("moveto", `gw:${REMOTE}/ops/x`, `gw:${REMOTE}/ops/sub/y`);
    const { stdout } = await rclone("lsjson", "-R", `gw:${REMOTE}/ops`);
    const listed = JSON.parse(stdout) as { Path: string; Size: number; IsDir: boolean }[];
    expect(listed.filter((one) => !one.IsDir)).toMatchObject([{ Path: "sub/y", Size: 70_000 }]);
    expect((await rclone("cat", `gw:${REMOTE}/ops/sub/y`)).code).toBe(0);
    expect(store.sha256(`${STORED}/ops/sub/y`)).toBe(sha256(sample(70_000)));
    await rclone("about", "gw:");
    await rclone("purge", `gw:${REMOTE}/ops`);
    expectStored(store, `${STORED}/ops`, {});
  });
});

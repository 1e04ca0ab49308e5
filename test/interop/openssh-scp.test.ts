import { statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { run, runOk } from "../support/processes.ts";
import { sha256 } from "../support/test-store.ts";
import { expectFiles, expectStored, type Interop, onEachStore, plant, REMOTE, STORED, writeTree } from "./on-stores.ts";
import { sample, TREE } from "./samples.ts";

function scpArguments({ gateway }: Interop, args: readonly string[]): string[] {
  return ["-q", "-P", String(gateway.port), ...gateway.sshOptions, ...args];
}

onEachStore("OpenSSH scp", ["scp"], {}, (at) => {
  for (const [mode, flags] of [
    ["over SFTP", ["-s"]],
    ["in the old protocol", ["-O"]],
  ] as const) {
    describe(mode, () => {
      const dir = mode.replaceAll(" ", "-");
      const remote = (path: string) => `${at().gateway.user}@127.0.0.1:${REMOTE}/${path}`;
      const scp = (...args: string[]) => runOk("scp", scpArguments(at(), [...flags, ...args]), { cwd: at().work });

      it("copies both ways and exits with 0", async () => {
        const { work, store } = at();
        for (const size of [0, 1_000_003, 21 * 1024 * 1024 + 7]) {
          writeTree(work, { up: sample(size) });
          await scp("up", remote(`${dir}-${size}.bin`));
          expect(store.sha256(`${STORED}/${dir}-${size}.bin`)).toBe(sha256(sample(size)));
          await scp(remote(`${dir}-${size}.bin`), "down");
          expectFiles(work, { down: sample(size) });
        }
      });

      it("replaces longer by shorter", async () => {
        const { work, store } = at();
        writeTree(work, { long: sample(1_000_003), short: sample(3) });
        await scp("long", remote(`${dir}-over`));
        await scp("short", remote(`${dir}-over`));
        expect(store.sha256(`${STORED}/${dir}-over`)).toBe(sha256(sample(3)));
      });

      it("copies trees both ways", async () => {
        const { work, store } = at();
        writeTree(join(work, "tree"), TREE);
        await scp("-r", "tree", remote(`${dir}-tree`));
        expectStored(store, `${STORED}/${dir}-tree`, TREE);
        await scp("-r", remote(`${dir}-tree`), "back");
        expectFiles(join(work, "back"), TREE);
      });

      it("keeps times with -p", async () => {
        const { work } = at();
        writeTree(work, { "t.txt": "time" });
        await scp("-p", "t.txt", remote(`${dir}-t.txt`));
        await scp("-p", remote(`${dir}-t.txt`), "back.txt");
        expect(statSync(join(work, "back.txt")).mtimeMs).toBe(1_500_000_000_000);
      });

      it("copies several files into a folder and by wildcard", async () => {
        const { work, store } = at();
        writeTree(work, { "a.txt": "a", "b.txt": "b" });
        await plant(at(), `${dir}-into/keep.md`, "k");
        await scp("a.txt", "b.txt", remote(`${dir}-into/`));
        expectStored(store, `${STORED}/${dir}-into`, { "a.txt": "a", "b.txt": "b", "keep.md": "k" });
        await scp(`${remote(`${dir}-into`)}/*.txt`, ".");
        expectFiles(work, { "a.txt": "a", "b.txt": "b" });
      });

      it("fails for what is missing", async () => {
        const { code, stderr } = await run("scp", scpArguments(at(), [...flags, remote("missing"), "."]), { cwd: at().work });
        expect(code).toBe(1);
        expect(stderr).toMatch(/no such file/i);
      });
    });
  }
});

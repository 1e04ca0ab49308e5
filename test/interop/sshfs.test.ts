import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { run, runOk, stopProcess } from "../support/processes.ts";
import { sha256 } from "../support/test-store.ts";
import { expectStored, type Interop, onEachStore, REMOTE, STORED, writeTree } from "./on-stores.ts";
import { sample, TREE } from "./samples.ts";

/** sshfs closes files behind the caller: what a program has closed is published a little later. */
const PATIENCE = { timeout: 5_000, interval: 20 };

/** Mounts the upload folder; everything on the mount is done by child processes, which can be ended if it hangs. */
class Mount {
  readonly point: string;
  readonly #child: ChildProcess;

  private constructor(point: string, child: ChildProcess) {
    this.point = point;
    this.#child = child;
  }

  static async make({ gateway }: Interop): Promise<Mount> {
    const point = join(gateway.dir, "mnt");
    mkdirSync(point);
    const ssh = ["ssh", ...gateway.sshOptions].join(" ");
    const args = [`${gateway.user}@127.0.0.1:${REMOTE}`, point, "-f", "-p", String(gateway.port), "-o", `ssh_command=${ssh}`];
    const child = spawn("sshfs", args, { stdio: "ignore" });
    for (let tries = 0; !readFileSync("/proc/mounts", "utf8").includes(` ${point} `); tries++) {
      if (child.exitCode !== null || tries > 400) throw new Error("sshfs did not mount");
      await sleep(25); // the kernel gives no event
    }
    return new Mount(point, child);
  }

  async sh(script: string): Promise<string> {
    return (await runOk("sh", ["-ec", script], { cwd: this.point, timeoutMs: 30_000 })).stdout;
  }

  async unmount(): Promise<void> {
    await run("fusermount3", ["-u", "-z", this.point]);
    await stopProcess(this.#child);
  }
}

function hasFuse(): boolean {
  if (!existsSync("/dev/fuse")) return false;
  try {
    accessSync("/dev/fuse", constants.R_OK | constants.W_OK);
    return true;
  } catch (error) {
    process.stdout.write(`no use of /dev/fuse, tests skipped: sshfs (${String(error)})\n`);
    return false;
  }
}

onEachStore("sshfs", ["sshfs", "fusermount3"], {}, (at) => {
  describe.skipIf(!hasFuse())("on a mount", () => {
    let mount: Mount;
    beforeAll(async () => {
      mount = await Mount.make(at());
    });
    afterAll(() => mount?.unmount());

    it("copies files and trees in and out", async () => {
      const { work, store } = at();
      writeTree(join(work, "tree"), { ...TREE, "large.bin": sample(21 * 1024 * 1024 + 7) });
      await mount.sh(`cp -r "${work}/tree" copied; cp -r copied "${work}/back"; diff -r "${work}/tree" "${work}/back"`);
      await vi.waitFor(() => expectStored(store, `${STORED}/copied`, { ...TREE, "large.bin": sample(21 * 1024 * 1024 + 7) }), PATIENCE);
    });

    it("moves files and folders", async () => {
      const { store } = at();
      await mount.sh("mkdir m m/in; printf one > m/in/a; mv m/in/a m/b; mv m/in m/out; printf two > m/out/c; mv m/out/c m/b");
      await mount.sh("test ! -e m/in; test -d m/out; rmdir m/out");
      await vi.waitFor(() => expectStored(store, `${STORED}/m`, { b: "two" }), PATIENCE);
    });

    it("renames and removes files that are open, and tells their size at once", async () => {
      const { store } = at();
      await mount.sh("mkdir o; exec 3>o/before; printf one >&3; mv o/before o/after; printf two >&3; exec 3>&-; test ! -e o/before");
      await mount.sh("exec 3<>o/gone; printf data >&3; rm o/gone; test ! -e o/gone; printf more >&3; exec 3>&-");
      await mount.sh("exec 3>o/size; head -c 100000 /dev/zero >&3; test $(stat -c %s o/size) = 100000; exec 3>&-");
      await vi.waitFor(() => expectStored(store, `${STORED}/o`, { after: "onetwo", size: Buffer.alloc(100_000) }), PATIENCE);
    });

    it("rewrites a file as editors do", async () => {
      const { store } = at();
      await mount.sh("mkdir e; printf 'first version' > e/note.txt");
      await mount.sh("printf 'second' > e/.note.txt.swp; cp e/note.txt e/note.txt~; mv e/.note.txt.swp e/note.txt; rm e/note.txt~");
      await mount.sh("printf 'third, in place' > e/note.txt; cat e/note.txt");
      await vi.waitFor(() => expectStored(store, `${STORED}/e`, { "note.txt": "third, in place" }), PATIENCE);
    });

    it("appends, truncates and writes in the middle", async () => {
      const { work, store } = at();
      writeTree(work, { big: sample(9_000_000) });
      await mount.sh(`mkdir t; cp "${work}/big" t/append; printf tail >> t/append`);
      await vi.waitFor(
        () => expect(store.sha256(`${STORED}/t/append`)).toBe(sha256(Buffer.concat([sample(9_000_000), Buffer.from("tail")]))),
        PATIENCE,
      );
      await mount.sh(`cp "${work}/big" t/cut; truncate -s 6000000 t/cut; stat -c %s t/cut`);
      await vi.waitFor(() => expect(store.sha256(`${STORED}/t/cut`)).toBe(sha256(sample(9_000_000).subarray(0, 6_000_000))), PATIENCE);
      await mount.sh(`cp "${work}/big" t/middle; printf MIDDLE | dd of=t/middle bs=1 seek=4000000 conv=notrunc status=none`);
      const expected = Buffer.from(sample(9_000_000));
      expected.write("MIDDLE", 4_000_000);
      await vi.waitFor(() => expect(store.sha256(`${STORED}/t/middle`)).toBe(sha256(expected)), PATIENCE);
      await mount.sh(`printf abc > t/grown; truncate -s 10 t/grown`);
      await vi.waitFor(() => expect(store.sha256(`${STORED}/t/grown`)).toBe(sha256(Buffer.from("abc\0\0\0\0\0\0\0"))), PATIENCE);
    });

    it("keeps times and modes, lists and removes", async () => {
      await mount.sh("mkdir s; printf x > s/a; touch -d @1500000000 s/a; chmod 600 s/a");
      expect(await mount.sh("sleep 0.1; stat -c '%Y %a %s' s/a")).toBe("1500000000 600 1\n");
      await mount.sh("rm s/a; rmdir s; test ! -e s");
      expect((await run("ls", [join(mount.point, "missing")])).code).not.toBe(0);
    });
  });
});

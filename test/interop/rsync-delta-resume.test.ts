/** Deltas that lose their connection: the old version stays their basis, so that the next run sends no more than what is new. */
import { randomBytes } from "node:crypto";
import { utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { startCuttingForward } from "../support/cutting-forward.ts";
import { run } from "../support/processes.ts";
import { sha256 } from "../support/test-store.ts";
import { onEachStore, REMOTE, STORED } from "./on-stores.ts";

const MIB = 1024 * 1024;

onEachStore("a delta of rsync that is cut", ["rsync", "ssh"], {}, (at) => {
  const target = `127.0.0.1:${REMOTE}/delta.bin`;

  function rsync(options: readonly string[], port = at().gateway.port): ReturnType<typeof run> {
    const { gateway, work } = at();
    const shell = ["ssh", "-p", String(port), "-o", `HostKeyAlias=[127.0.0.1]:${gateway.port}`, "-l", gateway.user, ...gateway.sshOptions];
    const words = shell.map((word) => (word.includes(" ") ? `'${word}'` : word)).join(" ");
    return run("rsync", ["-t", "--stats", ...options, "-e", words, "delta.bin", target], { cwd: work });
  }

  function write(data: Uint8Array, mtime: number): void {
    const path = join(at().work, "delta.bin");
    writeFileSync(path, data);
    utimesSync(path, mtime, mtime);
  }

  it("is sent again without what stayed the same", async () => {
    const { store, gateway } = at();
    const old = randomBytes(30 * MIB);
    write(old, 1_500_000_000);
    expect((await rsync([])).code).toBe(0);
    // 12 MiB stay, 14 MiB are new, 18 MiB stay.
    const data = Buffer.concat([old.subarray(0, 12 * MIB), randomBytes(14 * MIB), old.subarray(12 * MIB)]);
    write(data, 1_600_000_000);
    const lossy = await startCuttingForward(gateway.port, 10 * MIB);
    expect((await rsync(["-P"], lossy.port)).code).not.toBe(0);
    await lossy.close();
    expect(store.sha256(`${STORED}/delta.bin`)).toBe(sha256(old));
    const { code, stdout, stderr } = await rsync(["-P"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(store.sha256(`${STORED}/delta.bin`)).toBe(sha256(data));
    const literal = Number((/Literal data: ([\d,]+)/.exec(stdout)?.[1] ?? "").replaceAll(",", ""));
    // rsync's own server puts what came in place of the old version, and has 18 MiB less to compare with.
    expect(literal).toBeLessThan(14.1 * MIB);
  });
});

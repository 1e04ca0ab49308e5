/** `kill -9` in the first moments of an overwrite: nobody goes on behind the old version, and the new one is sent anew. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { type Interop, onEachStore, REMOTE, STORED } from "../interop/on-stores.ts";
import { sample } from "../interop/samples.ts";
import { type Finished, run } from "../support/processes.ts";
import { FXF } from "../support/sftp-packets.ts";
import { SshSftpClient } from "../support/ssh-sftp-client.ts";
import { sha256 } from "../support/test-store.ts";
import { readyWorkers, untilReady } from "../support/workers.ts";

const OLD = Buffer.from(sample(20_000)).reverse();
const NEW = sample(200_003);

function sftp({ gateway, work }: Interop, line: string): Promise<Finished> {
  const args = ["-b", "-", "-P", String(gateway.port), ...gateway.sshOptions, `${gateway.user}@127.0.0.1`];
  return run("sftp", args, { cwd: work, input: `${line}\n` });
}

/** Leaves an overwrite of `name` open after `length` bytes. */
async function begin({ gateway }: Interop, name: string, length: number, truncate: number): Promise<void> {
  const client = await SshSftpClient.connect(gateway);
  await client.putFile(`${REMOTE}/${name}`, OLD);
  const handle = await client.open(`${REMOTE}/${name}`, FXF.WRITE | FXF.CREAT | truncate);
  if (length > 0) await client.writeAll(handle, 0, NEW.subarray(0, length));
}

async function killWorkers({ gateway }: Interop): Promise<void> {
  const victims = readyWorkers(gateway).map(({ pid }) => pid);
  for (const pid of victims) process.kill(pid, "SIGKILL");
  await expect
    .poll(() => readyWorkers(gateway).filter(({ pid }) => !victims.includes(pid)).length, { timeout: 30_000 })
    .toBe(victims.length);
}

onEachStore("kill -9 in the first moments of an overwrite", ["sftp"], { serverYaml: ["workers: 2"] }, (at) => {
  for (const [what, kill] of [
    ["the gateway", ({ gateway }: Interop) => gateway.kill().then(() => gateway.start())],
    ["its workers", killWorkers],
  ] as const) {
    for (const [length, flags, truncate] of [
      [0, "with TRUNC", FXF.TRUNC],
      [1, "with TRUNC", FXF.TRUNC],
      [100_000, "with TRUNC", FXF.TRUNC],
      [10_000, "without TRUNC", 0],
      [100_000, "without TRUNC", 0],
    ] as const) {
      it(`of ${what}, opened ${flags}, after ${length} bytes: reput is refused, put replaces`, async () => {
        await untilReady(at().gateway);
        const { store, work } = at();
        const name = `${what.replaceAll(" ", "-")}-${length}-${truncate}`;
        writeFileSync(join(work, name), NEW);
        await begin(at(), name, length, truncate);
        await kill(at());
        expect(store.sha256(`${STORED}/${name}`)).toBe(sha256(OLD));
        const { code, stderr } = await sftp(at(), `reput ${name} ${REMOTE}/${name}`);
        expect([code, store.sha256(`${STORED}/${name}`)], stderr).toEqual([1, sha256(OLD)]);
        expect(await sftp(at(), `put ${name} ${REMOTE}/${name}`)).toMatchObject({ code: 0 });
        expect(store.sha256(`${STORED}/${name}`)).toBe(sha256(NEW));
      });
    }
  }
});

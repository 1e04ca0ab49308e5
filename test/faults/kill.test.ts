import { expect, it } from "vitest";
import { readyWorkers, untilReady } from "../support/workers.ts";
import { onEachStore, REMOTE, STORED } from "../interop/on-stores.ts";
import { sample } from "../interop/samples.ts";
import { SshSftpClient } from "../support/ssh-sftp-client.ts";
import { FXF } from "../support/sftp-packets.ts";
import { sha256 } from "../support/test-store.ts";

const ROUNDS = 6;
const KILLS = 6;
const SIZES = [70_000, 1_000_003, 9_000_000];

onEachStore("kill -9 during uploads", [], {}, (at) => {
  it("publishes nothing partial and loses nothing acknowledged", async () => {
    const { store, gateway } = at();
    for (let round = 0; round < ROUNDS; round++) {
      const acknowledged: string[] = [];
      const started: string[] = [];
      const uploads = SIZES.map(async (size, lane) => {
        const client = await SshSftpClient.connect(gateway);
        for (let n = 0; ; n++) {
          const name = `kill-${round}-${lane}-${n}`;
          started.push(`${name}:${size}`);
          await client.putFile(`${REMOTE}/${name}`, sample(size));
          acknowledged.push(`${name}:${size}`);
        }
      });
      const settled = Promise.allSettled(uploads);
      await expect.poll(() => acknowledged.length, { timeout: 20_000, interval: 5 }).toBeGreaterThan(3 + round);
      await gateway.kill();
      await settled;
      for (const entry of started) {
        const [name = "", size = "0"] = entry.split(":");
        const found = store.sha256(`${STORED}/${name}`);
        const whole = sha256(sample(Number(size)));
        if (acknowledged.includes(entry)) expect(found, `${name} was acknowledged`).toBe(whole);
        else expect([undefined, whole], `${name} was not acknowledged`).toContain(found);
      }
      await gateway.start();
      const client = await SshSftpClient.connect(gateway);
      for (const entry of started.filter((one) => !acknowledged.includes(one))) {
        const [name = "", size = "0"] = entry.split(":");
        const data = sample(Number(size));
        const partial = await client.stat(`${REMOTE}/${name}`).then(
          (attributes) => attributes.size ?? 0,
          () => 0,
        );
        expect(partial).toBeLessThanOrEqual(data.length);
        const handle = await client.open(`${REMOTE}/${name}`, FXF.WRITE | FXF.CREAT | (partial > 0 ? FXF.APPEND : FXF.TRUNC));
        await client.writeAll(handle, partial, data.subarray(partial));
        await client.close(handle);
        expect(store.sha256(`${STORED}/${name}`), `${name} continued from ${partial}`).toBe(sha256(data));
      }
      await client.end();
    }
  });
});

onEachStore("kill -9 of workers at random points", [], { serverYaml: ["workers: 2"] }, (at) => {
  it("costs only what was under way there, and the gateway goes on", async () => {
    const { store, gateway } = at();
    await untilReady(gateway);
    let isOver = false;
    const acknowledged = new Map<string, number>();
    const started = new Map<string, number>();
    const lanes = SIZES.map(async (size, lane) => {
      for (let life = 0; !isOver; life++) {
        const client = await SshSftpClient.connect(gateway).catch(() => undefined);
        try {
          for (let n = 0; client && !isOver; n++) {
            const name = `random-${lane}-${life}-${n}`;
            started.set(name, size);
            await client.putFile(`${REMOTE}/${name}`, sample(size));
            acknowledged.set(name, size);
          }
          client?.destroy();
        } catch (error) {
          expect(String(error), "only a lost connection may end a lane").toMatch(/closed|connection|ECONNRESET/i);
        }
      }
    });
    for (let kill = 0; kill < KILLS; kill++) {
      const before = acknowledged.size;
      await expect.poll(() => acknowledged.size, { timeout: 20_000, interval: 1 + kill * 7 }).toBeGreaterThan(before + (kill % 3));
      const victim = readyWorkers(gateway)[kill % 2];
      process.kill(victim?.pid ?? 0, "SIGKILL");
      await expect.poll(() => readyWorkers(gateway)[kill % 2]?.pid, { timeout: 30_000, interval: 20 }).not.toBe(victim?.pid);
    }
    isOver = true;
    await Promise.all(lanes);
    for (const [name, size] of started) {
      const found = store.sha256(`${STORED}/${name}`);
      const whole = sha256(sample(size));
      if (acknowledged.has(name)) expect(found, `${name} was acknowledged`).toBe(whole);
      else expect([undefined, whole], `${name} was not acknowledged`).toContain(found);
    }
    expect(acknowledged.size).toBeGreaterThan(KILLS);
  });
});

import { describe, expect, it } from "vitest";
import { onEachStore, plant, REMOTE, STORED } from "../interop/on-stores.ts";
import { sample } from "../interop/samples.ts";
import { SshSftpClient, SftpStatusError } from "../support/ssh-sftp-client.ts";
import { FX, FXF } from "../support/sftp-packets.ts";
import { sha256 } from "../support/test-store.ts";
import { uploadSteps } from "./upload-script.ts";

const BLOCK = 255 * 1024;
const LARGEST = 18 * 1024 * 1024;
const old = Buffer.from("the version that was there before");
const cases = [
  { what: "a small file", size: 3 * BLOCK - 5, count: 6 },
  { what: "a file of a part and a tail", size: 9_000_000, count: 39 },
  { what: "a file of several parts", size: LARGEST, count: 7 },
] as const;

/** Four side by side. */
async function eachOf(cuts: readonly number[], act: (cut: number) => Promise<void>): Promise<void> {
  const left = [...cuts];
  const lane = async () => {
    for (let cut = left.shift(); cut !== undefined; cut = left.shift()) await act(cut);
  };
  await Promise.all([lane(), lane(), lane(), lane()]);
}

onEachStore("a connection that is cut", [], {}, (at) => {
  /** Sends the first `acknowledged` packets with their answers, one more without waiting if `andOneMore`, and cuts. */
  async function cutAfter(path: string, data: Buffer, block: number, acknowledged: number, andOneMore: boolean): Promise<void> {
    const client = await SshSftpClient.connect(at().gateway);
    const steps = uploadSteps(path, data, block);
    for (const step of steps.slice(0, acknowledged)) await step.send(client);
    const next = steps[acknowledged];
    if (andOneMore && next) next.send(client).catch(() => undefined); // nobody will hear its answer
    client.destroy();
  }

  const sizeOf = async (client: SshSftpClient, path: string) => {
    try {
      return (await client.stat(path)).size ?? 0;
    } catch (error) {
      if (error instanceof SftpStatusError && error.code === FX.NO_SUCH_FILE) return undefined;
      throw error;
    }
  };

  /** Continues as `reput` does: from the size that stat shows. */
  async function resume(path: string, data: Buffer): Promise<void> {
    const client = await SshSftpClient.connect(at().gateway);
    const size = (await sizeOf(client, path)) ?? 0;
    expect(size).toBeLessThanOrEqual(data.length);
    const handle = await client.open(path, FXF.WRITE | FXF.CREAT | (size > 0 ? FXF.APPEND : FXF.TRUNC));
    await client.writeAll(handle, size, data.subarray(size), BLOCK);
    await client.close(handle);
    await client.end();
  }

  for (const { what, size, count } of cases) {
    const data = sample(size);
    const block = Math.min(BLOCK, Math.ceil(size / (count - 3)));
    const steps = uploadSteps("", data, block).length;
    // Every packet; of the largest file the first, the last and some between.
    const some = [0, 1, 2, 3, Math.floor(steps / 2), steps - 3, steps - 2, steps - 1, steps];
    const cuts = size < LARGEST ? Array.from({ length: steps + 1 }, (_, cut) => cut) : some;
    describe(what, () => {
      for (const andOneMore of [false, true]) {
        it(`publishes nothing before CLOSE and lets its owner continue${andOneMore ? " (cut before the answer)" : ""}`, {
          timeout: 240_000,
        }, async () => {
          const { store } = at();
          await eachOf(cuts, async (cut) => {
            const name = `new-${size}-${cut}-${andOneMore}`;
            await cutAfter(`${REMOTE}/${name}`, data, block, cut, andOneMore);
            if (cut === steps) expect(store.sha256(`${STORED}/${name}`)).toBe(sha256(data));
            else if (cut < steps - 1) expect(store.sha256(`${STORED}/${name}`)).toBeUndefined();
            else expect([undefined, sha256(data)]).toContain(store.sha256(`${STORED}/${name}`));
            await resume(`${REMOTE}/${name}`, data);
            expect(store.sha256(`${STORED}/${name}`), name).toBe(sha256(data));
          });
        });

        it(`keeps the old version whole${andOneMore ? " (cut before the answer)" : ""}`, { timeout: 240_000 }, async () => {
          const { gateway } = at();
          await eachOf(cuts, async (cut) => {
            const name = `old-${size}-${cut}-${andOneMore}`;
            await plant(at(), name, old);
            await cutAfter(`${REMOTE}/${name}`, data, block, cut, andOneMore);
            const reader = await SshSftpClient.connect(gateway);
            const seen = sha256(await reader.getFile(`${REMOTE}/${name}`, BLOCK));
            await reader.end();
            const allowed = cut === steps ? [sha256(data)] : cut === steps - 1 ? [sha256(old), sha256(data)] : [sha256(old)];
            expect(allowed, name).toContain(seen);
          });
        });
      }
    });
  }

  it("never ends an interrupted overwrite in a mixture, whatever the owner does next", async () => {
    const { store, gateway } = at();
    const path = `${REMOTE}/mixture`;
    const data = sample(9_000_000);
    await plant(at(), "mixture", sample(1_000_003));
    await cutAfter(path, data, BLOCK, 20, false);
    const client = await SshSftpClient.connect(gateway);
    const size = (await sizeOf(client, path)) ?? 0;
    const attempt = async () => {
      const handle = await client.open(path, FXF.WRITE | FXF.CREAT | FXF.APPEND);
      await client.writeAll(handle, size, data.subarray(size), BLOCK);
      await client.close(handle);
    };
    const outcome = await attempt().then(
      () => "continued",
      () => "refused",
    );
    const now = store.sha256(`${STORED}/mixture`);
    if (outcome === "refused") expect(now).toBe(sha256(sample(1_000_003)));
    else expect([sha256(data), sha256(Buffer.concat([sample(1_000_003), data.subarray(1_000_003)]))]).toContain(now);
    if (outcome === "continued") expect(now, "the new file's tail on the old version").toBe(sha256(data));
    await client.putFile(path, data, BLOCK);
    expect(store.sha256(`${STORED}/mixture`)).toBe(sha256(data));
    await client.end();
  });

  it("discards an unfinished upload with rm, and replaces it by a new one from the start", async () => {
    const { store, gateway } = at();
    await cutAfter(`${REMOTE}/discard`, sample(9_000_000), BLOCK, 30, false);
    const client = await SshSftpClient.connect(gateway);
    await expect.poll(() => sizeOf(client, `${REMOTE}/discard`), { timeout: 10_000 }).toBe(29 * BLOCK);
    await client.remove(`${REMOTE}/discard`);
    expect(await sizeOf(client, `${REMOTE}/discard`)).toBeUndefined();
    await cutAfter(`${REMOTE}/discard`, sample(9_000_000), BLOCK, 30, false);
    await client.putFile(`${REMOTE}/discard`, sample(70_000));
    expect(store.sha256(`${STORED}/discard`)).toBe(sha256(sample(70_000)));
    await client.end();
  });

  it("keeps every received byte, also over a restart of the gateway", async () => {
    const { store, gateway } = at();
    const data = sample(9_000_000);
    const path = `${REMOTE}/restarted`;
    await cutAfter(path, data, BLOCK, 30, false);
    await gateway.stop();
    await gateway.start();
    const client = await SshSftpClient.connect(gateway);
    expect(await sizeOf(client, path)).toBe(29 * BLOCK);
    expect((await client.list(REMOTE)).find(({ filename }) => filename === "restarted")?.attributes.size).toBe(29 * BLOCK);
    await client.end();
    await resume(path, data);
    expect(store.sha256(`${STORED}/restarted`)).toBe(sha256(data));
  });

  it("gives two uploads of one name each their own, the last CLOSE wins", async () => {
    const { store, gateway } = at();
    const [one, two] = [await SshSftpClient.connect(gateway), await SshSftpClient.connect(gateway)];
    const path = `${REMOTE}/both`;
    const flags = FXF.WRITE | FXF.CREAT | FXF.TRUNC;
    const [first, second] = [await one.open(path, flags), await two.open(path, flags)];
    for (let offset = 0; offset < 9_000_000; offset += BLOCK) {
      await one.write(first, offset, sample(9_000_000).subarray(offset, offset + BLOCK));
      await two.write(second, offset, sample(9_000_001).subarray(offset, Math.min(offset + BLOCK, 9_000_000)));
    }
    await two.close(second);
    expect(store.sha256(`${STORED}/both`)).toBe(sha256(sample(9_000_001).subarray(0, 9_000_000)));
    await one.close(first);
    expect(store.sha256(`${STORED}/both`)).toBe(sha256(sample(9_000_000)));
    await one.end();
    await two.end();
  });
});

/** Two gateways with nothing in common but the bucket, as behind a load balancer. */
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { REMOTE, STORED } from "../interop/on-stores.ts";
import { sample } from "../interop/samples.ts";
import { BUCKET, startGateway, type TestGateway } from "../support/gateway.ts";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";
import { FXF } from "../support/sftp-packets.ts";
import { SshSftpClient } from "../support/ssh-sftp-client.ts";
import { sha256 } from "../support/test-store.ts";

let s3: S3Server;
let nodes: TestGateway[] = [];

beforeAll(async () => {
  s3 = await startS3Server({ buckets: [BUCKET] });
  nodes = [await startGateway({ s3 }), await startGateway({ s3 })];
});
afterEach(({ task }) => {
  if (task.result?.state === "fail") for (const node of nodes) process.stderr.write(`a node's log:\n${node.logText()}\n`);
});
afterAll(async () => {
  for (const node of nodes) await node.dispose();
  await s3.close();
});

async function onBoth(): Promise<[SshSftpClient, SshSftpClient]> {
  const [a, b] = nodes;
  if (!a || !b) throw new Error("two nodes were started");
  return [await SshSftpClient.connect(a), await SshSftpClient.connect(b)];
}

const stored = (name: string): string | undefined => nodes[0]?.store.sha256(`${STORED}/${name}`);

it.each([21 * 1024 * 1024 + 7, 40 * 1024 * 1024])("go on with an upload of %i bytes that was cut on the other", async (size) => {
  const data = sample(size);
  const [a, b] = await onBoth();
  const name = `cut-${size}`;
  const handle = await a.open(`${REMOTE}/${name}`, FXF.WRITE | FXF.CREAT | FXF.TRUNC);
  await a.writeAll(handle, 0, data.subarray(0, size - 1_000_000));
  a.destroy();
  let partial = 0;
  await expect
    .poll(async () => (partial = (await b.stat(`${REMOTE}/${name}`).catch(() => undefined))?.size ?? 0), { timeout: 20_000, interval: 100 })
    .toBeGreaterThan(0);
  expect(partial).toBeLessThan(size);
  expect(stored(name)).toBeUndefined();
  const resumed = await b.open(`${REMOTE}/${name}`, FXF.WRITE | FXF.CREAT | FXF.APPEND);
  await b.writeAll(resumed, partial, data.subarray(partial));
  await b.close(resumed);
  expect(stored(name)).toBe(sha256(data));
  await b.end();
});

it("let one of several writers of one name win, whole", async () => {
  const clients = [...(await onBoth()), ...(await onBoth())];
  const versions = clients.map((_, i) => sample(9 * 1024 * 1024 + i));
  for (let round = 0; round < 3; round++) {
    await Promise.all(clients.map((client, i) => client.putFile(`${REMOTE}/contended`, versions[i] ?? Buffer.alloc(0))));
    expect(versions.map(sha256)).toContain(stored("contended"));
  }
  for (const client of clients) await client.end();
});

it("let every reader see one whole version while the other node writes", async () => {
  const [writer, reader] = await onBoth();
  const versions = Array.from({ length: 6 }, (_, i) => Buffer.alloc(1_500_000, i + 1));
  await writer.putFile(`${REMOTE}/read`, versions[0] ?? Buffer.alloc(0));
  let isDone = false;
  const writing = (async () => {
    for (const version of versions.slice(1)) await writer.putFile(`${REMOTE}/read`, version);
    isDone = true;
  })();
  let whole = 0;
  do {
    const bytes = await reader.getFile(`${REMOTE}/read`).catch((error: unknown) => {
      // Replaced while it was read: said, not mixed.
      expect(String(error)).toContain("status 4");
      return undefined;
    });
    if (!bytes) continue;
    expect(versions.some((version) => version.equals(bytes))).toBe(true);
    whole++;
  } while (!isDone);
  await writing;
  await expect
    .poll(async () => (await reader.getFile(`${REMOTE}/read`).catch(() => Buffer.alloc(0)))[0], { timeout: 10_000, interval: 100 })
    .toBe(versions.length);
  expect(whole).toBeGreaterThanOrEqual(0);
  await Promise.all([writer.end(), reader.end()]);
});

it("see within seconds what the other wrote and removed", async () => {
  const [a, b] = await onBoth();
  const names = async (client: SshSftpClient): Promise<string[]> => (await client.list(`${REMOTE}/seen`)).map(({ filename }) => filename);
  await a.mkdir(`${REMOTE}/seen`);
  await a.putFile(`${REMOTE}/seen/one`, sample(10));
  await expect.poll(() => names(b).catch(() => []), { timeout: 10_000, interval: 100 }).toEqual(["one"]);
  await b.remove(`${REMOTE}/seen/one`);
  await expect.poll(() => names(a), { timeout: 10_000, interval: 100 }).toEqual([]);
  await Promise.all([a.end(), b.end()]);
});

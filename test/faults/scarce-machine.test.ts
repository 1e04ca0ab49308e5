import { mkdirSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { REMOTE, STORED } from "../interop/on-stores.ts";
import { sample } from "../interop/samples.ts";
import { BUCKET, type GatewayOptions, startGateway, type TestGateway } from "../support/gateway.ts";
import { requireTool } from "../support/require-tool.ts";
import { fillDisk, hasSmallDisks, memoryLimit, smallDisk } from "../support/scarce.ts";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";
import { FXF } from "../support/sftp-packets.ts";
import { SftpStatusError, SshSftpClient } from "../support/ssh-sftp-client.ts";
import { sha256 } from "../support/test-store.ts";

const BLOCK = 255 * 1024;
const old = sample(1_000_003);
const path = `${REMOTE}/file`;
const cleanups: (() => Promise<void> | void)[] = [];

async function start(options: GatewayOptions & { readonly onS3?: boolean }): Promise<{ gateway: TestGateway; s3: S3Server | undefined }> {
  const s3 = options.onS3 ? await startS3Server({ buckets: [BUCKET] }) : undefined;
  if (s3) cleanups.unshift(() => s3.close());
  const gateway = await startGateway({ ...options, ...(s3 && { s3 }) });
  cleanups.unshift(() => gateway.dispose());
  return { gateway, s3 };
}

afterEach(async ({ task }) => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
  if (task.result?.state === "fail") process.stderr.write(`failed: ${task.name}\n`);
});

const fails = (request: Promise<unknown>) =>
  request.then(
    () => undefined,
    (error: unknown) => error,
  );

describe.skipIf(!requireTool("prlimit"))("few file descriptors", () => {
  it("refuse strangers, keep the sessions that are there, and let customers in again afterwards", async () => {
    const { gateway } = await start({ onS3: true, launcher: ["prlimit", "--nofile=160:160"] });
    const client = await SshSftpClient.connect(gateway);
    await client.putFile(path, sample(70_000));
    const strangers: Socket[] = [];
    for (let n = 0; n < 400; n++) {
      const socket = connect(gateway.port, "127.0.0.1");
      socket.on("error", () => undefined); // being refused is what is expected
      strangers.push(socket);
    }
    await new Promise((resolve) => setTimeout(resolve, 1_000)); // time for all of them to arrive; nothing tells it
    const during = await fails(client.putFile(`${path}-during`, sample(70_001)));
    if (during === undefined) expect(gateway.store.sha256(`${STORED}/file-during`)).toBe(sha256(sample(70_001)));
    else expect(during).toBeInstanceOf(SftpStatusError);
    for (const socket of strangers) socket.destroy();
    await expect.poll(() => fails(SshSftpClient.connect(gateway).then((one) => one.end())), { timeout: 10_000 }).toBeUndefined();
    await client.putFile(`${path}-after`, sample(9_000_000), BLOCK);
    expect(gateway.store.sha256(`${STORED}/file-after`)).toBe(sha256(sample(9_000_000)));
    await client.end();
  });
});

/** A small disk that goes with the test. */
function disk(mebibytes: number): string {
  const made = smallDisk(mebibytes);
  if (!made) throw new Error("no small disk");
  cleanups.push(() => made.remove());
  return made.value;
}

describe.skipIf(!hasSmallDisks())("a full disk", () => {
  it("of the local store is told, keeps the old version, and is forgotten once there is room", async () => {
    const { gateway } = await start({ files: join(disk(32), "files") });
    const client = await SshSftpClient.connect(gateway);
    await client.putFile(path, old);
    const error = await fails(client.putFile(path, sample(40_000_000), BLOCK));
    expect(error).toBeInstanceOf(SftpStatusError);
    expect((error as Error).message).toMatch(/space|full/i);
    expect(gateway.store.sha256(`${STORED}/file`)).toBe(sha256(old));
    await client.remove(`${path}-none`).catch(() => undefined); // whatever the answer, the session goes on
    await fails(client.remove(path));
    await client.putFile(path, sample(70_000));
    expect(gateway.store.sha256(`${STORED}/file`)).toBe(sha256(sample(70_000)));
    await client.end();
  });

  it("of the state directory costs no published byte, and a cut upload continues from what there was room for", async () => {
    const state = disk(24);
    const { gateway } = await start({ onS3: true, state: join(state, "state") });
    const free = fillDisk(state);
    const client = await SshSftpClient.connect(gateway);
    await client.putFile(path, sample(70_000));
    await client.putFile(path, sample(20_000_000), BLOCK);
    expect(gateway.store.sha256(`${STORED}/file`)).toBe(sha256(sample(20_000_000)));
    expect((await client.list(REMOTE)).map(({ filename }) => filename)).toContain("file");
    const handle = await client.open(`${path}-cut`, FXF.WRITE | FXF.CREAT | FXF.TRUNC);
    await client.writeAll(handle, 0, sample(20_000_000).subarray(0, 18_000_000), BLOCK);
    client.destroy();
    const next = await SshSftpClient.connect(gateway);
    const send = async (size: number) => {
      const again = await next.open(`${path}-cut`, FXF.WRITE | FXF.CREAT | (size > 0 ? FXF.APPEND : FXF.TRUNC));
      await next.writeAll(again, size, sample(20_000_000).subarray(size), BLOCK);
      await next.close(again);
    };
    const { size = 0 } = await next.stat(`${path}-cut`);
    expect(size).toBeLessThanOrEqual(18_000_000);
    // There was no room to keep the tail, nor to write down what the store has: a resume is refused in words, never mixed up.
    const refused = await fails(send(size));
    if (refused !== undefined) {
      expect(String(refused)).toMatch(/continue at \d+|send the file again from the start/);
      await send(0);
    }
    expect(gateway.store.sha256(`${STORED}/file-cut`)).toBe(sha256(sample(20_000_000)));
    free();
    await next.putFile(path, sample(9_000_000), BLOCK);
    await next.end();
    await gateway.kill();
    await gateway.start();
    const last = await SshSftpClient.connect(gateway);
    expect(sha256(await last.getFile(path, BLOCK))).toBe(sha256(sample(9_000_000)));
    await last.end();
  });

  it("of the state directory loses nothing that was closed under a temporary name", async () => {
    const state = disk(24);
    const { gateway } = await start({ onS3: true, state: join(state, "state") });
    const client = await SshSftpClient.connect(gateway);
    await client.putFile(`${path}-before.filepart`, sample(70_000));
    const free = fillDisk(state);
    const names = ["small.filepart", "large.filepart", "small.hAk5.partial", "large.hAk5.partial"];
    const bytes = (name: string) => sample(name.startsWith("small") ? 70_000 : 12_000_000);
    for (const name of names) await client.putFile(`${REMOTE}/${name}`, bytes(name), BLOCK);
    await client.end();
    await gateway.kill();
    free();
    await gateway.start();
    const next = await SshSftpClient.connect(gateway);
    for (const name of names) {
      await next.rename(`${REMOTE}/${name}`, `${REMOTE}/${name}-done`);
      expect(gateway.store.sha256(`${STORED}/${name}-done`)).toBe(sha256(bytes(name)));
    }
    await next.rename(`${path}-before.filepart`, `${path}-before`);
    expect(gateway.store.sha256(`${STORED}/file-before`)).toBe(sha256(sample(70_000)));
    await next.end();
  });

  it("at the start is told in one line, and the gateway does not pretend to run", async () => {
    const state = disk(1);
    mkdirSync(join(state, "state"));
    const free = fillDisk(state);
    const outcome = await fails(start({ onS3: true, state: join(state, "state") }));
    expect(String(outcome)).toMatch(/no space left on its disk/);
    free();
  });
});

const limit = memoryLimit(512);
afterAll(() => limit?.remove());

describe.skipIf(!limit)("a memory limit of 512 MiB", () => {
  it("is enough for 64 uploads at once to a slow store", async () => {
    const { gateway, s3 } = await start({ onS3: true, launcher: limit?.value ?? [] });
    if (s3) s3.uploadBytesPerSecond = 40 * 1024 * 1024;
    const clients = await Promise.all(Array.from({ length: 64 }, () => SshSftpClient.connect(gateway)));
    await Promise.all(clients.map((client, n) => client.putFile(`${path}-${n}`, sample(6_000_000))));
    for (let n = 0; n < clients.length; n++) expect(gateway.store.sha256(`${STORED}/file-${n}`)).toBe(sha256(sample(6_000_000)));
    await Promise.all(clients.map((client) => client.end()));
    expect(limit?.peakMiB()).toBeLessThanOrEqual(512);
    await gateway.dispose();
  });
});

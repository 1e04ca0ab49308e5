/** Several worker processes behind one port: one tree, one set of limits, and a crash that ends only its own sessions. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { StateDirectory } from "../../src/state/state-directory.ts";
import { REMOTE, STORED } from "../interop/on-stores.ts";
import { sample } from "../interop/samples.ts";
import { BUCKET, startGateway, type TestGateway } from "../support/gateway.ts";
import { run, runOk } from "../support/processes.ts";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";
import { FXF } from "../support/sftp-packets.ts";
import { SshSftpClient } from "../support/ssh-sftp-client.ts";
import { sha256 } from "../support/test-store.ts";
import { connectServed, connectToBoth, logged, readyWorkers, startBalancer, untilReady } from "../support/workers.ts";

const WORKERS = "workers: 2";
let gateway: TestGateway | undefined;
let s3: S3Server | undefined;

async function start(...serverYaml: readonly string[]): Promise<TestGateway> {
  gateway = await startGateway({ ...(s3 && { s3 }), serverYaml: [WORKERS, ...serverYaml], topYaml: ['admin: { listen: "127.0.0.1:0" }'] });
  await untilReady(gateway);
  return gateway;
}

beforeEach(() => {
  s3 = undefined;
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") process.stderr.write(`gateway's log (${task.name}):\n${gateway?.logText() ?? ""}\n`);
  await gateway?.dispose();
  await s3?.close();
});

describe.each(["local", "s3"] as const)("two workers on %s", (kind) => {
  beforeEach(async () => {
    if (kind === "s3") s3 = await startS3Server({ buckets: [BUCKET] });
  });

  it("show at once on one what was done on the other", async () => {
    const both = await connectToBoth(await start());
    const names = async (client: SshSftpClient): Promise<string[]> => (await client.list(REMOTE)).map(({ filename }) => filename).sort();
    for (const client of both) expect(await names(client)).toEqual([]);
    for (let round = 0; round < 40; round++) {
      const [writer, reader] = round % 2 === 0 ? both : [both[1], both[0]];
      const path = `${REMOTE}/f${round}`;
      await expect(reader.stat(path)).rejects.toThrow("status 2");
      await writer.putFile(path, sample(100 + round));
      expect((await reader.stat(path)).size).toBe(100 + round);
      await writer.putFile(path, sample(200 + round));
      expect((await reader.stat(path)).size).toBe(200 + round);
      expect(await reader.getFile(path)).toEqual(sample(200 + round));
      await writer.rename(path, `${path}.new`);
      await expect(reader.stat(path)).rejects.toThrow("status 2");
      expect(await names(reader)).toEqual([`f${round}.new`]);
      await reader.remove(`${path}.new`);
      expect(await names(writer)).toEqual([]);
      await writer.mkdir(`${REMOTE}/d${round}`);
      await reader.putFile(`${REMOTE}/d${round}/in`, sample(5));
      expect((await writer.stat(`${REMOTE}/d${round}/in`)).size).toBe(5);
      await writer.remove(`${REMOTE}/d${round}/in`);
      await reader.rmdir(`${REMOTE}/d${round}`);
      await expect(writer.stat(`${REMOTE}/d${round}`)).rejects.toThrow("status 2");
    }
  });

  it("leave each other alone when one is killed, which comes back, and whose upload the other goes on with", async () => {
    const running = await start();
    const data = sample(21 * 1024 * 1024 + 7);
    const [kept, lost] = await connectToBoth(running);
    const handle = await lost.open(`${REMOTE}/lost`, FXF.WRITE | FXF.CREAT | FXF.TRUNC);
    await lost.writeAll(handle, 0, data.subarray(0, 18 * 1024 * 1024));
    const upload = kept.putFile(`${REMOTE}/kept`, data);
    const [, victim] = readyWorkers(running);
    process.kill(victim?.pid ?? 0, "SIGKILL");
    await expect(lost.stat(REMOTE)).rejects.toThrow();
    await upload;
    expect(running.store.sha256(`${STORED}/kept`)).toBe(sha256(data));
    expect(running.store.sha256(`${STORED}/lost`)).toBeUndefined();
    await vi.waitFor(() => expect(logged(running, "worker ended, another is started")).toHaveLength(1), 10_000);
    // What the store had of it: a part that was still on its way is lost with the process.
    const partial = (await kept.stat(`${REMOTE}/lost`).catch(() => undefined))?.size ?? 0;
    expect(partial).toBeLessThanOrEqual(18 * 1024 * 1024);
    const resumed = await kept.open(`${REMOTE}/lost`, FXF.WRITE | FXF.CREAT | FXF.APPEND);
    await kept.writeAll(resumed, partial, data.subarray(partial));
    await kept.close(resumed);
    expect(running.store.sha256(`${STORED}/lost`)).toBe(sha256(data));
    await vi.waitFor(() => expect(readyWorkers(running)[1]?.pid).not.toBe(victim?.pid), 20_000);
    const { port, user, keyFile } = running;
    expect((await connectServed(running, { port, user, keyFile, localAddress: "127.0.0.3" })).slot).toBe(1);
  });
});

it("has a supervisor that loads nothing that serves sessions", async () => {
  const running = await start();
  const loaded = (pid: number): string => readFileSync(`/proc/${pid}/maps`, "utf8");
  expect(loaded(readyWorkers(running)[0]?.pid ?? 0)).toMatch(/lmdb.*\.node/);
  expect(loaded(running.pid)).not.toMatch(/\.node$/m);
});

it("bounds the sessions of a user over all workers", async () => {
  const running = await start("limits: { maxSessionsPerUser: 2 }");
  const clients = await connectToBoth(running);
  // Its worker lets it in, having one session of the user, and ends it when the supervisor has counted.
  const third = await SshSftpClient.connect(running).catch(() => undefined);
  await vi.waitFor(() => expect(third?.isClosed ?? true).toBe(true));
  for (const client of clients) expect(client.isClosed).toBe(false);
  await clients[0].end();
  await vi.waitFor(async () => (await SshSftpClient.connect(running)).stat(REMOTE), { timeout: 10_000, interval: 50 });
});

it("adds up what workers count, and keeps what a killed one had counted", async () => {
  const running = await start();
  const url = `http://${String(logged(running, "admin server listening")[0]?.address)}`;
  const value = async (name: string): Promise<number> => {
    const text = await (await fetch(`${url}/metrics`)).text();
    return Number(new RegExp(`^${name.replaceAll(/[{}"]/g, "\\$&")} (\\S+)$`, "m").exec(text)?.[1]);
  };
  const [one, two] = await connectToBoth(running);
  for (const [index, client] of [one, two].entries()) await client.putFile(`${REMOTE}/f${index}`, sample(10));
  expect(await value("gateway_sessions")).toBe(2);
  expect(await value("gateway_workers")).toBe(2);
  const puts = await value('gateway_store_requests_total{operation="put"}');
  expect(puts).toBeGreaterThanOrEqual(2);
  expect(await value('gateway_resident_bytes{process="worker-1"}')).toBeGreaterThan(1e6);
  process.kill(readyWorkers(running)[1]?.pid ?? 0, "SIGKILL");
  await vi.waitFor(async () => expect(await value("gateway_worker_restarts_total")).toBe(1), { timeout: 10_000, interval: 50 });
  await vi.waitFor(async () => expect(await value("gateway_workers")).toBe(2), { timeout: 20_000, interval: 50 });
  expect(await value('gateway_store_requests_total{operation="put"}')).toBeGreaterThanOrEqual(puts);
  expect(await value("gateway_sessions")).toBe(1);
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
});

it("ends the sessions of a removed user on every worker", async () => {
  const running = await start();
  const clients = await connectToBoth(running);
  const gone = clients.map((client) => new Promise((resolve) => client.ssh.on("close", () => resolve(undefined))));
  const others = running.configFile;
  await runOk("sed", ["-i", "s/^  alice:/  dora:/", others]);
  await Promise.all(gone);
});

it("tells those who come while it drains why they are refused, and lets transfers finish", async () => {
  const running = await start("limits: { drain: 20s }");
  const clients = await connectToBoth(running);
  const handles = await Promise.all(clients.map((client, i) => client.open(`${REMOTE}/f${i}`, FXF.WRITE | FXF.CREAT)));
  const stopped = running.stop();
  await vi.waitFor(() => expect(logged(running, "draining")).toHaveLength(1));
  const refused = await run("ssh", [...running.sshOptions, "-p", String(running.port), `${running.user}@127.0.0.1`, "pwd"]);
  expect(refused.code).toBe(255);
  expect(refused.stderr).toContain("the server is shutting down");
  for (const [i, client] of clients.entries()) {
    await client.write(handles[i] ?? new Uint8Array(), 0, sample(100));
    await client.close(handles[i] ?? new Uint8Array());
    client.ssh.end();
  }
  expect(await stopped).toBe(0);
  expect(running.store.names()).toEqual([`${STORED}/f0`, `${STORED}/f1`]);
});

/** Resolves once a worker has told the others of a change that takes long. */
async function untilTold(running: TestGateway): Promise<void> {
  const state = await StateDirectory.open(join(running.dir, "state"));
  try {
    await vi.waitFor(
      () => {
        state.refresh();
        expect([...state.table("slow-writes").range({})]).toHaveLength(1);
      },
      { timeout: 20_000 },
    );
  } finally {
    await state.close();
  }
}

it("keep the order of changes of one name: what a store is slow with comes before what was confirmed later", async () => {
  s3 = await startS3Server({ buckets: [BUCKET] });
  const running = await start();
  const [early, late] = await connectToBoth(running);
  let release: () => void = () => undefined;
  const until = new Promise<void>((resolve) => {
    release = resolve;
  });
  const held = s3.fault({ operation: "PutObject", action: { kind: "hold", until } });
  const first = early.putFile(`${REMOTE}/same`, sample(1_000)).catch(() => undefined); // it never hears
  await held.firstHit;
  // The client that began is gone; what it had asked for goes on.
  early.ssh.end();
  await untilTold(running);
  const second = late.putFile(`${REMOTE}/same`, sample(2_000));
  const isEarly = await Promise.race([second.then(() => true), late.stat(REMOTE).then(() => false)]);
  expect(isEarly).toBe(false);
  release();
  await second;
  await first;
  expect(running.store.sha256(`${STORED}/same`)).toBe(sha256(sample(2_000)));
  expect(s3.requests.count("PutObject")).toBe(2);
});

it("serves again at once after the supervisor was killed", async () => {
  const running = await start();
  const [one, two] = await connectToBoth(running);
  const handle = await two.open(`${REMOTE}/open`, FXF.WRITE | FXF.CREAT);
  await two.writeAll(handle, 0, sample(300_000));
  const workers = readyWorkers(running);
  await running.kill();
  running.log.length = 0;
  await running.start();
  await expect(one.stat(REMOTE)).rejects.toThrow();
  await untilReady(running);
  const client = await SshSftpClient.connect(running);
  const partial = (await client.stat(`${REMOTE}/open`)).size ?? 0;
  const resumed = await client.open(`${REMOTE}/open`, FXF.WRITE | FXF.CREAT | FXF.APPEND);
  await client.writeAll(resumed, partial, sample(300_000).subarray(partial));
  await client.close(resumed);
  expect(running.store.sha256(`${STORED}/open`)).toBe(sha256(sample(300_000)));
  await vi.waitFor(
    () => {
      for (const { pid } of workers) expect(() => process.kill(pid, 0)).toThrow();
    },
    { timeout: 10_000, interval: 50 },
  );
});

it("forgets no connection that a killed worker was handed and had not taken", async () => {
  gateway = await startGateway({ serverYaml: ["workers: 1"] });
  const [worker] = await untilReady(gateway, 1);
  const pid = worker?.pid ?? 0;
  process.kill(pid, "SIGSTOP");
  const sockets = Array.from({ length: 10 }, () => connect({ host: "127.0.0.1", port: gateway?.port ?? 0 }));
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  // Those that were accepted late are served by the next worker.
  const settled = sockets.map((socket) => {
    socket.on("error", () => undefined);
    return Promise.race([once(socket, "data"), once(socket, "close")]);
  });
  const beforeLast = connect({ host: "127.0.0.1", port: gateway.port }); // those before have been accepted when it has
  await once(beforeLast, "connect");
  beforeLast.destroy();
  process.kill(pid, "SIGKILL");
  await Promise.all(settled);
  for (const socket of sockets) socket.destroy();
  expect((await SshSftpClient.connect(gateway)).isClosed).toBe(false);
});

it("loses no first byte of a client that speaks at once, on either worker", async () => {
  const running = await start();
  for (let i = 0; i < 20; i++) {
    const socket = connect({ host: "127.0.0.1", port: running.port, noDelay: true });
    socket.write("SSH-2.0-quick\r\nnot a packet");
    let text = "";
    for await (const chunk of socket) text += String(chunk);
    expect(text).toMatch(/^SSH-2.0-/);
  }
  const violations = logged(running, "protocol violation");
  for (const line of violations) expect(String(line.reason)).not.toContain("identification");
});

describe("behind a load balancer", () => {
  const from = (address: string): Buffer => Buffer.from(`PROXY TCP4 ${address} 198.51.100.1 40000 22\r\n`);
  const v2 = Buffer.concat([
    Buffer.from("0d0a0d0a000d0a515549540a2111000c", "hex"),
    Buffer.from([192, 0, 2, 8, 198, 51, 100, 1, 0x30, 0x39, 0, 22]),
  ]);

  it("clients are known by the address that the balancer names, in both versions", async () => {
    const running = await start("proxyProtocol: [127.0.0.0/8]");
    for (const [header, address] of [
      [from("192.0.2.7"), "192.0.2.7"],
      [v2, "192.0.2.8"],
    ] as const) {
      const port = await startBalancer(running.port, header);
      const { client } = await connectServed(running, { port, user: running.user, keyFile: running.keyFile });
      await client.putFile(`${REMOTE}/f`, sample(1_000_003));
      expect(sha256(await client.getFile(`${REMOTE}/f`))).toBe(sha256(sample(1_000_003)));
      expect(logged(running, "login").at(-1)).toMatchObject({ remoteAddress: address });
      await client.end();
      const options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"];
      const args = [...options, ...running.sshOptions, "-P", String(port), "-b", "-", `${running.user}@127.0.0.1`];
      await runOk("sftp", args, { input: `ls ${REMOTE}\n` });
    }
  });

  it("who brings no header is refused, and limits count for the named address", async () => {
    const running = await start("proxyProtocol: [127.0.0.1]", "limits: { maxUnauthenticatedPerIp: 1 }");
    const socket = connect(running.port, "127.0.0.1");
    socket.write("SSH-2.0-direct\r\n");
    let text = "";
    for await (const chunk of socket) text += String(chunk);
    expect(text).toBe("");
    await vi.waitFor(() => expect(logged(running, "load balancer's connection refused")[0]).toMatchObject({ reason: "no PROXY header" }));
    const [one, other] = [await startBalancer(running.port, from("192.0.2.7")), await startBalancer(running.port, from("192.0.2.9"))];
    const silent = connect(one, "127.0.0.1").resume();
    const closed = new Promise((resolve) => silent.once("close", resolve));
    const login = (port: number) => SshSftpClient.connect({ port, user: running.user, keyFile: running.keyFile });
    await (await login(other)).end();
    expect(silent.closed).toBe(false);
    await (await login(one)).end();
    await closed;
  });

  it("a header from anybody else is no SSH", async () => {
    const running = await start("proxyProtocol: [192.0.2.0/24]");
    const socket = connect(running.port, "127.0.0.1").resume();
    socket.write(from("192.0.2.7"));
    await new Promise((resolve) => socket.once("close", resolve));
    await vi.waitFor(() => expect(logged(running, "protocol violation")).toHaveLength(1));
  });
});

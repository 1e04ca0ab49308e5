/** What tests of several worker processes need: who serves whom, and a balancer in front. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished } from "vitest";
import type { LogLine, TestGateway } from "./gateway.ts";
import { type LoginTarget, SshSftpClient } from "./ssh-sftp-client.ts";

/** A worker as the supervisor's log names it. */
export interface ReadyWorker {
  readonly slot: number;
  readonly pid: number;
}

/** The worker of each slot that became ready last. */
export function readyWorkers(gateway: TestGateway): ReadyWorker[] {
  const bySlot = new Map<number, ReadyWorker>();
  for (const line of logged(gateway, "worker ready")) {
    bySlot.set(Number(line.worker), { slot: Number(line.worker), pid: Number(line.pid) });
  }
  return [...bySlot.values()].sort((a, b) => a.slot - b.slot);
}

/** Resolves once `count` workers have become ready since the log was last emptied. */
export async function untilReady(gateway: TestGateway, count = 2): Promise<ReadyWorker[]> {
  await expect.poll(() => readyWorkers(gateway).length, { timeout: 30_000, interval: 20 }).toBe(count);
  return readyWorkers(gateway);
}

/** Lines of the log with that message. */
export function logged(gateway: TestGateway, message: string): LogLine[] {
  return gateway.log.filter(({ msg }) => msg === message);
}

/** A client and the slot of the worker that serves it. */
export interface ServedClient {
  readonly client: SshSftpClient;
  readonly slot: number;
}

/** Logs in; clients of one gateway must come one after the other. */
export async function connectServed(gateway: TestGateway, target: LoginTarget = gateway): Promise<ServedClient> {
  const before = logged(gateway, "login").length;
  const client = await SshSftpClient.connect(target);
  await expect.poll(() => logged(gateway, "login").length, { timeout: 10_000, interval: 5 }).toBeGreaterThan(before);
  return { client, slot: Number(logged(gateway, "login")[before]?.worker) };
}

/** One client on each of two workers: clients of one address come to one. */
export async function connectToBoth(gateway: TestGateway): Promise<[SshSftpClient, SshSftpClient]> {
  const first = await connectServed(gateway);
  const { port, user, keyFile } = gateway;
  const second = await connectServed(gateway, { port, user, keyFile, localAddress: "127.0.0.2" });
  expect([first.slot, second.slot].sort()).toEqual([0, 1]);
  return first.slot === 0 ? [first.client, second.client] : [second.client, first.client];
}

/** A balancer in front of `port` that begins each connection with `header`; returns its port. Ends with the test. */
export async function startBalancer(port: number, header: Uint8Array): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    upstream.write(header);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
    }
    client.pipe(upstream).pipe(client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

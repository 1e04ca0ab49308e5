/** Attacks by somebody who cannot log in, on the built gateway: see docs/security.md, whose table names these tests. */
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { encodeMessage, Message } from "../../src/ssh/messages.ts";
import { HostileGateway } from "../support/hostile-gateway.ts";
import { RawClient } from "../unit/ssh/raw-client.ts";

let hostile: HostileGateway;
beforeAll(async () => {
  hostile = await HostileGateway.start();
});
afterAll(() => hostile.dispose());

const halfOpen = (): Promise<Socket> =>
  new Promise((resolve) => {
    const socket: Socket = connect({ host: "127.0.0.1", port: hostile.gateway.port, noDelay: true }, () => resolve(socket));
    socket.on("error", () => undefined);
    socket.resume();
  });
const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => (socket.destroyed ? resolve() : void socket.once("close", () => resolve())));

it("1,600 half-open connections", async () => {
  const flood: Socket[] = [];
  await hostile.survives(async () => {
    for (let at = 0; at < 16; at++) flood.push(...(await Promise.all(Array.from({ length: 100 }, halfOpen))));
    // A login comes through as soon as the first of them are old enough to give way.
  }, /too many connections without login/);
  for (const socket of flood) socket.destroy();
});

it("100 connections in the middle of a key exchange, of which none goes on", async () => {
  const clients: RawClient[] = [];
  await hostile.survives(async () => {
    for (let at = 0; at < 100; at++) clients.push(await RawClient.connect(hostile.gateway.port));
  }, undefined);
  for (const client of clients) client.socket.destroy();
});

it("banner floods: lines without end before the identification, and a line without end", () =>
  hostile.survives(async () => {
    for (const text of ["hello\r\n".repeat(50_000), `SSH-2.0-${"a".repeat(1_000_000)}`]) {
      const socket = await halfOpen();
      socket.write(text);
      await closed(socket);
    }
  }, /protocol violation: (not an SSH client|the identification line is too long)/));

it("an identification that comes byte by byte and never ends", async () => {
  const sockets = await Promise.all(Array.from({ length: 50 }, halfOpen));
  await hostile.survives(async () => {
    for (const byte of `SSH-2.0-${"a".repeat(300)}`) {
      for (const socket of sockets) socket.write(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(sockets.map(closed));
  }, /the identification line is too long/);
});

it("thousands of probes and tries", () =>
  hostile.survives(async () => {
    let failures = 0;
    for (let at = 0; at < 40; at++) {
      const client = await RawClient.connect(hostile.gateway.port);
      client.send(encodeMessage(Message.SERVICE_REQUEST, "ssh-userauth"));
      for (let tried = 0; tried < 100; tried++) {
        const request = [
          Message.USERAUTH_REQUEST,
          `user${tried}`,
          "ssh-connection",
          "publickey",
          false,
          "ssh-ed25519",
          Buffer.alloc(51),
        ] as const;
        client.send(encodeMessage(...request));
      }
      await client.closed;
      failures += client.received.filter((payload) => payload[0] === Message.USERAUTH_FAILURE).length;
    }
    // What the server answered last may be lost with its reset.
    expect(failures).toBeGreaterThan(0);
    expect(failures).toBeLessThanOrEqual(40 * 5);
  }, /too many authentication failures/));

it("packets of impossible lengths and floods before login", () =>
  hostile.survives(async () => {
    for (const bytes of [Buffer.alloc(16), Buffer.alloc(64, 0xff), Buffer.alloc(2_000_000, 7)]) {
      const socket = await halfOpen();
      socket.write("SSH-2.0-x\r\n");
      socket.write(bytes);
      await closed(socket);
    }
    const client = await RawClient.connect(hostile.gateway.port);
    for (let at = 0; at < 200; at++) client.send(encodeMessage(Message.IGNORE, Buffer.alloc(30_000)));
    await client.closed;
  }, /too much data before login/));

/** Floods of connections and clients that take their time: places, grace, drain and removed keys. */
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { encodeMessage, Message } from "../../src/ssh/messages.ts";
import { DEFAULT_LIMITS } from "../../src/ssh/ssh-server.ts";
import { RawClient } from "../unit/ssh/raw-client.ts";
import { type Fixture, startServer } from "../unit/ssh/server-fixture.ts";

let fixture: Fixture;
afterEach(() => fixture.stop());

function halfOpen(port: number): Promise<Socket> {
  return new Promise((resolve) => {
    const socket: Socket = connect({ host: "127.0.0.1", port }, () => resolve(socket));
    socket.on("error", () => undefined);
    socket.resume();
  });
}
const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => (socket.destroyed ? resolve() : void socket.once("close", () => resolve())));
const key = (): string => join(fixture.folder, "ed25519");

it("lets a login in through a flood of half-open connections", async () => {
  const unauthenticated = { total: 20, perAddress: 20, evictableAfterMs: 0 };
  fixture = await startServer({ limits: { unauthenticated } });
  const flood = await Promise.all(Array.from({ length: 200 }, () => halfOpen(fixture.port)));
  const started = performance.now();
  const client = await RawClient.login(fixture.port, key());
  expect(performance.now() - started).toBeLessThan(3_000);
  expect(fixture.server.connectionCount).toBeLessThanOrEqual(21);
  client.socket.destroy();
  for (const socket of flood) socket.destroy();
});

it("turns newcomers away while all places are taken by young connections with keys, and says why", async () => {
  fixture = await startServer({ limits: { unauthenticated: { total: 100, perAddress: 3, evictableAfterMs: 60_000 } } });
  const flood = [];
  for (let at = 0; at < 3; at++) flood.push((await RawClient.connect(fixture.port)).socket);
  const extra = await halfOpen(fixture.port);
  await closed(extra);
  const line = await fixture.logged((entry) => entry.audit === true);
  expect(line).toMatchObject({ remoteAddress: "127.0.0.1", reason: "too many connections without login" });
  for (const socket of flood) socket.destroy();
});

it("closes who does not log in within the grace time, at every stage, and reports it", async () => {
  const offences: string[] = [];
  const sources = {
    refusal: () => undefined,
    offence: (_address: string, kind: string) => void offences.push(kind),
    loggedIn: () => undefined,
  };
  fixture = await startServer({ sources, limits: { loginGraceMs: 200 } });
  const silent = await halfOpen(fixture.port);
  const talker = await halfOpen(fixture.port);
  talker.write("SSH-2.0-x\r\n");
  const client = await RawClient.connect(fixture.port);
  await Promise.all([closed(silent), closed(talker), client.closed]);
  expect(offences).toEqual(["login-timeout", "login-timeout", "login-timeout"]);
});

it("serves nobody a source policy refuses", async () => {
  fixture = await startServer({ sources: { refusal: () => "not now", offence: () => undefined, loggedIn: () => undefined } });
  const socket = await halfOpen(fixture.port);
  const text: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => text.push(chunk));
  await closed(socket);
  expect(Buffer.concat(text).toString()).toBe("not now\r\n");
});

it("ends the live sessions of a removed key and no others", async () => {
  fixture = await startServer();
  const one = await RawClient.login(fixture.port, key());
  const two = await RawClient.login(fixture.port, key());
  const [session] = fixture.server.registry.sessions;
  expect(fixture.server.registry.endSessions("bob", () => true, "removed")).toBe(0);
  expect(fixture.server.registry.endSessions("alice", (print) => print !== session?.keyFingerprint, "removed")).toBe(0);
  expect(fixture.server.registry.endSessions("alice", (print) => print === session?.keyFingerprint, "your key was removed")).toBe(2);
  await Promise.all([one.closed, two.closed]);
  await fixture.logged((line) => line.msg === "logout" && line.reason === "your key was removed");
  expect(fixture.server.registry.sessions).toHaveLength(0);
});

it("bounds the sessions of one user", async () => {
  fixture = await startServer({ limits: { sessionsPerUser: 1 } });
  const one = await RawClient.login(fixture.port, key());
  await expect(RawClient.login(fixture.port, key())).rejects.toThrow();
  one.socket.destroy();
  await one.closed;
});

it("drains: no new logins, running channels finish, then all are gone", async () => {
  fixture = await startServer();
  const idle = await RawClient.login(fixture.port, key());
  const busy = await RawClient.login(fixture.port, key());
  const { number } = await busy.openSession();
  busy.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", true, "count"));
  await busy.next(Message.CHANNEL_SUCCESS);
  const drained = fixture.server.drain(20_000);
  await idle.closed;
  await expect(RawClient.login(fixture.port, key())).rejects.toThrow();
  busy.send(encodeMessage(Message.CHANNEL_DATA, number, "abc"));
  busy.send(encodeMessage(Message.CHANNEL_EOF, number));
  await busy.next(Message.CHANNEL_DATA);
  await busy.next(Message.CHANNEL_CLOSE);
  busy.send(encodeMessage(Message.CHANNEL_CLOSE, number));
  await busy.closed;
  await drained;
});

it("ends logins that have lasted as long as they may, also busy ones", async () => {
  fixture = await startServer({ limits: { ...DEFAULT_LIMITS, keepaliveMs: 20, lifetimeMs: 150 } });
  const client = await RawClient.login(fixture.port, key());
  const { number } = await client.openSession();
  client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", true, "hold"));
  await client.closed;
  await fixture.logged((line) => line.msg === "logout" && String(line.reason).startsWith("this login has lasted"));
});

it("ends idle logins and those that give no sign of life", async () => {
  fixture = await startServer({ limits: { ...DEFAULT_LIMITS, keepaliveMs: 20, keepaliveCount: 3, idleMs: 100 } });
  const idle = await RawClient.login(fixture.port, key());
  await idle.closed;
  expect(idle.received.some((payload) => payload[0] === Message.GLOBAL_REQUEST)).toBe(true);
});

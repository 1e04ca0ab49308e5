/** Random and damaged messages before and after login: the server answers or drops, and always serves the next one. */
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import fc from "../support/fast-check.ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import { encodeMessage, Message } from "../../src/ssh/messages.ts";
import { RawClient } from "../unit/ssh/raw-client.ts";
import { type Fixture, startServer } from "../unit/ssh/server-fixture.ts";

let fixture: Fixture;
let keyFile: string;
beforeAll(async () => {
  fixture = await startServer({ limits: { keepaliveMs: 1_000_000 } });
  keyFile = join(fixture.folder, "ed25519");
});
afterAll(() => fixture.stop());

const RUNS = Number(process.env.FUZZ_RUNS ?? 150);

/** The server has dealt with everything sent before: it answered, or it dropped the connection. */
async function settled(client: RawClient): Promise<void> {
  client.received.length = 0;
  client.send(encodeMessage(Message.GLOBAL_REQUEST, "sync", true));
  await Promise.race([
    client.closed,
    client.until(() => client.received.some((payload) => payload[0] === Message.REQUEST_FAILURE)).catch(() => undefined),
  ]);
  client.socket.destroy();
  await client.closed;
}

async function serves(): Promise<void> {
  while (fixture.server.connectionCount > 0) await new Promise((resolve) => setImmediate(resolve));
  expect(fixture.budget.used).toBe(0);
}

/** Good messages, to be damaged. */
const GOOD: readonly Buffer[] = [
  encodeMessage(Message.CHANNEL_OPEN, "session", 0, 1 << 20, 32768),
  encodeMessage(Message.CHANNEL_REQUEST, 0, "exec", true, "echo"),
  encodeMessage(Message.CHANNEL_REQUEST, 0, "pty-req", true, "xterm", 80, 24, 0, 0, Buffer.alloc(6)),
  encodeMessage(Message.CHANNEL_REQUEST, 0, "subsystem", true, "echo"),
  encodeMessage(Message.CHANNEL_DATA, 0, Buffer.alloc(100)),
  encodeMessage(Message.CHANNEL_EXTENDED_DATA, 0, 1, "error"),
  encodeMessage(Message.CHANNEL_WINDOW_ADJUST, 0, 1000),
  encodeMessage(Message.CHANNEL_EOF, 0),
  encodeMessage(Message.CHANNEL_CLOSE, 0),
  encodeMessage(Message.GLOBAL_REQUEST, "tcpip-forward", true, "localhost", 22),
  encodeMessage(Message.GLOBAL_REQUEST, "hostkeys-prove-00@openssh.com", true, Buffer.alloc(51)),
  encodeMessage(Message.USERAUTH_REQUEST, "alice", "ssh-connection", "publickey", true, "ssh-ed25519", Buffer.alloc(51), Buffer.alloc(83)),
  encodeMessage(Message.SERVICE_REQUEST, "ssh-userauth"),
  encodeMessage(Message.EXT_INFO, 1, "server-sig-algs", "x"),
];

const damaged = fc
  .record({
    of: fc.nat(GOOD.length - 1),
    changes: fc.array(fc.record({ at: fc.nat(80), value: fc.nat(255) }), { maxLength: 3 }),
    cut: fc.option(fc.nat(60)),
  })
  .map(({ of, changes, cut }) => {
    const message = Buffer.from(GOOD[of] ?? Buffer.alloc(1));
    for (const { at, value } of changes) if (at < message.length) message[at] = value;
    return cut === null ? message : message.subarray(0, cut);
  });
const random = fc.uint8Array({ minLength: 1, maxLength: 60 });
const messages = fc.array(fc.oneof({ weight: 4, arbitrary: damaged }, { weight: 1, arbitrary: random }), { minLength: 1, maxLength: 12 });

it("after login", async () => {
  await fc.assert(
    fc.asyncProperty(messages, async (sequence) => {
      const client = await RawClient.login(fixture.port, keyFile);
      client.send(GOOD[0] ?? Buffer.alloc(0));
      for (const message of sequence) client.send(message);
      await settled(client);
      await serves();
    }),
    { numRuns: RUNS },
  );
});

it("between keys and login", async () => {
  await fc.assert(
    fc.asyncProperty(messages, async (sequence) => {
      const client = await RawClient.connect(fixture.port);
      client.send(encodeMessage(Message.SERVICE_REQUEST, "ssh-userauth"));
      for (const message of sequence) client.send(message);
      await settled(client);
      await serves();
    }),
    { numRuns: RUNS },
  );
});

it("before keys: bytes of any kind, cut anywhere", async () => {
  const kexInit = Buffer.concat([
    Buffer.of(Message.KEXINIT),
    Buffer.alloc(16),
    encodeMessage(
      0,
      "curve25519-sha256",
      "ssh-ed25519",
      "aes128-ctr",
      "aes128-ctr",
      "hmac-sha2-256",
      "hmac-sha2-256",
      "none",
      "none",
      "",
      "",
      true,
      0,
    ).subarray(1),
  ]);
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.record({ at: fc.nat(kexInit.length - 1), value: fc.nat(255) }).map(({ at, value }) => {
      const payload = Buffer.from(kexInit);
      payload[at] = value;
      const padding = 16 - ((5 + payload.length) % 8);
      const header = Buffer.alloc(5);
      header.writeUInt32BE(1 + payload.length + padding);
      header[4] = padding;
      return Buffer.concat([header, payload, Buffer.alloc(padding)]);
    }),
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom("SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0-x\n", ""), bytes, fc.nat(400), async (ident, sent, cut) => {
      const socket: Socket = connect({ host: "127.0.0.1", port: fixture.port });
      socket.on("error", () => undefined);
      socket.resume();
      const all = Buffer.concat([Buffer.from(ident), sent]);
      socket.write(all.subarray(0, cut));
      socket.end(all.subarray(cut));
      await new Promise((resolve) => socket.once("close", resolve));
      await serves();
    }),
    { numRuns: RUNS },
  );
});

/**
 * Raw attacks on the SSH layer, before and after login. After each the same process serves a login, memory is given
 * back, and where a peer broke the protocol one audit line names it and the reason.
 */
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { ml_kem768 } from "@noble/post-quantum/ml-kem.js";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { WireReader } from "../../src/auth/wire-reader.ts";
import { encodeMessage, Message } from "../../src/ssh/messages.ts";
import { RawClient } from "../unit/ssh/raw-client.ts";
import { type Fixture, startServer } from "../unit/ssh/server-fixture.ts";

let fixture: Fixture;
let keyFile: string;

beforeAll(async () => {
  fixture = await startServer();
  keyFile = join(fixture.folder, "ed25519");
});
afterAll(() => fixture.stop());

afterEach(async () => {
  const client = await RawClient.login(fixture.port, keyFile);
  const { number } = await client.openSession();
  client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", true, "both"));
  const data = new WireReader(await client.next(Message.CHANNEL_DATA), 5);
  expect(data.text()).toBe("out\n");
  client.socket.destroy();
  while (fixture.server.connectionCount > 0) await new Promise((resolve) => setImmediate(resolve));
  expect(fixture.budget.used).toBe(0);
  fixture.log.length = 0;
});

const audit = (): Promise<Record<string, unknown>> => fixture.logged((line) => line.audit === true);
const rawSocket = (): Promise<Socket> =>
  new Promise((resolve) => {
    const socket: Socket = connect({ host: "127.0.0.1", port: fixture.port, noDelay: true }, () => resolve(socket));
    socket.on("error", () => undefined);
    socket.resume();
  });
const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => (socket.destroyed ? resolve() : void socket.once("close", () => resolve())));
const login = (): Promise<RawClient> => RawClient.login(fixture.port, keyFile);

/** A KEXINIT payload with these lists. */
function kexInit(lists: readonly string[], follows = false): Buffer {
  const full = [...lists, ...Array.from({ length: 10 - lists.length }, () => "")];
  const body = encodeMessage(Message.KEXINIT, ...full, follows, 0);
  return Buffer.concat([body.subarray(0, 1), Buffer.alloc(16, 7), body.subarray(1)]);
}

/** An unencrypted packet (RFC 4253 §6). */
function packet(payload: Uint8Array): Buffer {
  const padding = 8 - ((5 + payload.length) % 8) + 8;
  const header = Buffer.alloc(5);
  header.writeUInt32BE(1 + payload.length + padding);
  header[4] = padding;
  return Buffer.concat([header, payload, Buffer.alloc(padding)]);
}

const USUAL = ["curve25519-sha256", "ssh-ed25519", "aes128-gcm@openssh.com", "aes128-gcm@openssh.com", "", "", "none", "none"];

describe("before the key exchange", () => {
  it.each([
    ["something else", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"],
    ["an old protocol", "SSH-1.5-old\r\n"],
    ["an empty version", "SSH-2.0-\r\n"],
    ["control characters", "SSH-2.0-a\u0000b\r\n"],
    ["an endless line", `SSH-2.0-${"a".repeat(300)}`],
    ["a greeting first", "hello\r\nSSH-2.0-x\r\n"],
  ])("drops %s and says who", async (_what, line) => {
    const socket = await rawSocket();
    socket.write(line);
    await closed(socket);
    expect((await audit()).remoteAddress).toBe("127.0.0.1");
  });

  it.each([
    ["garbage", Buffer.alloc(64, 0xa5)],
    ["packet length 0", Buffer.alloc(16)],
    ["packet length 2^32-1", Buffer.alloc(16, 0xff)],
    ["packet length 35001", Buffer.concat([Buffer.from([0, 0, 0x88, 0xb9]), Buffer.alloc(40_000)])],
    ["padding beyond the packet", Buffer.concat([Buffer.from([0, 0, 0, 12, 255]), Buffer.alloc(32)])],
    ["an empty KEXINIT", packet(Buffer.from([Message.KEXINIT]))],
    ["a KEXINIT cut short", packet(kexInit(USUAL).subarray(0, 60))],
    ["a KEXINIT with nothing in common", packet(kexInit(["x", "y", "z", "z"]))],
    ["a KEXINIT of 17,000 names", packet(kexInit([`${"a,".repeat(17_000)}b`, ...USUAL.slice(1)]))],
    ["a client that wants everything compressed", packet(kexInit([...USUAL.slice(0, 6), "zlib,zlib@openssh.com", "zlib"]))],
    ["a second KEXINIT at once", Buffer.concat([packet(kexInit(USUAL)), packet(kexInit(USUAL))])],
    ["NEWKEYS instead of KEX", Buffer.concat([packet(kexInit(USUAL)), packet(Buffer.from([21]))])],
    ["a point of wrong length", Buffer.concat([packet(kexInit(USUAL)), packet(encodeMessage(30, "short"))])],
    ["an all-zero point", Buffer.concat([packet(kexInit(USUAL)), packet(encodeMessage(30, Buffer.alloc(32)))])],
    ["login before keys", packet(encodeMessage(Message.USERAUTH_REQUEST, "a", "ssh-connection", "none"))],
  ])("drops %s", async (_what, bytes) => {
    for (const ident of ["SSH-2.0-x", "SSH-2.0-OpenSSH_9.2"]) {
      const socket = await rawSocket();
      socket.write(`${ident}\r\n`);
      socket.write(bytes);
      await closed(socket);
      await audit();
    }
  });

  it.each(Array.from({ length: 256 }, (_, type) => type).filter((type) => ![1, 2, 3, 4, 20].includes(type)))(
    "drops message %i as the first",
    async (type) => {
      const socket = await rawSocket();
      socket.write("SSH-2.0-x\r\n");
      socket.write(packet(Buffer.from([type, 0, 0, 0, 0, 0, 0, 0, 0])));
      await closed(socket);
      expect((await audit()).reason).toBeTypeOf("string");
    },
  );

  const HYBRID = ["mlkem768x25519-sha256", ...USUAL.slice(1)];
  it.each([
    ["right", HYBRID, true],
    ["wrong by kex", USUAL, false],
    ["wrong by host key", [HYBRID[0] ?? "", "ecdsa-sha2-nistp256,ssh-ed25519", ...USUAL.slice(2)], false],
  ])("takes a guess that is %s", async (_what, lists, right) => {
    const socket = await rawSocket();
    const received: Buffer[] = [];
    const reply = new Promise<void>((resolve) => {
      socket.on("data", (chunk: Buffer) => {
        received.push(chunk);
        if (Buffer.concat(received).includes(Buffer.from([31, 0, 0, 0]))) resolve();
      });
    });
    const point = Buffer.alloc(32, 9);
    const init = lists[0] === HYBRID[0] ? Buffer.concat([ml_kem768.keygen().publicKey, point]) : point;
    socket.write("SSH-2.0-x\r\n");
    socket.write(packet(kexInit(lists, true)));
    if (!right) socket.write(packet(encodeMessage(30, "a guess that nobody may look at")));
    socket.write(packet(encodeMessage(30, init)));
    await reply;
    socket.destroy();
  });

  it("reads an identification line that arrives byte by byte", async () => {
    const socket = await rawSocket();
    const answer = new Promise<void>((resolve) => {
      let bytes = 0;
      socket.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > 200) resolve(); // more than our identification: our KEXINIT
      });
    });
    for (const byte of Buffer.concat([Buffer.from("SSH-2.0-OpenSSH_slow comment\r\n"), packet(kexInit(USUAL))])) {
      await new Promise<void>((resolve) => socket.write(Buffer.of(byte), () => setImmediate(resolve)));
    }
    await answer;
    socket.destroy();
  });
});

describe("before login", () => {
  it.each([...[6, 30, 31, 49, 51, 52, 53, 60, 61, 80, 81, 82, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 101, 192, 255]])(
    "drops message %i, in the middle of a login too",
    async (type) => {
      for (const during of [false, true]) {
        const client = await RawClient.connect(fixture.port);
        if (during) {
          client.send(encodeMessage(Message.SERVICE_REQUEST, "ssh-userauth"));
          client.send(encodeMessage(Message.USERAUTH_REQUEST, "alice", "ssh-connection", "none"));
        }
        client.send(Buffer.concat([Buffer.from([type]), Buffer.alloc(24)]));
        await client.closed;
        expect((await audit()).msg).toBe("protocol violation");
      }
    },
  );

  it("answers tries alike and ends them at six", async () => {
    const client = await RawClient.connect(fixture.port);
    client.send(encodeMessage(Message.SERVICE_REQUEST, "ssh-userauth"));
    for (let at = 0; at < 200; at++)
      client.send(encodeMessage(Message.USERAUTH_REQUEST, `user${at}`, "ssh-connection", "password", false, "x"));
    await client.closed;
    expect(client.received.filter((payload) => payload[0] === Message.USERAUTH_FAILURE)).toHaveLength(5);
  });

  it("ends endless probes of a good key", async () => {
    const client = await RawClient.connect(fixture.port);
    client.send(encodeMessage(Message.SERVICE_REQUEST, "ssh-userauth"));
    const probe = Buffer.from(client.signedLogin("alice", keyFile));
    const keyEnd = probe.length - 4 - (4 + 11 + 4 + 64);
    probe[1 + 4 + 5 + 4 + 14 + 4 + 9] = 0;
    for (let at = 0; at < 1000; at++) client.send(probe.subarray(0, keyEnd));
    await client.closed;
    expect(client.received.filter((payload) => payload[0] === Message.USERAUTH_PK_OK)).toHaveLength(64);
  });

  it("refuses a signature over something else", async () => {
    const client = await RawClient.connect(fixture.port);
    client.send(encodeMessage(Message.SERVICE_REQUEST, "ssh-userauth"));
    const request = client.signedLogin("alice", keyFile);
    request[request.length - 1] = (request.at(-1) ?? 0) ^ 1;
    client.send(request);
    await client.next(Message.USERAUTH_FAILURE);
    client.socket.destroy();
  });

  it("drops a flood of ignored data", async () => {
    const client = await RawClient.connect(fixture.port);
    for (let at = 0; at < 64; at++) client.send(encodeMessage(Message.IGNORE, Buffer.alloc(30_000)));
    await client.closed;
    expect((await audit()).reason).toBe("too much data before login");
  });

  it("drops thousands of small messages", async () => {
    const client = await RawClient.connect(fixture.port);
    for (let at = 0; at < 2_500; at++) client.send(encodeMessage(Message.IGNORE, "x"));
    await client.closed;
    expect((await audit()).reason).toBe("too many messages before login");
  });

  it("drops endless key exchanges", async () => {
    const client = await RawClient.connect(fixture.port);
    client.socket.on("data", () => setImmediate(() => client.rekey()));
    client.rekey();
    await client.closed;
    expect((await audit()).reason).toContain("key exchanges");
  });
});

describe("after login", () => {
  it.each([0, 1, 1023])("drops a channel with a maximum packet of %i", async (maxPacket) => {
    const client = await login();
    client.send(encodeMessage(Message.CHANNEL_OPEN, "session", 0, 1 << 20, maxPacket));
    await client.closed;
    expect((await audit()).reason).toContain("maximum packet");
  });

  it("waits for a window of 0 to open", async () => {
    const client = await login();
    const { number } = await client.openSession(0);
    client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", true, "both"));
    await client.next(Message.CHANNEL_SUCCESS);
    client.send(encodeMessage(Message.CHANNEL_WINDOW_ADJUST, number, 2));
    expect(new WireReader(await client.next(Message.CHANNEL_DATA), 5).text()).toBe("ou");
    client.send(encodeMessage(Message.CHANNEL_WINDOW_ADJUST, number, 100));
    expect(new WireReader(await client.next(Message.CHANNEL_DATA), 5).text()).toBe("t\n");
    await client.next(Message.CHANNEL_CLOSE);
    client.socket.destroy();
  });

  it("drops a window past 2^32-1", async () => {
    const client = await login();
    const { number } = await client.openSession(0xffff_ffff);
    client.send(encodeMessage(Message.CHANNEL_WINDOW_ADJUST, number, 1));
    await client.closed;
    await audit();
  });

  it("drops more data than the window, and data after EOF", async () => {
    const first = await login();
    const opened = await first.openSession();
    first.send(encodeMessage(Message.CHANNEL_REQUEST, opened.number, "exec", true, "hold"));
    for (let sent = 0; sent <= opened.window; sent += 32_000)
      first.send(encodeMessage(Message.CHANNEL_DATA, opened.number, Buffer.alloc(32_000)));
    await first.closed;
    expect((await audit()).reason).toContain("window");

    const second = await login();
    const { number } = await second.openSession();
    second.send(encodeMessage(Message.CHANNEL_EOF, number));
    second.send(encodeMessage(Message.CHANNEL_DATA, number, "late"));
    await second.closed;
    expect(fixture.log.some((line) => line.reason === "data after EOF")).toBe(true);
  });

  it("takes a second EOF for the first, and drops what comes for a channel that the client has closed", async () => {
    const client = await login();
    const { number } = await client.openSession();
    client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", false, "hold"));
    for (let at = 0; at < 3; at++) client.send(encodeMessage(Message.CHANNEL_EOF, number));
    client.send(encodeMessage(Message.CHANNEL_CLOSE, number));
    await client.next(Message.CHANNEL_CLOSE);
    client.send(encodeMessage(Message.CHANNEL_WINDOW_ADJUST, number, 1));
    await client.closed;
    expect((await audit()).reason).toContain("not open");
  });

  it("proves its keys eight times at most", async () => {
    const client = await login();
    const blob = fixture.server.hostKeys[0]?.blob ?? Buffer.alloc(0);
    const request = encodeMessage(Message.GLOBAL_REQUEST, "hostkeys-prove-00@openssh.com", true, blob);
    for (let at = 0; at < 100; at++) client.send(request);
    const answers = (): Buffer[] =>
      client.received.filter(([type]) => type === Message.REQUEST_SUCCESS || type === Message.REQUEST_FAILURE);
    await client.until(() => answers().length === 100);
    expect(answers().filter(([type]) => type === Message.REQUEST_SUCCESS)).toHaveLength(8);
    client.socket.destroy();
  });

  it("holds one window of what nobody takes, and gives it back", async () => {
    const client = await login();
    const { number, window } = await client.openSession();
    client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", true, "hold"));
    await client.next(Message.CHANNEL_SUCCESS);
    for (let sent = 0; sent < window; sent += 32_768) client.send(encodeMessage(Message.CHANNEL_DATA, number, Buffer.alloc(32_768)));
    client.send(encodeMessage(Message.GLOBAL_REQUEST, "sync", true));
    await client.next(Message.REQUEST_FAILURE);
    expect(fixture.budget.used).toBe(window);
    expect(client.received.some((payload) => payload[0] === Message.CHANNEL_WINDOW_ADJUST)).toBe(false);
    client.socket.destroy();
  });

  it("holds little of 200 MB that nobody reads", async () => {
    const client = await login();
    const { number } = await client.openSession(0xffff_ffff);
    client.socket.pause();
    client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", true, "source 200000000"));
    await vi.waitFor(() => expect(fixture.budget.used).toBeGreaterThan(0));
    // Nothing more may come, however often the server has its turn.
    const other = await login();
    for (let round = 0; round < 50; round++) {
      other.send(encodeMessage(Message.GLOBAL_REQUEST, "sync", true));
      await other.next(Message.REQUEST_FAILURE);
    }
    other.socket.destroy();
    expect(fixture.budget.used).toBeLessThan(4 * 1024 * 1024);
    client.socket.destroy();
  });

  it("stops reading a client that asks and does not fetch the answers", async () => {
    const client = await login();
    client.socket.pause();
    const request = encodeMessage(Message.GLOBAL_REQUEST, "x", true);
    let blocked = false;
    for (let turn = 0; turn < 400 && !blocked; turn++) {
      for (let at = 0; at < 2000; at++) client.send(request);
      blocked = client.socket.writableLength > 2 * 1024 * 1024;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(blocked).toBe(true);
    client.socket.destroy();
  });

  it("bounds what waits for a key exchange that is never finished", async () => {
    const client = await login();
    client.rekey();
    client.sendNow(encodeMessage(Message.GLOBAL_REQUEST, "x", true));
    await client.closed;
    await audit();
  });

  it("opens 64 channels and no more, counting those the client does not close", async () => {
    const client = await login();
    for (let at = 0; at < 64; at++) {
      const { number } = await client.openSession(2 ** 20, 32768, at);
      client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", false, "both"));
    }
    client.send(encodeMessage(Message.CHANNEL_OPEN, "session", 99, 2 ** 20, 32768));
    expect(new WireReader(await client.next(Message.CHANNEL_OPEN_FAILURE), 5).uint32()).toBe(4);
    client.send(encodeMessage(Message.CHANNEL_CLOSE, 0));
    await client.openSession(2 ** 20, 32768, 100);
    client.socket.destroy();
  });

  it.each([
    ["direct-tcpip", 1],
    ["direct-streamlocal@openssh.com", 1],
    ["forwarded-tcpip", 1],
    ["x11", 1],
    ["auth-agent@openssh.com", 1],
    ["tun@openssh.com", 3],
    ["nonsense", 3],
  ])("refuses channels of type %s", async (type, reason) => {
    const client = await login();
    client.send(Buffer.concat([encodeMessage(Message.CHANNEL_OPEN, type, 7, 1 << 20, 32768), Buffer.alloc(64)]));
    expect(new WireReader(await client.next(Message.CHANNEL_OPEN_FAILURE), 5).uint32()).toBe(reason);
    client.socket.destroy();
  });

  it.each(["env", "x11-req", "auth-agent-req@openssh.com", "winadj@putty.projects.tartarus.org", "keepalive@jcraft.com", "nonsense"])(
    "answers the channel request %s with failure, also while something runs",
    async (type) => {
      const client = await login();
      const { number } = await client.openSession();
      const request = Buffer.concat([encodeMessage(Message.CHANNEL_REQUEST, number, type, true), Buffer.alloc(64)]);
      client.send(request);
      await client.next(Message.CHANNEL_FAILURE);
      client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", true, "hold"));
      await client.next(Message.CHANNEL_SUCCESS);
      client.send(request);
      await client.next(Message.CHANNEL_FAILURE);
      client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", true, "both"));
      await client.next(Message.CHANNEL_FAILURE);
      client.socket.destroy();
    },
  );

  it.each([
    ["an exec line cut short", encodeMessage(Message.CHANNEL_REQUEST, 0, "exec", true, 99_999)],
    ["a request without a type", Buffer.from([Message.CHANNEL_REQUEST, 0, 0, 0, 0])],
    ["data longer than its packet", encodeMessage(Message.CHANNEL_DATA, 0, 0xffff_ffff)],
    ["data for a channel that is not open", encodeMessage(Message.CHANNEL_DATA, 5, "x")],
    ["data for channel 2^32-1", encodeMessage(Message.CHANNEL_DATA, 0xffff_ffff, "x")],
    ["an open confirmation", encodeMessage(Message.CHANNEL_OPEN_CONFIRMATION, 0, 0, 0, 0)],
    ["an open failure", encodeMessage(Message.CHANNEL_OPEN_FAILURE, 0, 0, "", "")],
    ["an empty packet", Buffer.alloc(0)],
  ])("drops %s", async (_what, message) => {
    const client = await login();
    await client.openSession();
    client.send(message);
    await client.closed;
    await audit();
  });

  it("drops a session after no-more-sessions", async () => {
    const client = await login();
    client.send(encodeMessage(Message.GLOBAL_REQUEST, "no-more-sessions@openssh.com", true));
    await client.next(Message.REQUEST_SUCCESS);
    client.send(encodeMessage(Message.CHANNEL_OPEN, "session", 0, 1 << 20, 32768));
    await client.closed;
    await audit();
  });

  it.each([8, 102, 192, 255])("answers the unknown message %i with UNIMPLEMENTED", async (type) => {
    const client = await login();
    client.send(Buffer.from([type, 1, 2, 3]));
    await client.next(Message.UNIMPLEMENTED);
    client.socket.destroy();
  });

  it.each(["idle", "in the middle of a key exchange"])("answers, ignores or drops every message number, %s", async (stage) => {
    const one = async (type: number): Promise<void> => {
      const client = await login();
      await client.openSession();
      if (stage !== "idle") client.rekey();
      client.sendNow(Buffer.concat([Buffer.from([type]), Buffer.alloc(24)]));
      client.sendNow(encodeMessage(Message.GLOBAL_REQUEST, "sync", true));
      await Promise.race([client.closed, client.next(Message.REQUEST_FAILURE).catch(() => undefined)]);
      client.socket.destroy();
      await client.closed;
    };
    for (let first = 0; first < 256; first += 32) await Promise.all(Array.from({ length: 32 }, (_, at) => one(first + at)));
  });

  it("ignores another login and survives a reset", async () => {
    const client = await login();
    client.send(encodeMessage(Message.USERAUTH_REQUEST, "alice", "ssh-connection", "none"));
    const { number } = await client.openSession();
    client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", true, "source 50000000"));
    await client.next(Message.CHANNEL_DATA);
    client.socket.resetAndDestroy();
    await client.closed;
  });
});

/** Attacks by somebody who may log in, on the built gateway: see docs/security.md, whose table names these tests. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeMessage, Message } from "../../src/ssh/messages.ts";
import { HostileGateway } from "../support/hostile-gateway.ts";
import { FX, FXP, packet, string, uint32, uint64 } from "../support/sftp-packets.ts";
import { SftpStatusError, SshSftpClient } from "../support/ssh-sftp-client.ts";
import { RawClient } from "../unit/ssh/raw-client.ts";

let hostile: HostileGateway;
beforeAll(async () => {
  hostile = await HostileGateway.start();
});
afterAll(() => hostile.dispose());

const login = (): Promise<RawClient> => RawClient.login(hostile.mallory.port, hostile.mallory.keyFile, "mallory");
const sftp = (): Promise<SshSftpClient> => SshSftpClient.connect(hostile.mallory);
const codeOf = (error: unknown): number => (error instanceof SftpStatusError ? error.code : -1);
const gone = (client: SshSftpClient): Promise<void> =>
  client.isClosed ? Promise.resolve() : new Promise((resolve) => void client.channel.once("close", () => resolve()));

/** Of requests that no client of the tests numbers. */
const OWN_ID = 1_000_000;

describe("channels", () => {
  it("thousands of them", () =>
    hostile.survives(async () => {
      const client = await login();
      for (let at = 0; at < 5_000; at++) client.send(encodeMessage(Message.CHANNEL_OPEN, "session", at, 1 << 20, 32768));
      await client.until(() => client.received.length >= 5_000);
      const opened = client.received.filter((payload) => payload[0] === Message.CHANNEL_OPEN_CONFIRMATION);
      expect(opened).toHaveLength(64);
      client.socket.destroy();
    }, /too many open channels/));

  it("30,000 opened and closed at once", () =>
    hostile.survives(async () => {
      const client = await login();
      for (let at = 0; at < 30_000; at++) {
        client.send(encodeMessage(Message.CHANNEL_OPEN, "session", at, 1 << 20, 32768));
        client.send(encodeMessage(Message.CHANNEL_CLOSE, at));
      }
      client.send(encodeMessage(Message.GLOBAL_REQUEST, "sync", true));
      await client.next(Message.REQUEST_FAILURE);
      client.socket.destroy();
    }, undefined));

  it("exec lines of 1 MB and of 30,000 bytes", () =>
    hostile.survives(async () => {
      const client = await login();
      const { number } = await client.openSession();
      client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", true, "x".repeat(30_000)));
      await client.next(Message.CHANNEL_CLOSE);
      const second = await client.openSession(1 << 20, 32768, 1);
      client.send(encodeMessage(Message.CHANNEL_REQUEST, second.number, "exec", true, "x".repeat(1_000_000)));
      await client.closed;
    }, /protocol violation/));

  it("wildcards that take long, over names that make them", () =>
    hostile.survives(async () => {
      const files = await sftp();
      const long = "a".repeat(240);
      await Promise.all(Array.from({ length: 300 }, (_, at) => files.putFile(`attachments/${long}${at}`, Buffer.from("x"))));
      files.destroy();
      const client = await login();
      for (const [id, set] of ["ab".repeat(10_000), "ab".repeat(2_000)].entries()) {
        const { number } = await client.openSession(1 << 20, 32768, id);
        client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", true, `md5sum attachments/*a[${set}]*x`));
        await client.next(Message.CHANNEL_CLOSE);
      }
      client.socket.destroy();
    }, undefined));

  it("rsync's filter rules without end on sixty channels", () =>
    hostile.survives(async () => {
      const client = await login();
      const rule = Buffer.alloc(4 + 8_000, "p");
      rule.writeInt32LE(rule.length - 4);
      rule.write("- ", 4);
      const rules = Buffer.concat([Buffer.from([29, 0, 0, 0]), ...Array.from({ length: 30 }, () => rule)]);
      const exits = (): number => client.received.filter((payload) => payload.includes("exit-status")).length;
      for (let id = 0; id < 60; id++) {
        const { number } = await client.openSession(1 << 20, 32768, id);
        client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", false, "rsync --server --sender -r . attachments/"));
        for (let at = 0; at < rules.length; at += 30_000)
          client.send(encodeMessage(Message.CHANNEL_DATA, number, rules.subarray(at, at + 30_000)));
      }
      client.send(encodeMessage(Message.GLOBAL_REQUEST, "sync", true));
      await client.next(Message.REQUEST_FAILURE);
      expect(exits()).toBe(0); // within the windows all is held, and counted
      client.socket.destroy();
    }, undefined));

  it("floods of requests, extended data, empty data and ignored messages", () =>
    hostile.survives(async () => {
      const client = await login();
      const { number, window } = await client.openSession();
      client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "subsystem", true, "sftp"));
      await client.next(Message.CHANNEL_SUCCESS);
      for (let at = 0; at < 10_000; at++) {
        client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "env", false, "LC_ALL", "C"));
        client.send(encodeMessage(Message.CHANNEL_DATA, number, ""));
        client.send(encodeMessage(Message.IGNORE, Buffer.alloc(100)));
      }
      for (let sent = 0; sent < window; sent += 1_000)
        client.send(encodeMessage(Message.CHANNEL_EXTENDED_DATA, number, 1, Buffer.alloc(1_000)));
      client.send(encodeMessage(Message.GLOBAL_REQUEST, "sync", true));
      await client.next(Message.REQUEST_FAILURE);
      client.socket.destroy();
    }, /extended data/));

  it("half-sent packets on many channels", () =>
    hostile.survives(async () => {
      const clients = await Promise.all(Array.from({ length: 4 }, login));
      for (const client of clients) {
        for (let at = 0; at < 64; at++) {
          const { number, window } = await client.openSession(1 << 20, 32768, at);
          client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "subsystem", false, "sftp"));
          client.send(encodeMessage(Message.CHANNEL_DATA, number, Buffer.from([0, 0, 0, 5, FXP.INIT, 0, 0, 0, 3, 0, 4, 0, 0])));
          for (let sent = 13; sent + 30_000 < Math.min(window, 262_000); sent += 30_000)
            client.send(encodeMessage(Message.CHANNEL_DATA, number, Buffer.alloc(30_000)));
        }
      }
      for (const client of clients) {
        client.send(encodeMessage(Message.GLOBAL_REQUEST, "sync", true));
        await client.next(Message.REQUEST_FAILURE);
      }
      await hostile.logged(/memory that others need/); // what stands still for five seconds is dropped
      for (const client of clients) client.socket.destroy();
    }, /memory that others need/));

  it("endless key exchanges", () =>
    hostile.survives(async () => {
      const client = await login();
      for (let at = 0; at < 200; at++) {
        client.rekey();
        client.sendNow(encodeMessage(Message.IGNORE, "x"));
        await new Promise((resolve) => setImmediate(resolve));
      }
      client.socket.destroy();
    }, undefined));
});

describe("sftp", () => {
  it("100,000 OPENs", () =>
    hostile.survives(async () => {
      const client = await sftp();
      await client.putFile("attachments/x", Buffer.from("x"));
      const outcomes = await Promise.allSettled(Array.from({ length: 100_000 }, () => client.open("attachments/x", 1)));
      expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1000);
      client.destroy();
    }, /too many open handles/));

  it("READs of 200 MB whose answers nobody fetches", () =>
    hostile.survives(async () => {
      const client = await sftp();
      await client.putFile("attachments/big", Buffer.alloc(16 * 1024 * 1024));
      const handle = await client.open("attachments/big", 1);
      client.channel.pause();
      for (let at = 0; at < 1000; at++) client.send(packet(FXP.READ, uint32(at), string(handle), uint64(0), uint32(200_000)));
      const other = await sftp();
      for (let round = 0; round < 50; round++) await other.stat("attachments/big");
      other.destroy();
      client.destroy();
    }, undefined));

  it("READ of 4 GiB, WRITE at 2^63 and beyond a hole of 1 TB: refused at once", () =>
    hostile.survives(async () => {
      const client = await sftp();
      const handle = await client.open("attachments/hole", 2 | 8 | 16);
      const began = performance.now();
      for (const offset of [2n ** 63n, 2n ** 64n - 1n, 2n ** 63n - 1n, 2n ** 40n]) {
        const bytes = Buffer.alloc(8);
        bytes.writeBigUInt64BE(offset);
        const failure = await client.ask(FXP.WRITE, string(handle), bytes, string("x")).then(() => 0, codeOf);
        expect([FX.FAILURE, FX.BAD_MESSAGE]).toContain(failure);
      }
      expect(performance.now() - began).toBeLessThan(1_000);
      await client.close(handle).catch(() => undefined); // a file with failed writes is not published
      const reader = await client.open("attachments/x", 1);
      expect((await client.read(reader, 0, 0xffff_ffff)).length).toBeLessThanOrEqual(256 * 1024);
      client.destroy();
    }, undefined));

  it("WRITEs out of order on hundreds of handles", () =>
    hostile.survives(async () => {
      const client = await sftp();
      const handles = await Promise.all(Array.from({ length: 300 }, (_, at) => client.open(`attachments/holes-${at}`, 2 | 8 | 16)));
      const block = Buffer.alloc(32_000, 1);
      const written = handles.flatMap((handle) => [9, 7, 5, 3, 1].map((at) => client.write(handle, at * block.length, block)));
      const outcomes = await Promise.allSettled(written);
      expect(outcomes).toHaveLength(1_500);
      client.destroy();
    }, undefined));

  it("copy-data of lengths beyond the source, from and to every kind of handle", () =>
    hostile.survives(async () => {
      const client = await sftp();
      await client.putFile("attachments/source", Buffer.alloc(100_000, 1));
      const [reader, writer, folder] = [
        await client.open("attachments/source", 1),
        await client.open("attachments/target", 2 | 8 | 16),
        await client.opendir("attachments"),
      ];
      const copy = (from: Uint8Array, fromOffset: bigint, length: bigint, to: Uint8Array, offset: bigint): Promise<number> =>
        client.extended("copy-data", string(from), uint64(fromOffset), uint64(length), string(to), uint64(offset)).then(() => 0, codeOf);
      const huge = 2n ** 62n;
      for (const refused of [
        copy(reader, huge, huge, writer, huge),
        copy(reader, 0n, 2n ** 53n, writer, 0n),
        copy(writer, 0n, 0n, reader, 0n),
        copy(folder, 0n, 0n, writer, 0n),
        copy(reader, 0n, 0n, folder, 0n),
        copy(writer, 0n, 0n, writer, 0n),
        copy(Buffer.alloc(8, 9), 0n, 0n, writer, 0n),
      ])
        expect(await refused).toBeGreaterThan(2);
      // Onto the file that is read, again and again: each copy ends with what was published.
      const over = await client.open("attachments/source", 2);
      for (let at = 0; at < 20; at++) expect(await copy(reader, 0n, 0n, over, BigInt(at * 100_000))).toBeGreaterThanOrEqual(0);
      client.destroy();
    }, undefined));

  it("OPENDIR a thousand times and never READDIR", () =>
    hostile.survives(async () => {
      const client = await sftp();
      const outcomes = await Promise.allSettled(Array.from({ length: 5_000 }, () => client.opendir("attachments")));
      expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1000);
      client.destroy();
    }, /too many open handles/));

  it.each([
    ["a path of 1 MB", packet(FXP.STAT, uint32(OWN_ID), string(Buffer.alloc(1_000_000, "a"))), true],
    ["a path of 200,000 bytes", packet(FXP.STAT, uint32(OWN_ID), string(Buffer.alloc(200_000, "a"))), false],
    ["NUL in a path", packet(FXP.OPEN, uint32(OWN_ID), string("attachments/a\0b"), uint32(1), uint32(0)), false],
    [
      "4,294,967,295 extended attributes",
      packet(FXP.SETSTAT, uint32(OWN_ID), string("attachments/x"), uint32(0x8000_0000), uint32(0xffff_ffff)),
      false,
    ],
    ["a string longer than its packet", packet(FXP.STAT, uint32(OWN_ID), uint32(0xffff_ffff)), false],
    ["a packet without an id", packet(FXP.STAT), true],
    ["a packet of length 0", Buffer.alloc(4), true],
    ["a packet of length 2^32-1", Buffer.alloc(64, 0xff), true],
    ["a second INIT", packet(FXP.INIT, uint32(3)), true],
  ])("%s", async (what, bytes, isFatal) => {
    await hostile.survives(
      async () => {
        const client = await sftp();
        const answer = isFatal ? undefined : client.answerTo(OWN_ID);
        const waiting = isFatal ? undefined : client.request(FXP.REALPATH, string("."));
        client.send(bytes);
        if (isFatal) await gone(client);
        else await Promise.all([answer, waiting]);
        client.destroy();
      },
      what.startsWith("NUL") ? undefined : /violat|malformed/,
    );
  });

  it("handles that are foreign, closed or of the wrong kind", () =>
    hostile.survives(async () => {
      const [client, other] = [await sftp(), await sftp()];
      const file = await client.open("attachments/x", 1);
      const folder = await client.opendir("attachments");
      const closed = await client.open("attachments/x", 1);
      await client.close(closed);
      const refused = async (asked: Promise<unknown>): Promise<void> => expect(await asked.then(() => 0, codeOf)).toBeGreaterThan(1);
      await refused(other.read(file, 0, 10));
      await refused(client.read(closed, 0, 10));
      await refused(client.read(folder, 0, 10));
      await refused(client.readdir(file));
      await refused(client.write(file, 0, Buffer.from("x")));
      await refused(client.close(closed));
      await refused(client.close(Buffer.alloc(256, 1)));
      client.destroy();
      other.destroy();
    }, undefined));

  it("floods of unknown and extended requests", () =>
    hostile.survives(async () => {
      const client = await sftp();
      const asked: Promise<unknown>[] = [];
      for (let at = 0; at < 2_000; at++) {
        asked.push(client.request(FXP.EXTENDED, string(`x${at}@example.org`), Buffer.alloc(20_000)));
        asked.push(client.request(77 + (at % 100), Buffer.alloc(100)));
      }
      await Promise.all(asked);
      client.destroy();
    }, undefined));
});

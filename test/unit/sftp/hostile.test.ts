/** What a peer that means harm may send: each attack is followed by an honest request on the same or another channel. */
import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { ByteBudget } from "../../../src/byte-budget.ts";
import { Gate, turns } from "../../support/gate.ts";
import { CREAT, packet, R, StatusError, str, TRUNC, u32, u64, W } from "../../support/sftp-client.ts";
import { connect, startSession, type TestSession } from "../../support/sftp-session.ts";

const MiB = 1024 * 1024;

const isAlive = async ({ client }: TestSession): Promise<void> => {
  expect(await client.path(16, str("x/.."))).toBe("/");
};

/** Sends bytes after INIT and expects the channel to be dropped without a trace. */
const expectDropped = async (...bytes: Buffer[]): Promise<void> => {
  const session = await connect();
  await session.client.open("/open", W | CREAT);
  session.client.raw(...bytes);
  await session.done;
  expect(session.near.destroyedBecause).toBeDefined();
  expect(session.near.exitStatus).toBeUndefined();
  expect(session.fs.openHandles).toBe(0);
  expect(session.fs.published).toEqual([]);
  expect(session.budget.used).toBe(0);
  expect(session.log.filter(({ level }) => level === 40)).toHaveLength(1);
};

describe("broken framing drops the channel", () => {
  it("lengths", async () => {
    for (const length of [0, 300_000, 0x7fffffff, 0xffffffff]) await expectDropped(u32(length), Buffer.from([17]));
  });

  it("a second INIT", () => expectDropped(packet(1, u32(3))));

  it("packets too short for an id", async () => {
    for (const type of [3, 17, 200, 0, 255]) await expectDropped(packet(type), Buffer.alloc(0));
    await expectDropped(packet(4, Buffer.from([0, 0, 1])));
  });

  it("requests before INIT, an INIT cut short, and silence", async () => {
    for (const bytes of [packet(16, u32(1), str(".")), packet(1), packet(1, Buffer.from([0, 3])), packet(2, u32(3))]) {
      const session = startSession();
      session.client.raw(bytes);
      await session.done;
      expect(session.near.destroyedBecause).toBeDefined();
      expect(session.client.replies).toEqual([]);
    }
    expect(await startSession().finish()).toBe(0);
  });

  it("a length that never comes, and EOF inside a packet", async () => {
    for (const bytes of [u32(100), Buffer.from([0, 0]), packet(17, u32(1), str("/f")).subarray(0, 12)]) {
      const session = await connect();
      session.client.raw(bytes);
      expect(await session.finish()).toBe(0);
    }
  });
});

describe("malformed requests are answered and harm nothing", () => {
  it("in every kind: cut anywhere, strings longer than the packet, counts of 2^32-1", async () => {
    const session = await connect();
    const { client } = session;
    const huge = u32(0xffffffff);
    for (let type = 3; type <= 20; type++) {
      for (const body of [Buffer.alloc(0), Buffer.from([0]), huge, Buffer.concat([str("/f"), Buffer.from([1, 2])]).subarray(0, 5)]) {
        expect((await client.status(type, body)).code).toBe(5);
      }
    }
    for (const name of ["posix-rename@openssh.com", "statvfs@openssh.com", "copy-data", "check-file", "users-groups-by-id@openssh.com"]) {
      expect((await client.status(200, str(name), huge)).code).toBe(5);
    }
    expect((await client.status(200, huge)).code).toBe(5);
    expect((await client.status(9, str("/f"), u32(0x80000000), huge)).code).toBe(5);
    expect((await client.status(3, str("/f"), u32(W | CREAT), u32(0xffffffff), u64(2n ** 64n - 1n))).code).toBe(5);
    await isAlive(session);
    expect(session.log.filter(({ level }) => level === 40)).toHaveLength(1);
  });

  it("a WRITE that cannot be understood: the file it was for is not published", async () => {
    const session = await connect();
    const { client, fs } = session;
    const broken = await client.open("/broken", W | CREAT);
    const whole = await client.open("/whole", W | CREAT);
    for (const handle of [broken, whole]) await client.write(handle, 0, Buffer.from("content"));
    expect((await client.status(6, str(broken), u64(7), u32(1000), Buffer.from("short"))).code).toBe(5);
    expect(await client.close(broken)).toMatchObject({ code: 4, text: expect.stringContaining("malformed") });
    await client.close(whole);
    expect(fs.published).toEqual(["/whole"]);
    const other = await client.open("/other", W | CREAT);
    expect((await client.status(6, u32(0xffffffff))).code).toBe(5);
    expect(await client.close(other)).toMatchObject({ code: 4 });
    await isAlive(session);
  });

  it("paths: invalid UTF-8, NUL, too long, odd but valid", async () => {
    const session = await connect();
    const { client, fs } = session;
    for (const path of [Buffer.from([0x66, 0xfc]), Buffer.from([0xc0, 0xaf]), Buffer.from("a\0b"), Buffer.alloc(200_000, 0x61)]) {
      for (const type of [17, 13, 16, 11]) expect((await client.status(type, str(path))).code).toBe(5);
    }
    expect((await client.put("/\u001b[31mred\n", "x")).code).toBe(0);
    expect(fs.paths()).toEqual(["/\u001b[31mred\n"]);
    const status = await client.status(14, str("/\u001b[31mred\n"), u32(0));
    expect(status).toEqual({ code: 4, text: "/\\x1b[31mred\\x0a: already exists" });
    expect(await client.path(16, str(`${"../".repeat(2000)}etc/passwd`))).toBe("/etc/passwd");
  });

  it("handles: foreign, closed, of the wrong kind or mode", async () => {
    const budget = new ByteBudget(64 * MiB);
    const session = await connect({ sftp: { budget } });
    const other = await connect({ sftp: { budget } });
    const { client, fs } = session;
    fs.put("/f", "content");
    other.fs.put("/f", "content");
    const foreign = await other.client.open("/f", R);
    const closed = await client.open("/f", R);
    await client.close(closed);
    for (const handle of [foreign, closed, Buffer.alloc(0), Buffer.alloc(8), Buffer.alloc(256, 1), randomBytes(8)]) {
      for (const type of [4, 8, 12])
        expect(await client.status(type, str(handle))).toEqual({ code: 4, text: expect.stringContaining("invalid handle") });
      expect((await client.status(5, str(handle), u64(0), u32(1))).code).toBe(4);
      expect((await client.write(handle, 0, Buffer.from("x"))).code).toBe(4);
      expect((await client.status(200, str("fsync@openssh.com"), str(handle))).code).toBe(4);
    }
    const directory = await client.opendir("/");
    const reader = await client.open("/f", R);
    const writer = await client.open("/g", W | CREAT);
    await expect(client.read(directory, 0, 10)).rejects.toThrow(/4: .*directory/);
    expect((await client.write(directory, 0, Buffer.from("x"))).code).toBe(4);
    await expect(client.readdir(reader)).rejects.toThrow(/4: .*file's/);
    expect(await client.write(reader, 0, Buffer.from("x"))).toEqual({ code: 3, text: "/f: not open for writing" });
    expect(await client.write(reader, 0, Buffer.alloc(0))).toEqual({ code: 3, text: "/f: not open for writing" });
    await expect(client.read(writer, 0, 10)).rejects.toThrow("3: /g: not open for reading");
    expect((await client.status(10, str(reader), u32(1), u64(0))).code).toBe(3);
    expect((await client.status(200, str("copy-data"), str(writer), u64(0), u64(0), str(reader), u64(0))).code).toBe(3);
    expect(await client.read(reader, 0, 10)).toEqual(Buffer.from("content"));
    await isAlive(session);
  });

  it("offsets and lengths: READ of 4 GiB, at 2^63, WRITE at 2^63, at 2^53-1, a hole of 1 TB", async () => {
    const session = await connect();
    const { client, fs, budget } = session;
    fs.put("/f", "content");
    const reader = await client.open("/f", R);
    expect(await client.read(reader, 0, 0xffffffff)).toEqual(Buffer.from("content"));
    expect(await client.read(reader, 2n ** 53n - 1n, 0xffffffff)).toBeUndefined();
    expect(await client.read(reader, 0, 0)).toBeUndefined();
    await expect(client.read(reader, 2n ** 63n, 1)).rejects.toThrow(StatusError);
    const writer = await client.open("/w", W | CREAT | TRUNC);
    expect((await client.write(writer, 2n ** 63n, Buffer.from("x"))).code).toBe(5);
    expect((await client.write(writer, 2n ** 53n - 1n, Buffer.from("x"))).code).toBe(5);
    expect((await client.write(writer, 2 ** 40, Buffer.from("x"))).text).toContain("hole");
    expect((await client.close(writer)).code).toBe(4);
    expect(fs.paths()).toEqual(["/f"]);
    expect(budget.used).toBe(0);
  });

  it("every type of packet there is", async () => {
    const session = await connect();
    for (let type = 0; type < 256; type++) {
      if (type === 1 || (type >= 3 && type <= 20) || type === 200) continue;
      expect((await session.client.status(type, Buffer.alloc(30))).code).toBe(8);
    }
    await isAlive(session);
  });
});

describe("floods stay bounded", () => {
  it("100,000 OPENs: handles end, the server does not", async () => {
    const session = await connect({ sftp: { maxHandles: 100 } });
    const { client, fs } = session;
    fs.put("/f", "x");
    let refused = 0;
    for (let round = 0; round < 100; round++) {
      const opens = Array.from({ length: 1000 }, () => client.request(3, str("/f"), u32(R), u32(0)));
      for (const { type } of await Promise.all(opens)) if (type === 101) refused++;
    }
    expect(refused).toBe(99_900);
    expect(fs.openHandles).toBe(100);
    await isAlive(session);
    expect(session.log.filter(({ msg }) => msg === "too many open handles")).toHaveLength(1);
    await session.finish();
    expect(fs.openHandles).toBe(0);
  });

  it("OPENDIR without end or READDIR", async () => {
    const session = await connect({ sftp: { maxHandles: 100 } });
    const { client, fs } = session;
    for (let i = 0; i < 200; i++) await client.opendir("/").catch(() => undefined);
    expect(fs.openHandles).toBe(100);
    await isAlive(session);
  });

  it("200 MB of READs whose answers nobody reads", async () => {
    const session = await connect({ channel: { windowBytes: 2 * MiB } });
    const { client, fs, far, near, budget, done } = session;
    fs.put("/big", Buffer.alloc(8 * MiB));
    const handles = await Promise.all(Array.from({ length: 16 }, () => client.open("/big", R)));
    client.stopReading();
    for (let i = 0; i < 800; i++) {
      const handle = handles[i % 16] ?? Buffer.alloc(0);
      client.raw(packet(5, u32(10_000 + i), str(handle), u64((i % 32) * 261120), u32(261120)));
    }
    await turns(100);
    expect(far.maxPending).toBeLessThan(1.5 * MiB);
    expect(budget.used).toBeLessThan(2 * MiB);
    near.destroy("attacker left");
    await done;
    await turns();
    expect(budget.used).toBe(0);
    expect(fs.openHandles).toBe(0);
  });

  it("small requests whose answers nobody reads", async () => {
    const session = await connect({ channel: { windowBytes: 64 * 1024 } });
    const { client, far, near, done } = session;
    client.stopReading();
    const flood = Buffer.concat(Array.from({ length: 1000 }, (_, i) => packet(16, u32(i + 10), str("a".repeat(100)))));
    for (let i = 0; i < 100; i++) client.raw(flood);
    await turns(3000);
    expect(far.maxPending).toBeLessThan(1.5 * MiB);
    expect(near.pendingBytes).toBeGreaterThan(1 * MiB);
    near.destroy("attacker left");
    await done;
  });

  it("READDIRs of long names on many handles whose answers nobody reads", async () => {
    const session = await connect({ channel: { windowBytes: 256 * 1024 }, model: { batchSize: 500 } });
    const { client, fs, far, near, done, budget } = session;
    for (let i = 0; i < 600; i++) fs.put(`/d/${i}${"n".repeat(240)}`, "");
    const handles = await Promise.all(Array.from({ length: 200 }, () => client.opendir("/d")));
    client.stopReading();
    for (const [i, handle] of handles.entries()) client.raw(packet(12, u32(10_000 + i), str(handle)));
    await turns(200);
    expect(far.maxPending).toBeLessThan(5 * MiB);
    near.destroy("attacker left");
    await done;
    await turns();
    expect(budget.used).toBe(0);
    expect(fs.openHandles).toBe(0);
  });

  it("WRITEs that the store does not take: the window closes", async () => {
    const gate = new Gate((call) => call.startsWith("write "));
    const session = await connect({ channel: { windowBytes: 2 * MiB }, model: { before: gate.before } });
    const { client, far, near, done } = session;
    const handle = await client.open("/f", W | CREAT);
    const data = Buffer.alloc(261120);
    for (let i = 0; i < 100; i++) client.raw(packet(6, u32(i + 10), str(handle), u64(i * data.length), str(data)));
    await turns(100);
    expect(far.unconsumed).toBeLessThanOrEqual(2 * MiB);
    expect(near.pendingBytes).toBeGreaterThan(20 * MiB);
    near.destroy("attacker left");
    const release = setInterval(() => gate.release(), 1);
    await done;
    clearInterval(release);
    expect(session.fs.openHandles).toBe(0);
    expect(session.fs.published).toEqual([]);
  });

  it("bytes that arrive one by one", async () => {
    const session = startSession({ channel: { chunkBytes: 1 } });
    await session.client.init();
    const data = randomBytes(20_000);
    expect((await session.client.put("/f", data)).code).toBe(0);
    expect(Buffer.from(session.fs.get("/f") ?? []).equals(data)).toBe(true);
    expect((await session.client.get("/f")).equals(data)).toBe(true);
    expect(await session.finish()).toBe(0);
    expect(session.far.unconsumed).toBe(0);
  });

  it("with the budget spent, each channel gets one READ at a time and the rest waits", async () => {
    const budget = new ByteBudget(MiB);
    const session = await connect({ sftp: { budget } });
    const other = await connect({ sftp: { budget } });
    session.fs.put("/f", Buffer.alloc(8 * 261120));
    budget.force(MiB);
    let most = 0;
    const sample = setInterval(() => {
      most = Math.max(most, budget.used);
    }, 0);
    const handle = await session.client.open("/f", R);
    const reads = Array.from({ length: 8 }, (_, i) => session.client.read(handle, i * 261120, 261120));
    await isAlive(other);
    expect((await Promise.all(reads)).every((data) => data?.length === 261120)).toBe(true);
    clearInterval(sample);
    await turns();
    expect(most).toBeLessThanOrEqual(MiB + 2 * 261120);
    expect(budget.used).toBe(MiB);
  });

  it("with the budget spent and the answers unread, a channel holds no more than two answers", async () => {
    const budget = new ByteBudget(MiB);
    const { client, fs, near, far, done } = await connect({ sftp: { budget }, channel: { windowBytes: 64 * 1024 } });
    fs.put("/f", Buffer.alloc(8 * 261120));
    budget.force(MiB);
    const handle = await client.open("/f", R);
    client.stopReading();
    for (let i = 0; i < 50; i++) client.raw(packet(5, u32(100 + i), str(handle), u64(i), u32(261120)));
    await turns(50);
    expect(budget.used + far.pendingBytes).toBeLessThanOrEqual(MiB + 2 * 262144);
    near.destroy("attacker left");
    await done;
    expect(budget.used).toBe(MiB);
  });

  it("ten thousand requests in one go leave other channels their turns", async () => {
    const attacker = await connect();
    const honest = await connect();
    attacker.client.raw(Buffer.concat(Array.from({ length: 50_000 }, (_, i) => packet(99, u32(i + 10)))));
    await isAlive(honest);
    await turns();
    expect(attacker.client.replies.length).toBeLessThan(50_000);
    expect(await attacker.finish()).toBe(0);
  });
});

import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { APPEND, attributesOf, CREAT, EXCL, R, str, StatusError, statusOf, TRUNC, u32, u64, W, attrs } from "../../support/sftp-client.ts";
import { connect, startSession } from "../../support/sftp-session.ts";

const failing = async (promise: Promise<unknown>): Promise<{ code: number; text: string }> => {
  try {
    await promise;
  } catch (error) {
    if (error instanceof StatusError) return error.status;
    throw error;
  }
  throw new Error("a failure was expected");
};

describe("an SFTP session", () => {
  it("answers version 3 with its extensions to any version", async () => {
    for (const version of [3, 6, 1]) {
      const session = startSession();
      const extensions = await session.client.init(version);
      expect([...extensions]).toContainEqual(["limits@openssh.com", "1"]);
      expect([...extensions]).toContainEqual(["statvfs@openssh.com", "2"]);
      expect(extensions.has("hardlink@openssh.com")).toBe(false);
      expect(await session.finish()).toBe(0);
      expect(session.far.unconsumed).toBe(0);
    }
  });

  it("stores and returns a file whole, in pipelined requests", async () => {
    const { client, fs, finish, budget, far } = await connect();
    const data = randomBytes(3_000_000);
    const handle = await client.open("big.bin", W | CREAT | TRUNC, { permissions: 0o100600 });
    const writes = [];
    for (let at = 0; at < data.length; at += 261120) writes.push(client.write(handle, at, data.subarray(at, at + 261120)));
    const closed = client.close(handle);
    for (const write of await Promise.all(writes)) expect(write.code).toBe(0);
    expect((await closed).code).toBe(0);
    expect(Buffer.compare(fs.get("/big.bin") ?? Buffer.alloc(0), data)).toBe(0);
    expect((await client.stat(17, "/big.bin")).permissions).toBe(0o100600);

    const reader = await client.open("/home/alice/big.bin", R);
    const reads = [];
    for (let at = 0; at < data.length; at += 261120) reads.push(client.read(reader, at, 2 ** 32 - 1));
    const got = Buffer.concat((await Promise.all(reads)).map((chunk) => chunk ?? Buffer.alloc(0)));
    expect(got.equals(data)).toBe(true);
    expect(await client.read(reader, data.length, 10)).toBeUndefined();
    expect(await client.read(reader, 2 ** 53 - 1, 10)).toBeUndefined();
    await client.close(reader);
    expect(await finish()).toBe(0);
    expect(budget.used).toBe(0);
    expect(far.unconsumed).toBe(0);
    expect(fs.openHandles).toBe(0);
  });

  it("keeps OPEN's flags apart", async () => {
    const { client, fs } = await connect();
    fs.put("/f", "hello");
    expect(await failing(client.open("/f", W | CREAT | EXCL))).toEqual({ code: 4, text: "/f: already exists" });
    expect(await failing(client.open("/f", W | CREAT | EXCL | TRUNC))).toEqual({ code: 4, text: "/f: already exists" });
    expect(await failing(client.open("/g", R))).toEqual({ code: 2, text: "/g: no such file or directory" });
    expect(await failing(client.open("/g", W))).toEqual({ code: 2, text: "/g: no such file or directory" });
    const append = await client.open("/f", W | APPEND);
    await client.write(append, 0, Buffer.from(" world"));
    await client.close(append);
    expect(await client.get("/f")).toEqual(Buffer.from("hello world"));
    const inside = await client.open("/f", R | W);
    await client.write(inside, 0, Buffer.from("J"));
    expect(await client.read(inside, 0, 5)).toEqual(Buffer.from("Jello"));
    await client.close(inside);
    const truncated = await client.open("/f", W | TRUNC);
    await client.close(truncated);
    expect(fs.get("/f")).toHaveLength(0);
  });

  it("publishes on CLOSE only, not when the announced size did not arrive, not after a failed WRITE", async () => {
    const { client, fs } = await connect();
    const short = await client.open("/short", W | CREAT | TRUNC, { size: 10 });
    await client.write(short, 0, Buffer.from("12345"));
    expect(fs.get("/short")).toBeUndefined();
    expect((await client.close(short)).code).toBe(4);
    expect(fs.get("/short")).toBeUndefined();
    const holed = await client.open("/holed", W | CREAT | TRUNC, { size: 0 });
    expect((await client.write(holed, 0, Buffer.from("abc"))).code).toBe(0);
    expect((await client.write(holed, 2 ** 40, Buffer.from("abc"))).code).toBe(4);
    const closed = await client.close(holed);
    expect(closed.code).toBe(4);
    expect(closed.text).toContain("hole");
    expect(fs.get("/holed")).toBeUndefined();
    expect(fs.openHandles).toBe(0);
  });

  it("lists with dot entries and longnames like ls -l", async () => {
    const mtime = new Date(2026, 4, 6, 7, 8, 9).getTime() / 1000;
    const now = new Date(2026, 7, 1).getTime() / 1000;
    const { client, fs } = await connect({ model: { batchSize: 7, now: () => mtime }, sftp: { now: () => now } });
    for (let i = 0; i < 20; i++) fs.put(`/d/f${i}`, "x".repeat(i), i === 3 ? { mtime: mtime - 4e7, uid: 7 } : {});
    const names = await client.list("/d");
    expect(names).toHaveLength(22);
    expect(names.slice(0, 3).map(({ name }) => name)).toEqual([".", "..", "f0"]);
    const line = (name: string): string | undefined => names.find((entry) => entry.name === name)?.longname;
    expect(line("f12")).toBe("-rw-r--r--   1 alice    alice          12 May  6 07:08 f12");
    expect(line("f3")).toMatch(/^-rw-r--r-- {3}1 7 {8}alice {11}3 Jan 2\d {2}2025 f3$/);
    expect(line(".")).toMatch(/^drwxr-xr-x/);
    expect(attributesOf(names.find(({ name }) => name === "f12")?.attributes ?? Buffer.alloc(0)).size).toBe(12);
  });

  it("carries out every path request with the status the failure asks for", async () => {
    const { client, fs } = await connect({ model: { symlinks: true } });
    expect((await client.status(14, str("/d"), attrs({ permissions: 0o40700 }))).code).toBe(0);
    expect(await client.status(14, str("/d"), attrs())).toEqual({ code: 4, text: "/d: already exists" });
    expect((await client.stat(7, "/d")).permissions).toBe(0o40700);
    await client.put("/d/a", "one");
    await client.put("/d/b", "two");
    expect(await client.status(15, str("/d"))).toEqual({ code: 4, text: "/d: directory is not empty" });
    expect(await client.status(13, str("/d"))).toEqual({ code: 4, text: "/d: is a directory" });
    expect((await client.status(18, str("/d/a"), str("/d/b"))).code).toBe(4);
    expect((await client.extended("posix-rename@openssh.com", str("/d/a"), str("/d/b"))).fields.readUInt32BE(0)).toBe(0);
    expect(fs.paths()).toEqual(["/d/", "/d/b"]);
    expect((await client.status(9, str("/d/b"), attrs({ size: 2, times: [5, 6] }))).code).toBe(0);
    expect(await client.stat(17, "/d/b")).toEqual({ size: 2, permissions: 0o100644, mtime: 6 });
    expect(await client.path(16, str("/home/alice/d/../d/./b"))).toBe("/d/b");
    expect(await client.path(16, str(""))).toBe("/");
    // OpenSSH's order: the target first.
    expect((await client.status(20, str("/d/b"), str("/link"))).code).toBe(0);
    expect(await client.path(19, str("/link"))).toBe("/d/b");
    expect((await client.stat(7, "/link")).permissions & 0o170000).toBe(0o120000);
    expect((await client.stat(17, "/link")).size).toBe(2);
    expect((await client.status(13, str("/d/b"))).code).toBe(0);
    expect((await client.status(13, str("/d/b"))).code).toBe(2);
    expect((await client.status(14, str("/d/b/c"), attrs())).code).toBe(2);
    expect((await client.status(15, str("/d"))).code).toBe(0);
    expect((await client.status(20, str("x"), str("/no/link"))).code).toBe(2);
  });

  it("serves FSTAT and FSETSTAT while the file is open", async () => {
    const { client, fs } = await connect();
    const handle = await client.open("/f", W | CREAT);
    await client.write(handle, 0, Buffer.from("12345"));
    expect((await client.stat(8, handle)).size).toBe(5);
    expect((await client.stat(7, "/f")).size).toBe(5);
    expect((await client.status(10, str(handle), attrs({ size: 3, times: [1, 2], permissions: 0o640 }))).code).toBe(0);
    expect((await client.close(handle)).code).toBe(0);
    expect(Buffer.from(fs.get("/f") ?? []).toString()).toBe("123");
    expect(await client.stat(17, "/f")).toEqual({ size: 3, permissions: 0o100640, mtime: 2 });
    const directory = await client.opendir("/");
    expect((await client.stat(8, directory)).permissions).toBe(0o40755);
    expect((await client.status(10, str(directory), attrs({ times: [1, 77] }))).code).toBe(0);
    expect((await client.stat(17, "/")).mtime).toBe(77);
  });

  it("logs the end of each transfer once", async () => {
    const { client, log, finish } = await connect();
    await client.put("/a", "12345");
    await client.get("/a");
    await client.open("/left", W | CREAT);
    await finish();
    const ends = log
      .filter(({ msg }) => msg === "transfer end")
      .map(({ path, direction, bytes, result }) => ({ path, direction, bytes, result }));
    expect(ends).toEqual([
      { path: "/a", direction: "upload", bytes: 5, result: "complete" },
      { path: "/a", direction: "download", bytes: 5, result: "complete" },
      { path: "/left", direction: "upload", bytes: 0, result: "aborted" },
    ]);
  });
});

describe("extensions", () => {
  it("answers limits@openssh.com", async () => {
    const { client } = await connect({ sftp: { maxHandles: 50 } });
    const { type, fields } = await client.extended("limits@openssh.com");
    expect(type).toBe(201);
    expect([0, 8, 16, 24].map((at) => Number(fields.readBigUInt64BE(at)))).toEqual([262144, 261120, 261120, 50]);
  });

  it("answers statvfs@ and fstatvfs@openssh.com in blocks", async () => {
    const { client, fs } = await connect();
    fs.put("/f", "");
    const handle = await client.open("/f", R);
    for (const reply of [
      await client.extended("statvfs@openssh.com", str("/")),
      await client.extended("fstatvfs@openssh.com", str(handle)),
    ]) {
      expect(reply.type).toBe(201);
      expect(reply.fields).toHaveLength(88);
      expect(Number(reply.fields.readBigUInt64BE(16)) * Number(reply.fields.readBigUInt64BE(8))).toBe(2 ** 40);
      expect(Number(reply.fields.readBigUInt64BE(80))).toBe(255);
    }
    expect(statusOf(await client.extended("statvfs@openssh.com", str("/missing"))).code).toBe(2);
  });

  it("answers fsync@ and lsetstat@openssh.com", async () => {
    const { client, fs } = await connect();
    fs.put("/f", "abc");
    const handle = await client.open("/f", W);
    expect(statusOf(await client.extended("fsync@openssh.com", str(handle))).code).toBe(0);
    expect(statusOf(await client.extended("lsetstat@openssh.com", str("/f"), attrs({ times: [8, 9] }))).code).toBe(0);
    expect(statusOf(await client.extended("lsetstat@openssh.com", str("/f"), attrs({ size: 1 }))).code).toBe(5);
    expect((await client.stat(7, "/f")).mtime).toBe(9);
  });

  it("knows the own home only", async () => {
    const { client } = await connect();
    const expand = (path: string): Promise<string> => client.path(200, str("expand-path@openssh.com"), str(path));
    expect(await expand("~")).toBe("/");
    expect(await expand("~/a/../b")).toBe("/b");
    expect(await expand("~alice/b")).toBe("/b");
    expect(await expand("c/d")).toBe("/c/d");
    expect((await failing(expand("~bob/x"))).code).toBe(2);
    expect(await client.path(200, str("home-directory"), str(""))).toBe("/");
    expect(await client.path(200, str("home-directory"), str("alice"))).toBe("/");
    expect((await failing(client.path(200, str("home-directory"), str("root")))).code).toBe(2);
  });

  it("names users and groups by id", async () => {
    const { client } = await connect();
    const reply = await client.extended("users-groups-by-id@openssh.com", str(Buffer.concat([u32(1000), u32(0)])), str(u32(1000)));
    expect(reply.fields).toEqual(Buffer.concat([str(Buffer.concat([str("alice"), str("")])), str(str("alice"))]));
  });

  it("copies data between handles", async () => {
    const { client, fs } = await connect();
    fs.put("/a", "0123456789");
    const source = await client.open("/a", R);
    const target = await client.open("/b", W | CREAT);
    const copy = (from: number, length: number, to: number): Promise<{ code: number }> =>
      client.status(200, str("copy-data"), str(source), u64(from), u64(length), str(target), u64(to));
    expect((await copy(2, 3, 0)).code).toBe(0);
    expect((await copy(5, 0, 3)).code).toBe(0);
    await client.close(target);
    expect(Buffer.from(fs.get("/b") ?? []).toString()).toBe("23456789");
    expect((await client.status(200, str("copy-data"), str(source), u64(0), u64(0), str(source), u64(0))).code).toBe(4);
  });

  it("does not wait for ever when two handles are copied both ways at once", async () => {
    const { client } = await connect();
    const a = await client.open("/a", R | W | CREAT);
    const b = await client.open("/b", R | W | CREAT);
    await client.write(a, 0, Buffer.from("abc"));
    const copy = (from: Buffer, to: Buffer): Promise<{ code: number }> =>
      client.status(200, str("copy-data"), str(from), u64(0), u64(0), str(to), u64(3));
    const both = await Promise.all([copy(a, b), copy(b, a), copy(a, b)]);
    expect(both.map(({ code }) => code)).toEqual([0, 0, 0]);
  });

  it("hashes only what is stored", async () => {
    const withSums = await connect({ model: { checksums: true } });
    withSums.fs.put("/f", "abc");
    const check = (session: typeof withSums, algorithms: string): Promise<{ type: number; fields: Buffer }> =>
      session.client.extended("check-file-name", str("/f"), str(algorithms), u64(0), u64(0), u32(0));
    const reply = await check(withSums, "crc32,md5");
    expect(reply.type).toBe(201);
    expect(reply.fields).toEqual(Buffer.concat([str("check-file"), str("md5"), Buffer.from("900150983cd24fb0d6963f7d28e17f72", "hex")]));
    const without = await connect();
    without.fs.put("/f", "abc");
    expect((await check(without, "md5")).fields.readUInt32BE(0)).toBe(8);
  });

  it("does not serve what it does not know, and goes on", async () => {
    const { client } = await connect();
    expect((await client.status(200, str("hardlink@openssh.com"), str("/a"), str("/b"))).code).toBe(8);
    expect((await client.status(99)).code).toBe(8);
    expect((await client.status(21, str("/a"), str("/b"))).code).toBe(8);
    expect(await client.path(16, str("."))).toBe("/");
  });
});

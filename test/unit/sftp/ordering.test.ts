import { describe, expect, it } from "vitest";
import { FsError } from "../../../src/errors.ts";
import { PathOrder, type PathScope } from "../../../src/sftp/path-order.ts";
import { Gate, turns } from "../../support/gate.ts";
import { APPEND, attrs, CREAT, R, str, TRUNC, u32, W } from "../../support/sftp-client.ts";
import { connect } from "../../support/sftp-session.ts";

describe("path order", () => {
  const conflicts = (first: [PathScope, ...string[]], second: [PathScope, ...string[]]): boolean => {
    const order = new PathOrder();
    const [firstScope, ...firstPaths] = first;
    const [secondScope, ...secondPaths] = second;
    order.enter(firstScope, firstPaths);
    return order.enter(secondScope, secondPaths).ready !== undefined;
  };

  it("makes related changes wait, and nothing else", () => {
    expect(conflicts(["change", "/a"], ["change", "/a"])).toBe(true);
    expect(conflicts(["change", "/a"], ["change", "/ab"])).toBe(false);
    expect(conflicts(["change", "/a/x"], ["change", "/a/y"])).toBe(false);
    expect(conflicts(["change", "/a/x"], ["change", "/a"])).toBe(true);
    expect(conflicts(["change", "/a"], ["change", "/a/x"])).toBe(true);
    expect(conflicts(["change", "/"], ["change", "/a/x"])).toBe(true);
    expect(conflicts(["change", "/a", "/b"], ["change", "/c", "/b/x"])).toBe(true);
  });

  it("lets looks run beside each other, and beside changes they cannot notice", () => {
    expect(conflicts(["look", "/a"], ["look", "/a"])).toBe(false);
    expect(conflicts(["look", "/a"], ["list", "/a"])).toBe(false);
    expect(conflicts(["change", "/a/x"], ["look", "/a/x"])).toBe(true);
    expect(conflicts(["change", "/a"], ["look", "/a/x"])).toBe(true);
    expect(conflicts(["change", "/a/x"], ["look", "/a"])).toBe(false);
    expect(conflicts(["change", "/a/x"], ["list", "/a"])).toBe(true);
    expect(conflicts(["look", "/a/x"], ["change", "/a/x"])).toBe(true);
    expect(conflicts(["look", "/a/x"], ["change", "/a"])).toBe(true);
    expect(conflicts(["look", "/a"], ["change", "/a/x"])).toBe(false);
    expect(conflicts(["list", "/a"], ["change", "/a/x"])).toBe(true);
  });

  it("releases those who wait when the last one in their way has left", async () => {
    const order = new PathOrder();
    const first = order.enter("change", ["/a"]);
    const second = order.enter("change", ["/b"]);
    const third = order.enter("change", ["/a", "/b"]);
    let ready = false;
    void third.ready?.then(() => {
      ready = true;
    });
    order.leave(first);
    await turns(1);
    expect(ready).toBe(false);
    order.leave(second);
    await third.ready;
    order.leave(third);
    expect(order.enter("change", ["/a"]).ready).toBeUndefined();
  });
});

describe("pipelined requests", () => {
  it("on related paths behave as if sent one after the other, whatever takes long", async () => {
    const gate = new Gate((call) => /^(mkdir|close|remove|rename|open) /.test(call));
    const { client, fs } = await connect({ model: { before: gate.before } });
    fs.put("/old", "old");
    const replies = Promise.all([
      client.status(14, str("/d"), attrs()),
      client.open("/d/f", W | CREAT | TRUNC).then((handle) => client.close(handle)),
      client.status(13, str("/old")),
      client.status(18, str("/d"), str("/old")),
      client.stat(17, "/old"),
    ]);
    const settled = replies.then(() => true);
    for (let done = false; !done; done = await Promise.race([settled, turns(3).then(() => false)])) {
      // The latest one first, as an unfair store might answer.
      const last = gate.held.at(-1);
      gate.release((call) => call === last);
    }
    const [mkdir, , remove, rename, stat] = await replies;
    expect([mkdir.code, remove.code, rename.code]).toEqual([0, 0, 0]);
    expect(stat.permissions & 0o170000).toBe(0o040000);
    const order = gate.calls.filter((call) => /^(mkdir|open|remove|rename|stat) /.test(call));
    expect(order.indexOf("mkdir /d")).toBeLessThan(order.indexOf("open /d/f"));
    expect(order.indexOf("remove /old")).toBeLessThan(order.indexOf("rename /d"));
    expect(order.indexOf("rename /d")).toBeLessThan(order.indexOf("stat /old"));
  });

  it("on unrelated paths run side by side, 32 and more", async () => {
    const gate = new Gate((call) => /^(close|stat) /.test(call));
    const { client } = await connect({ model: { before: gate.before } });
    const handles = await Promise.all(Array.from({ length: 40 }, (_, i) => client.open(`/f${i}`, W | CREAT)));
    const closes = handles.map((handle) => client.close(handle));
    const stats = handles.map((_, i) => client.stat(17, `/g${i}`).catch(() => undefined));
    await gate.arrived(80);
    gate.release();
    await Promise.all([...closes, ...stats]);
  });

  it("of small reads on many handles run side by side, though each asks for 255 KiB", async () => {
    const gate = new Gate((call) => call.startsWith("read "));
    const { client, fs, budget } = await connect({ model: { before: gate.before } });
    for (let i = 0; i < 40; i++) fs.put(`/f${i}`, "0123456789");
    const handles = await Promise.all(Array.from({ length: 40 }, (_, i) => client.open(`/f${i}`, R)));
    const reads = handles.map((handle) => client.read(handle, 0, 261120));
    await gate.arrived(40);
    gate.release();
    expect((await Promise.all(reads)).map(String)).toEqual(Array.from({ length: 40 }, () => "0123456789"));
    await turns();
    expect(budget.used).toBe(0);
  });

  it("CLOSE waits for the writes of its own handle, and for no other", async () => {
    const gate = new Gate((call) => call === "write /slow");
    const { client, fs } = await connect({ model: { before: gate.before } });
    const slow = await client.open("/slow", W | CREAT);
    const quick = await client.open("/quick", W | CREAT);
    const written = client.write(slow, 0, Buffer.from("slow"));
    const closed = client.close(slow);
    await client.write(quick, 0, Buffer.from("quick"));
    expect((await client.close(quick)).code).toBe(0);
    expect(fs.get("/slow")).toBeUndefined();
    expect((await client.write(slow, 4, Buffer.from("x"))).text).toContain("invalid handle");
    gate.release();
    expect((await written).code).toBe(0);
    expect((await closed).code).toBe(0);
    expect(Buffer.from(fs.get("/slow") ?? []).toString()).toBe("slow");
  });

  it("on one handle take effect in order", async () => {
    const { client, fs } = await connect();
    const append = await client.open("/log", W | CREAT | APPEND);
    await Promise.all(Array.from({ length: 100 }, (_, i) => client.write(append, 0, Buffer.from(`${i},`))));
    await client.close(append);
    const expected = Array.from({ length: 100 }, (_, i) => `${i},`).join("");
    expect(Buffer.from(fs.get("/log") ?? []).toString()).toBe(expected);
    const both = await client.open("/both", R | W | CREAT);
    const results = await Promise.all([
      client.write(both, 0, Buffer.from("one")),
      client.read(both, 0, 10),
      client.write(both, 0, Buffer.from("two")),
      client.read(both, 0, 10),
      client.status(10, str(both), attrs({ size: 1 })),
      client.read(both, 0, 10),
    ]);
    expect([results[1], results[3], results[5]].map(String)).toEqual(["one", "two", "t"]);
  });

  it("on a path wait for the WRITEs before them on a handle of it, and for no others (sshfs)", async () => {
    const gate = new Gate((call) => call === "write /f");
    const { client } = await connect({ model: { before: gate.before } });
    const handle = await client.open("/f", R | W | CREAT);
    const written = client.write(handle, 0, Buffer.from("content"));
    const stat = client.stat(7, "/f").then(() => "answered");
    await client.status(14, str("/other"), attrs());
    await gate.arrived(1);
    expect(await Promise.race([stat, turns().then(() => "waits")])).toBe("waits");
    gate.release();
    expect((await written).code).toBe(0);
    expect(await stat).toBe("answered");
  });

  it("READDIRs sent ahead get each name once", async () => {
    const { client, fs } = await connect({ model: { batchSize: 10 } });
    for (let i = 0; i < 35; i++) fs.put(`/d/${i}`, "");
    const handle = await client.opendir("/d");
    const answers = await Promise.all(Array.from({ length: 8 }, () => client.readdir(handle)));
    const names = answers.flatMap((batch) => batch ?? []).map(({ name }) => name);
    expect(new Set(names).size).toBe(37);
    expect(names).toHaveLength(37);
    expect(answers.at(-1)).toBeUndefined();
  });
});

describe("the end of a channel", () => {
  it("carries out everything received before EOF, aborts what is open, exits 0", async () => {
    const gate = new Gate((call) => call.startsWith("close "));
    const { client, fs, near, done } = await connect({ model: { before: gate.before } });
    const whole = await client.open("/whole", W | CREAT);
    const open = await client.open("/open", W | CREAT);
    void client.write(whole, 0, Buffer.from("whole"));
    void client.close(whole);
    void client.write(open, 0, Buffer.from("part"));
    void client.status(14, str("/d"), attrs());
    near.sendEof();
    await gate.arrived(1);
    expect(near.exitStatus).toBeUndefined();
    gate.release();
    await done;
    expect(near.exitStatus).toBe(0);
    expect(fs.paths()).toEqual(["/d/", "/whole"]);
    expect(fs.aborted).toEqual(["/open"]);
    expect((await fs.stat("/open")).size).toBe(4);
    expect(fs.openHandles).toBe(0);
  });

  it("lost: a CLOSE received is carried through, everything else is aborted", async () => {
    const gate = new Gate((call) => /^(write|close) \/whole/.test(call));
    const { client, fs, near, far, done, budget } = await connect({ model: { before: gate.before } });
    const whole = await client.open("/whole", W | CREAT);
    const open = await client.open("/open", W | CREAT);
    await client.opendir("/");
    void client.write(whole, 0, Buffer.from("whole"));
    void client.status(10, str(whole), attrs({ size: 5 }));
    void client.close(whole);
    await client.write(open, 0, Buffer.from("part"));
    near.destroy("cable cut");
    await gate.arrived(1);
    gate.release();
    await gate.arrived(1);
    gate.release();
    await done;
    expect(fs.published).toEqual(["/whole"]);
    expect(Buffer.from(fs.get("/whole") ?? []).toString()).toBe("whole");
    expect(fs.aborted).toEqual(["/open"]);
    expect(fs.openHandles).toBe(0);
    expect(budget.used).toBe(0);
    expect(near.exitStatus).toBeUndefined();
    expect(far.closed.aborted).toBe(true);
  });

  it("lost while hundreds of requests wait to be started: they are carried out in order", async () => {
    const gate = new Gate((call) => call.startsWith("write "));
    const { client, fs, near, done } = await connect({ model: { before: gate.before } });
    const handle = await client.open("/f", W | CREAT | APPEND);
    for (let i = 0; i < 1000; i++) void client.write(handle, 0, Buffer.from(`${i},`));
    void client.close(handle);
    void client.status(18, str("/f"), str("/g"));
    await gate.arrived(1);
    await turns();
    near.destroy("cable cut");
    let ended = false;
    const end = done.then(() => {
      ended = true;
    });
    while (!ended) {
      gate.release();
      await turns(1);
    }
    await end;
    expect(fs.paths()).toEqual(["/g"]);
    expect(Buffer.from(fs.get("/g") ?? []).toString()).toBe(Array.from({ length: 1000 }, (_, i) => `${i},`).join(""));
  });

  it("lost while a file is being opened: the handle is given up", async () => {
    const gate = new Gate((call) => /^open(dir)? /.test(call));
    const { client, fs, near, done } = await connect({ model: { before: gate.before } });
    fs.put("/d/x", "");
    void client.open("/f", W | CREAT);
    void client.opendir("/d");
    await gate.arrived(2);
    near.destroy("cable cut");
    await turns();
    gate.release();
    await done;
    expect(fs.openHandles).toBe(0);
    expect(fs.published).toEqual([]);
  });

  it("lost with a handle that cannot be aborted: the rest is, and nothing is thrown", async () => {
    const before = (operation: string, path: string): void => {
      if (operation === "abort" && path === "/bad") throw new FsError("io", "store is gone");
    };
    const { client, fs, near, done, log } = await connect({ model: { before } });
    await client.open("/bad", W | CREAT);
    await client.open("/good", W | CREAT);
    near.destroy("cable cut");
    await done;
    expect(fs.aborted).toContain("/good");
    expect(log.some(({ msg }) => msg === "open handle could not be given up")).toBe(true);
  });

  it("a failed CLOSE tells why, an unexpected error tells nothing but the log", async () => {
    const before = (operation: string, path: string): void => {
      if (operation === "close" && path === "/quota") throw new FsError("quota", "/quota: the quota of 10 bytes is used up");
      if (operation === "close" && path === "/bug") throw new TypeError("secret-bucket exploded");
    };
    const { client, log } = await connect({ model: { before } });
    expect(await client.put("/quota", "x")).toEqual({ code: 4, text: "/quota: the quota of 10 bytes is used up" });
    expect(await client.put("/bug", "x")).toEqual({ code: 4, text: "internal error" });
    expect(log.filter(({ level }) => level === 50)).toHaveLength(1);
    expect(log.filter(({ msg, result }) => msg === "transfer end" && result === "failed")).toHaveLength(2);
  });

  it("READ beyond what a slow peer takes is not started", async () => {
    const { client, fs, near, far, done, budget } = await connect({ channel: { windowBytes: 256 * 1024 } });
    fs.put("/big", Buffer.alloc(4_000_000));
    const handle = await client.open("/big", R);
    await turns();
    client.stopReading();
    for (let i = 0; i < 800; i++)
      client.raw(
        Buffer.concat([
          u32(1 + 4 + 4 + handle.length + 8 + 4),
          Buffer.from([5]),
          u32(1000 + i),
          str(handle),
          Buffer.alloc(8),
          u32(0xffffffff),
        ]),
      );
    await turns(50);
    expect(far.maxPending).toBeLessThan(1.5 * 1024 * 1024);
    expect(budget.used).toBeLessThan(2 * 1024 * 1024);
    near.destroy("enough");
    await done;
    await turns();
    expect(budget.used).toBe(0);
  });
});

/** One run of a backup after the other: what is published, and what objects that change meanwhile lead to. */
import { randomBytes } from "node:crypto";
import { expect, describe, it } from "vitest";
import { StoreError } from "../../../src/errors.ts";
import { createMemoryStore } from "../../../src/objectstore/memory-store.ts";
import type { ObjectBody } from "../../../src/objectstore/objectstore.ts";
import { readTar } from "../../../src/jobs/archive/tar-reader.ts";
import { readXz } from "../../../src/jobs/archive/xz-reader.ts";
import { chainOf } from "../../../src/jobs/backup-catalog.ts";
import { restoreArchives } from "../../../src/jobs/backup-restore.ts";
import { verifyArchive } from "../../../src/jobs/backup-verify.ts";
import { BackupFixture, QUIET } from "./backup-fixture.ts";

const DAY_MS = 86_400_000;
const signal = new AbortController().signal;
/** Objects over 1 kB are streamed, not held. */
const SMALL_WINDOW = { objects: 4, bytes: 4096, spoolLimit: 1000 };

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Paths and contents of the files in an archive; of equal paths the last one, as programs unpack. */
async function unpack(archive: Buffer): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for await (const { path, type, content } of readTar(readXz(once(archive)))) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of content) chunks.push(chunk);
    if (type === "file") files.set(path, Buffer.concat(chunks).toString("latin1"));
  }
  return files;
}

async function verify(fixture: BackupFixture): Promise<readonly string[]> {
  const faults: string[] = [];
  for (const archive of (await fixture.catalog()).archives) {
    faults.push(...(await verifyArchive({ destination: fixture.destination, archive, signal })).faults);
  }
  return faults;
}

/** The body breaks after so many bytes with this error. */
function breakingAfter(bytes: number, code: StoreError["code"] = "io") {
  return async (get: () => Promise<ObjectBody>): Promise<ObjectBody> => {
    const found = await get();
    async function* body(): AsyncGenerator<Uint8Array> {
      let rest = bytes;
      for await (const chunk of found.body) {
        if (rest > 0) yield chunk.subarray(0, rest);
        rest -= chunk.length;
        if (rest < 0) throw new StoreError(code, "injected");
      }
    }
    return { info: found.info, body: body(), destroy: () => found.destroy() };
  };
}

describe("a backup", () => {
  it("holds directories and files in byte order, with times and without unfinished uploads, and is the same twice", async () => {
    const fixture = new BackupFixture();
    await fixture.put("originals/b.jpg", "b", { mtime: "1500000000" });
    await fixture.put("originals/a.jpg", "a");
    await fixture.put("originals/x.jpg.filepart", "half");
    await fixture.put("originals/../evil", "evil");
    const outcome = await fixture.run();
    expect(outcome.exitCode).toBe(2);
    expect(await fixture.manifest()).toMatchObject([
      { path: "alice/originals/../evil", status: "skipped", reason: "the name has a . or .. segment" },
      { path: "alice/originals/a.jpg", status: "ok", size: 1, mtime: 1_700_000_000 },
      { path: "alice/originals/b.jpg", status: "ok", size: 1, mtime: 1_500_000_000 },
    ]);
    const members: string[] = [];
    for await (const { path } of readTar(readXz(once(await fixture.archive())))) members.push(path);
    expect(members).toEqual(["alice/", "alice/originals/", "alice/originals/a.jpg", "alice/originals/b.jpg", "alice/thumbnails/"]);
    const first = await fixture.archive();
    fixture.nowMs += DAY_MS;
    await fixture.run();
    expect((await fixture.archive()).equals(first)).toBe(true);
    expect(await verify(fixture)).toEqual([]);
  });

  it("names what vanished and what changed, and publishes", async () => {
    const fixture = new BackupFixture();
    for (const name of ["a", "b", "c"]) await fixture.put(`originals/${name}`, name);
    fixture.onGet("originals/a", async (get) => {
      await fixture.storage.delete([`${fixture.prefix}originals/a`]);
      return get();
    });
    fixture.onGet("originals/b", async (get) => {
      await fixture.put("originals/b", "newer");
      return get();
    });
    expect((await fixture.run()).exitCode).toBe(2);
    expect((await fixture.manifest()).map(({ path, status }) => `${status} ${path}`)).toEqual([
      "vanished alice/originals/a",
      "changed alice/originals/b",
      "ok alice/originals/c",
    ]);
    expect(await unpack(await fixture.archive())).toEqual(
      new Map([
        ["alice/originals/b", "newer"],
        ["alice/originals/c", "c"],
      ]),
    );
    expect(await verify(fixture)).toEqual([]);
  });

  it("takes a broken connection up again where it broke", async () => {
    const fixture = new BackupFixture();
    const content = randomBytes(5000).toString("latin1");
    await fixture.put("originals/spooled", Buffer.from(content.slice(0, 900), "latin1"));
    await fixture.put("originals/streamed", Buffer.from(content, "latin1"));
    const ranges: (number | undefined)[] = [];
    for (const name of ["spooled", "streamed"]) {
      fixture.onGet(`originals/${name}`, breakingAfter(500), (get, { range }) => {
        ranges.push(range?.start);
        return get();
      });
    }
    expect((await fixture.run({ limits: SMALL_WINDOW })).exitCode).toBe(0);
    expect(ranges).toEqual([500, 500]);
    expect((await unpack(await fixture.archive())).get("alice/originals/streamed")).toBe(content);
  });

  it("never tears an object that it can hold, however it changes", async () => {
    const fixture = new BackupFixture();
    await fixture.put("originals/a", "a".repeat(900));
    fixture.onGet("originals/a", breakingAfter(400), async (get) => {
      await fixture.put("originals/a", "b".repeat(900));
      return get();
    });
    expect((await fixture.run({ limits: SMALL_WINDOW })).exitCode).toBe(2);
    expect((await unpack(await fixture.archive())).get("alice/originals/a")).toBe("b".repeat(900));
    expect((await fixture.manifest())[0]).toMatchObject({ status: "changed" });
  });

  it("writes a large object that changed in the middle once more, whole", async () => {
    const fixture = new BackupFixture();
    await fixture.put("originals/big", "a".repeat(5000));
    await fixture.put("originals/z", "z");
    fixture.onGet("originals/big", breakingAfter(2000), async (get) => {
      await fixture.put("originals/big", "b".repeat(6000));
      return get();
    });
    expect((await fixture.run({ limits: SMALL_WINDOW })).exitCode).toBe(2);
    const files = await unpack(await fixture.archive());
    expect(files.get("alice/originals/big")).toBe("b".repeat(6000));
    expect(files.get("alice/originals/z")).toBe("z");
    expect((await fixture.manifest())[0]).toMatchObject({ path: "alice/originals/big", status: "retried", size: 6000 });
    expect(await verify(fixture)).toEqual([]);
  });

  it("calls an object damaged that changes again and again, and archives it anew next time", async () => {
    const fixture = new BackupFixture();
    await fixture.put("originals/big", "a".repeat(5000));
    const change = async (get: () => Promise<ObjectBody>): Promise<ObjectBody> => {
      await fixture.put("originals/big", randomBytes(5000));
      return get();
    };
    fixture.onGet("originals/big", breakingAfter(2000), change, undefined, breakingAfter(2000), change);
    expect((await fixture.run({ limits: SMALL_WINDOW, settings: { fullEvery: 2 } })).exitCode).toBe(2);
    expect(await fixture.manifest()).toMatchObject([{ status: "damaged", size: 5000 }]);
    expect(await verify(fixture)).toEqual([]);
    fixture.nowMs += DAY_MS;
    expect((await fixture.run({ settings: { fullEvery: 2 } })).exitCode).toBe(0);
    expect(await fixture.manifest()).toMatchObject([{ status: "ok" }]);
  });

  it("publishes nothing when a file cannot be read, the destination fails, or it is stopped", async () => {
    const fixture = new BackupFixture();
    await fixture.put("originals/a", "a");
    await fixture.run();
    const before = await fixture.catalog();
    fixture.nowMs += DAY_MS;
    fixture.onGet("originals/a", async () => {
      throw new StoreError("access-denied", "injected");
    });
    await expect(fixture.run()).rejects.toThrow("injected");
    const stop = new AbortController();
    fixture.onGet("originals/a", async (get) => {
      stop.abort(new Error("stopped"));
      return get();
    });
    await expect(fixture.run({ signal: stop.signal })).rejects.toThrow();
    expect(await fixture.catalog()).toEqual(before);
    expect(await fixture.names()).toHaveLength(4);
    const full = { ...fixture.destination.store, space: async () => ({ totalBytes: 1, freeBytes: 1000, totalObjects: 1, freeObjects: 1 }) };
    const destination = { ...fixture.destination, store: Object.assign(Object.create(fixture.destination.store), { space: full.space }) };
    destination.store.get = fixture.destination.store.get.bind(fixture.destination.store);
    await expect(fixture.run({ destination })).rejects.toThrow("make room");
  });

  it("refuses to replace an archive by one of an empty storage", async () => {
    const fixture = new BackupFixture();
    await fixture.put("originals/a", "a");
    await fixture.run();
    await fixture.storage.delete([`${fixture.prefix}originals/a`]);
    fixture.nowMs += DAY_MS;
    await expect(fixture.run()).rejects.toThrow("holds no file");
    expect((await fixture.run({ allowEmpty: true })).exitCode).toBe(0);
  });

  it("splits into volumes that are each complete", async () => {
    const fixture = new BackupFixture();
    for (let i = 0; i < 10; i++) await fixture.put(`originals/${i}`, randomBytes(3000));
    await fixture.run({ settings: { volumeSize: 10_000 } });
    const [archive] = (await fixture.catalog()).archives;
    expect(archive?.volumes.map(({ name }) => name)).toEqual([1, 2, 3, 4, 5].map((n) => `alice-assets-20261122.00${n}.tar.xz`));
    const counts: number[] = [];
    for (const { name } of archive?.volumes ?? []) counts.push((await unpack(await fixture.file(name))).size);
    expect(counts).toEqual([2, 2, 2, 2, 2]);
    expect(await verify(fixture)).toEqual([]);
  });

  it("fetches so many objects ahead and no more, and writes them in order", async () => {
    const fixture = new BackupFixture();
    let under = 0;
    let most = 0;
    const names = Array.from({ length: 50 }, (_, i) => `originals/${String(i).padStart(2, "0")}`);
    for (const name of names) {
      await fixture.put(name, name);
      fixture.onGet(name, async (get) => {
        most = Math.max(most, ++under);
        // Later ones are faster: order must not come from when they arrive.
        for (let turn = 50 - Number(name.slice(-2)); turn > 0; turn--) await new Promise((resolve) => setImmediate(resolve));
        under--;
        return get();
      });
    }
    await fixture.run();
    expect(most).toBe(16);
    expect([...(await unpack(await fixture.archive())).keys()]).toEqual(names.map((name) => `alice/${name}`));
  });

  it("stores without the xz program and says so; refuses where compression was asked for", async () => {
    const fixture = new BackupFixture();
    await fixture.put("originals/a.tif", Buffer.alloc(1_000_000, "tiff"));
    const said: string[] = [];
    const log = { ...QUIET, warn: (_fields: object, message: string) => void said.push(message) };
    await fixture.run({ settings: { compression: "auto" }, xz: false, log });
    expect(said).toEqual(["the xz program is not installed: archives are stored uncompressed"]);
    expect((await fixture.archive()).length).toBeGreaterThan(1_000_000);
    await expect(fixture.run({ settings: { compression: "xz:6" }, xz: false })).rejects.toThrow("needs the xz program");
  });

  it("gives each archive a name of its own", async () => {
    const fixture = new BackupFixture();
    await fixture.put("originals/a", "a");
    for (const ms of [0, 60_000, 100]) {
      fixture.nowMs += ms;
      await fixture.run({ settings: { keep: 9 } });
    }
    expect((await fixture.catalog()).archives.map(({ name }) => name)).toEqual([
      "alice-assets-20261122.tar.xz",
      "alice-assets-20261122T030100Z.tar.xz",
      "alice-assets-20261122T030100100Z.tar.xz",
    ]);
    await expect(fixture.run({ settings: { keep: 9 } })).rejects.toThrow("look at the clock");
  });

  it("keeps so many, and what was just replaced", async () => {
    const fixture = new BackupFixture();
    await fixture.put("originals/a", "a");
    for (let run = 0; run < 4; run++) {
      await fixture.run({ settings: { keep: 1 }, graceMs: 2.5 * DAY_MS });
      fixture.nowMs += DAY_MS;
    }
    expect((await fixture.catalog()).archives.map(({ name }) => name)).toEqual(
      ["22", "23", "24", "25"].map((day) => `alice-assets-202611${day}.tar.xz`),
    );
    await fixture.run({ settings: { keep: 1 }, graceMs: 0, isOpen: (name) => name.includes("20261125") });
    expect((await fixture.catalog()).archives.map(({ name }) => name)).toEqual([
      "alice-assets-20261125.tar.xz",
      "alice-assets-20261126.tar.xz",
    ]);
    expect((await fixture.names()).filter((name) => name.endsWith(".xz"))).toHaveLength(2);
  });
});

describe("incremental backups", () => {
  it("hold what changed and say what is gone; a restore gives the last state", async () => {
    const fixture = new BackupFixture();
    for (const name of ["a", "b", "c", "new\nline"]) await fixture.put(`originals/${name}`, `${name}1`);
    const settings = { fullEvery: 3 };
    await fixture.run({ settings });
    fixture.nowMs += DAY_MS;
    expect((await fixture.run({ settings })).summary).toContain("nothing has changed");
    await fixture.put("originals/b", "b2");
    await fixture.put("originals/d", "d2");
    await fixture.storage.delete(["originals/c", "originals/new\nline"].map((name) => fixture.prefix + name));
    await fixture.run({ settings });
    expect(await unpack(await fixture.archive())).toEqual(
      new Map([
        ["alice/originals/b", "b2"],
        ["alice/originals/d", "d2"],
        ["alice/.deleted", "alice/originals/c\nalice/originals/new\\nline\n"],
      ]),
    );
    expect((await fixture.catalog()).archives.at(-1)?.name).toBe("alice-assets-20261123.incr.tar.xz");
    fixture.nowMs += DAY_MS;
    await fixture.put("originals/c", "c3");
    await fixture.run({ settings });
    fixture.nowMs += DAY_MS;
    await fixture.put("originals/e", "e4");
    await fixture.run({ settings });
    const { archives } = await fixture.catalog();
    expect(archives.map(({ kind }) => kind)).toEqual(["full", "incremental", "incremental", "full"]);
    expect(await verify(fixture)).toEqual([]);

    const target = createMemoryStore();
    const chain = chainOf({ archives }, archives[2]?.name);
    const options = {
      user: "alice",
      destination: fixture.destination,
      chain,
      target: { store: target, prefix: "back/" },
      force: false,
      signal,
    };
    expect(await restoreArchives(options)).toMatchObject({ deleted: 2 });
    const restored: string[] = [];
    for await (const page of target.list("back/")) {
      for (const entry of page) restored.push("key" in entry ? `${entry.key} ${entry.size}` : "");
    }
    expect(restored.filter((line) => !line.includes("/ "))).toEqual(["a", "b", "c", "d"].map((name) => `back/originals/${name} 2`));
    expect((await target.head("back/originals/a")).metadata.mtime).toBe("1700000000");
    await expect(restoreArchives(options)).rejects.toThrow("originals/a is there already");
    expect(await restoreArchives({ ...options, force: true, path: "originals/c" })).toMatchObject({ files: 2 });
  });

  it("fall back to a whole one when an earlier manifest is lost", async () => {
    const fixture = new BackupFixture();
    await fixture.put("originals/a", "a");
    await fixture.run({ settings: { fullEvery: 5 } });
    await fixture.destination.store.delete([`${fixture.destination.prefix}alice-assets-20261122.tar.xz.manifest.jsonl`]);
    fixture.nowMs += DAY_MS;
    await fixture.run({ settings: { fullEvery: 5 } });
    expect((await fixture.catalog()).archives.map(({ kind }) => kind)).toEqual(["full", "full"]);
  });
});

describe("verifying", () => {
  it("finds a changed byte anywhere", async () => {
    const fixture = new BackupFixture();
    await fixture.put("originals/a", randomBytes(2000));
    await fixture.run();
    const [archive] = (await fixture.catalog()).archives;
    const name = archive?.volumes[0]?.name ?? "";
    const bytes = await fixture.file(name);
    for (const at of [20, 1500, bytes.length - 20]) {
      const bad = Buffer.from(bytes);
      bad[at] = (bad[at] ?? 0) ^ 1;
      await fixture.destination.store.put(fixture.destination.prefix + name, [bad]);
      if (!archive) throw new Error("no archive");
      const result = await verifyArchive({ destination: fixture.destination, archive, signal });
      expect(result.faultCount, String(at)).toBeGreaterThan(0);
    }
  });
});

it("the manifest names the version of a bucket that keeps versions", async () => {
  const fixture = new BackupFixture();
  await fixture.put("originals/a", "a");
  await fixture.put("originals/b", "b");
  fixture.onGet("originals/a", async (get) => {
    const opened = await get();
    return { info: { ...opened.info, versionId: "3sL4kqtJlcpXroDTDmJ" }, body: opened.body, destroy: () => opened.destroy() };
  });
  await fixture.run();
  expect((await fixture.manifest()).map(({ versionId }) => versionId)).toEqual(["3sL4kqtJlcpXroDTDmJ", undefined]);
});

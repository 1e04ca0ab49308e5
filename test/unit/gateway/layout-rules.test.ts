/** The asset server's layout as sessions feel it: real uploads, a counting store, the rules as the gateway wires them. */
import { afterEach, describe, expect, it } from "vitest";
import { LayoutRules, type LayoutRulesOptions } from "../../../src/gateway/layout-rules.ts";
import { StoreError } from "../../../src/errors.ts";
import { type StoreKind, WholeFixture } from "../vfs/whole-fixture.ts";

const logged: string[] = [];
const log = { debug: () => undefined, warn: (fields: object, message: string) => void logged.push(`${message} ${JSON.stringify(fields)}`) };
let whole: WholeFixture | undefined;

/** A fixture whose volume obeys the rules of `options`. */
async function fixture(options: Partial<LayoutRulesOptions> = {}, kind: StoreKind = "memory"): Promise<WholeFixture> {
  logged.length = 0;
  whole = await WholeFixture.create(kind, (store, volume) => {
    return new LayoutRules({
      store,
      prefix: "alice/",
      layout: "free",
      thumbnailUploads: false,
      clock: { now: () => Date.now(), after: () => () => undefined },
      log,
      onDeleted: (keys) => volume().removed(keys),
      onRemoved: () => undefined,
      onChangedElsewhere: () => undefined,
      ...options,
    });
  });
  return whole;
}

async function stored(files: WholeFixture, ...keys: string[]): Promise<void> {
  for (const key of keys) await files.inner.put(`alice/${key}`, [Buffer.from("x")]);
}

afterEach(async () => {
  await whole?.close();
  whole = undefined;
});

const MINE = ["thumbnails/a_123.jpg", "thumbnails/a_500.jpg"];
const OTHERS = ["thumbnails/a_123.png", "thumbnails/a_b_123.jpg", "thumbnails/a_x.jpg", "thumbnails/aa_123.jpg", "thumbnails/b_123.jpg"];

describe.each(["memory", "local"] as const)("thumbnails of a changed original (%s)", (kind) => {
  it("go when it is overwritten by somebody who has not looked before", async () => {
    const files = await fixture({}, kind);
    await stored(files, "originals/a.jpg", ...MINE, ...OTHERS);
    files.store.take();
    await files.write("/attachments/originals/a.jpg", "new");
    // The first PUT finds the file there; on a disk a look at it is cheaper.
    expect(files.store.takeText()).toBe(kind === "local" ? "1 head, 2 list, 1 put, 1 delete" : "1 list, 2 put, 1 delete");
    expect((await files.keys()).filter((key) => !key.endsWith("/"))).toEqual([
      "alice/originals/a.jpg",
      ...OTHERS.map((key) => `alice/${key}`),
    ]);
    expect((await files.read("/attachments/originals/a.jpg")).toString()).toBe("new");
  });

  it("go when it is overwritten after a look at it, when it is removed and when it is renamed", async () => {
    const files = await fixture({}, kind);
    for (const change of [
      async () => {
        await files.names("/attachments/originals");
        files.store.take();
        await files.write("/attachments/originals/a.jpg", "new");
        expect(files.store.take().put).toBe(1);
      },
      () => files.vfs.remove("/attachments/originals/a.jpg"),
      () => files.vfs.removeFiles(["/attachments/originals/a.jpg"]),
      () => files.vfs.rename("/attachments/originals/a.jpg", "/attachments/originals/z.jpg", { replace: false }),
      () => files.vfs.rename("/attachments/originals/y.jpg", "/attachments/originals/a.jpg", { replace: true }),
      () => files.vfs.copy("/attachments/originals/y.jpg", "/attachments/originals/a.jpg"),
    ]) {
      await files.inner.delete((await files.keys()).reverse());
      await stored(files, "originals/a.jpg", "originals/y.jpg", ...MINE, ...OTHERS);
      files.volume.tree.clear();
      await change();
      expect((await files.keys()).filter((key) => key.includes("thumbnails/") && !key.endsWith("/"))).toEqual(
        OTHERS.map((key) => `alice/${key}`),
      );
    }
  });
});

describe("what it costs", () => {
  it("nothing for a new file, of one part or of several", async () => {
    const files = await fixture();
    await stored(files, ...MINE);
    await files.write("/attachments/originals/a.jpg", "new");
    expect(files.store.takeText()).toBe("1 put");
    await files.write("/attachments/originals/big.tif", Buffer.alloc(300_000));
    expect(files.store.takeText()).toBe("1 createUpload, 3 uploadPart, 1 complete");
    await files.write("/attachments/originals/notes.txt", "new");
    await files.write("/attachments/originals/notes.txt", "newer");
    await files.vfs.remove("/attachments/originals/notes.txt");
    expect(files.store.takeText()).toBe("2 put, 1 delete");
    expect(await files.keys()).toContain("alice/thumbnails/a_123.jpg");
  });

  it("one completion more for a large file that was there and that nobody had seen", async () => {
    const files = await fixture();
    await stored(files, "originals/big.tif", "thumbnails/big_123.png", "thumbnails/big_123.tif");
    await files.write("/attachments/originals/big.tif", Buffer.alloc(300_000, 1));
    expect(files.store.takeText()).toBe("1 list, 1 delete, 1 createUpload, 3 uploadPart, 2 complete");
    expect(await files.keys()).toEqual(["alice/originals/big.tif", "alice/thumbnails/big_123.tif"]);
    expect((await files.read("/attachments/originals/big.tif")).equals(Buffer.alloc(300_000, 1))).toBe(true);
  });

  it("nothing for other times of the same content", async () => {
    const files = await fixture();
    await stored(files, "originals/a.jpg", ...MINE);
    await files.vfs.setstat("/attachments/originals/a.jpg", { mtime: 1_600_000_000 });
    expect(files.store.take().list ?? 0).toBe(0);
    expect(await files.keys()).toContain("alice/thumbnails/a_123.jpg");
  });

  it("a few listings for a thousand originals removed one by one or together", async () => {
    const files = await fixture();
    const names = Array.from({ length: 1_000 }, (_, index) => `a${String(index).padStart(4, "0")}`);
    await stored(files, ...names.flatMap((name) => [`originals/${name}.jpg`, `thumbnails/${name}_123.jpg`]), "thumbnails/b_1.jpg");
    await files.names("/attachments/originals");
    files.store.take();
    for (const name of names.slice(0, 500)) await files.vfs.remove(`/attachments/originals/${name}.jpg`);
    expect(files.store.take().list).toBeLessThanOrEqual(6);
    await files.vfs.removeFiles(names.slice(500).map((name) => `/attachments/originals/${name}.jpg`));
    expect(files.store.take()).toMatchObject({ delete: 2 });
    expect(await files.keys()).toEqual(["alice/thumbnails/b_1.jpg"]);
  });
});

describe("a store that cannot", () => {
  it("write on a condition is asked for the thumbnails instead", async () => {
    const files = await fixture();
    await stored(files, "originals/a.jpg", ...MINE);
    const put = files.store.put.bind(files.store);
    files.store.put = async (key, chunks, options) => {
      if (options?.ifNoneMatch) throw new StoreError("unsupported", "If-None-Match");
      return put(key, chunks, options);
    };
    await files.write("/attachments/originals/a.jpg", "new");
    expect(await files.keys()).toEqual(["alice/originals/a.jpg"]);
    // Once: then it is known. The thumbnails behind those of `a` were listed a moment ago.
    files.store.take();
    await files.write("/attachments/originals/b.jpg", "new");
    expect(files.store.takeText()).toBe("1 put");
  });

  it("list or delete costs the client nothing but the thumbnails", async () => {
    const files = await fixture();
    await stored(files, "originals/a.jpg", ...MINE);
    files.store.before = (kind) => {
      if (kind === "list") throw new StoreError("unavailable", "down");
    };
    await files.write("/attachments/originals/a.jpg", "new");
    expect(logged).toEqual([expect.stringContaining("thumbnails of a changed original could not be removed")]);
  });
});

describe("thumbnails/", () => {
  const write = { write: true, create: true };

  it("can be read and removed, and says who makes them", async () => {
    const files = await fixture();
    await stored(files, ...MINE);
    const reason = {
      code: "permission-denied",
      message: expect.stringMatching(/the asset server makes the thumbnails by itself.*Put your files into \/attachments\/originals\//),
    };
    const { vfs } = files;
    await expect(vfs.open("/attachments/thumbnails/c_123.jpg", write)).rejects.toMatchObject(reason);
    await expect(vfs.open("/attachments/thumbnails/a_123.jpg", write)).rejects.toMatchObject(reason);
    await expect(vfs.mkdir("/attachments/thumbnails/sub")).rejects.toMatchObject(reason);
    await expect(vfs.setstat("/attachments/thumbnails/a_123.jpg", { mtime: 1 })).rejects.toMatchObject(reason);
    await files.write("/attachments/originals/c.jpg", "c");
    const from = "/attachments/originals/c.jpg";
    await expect(vfs.rename(from, "/attachments/thumbnails/c_1.jpg", { replace: true })).rejects.toMatchObject(reason);
    await expect(vfs.copy(from, "/attachments/thumbnails/c_1.jpg")).rejects.toMatchObject(reason);
    // What `rsync -a --delete` does to the folder itself, and to what is in it.
    await vfs.setstat("/attachments/thumbnails", { mtime: 1_600_000_000, mode: 0o755 });
    expect((await files.read("/attachments/thumbnails/a_123.jpg")).toString()).toBe("x");
    await vfs.remove("/attachments/thumbnails/a_123.jpg");
    expect(await vfs.removeFiles(["/attachments/thumbnails/a_500.jpg"])).toEqual([undefined]);
    expect((await files.keys()).filter((key) => !key.endsWith("/"))).toEqual(["alice/originals/c.jpg"]);
  });

  it("takes files where that is configured", async () => {
    const files = await fixture({ thumbnailUploads: true });
    await files.write("/attachments/thumbnails/c_123.jpg", "c");
    expect(await files.keys()).toEqual(["alice/thumbnails/c_123.jpg"]);
  });
});

describe("layout", () => {
  const write = { write: true, create: true };
  const where = (text: string) => ({ code: "permission-denied", message: expect.stringContaining(text) });

  it("specify: takes files only directly in originals/, and says so", async () => {
    const { vfs, ...rest } = await fixture({ layout: "specify" });
    const files = whole ?? rest;
    const reason = where("the asset server does not look here. Put your files into /attachments/originals/");
    await expect(vfs.open("/attachments/a.jpg", write)).rejects.toMatchObject(reason);
    await expect(vfs.open("/attachments/images/a.jpg", write)).rejects.toMatchObject(reason);
    await expect(vfs.mkdir("/attachments/Originals")).rejects.toMatchObject(reason);
    const below = where("does not look into this folder. Put your files into /attachments/originals/");
    await expect(vfs.mkdir("/attachments/originals/2024")).rejects.toMatchObject(below);
    await expect(vfs.open("/attachments/originals/2024/a.jpg", write)).rejects.toMatchObject(below);
    await stored(files as WholeFixture, "old/a.jpg");
    await vfs.rename("/attachments/old/a.jpg", "/attachments/originals/a.jpg", { replace: false });
    await expect(vfs.rename("/attachments/originals/a.jpg", "/attachments/a.jpg", { replace: false })).rejects.toMatchObject(reason);
    await vfs.setstat("/attachments/originals", { mtime: 1_600_000_000 });
    expect(await vfs.stat("/attachments/originals/a.jpg")).toMatchObject({ size: 1 });
  });

  it("cas: takes files two folders deep, and finds their thumbnails", async () => {
    const files = await fixture({ layout: "cas" });
    const reason = where("Put your files into /attachments/originals/ab/cd/, by the first four characters of their names");
    await expect(files.vfs.open("/attachments/originals/a.jpg", write)).rejects.toMatchObject(reason);
    await files.vfs.mkdir("/attachments/originals/0a");
    await files.vfs.mkdir("/attachments/originals/0a/1b");
    await files.write("/attachments/originals/0a/1b/0a1b2c.jpg", "a");
    await stored(files, "thumbnails/0a1b2c_123.jpg");
    await files.write("/attachments/originals/0a/1b/0a1b2c.jpg", "b");
    expect(await files.keys()).not.toContain("alice/thumbnails/0a1b2c_123.jpg");
  });

  it("free: takes files anywhere and names each folder in the log once", async () => {
    const files = await fixture();
    await files.write("/attachments/a.jpg", "a");
    await files.write("/attachments/b.jpg", "b");
    await files.write("/attachments/originals/c.jpg", "c");
    expect(logged).toEqual(['upload outside of originals/: the asset server does not find it {"folder":"/","name":"a.jpg"}']);
  });
});

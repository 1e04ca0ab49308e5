import { mkdtemp, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { StateDirectory } from "../../../src/state/state-directory.ts";
import { TailSpaceError, TailStore } from "../../../src/state/tail-store.ts";
import { type UploadRow, UploadTable } from "../../../src/state/upload-table.ts";

let folder: string;
let state: StateDirectory;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "state-"));
  state = await StateDirectory.open(path.join(folder, "state"));
});

afterEach(async () => {
  await state.close();
  await rm(folder, { recursive: true, force: true });
});

function row(name: string, id: string, more: Partial<UploadRow> = {}): UploadRow {
  const times = { startedMs: 1, updatedMs: 2 };
  return { id, user: "alice", name, key: name, state: "dropped", length: 10, processId: state.processId, ...times, ...more };
}

describe("the state directory", () => {
  it("is for its owner only", async () => {
    expect((await stat(path.join(folder, "state"))).mode & 0o777).toBe(0o700);
  });

  it("keeps what was written over a restart", async () => {
    await state.table<string>("words").put("a", "b");
    await state.close();
    state = await StateDirectory.open(path.join(folder, "state"));
    expect(state.table<string>("words").get("a")).toBe("b");
  });

  for (const [what, damage] of [
    ["garbage", (file: string) => writeFile(file, "x".repeat(100_000))],
    ["cut in half", async (file: string) => truncate(file, Math.floor((await stat(file)).size / 2))],
    ["cut to one page", (file: string) => truncate(file, 4096)],
  ] as const) {
    it(`puts a store that is ${what} aside and begins a new one`, async () => {
      const words = state.table<string>("words");
      for (let index = 0; index < 20_000; index += 1) void words.put(`key ${index}`, "value".repeat(10));
      await state.flushed();
      await state.close();
      await damage(path.join(folder, "state", "store", "data.mdb"));
      const reasons: Error[] = [];
      state = await StateDirectory.open(path.join(folder, "state"), { onBroken: (reason) => reasons.push(reason) });
      expect(reasons).toHaveLength(1);
      await state.table<string>("words").put("a", "b");
      expect(state.table<string>("words").get("key 5")).toBeUndefined();
      expect((await readdir(path.join(folder, "state", "store"))).some((name) => name.includes("broken"))).toBe(true);
    });
  }

  it("takes an empty file for a new store", async () => {
    await state.close();
    await truncate(path.join(folder, "state", "store", "data.mdb"), 0);
    state = await StateDirectory.open(path.join(folder, "state"));
    await state.table<string>("words").put("a", "b");
    expect(state.table<string>("words").get("a")).toBe("b");
  });

  it("tells living processes from dead ones, also when a pid was given away again", () => {
    expect(state.isAlive(state.processId)).toBe(true);
    expect(state.isAlive(`${process.pid}:1`)).toBe(false);
    expect(state.isAlive("999999999:1")).toBe(false);
    expect(state.isAlive("nonsense")).toBe(false);
    expect(state.isAlive("-1:1")).toBe(false);
  });
});

describe("the table of uploads", () => {
  it("finds by name, lists by prefix in UTF-8 byte order, and keeps volumes apart", async () => {
    const table = new UploadTable(state, "one");
    const other = new UploadTable(state, "two");
    const names = ["a/\u{1F986}", "a/b", "a/\uFFFD", "a/b/c", "ab"];
    for (const name of names) await table.put(row(name, `id-${name.length}`));
    await other.put(row("a/b", "elsewhere"));
    expect(table.list("a/").map((found) => found.name)).toEqual(["a/b", "a/b/c", "a/\uFFFD", "a/\u{1F986}"]);
    expect(table.find("a/b").map((found) => found.id)).toEqual(["id-3"]);
    expect(other.list("")).toHaveLength(1);
  });

  it("keeps parts in order and removes them with their upload", async () => {
    const table = new UploadTable(state, "one");
    await table.put(row("f", "x"));
    await table.put(row("f", "y"));
    for (const partNumber of [10_000, 2, 1, 11]) await table.putPart("x", { partNumber, size: partNumber, etag: "e" });
    await table.putPart("y", { partNumber: 1, size: 5, etag: "e" });
    expect(table.parts("x").map((part) => part.partNumber)).toEqual([1, 2, 11, 10_000]);
    await table.remove("f", "x");
    expect(table.parts("x")).toEqual([]);
    expect(table.find("f").map((found) => found.id)).toEqual(["y"]);
    expect(table.parts("y")).toHaveLength(1);
  });

  it("knows which uploads a living process has open", () => {
    const table = new UploadTable(state, "one");
    expect(table.isOpen(row("f", "x", { state: "open" }))).toBe(true);
    expect(table.isOpen(row("f", "x", { state: "dropped" }))).toBe(false);
    expect(table.isOpen(row("f", "x", { state: "open", processId: "999999999:1" }))).toBe(false);
  });
});

describe("tail files", () => {
  it("are written anywhere, read back, cut and removed", async () => {
    const tails = new TailStore(state);
    const file = await tails.create("t1");
    await file.append([Buffer.from("abc"), Buffer.from("def")]);
    await file.write(10, [Buffer.from("xyz")]);
    expect(Buffer.from(await file.read(0, 13)).toString()).toBe("abcdef\0\0\0\0xyz");
    await file.truncate(4);
    await file.sync();
    await file.close();
    const again = await tails.open("t1");
    expect(again?.length).toBe(4);
    await expect(again?.read(0, 5)).rejects.toThrow("tail file ends");
    await again?.discard();
    expect(await tails.open("t1")).toBeUndefined();
  });

  it("take thousands of chunks at once", async () => {
    const file = await new TailStore(state).create("t2");
    const chunks = Array.from({ length: 3000 }, (_, index) => Buffer.from([index & 255, index >> 8]));
    await file.append(chunks);
    expect(Buffer.compare(await file.read(0, 6000), Buffer.concat(chunks))).toBe(0);
    await file.discard();
  });

  it("are held to a limit together", async () => {
    const tails = new TailStore(state, { limit: 100 });
    const one = await tails.create("one");
    const two = await tails.create("two");
    await one.append([Buffer.alloc(60)]);
    await expect(two.append([Buffer.alloc(60)])).rejects.toBeInstanceOf(TailSpaceError);
    await one.discard();
    await two.append([Buffer.alloc(60)]);
    await two.discard();
  });

  it("have names that lead nowhere else", async () => {
    const tails = new TailStore(state);
    await expect(tails.create("../../etc/passwd")).rejects.toThrow("not a name");
    await expect(tails.open("a/b")).rejects.toThrow("not a name");
  });
});

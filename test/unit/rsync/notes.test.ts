import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, truncateSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { blockSum, rollingSum, RollingSum, savableTransferDigest, savedLength, transferDigest } from "../../../src/rsync/checksums.ts";
import { Md5 } from "../../../src/rsync/md5.ts";
import { NotesRecorder } from "../../../src/rsync/notes-recorder.ts";
import { HISTORY, notesRules, rollingSumOfFilling, UploadNotesStore } from "../../../src/rsync/upload-notes.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("MD5 that can be kept", () => {
  it.each([0, 1, 55, 56, 63, 64, 65, 119, 1000, 128 * KIB, 300_001])("is MD5 for %i bytes, however they come", (size) => {
    const bytes = randomBytes(size);
    const expected = createHash("md5").update(bytes).digest("hex");
    for (const step of [1_000_000, 7, 64, 4097]) {
      if (size / step > 20_000) continue;
      const digest = new Md5();
      for (let at = 0; at < size; at += step) digest.update(bytes.subarray(at, at + step));
      expect(hex(digest.digest())).toBe(expected);
    }
  });

  it.each([29, 31])("goes on where it was kept, protocol %i", (protocol) => {
    const rules = { protocol, seed: 7, seedFirst: true };
    const bytes = randomBytes(3000);
    for (const cut of [0, 1, 60, 64, 1023, 2048]) {
      const before = savableTransferDigest(rules);
      before.update(bytes.subarray(0, cut));
      const saved = before.save();
      expect(saved.length).toBe(savedLength(rules, cut));
      const after = savableTransferDigest(rules, saved, cut);
      after.update(bytes.subarray(cut));
      const whole = transferDigest(rules);
      whole.update(bytes);
      expect(hex(after.digest())).toBe(hex(whole.digest()));
    }
    expect(() => savableTransferDigest(rules, new Uint8Array(3), 5)).toThrow(RangeError);
  });
});

it("has the rolling sum of rsync for any length and any pieces", () => {
  const plain = (block: Uint8Array): number => {
    let s1 = 0;
    let s2 = 0;
    for (const byte of new Int8Array(block)) {
      s1 = (s1 + byte) | 0;
      s2 = (s2 + s1) | 0;
    }
    return ((s1 & 0xffff) | (s2 << 16)) >>> 0;
  };
  for (const length of [1, 700, 1024, 32_768, 131_072]) {
    for (const value of [0, 1, 127, 128, 255]) expect(rollingSumOfFilling(length, value)).toBe(plain(new Uint8Array(length).fill(value)));
  }
  for (const size of [0, 1, 7, 8, 9, 700, 131_072, 200_003]) {
    const bytes = Uint8Array.from(randomBytes(size));
    expect(rollingSum(bytes)).toBe(plain(bytes));
    const pieces = new RollingSum();
    for (let at = 0; at < size; at += 1001) pieces.add(bytes.subarray(at, at + 1001));
    expect(pieces.value).toBe(plain(bytes));
  }
});

describe.each([29, 31])("notes of an upload, protocol %i", (protocol) => {
  const rules = notesRules({ protocol, seed: 9, seedFirst: protocol >= 30 }, 3 * MIB);
  const bytes = randomBytes(3 * MIB + 5);
  let folder: string;
  let store: UploadNotesStore;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "notes-"));
    store = new UploadNotesStore(join(folder, "rsync-notes"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  async function record(from: number, to: number, recorder: NotesRecorder): Promise<void> {
    for (let at = from; at < to; at += 40_000) {
      recorder.update(bytes.subarray(at, Math.min(to, at + 40_000)));
      if (recorder.isDue) await recorder.flush("upload-1");
    }
    await recorder.flush("upload-1");
    await recorder.close();
  }

  it("have sums, states and histories, and can be gone on with", async () => {
    await record(0, 2 * MIB + 300_000, new NotesRecorder(store, rules));
    const notes = await store.read("upload-1", rules.checksums);
    if (!notes) throw new Error("nothing was noted");
    expect(notes.count).toBe(Math.floor((2 * MIB + 300_000) / rules.blockLength));
    const sums = Buffer.from(await notes.sums(notes.count, 8));
    const last = (notes.count - 1) * rules.blockLength;
    const block = bytes.subarray(last, last + rules.blockLength);
    expect(sums.readUInt32LE((notes.count - 1) * 12)).toBe(rollingSum(block));
    expect(hex(sums.subarray(-8))).toBe(hex(blockSum(rules.checksums, block).subarray(0, 8)));
    expect(hex((await notes.history(2 * MIB)) ?? new Uint8Array())).toBe(hex(bytes.subarray(2 * MIB - HISTORY, 2 * MIB)));
    expect(await notes.history(3 * MIB)).toBeUndefined();
    const blocks = notes.count - 1;
    const next = new NotesRecorder(store, rules, { id: "upload-1", blocks, saved: await notes.saved(blocks) });
    await record(blocks * rules.blockLength, bytes.length, next);
    const whole = transferDigest(rules.checksums);
    whole.update(bytes);
    expect(hex(next.digest())).toBe(hex(whole.digest()));
    expect((await store.read("upload-1", rules.checksums))?.count).toBe(Math.floor(bytes.length / rules.blockLength));
    await next.discard();
    expect(readdirSync(join(folder, "rsync-notes"))).toEqual([]);
  });

  it.each([0, 1, 127, 128, 255])("know blocks that consist of byte %i, and equal ones", async (value) => {
    const recorder = new NotesRecorder(store, rules);
    recorder.update(Buffer.concat([bytes.subarray(0, MIB), Buffer.alloc(MIB, value), bytes.subarray(0, MIB)]));
    await recorder.flush("upload-1");
    await recorder.close();
    const notes = await store.read("upload-1", rules.checksums);
    const blocks = MIB / rules.blockLength;
    expect(await notes?.filling(blocks, blocks)).toBe(value);
    expect(await notes?.filling(blocks - 1, 1)).toBeUndefined();
    expect(await notes?.filling(blocks - 1, 2)).toBeUndefined();
    expect(await notes?.equal(0, 2 * blocks, blocks)).toBe(blocks);
    expect(await notes?.equal(1, 2 * blocks, 1)).toBe(0);
    expect(await notes?.equal(blocks, blocks + 1, blocks)).toBe(blocks - 1);
    await expect(notes?.equal(0, 2 * blocks, blocks + 1)).rejects.toThrow();
  });

  it("are none where they are damaged, of other rules, or of a name that is no id", async () => {
    await record(0, 2 * MIB, new NotesRecorder(store, rules));
    expect(await store.read("upload-1", { ...rules.checksums, seed: 10 })).toBeUndefined();
    expect(await store.read("../rsync-notes/upload-1", rules.checksums)).toBeUndefined();
    expect(await store.read("upload-2", rules.checksums)).toBeUndefined();
    await expect(store.write("../x")).rejects.toThrow(RangeError);
    truncateSync(join(folder, "rsync-notes", "upload-1"), 2000);
    expect(await store.read("upload-1", rules.checksums)).toBeUndefined();
  });

  it("are swept when their upload has expired", async () => {
    await record(0, 2 * MIB, new NotesRecorder(store, rules));
    const old = Date.now() / 1000 - 9 * 24 * 3600;
    utimesSync(join(folder, "rsync-notes", "upload-1"), old, old);
    await store.seed();
    await (await new UploadNotesStore(join(folder, "rsync-notes")).write("upload-2")).close();
    expect(readdirSync(join(folder, "rsync-notes")).sort()).toEqual(["seed", "upload-2"]);
  });

  it("have one seed for all processes", async () => {
    const others = Array.from({ length: 5 }, () => new UploadNotesStore(join(folder, "rsync-notes")));
    const seeds = await Promise.all([store, ...others].map((one) => one.seed()));
    const [seed = 0] = seeds;
    expect(seed).toBeGreaterThan(0);
    expect(new Set(seeds).size).toBe(1);
    expect(await new UploadNotesStore(join(folder, "rsync-notes")).seed()).toBe(seed);
  });

  it("are left out where they cannot be written", async () => {
    const broken = new UploadNotesStore("/proc/none");
    const recorder = new NotesRecorder(broken, rules);
    await record(0, bytes.length, recorder);
    const whole = transferDigest(rules.checksums);
    whole.update(bytes);
    expect(hex(recorder.digest())).toBe(hex(whole.digest()));
    expect(await broken.seed()).toBeGreaterThan(0);
  });
});

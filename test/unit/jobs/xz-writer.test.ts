import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { parseBlockMode, xzAvailable } from "../../../src/jobs/archive/block-compressor.ts";
import { XZ_BLOCK_SIZE, xzStream } from "../../../src/jobs/archive/xz-writer.ts";

async function* inChunks(data: Buffer, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

async function encode(data: Buffer, mode: string, xz = true): Promise<Buffer> {
  const parsed = parseBlockMode(mode);
  if (!parsed) throw new Error(mode);
  const chunks: Uint8Array[] = [];
  for await (const chunk of xzStream(inChunks(data, 100_003), { mode: parsed, xz, parallel: 2 })) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const unxz = (data: Buffer): Buffer => execFileSync("xz", ["-dc"], { input: data, maxBuffer: 1e9 });
const random = randomBytes(XZ_BLOCK_SIZE);
const text = Buffer.from("label: Coleoptera, leg. 1898\n".repeat(400_000)).subarray(0, XZ_BLOCK_SIZE + 1000);

describe("xzStream", () => {
  it("stores what does not shrink and compresses what does", async () => {
    expect(await xzAvailable()).toBe(true);
    const data = Buffer.concat([random, text]);
    const encoded = await encode(data, "auto");
    expect(unxz(encoded).equals(data)).toBe(true);
    expect(encoded.length).toBeGreaterThan(random.length);
    expect(encoded.length).toBeLessThan(random.length + 100_000);
  });

  it("stores in auto mode where there is no xz program, and always in store mode", async () => {
    for (const [mode, xz] of [
      ["auto", false],
      ["store", true],
    ] as const) {
      const encoded = await encode(text, mode, xz);
      expect(encoded.length).toBeGreaterThan(text.length);
      expect(unxz(encoded).equals(text)).toBe(true);
    }
  });

  it("compresses everything at a level, and is the same bytes each time", async () => {
    const encoded = await encode(text, "xz:1");
    expect(encoded.length).toBeLessThan(50_000);
    expect(unxz(encoded).equals(text)).toBe(true);
    expect((await encode(text, "xz:1")).equals(encoded)).toBe(true);
  });

  it("fails when its source fails", async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield random;
      throw new Error("source failed");
    }
    const drain = async (): Promise<void> => {
      for await (const chunk of xzStream(broken(), { mode: { kind: "store" }, xz: false })) expect(chunk).toBeInstanceOf(Uint8Array);
    };
    await expect(drain()).rejects.toThrow("source failed");
  });

  it("knows its modes", () => {
    expect(parseBlockMode("xz:9")).toEqual({ kind: "level", level: 9 });
    expect(parseBlockMode("xz:10")).toBeUndefined();
    expect(parseBlockMode("gzip")).toBeUndefined();
  });
});

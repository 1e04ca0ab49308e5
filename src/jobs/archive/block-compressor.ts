/**
 * Decides block by block whether an archive's bytes are worth compressing, and compresses those that are through the
 * `xz` program. Images are compressed already: real compression of them takes a hundred times longer and saves nothing.
 */
import { spawn } from "node:child_process";
import { deflateRaw } from "node:zlib";
import { promisify } from "node:util";
import { compressedBlock, type EncodedBlock, storedBlock } from "./xz-format.ts";

/** `store`: never compress. `auto`: compress blocks whose sample shrinks. `level` (xz:0 to xz:9): compress all. */
export type BlockMode = { readonly kind: "store" } | { readonly kind: "auto" } | { readonly kind: "level"; readonly level: number };

const PROBE_LENGTH = 64 * 1024;
const PROBES = 3;
/** A sample that keeps more than this share of its size is not worth the time. */
const WORTHWHILE = 0.95;
const AUTO_LEVEL = 6;
const deflate = promisify(deflateRaw);

/** Reads `auto`, `store` or `xz:0` … `xz:9`; undefined for anything else. */
export function parseBlockMode(text: string): BlockMode | undefined {
  if (text === "auto" || text === "store") return { kind: text };
  const level = /^xz:([0-9])$/.exec(text);
  return level ? { kind: "level", level: Number(level[1]) } : undefined;
}

/** True if the `xz` program can be run here. */
export function xzAvailable(): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn("xz", ["--version"], { stdio: "ignore" });
    child.on("error", () => resolve(false));
    child.on("exit", (code) => resolve(code === 0));
  });
}

/** Up to `length` bytes from `offset` of a chunk list as one buffer. */
function sample(data: readonly Uint8Array[], offset: number, length: number): Buffer {
  const pieces: Uint8Array[] = [];
  let skip = offset;
  let room = length;
  for (const chunk of data) {
    if (skip >= chunk.length) {
      skip -= chunk.length;
      continue;
    }
    const piece = chunk.subarray(skip, skip + room);
    pieces.push(piece);
    room -= piece.length;
    skip = 0;
    if (room === 0) break;
  }
  return Buffer.concat(pieces);
}

/** True if samples from the start, middle and end of the block shrink by at least 5 % together. */
async function worthCompressing(data: readonly Uint8Array[], size: number): Promise<boolean> {
  let before = 0;
  let after = 0;
  for (let i = 0; i < PROBES; i++) {
    const at = Math.max(0, Math.floor(((size - PROBE_LENGTH) * i) / (PROBES - 1)));
    const probe = sample(data, at, PROBE_LENGTH);
    before += probe.length;
    after += (await deflate(probe, { level: 1 })).length;
  }
  return after < before * WORTHWHILE;
}

/** Raw LZMA2 of the block by `xz`. Rejects with what the program said when it fails. */
function compress(data: readonly Uint8Array[], level: number, signal: AbortSignal | undefined): Promise<Uint8Array[]> {
  return new Promise((resolve, reject) => {
    const dictionary = level >= 5 ? "8MiB" : "1MiB";
    const args = ["--format=raw", `--lzma2=preset=${level},dict=${dictionary}`, "--memlimit-compress=1GiB", "--stdout"];
    const child = spawn("xz", args, { stdio: ["pipe", "pipe", "pipe"], ...(signal && { signal }) });
    const output: Uint8Array[] = [];
    let complaint = "";
    child.stdout.on("data", (chunk: Uint8Array) => output.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => {
      complaint += chunk.toString("utf8");
    });
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve(output) : reject(new Error(`xz exited with ${code}: ${complaint.trim()}`))));
    // A broken pipe shows as the exit status, which says more.
    child.stdin.on("error", () => child.stdin.destroy());
    for (const chunk of data) child.stdin.write(chunk);
    child.stdin.end();
  });
}

/**
 * Encodes one block of `size` bytes. Without the `xz` program (`xz: false`) `auto` stores. Compressed data that came
 * out larger is stored instead. Rejects when the program fails or `signal` aborts.
 */
export async function encodeBlock(
  data: readonly Uint8Array[],
  options: { readonly mode: BlockMode; readonly size: number; readonly xz: boolean; readonly signal?: AbortSignal },
): Promise<EncodedBlock> {
  const { mode, size, xz, signal } = options;
  const wanted = mode.kind === "level" || (mode.kind === "auto" && xz && (await worthCompressing(data, size)));
  if (!wanted) return storedBlock(data);
  const lzma2 = await compress(data, mode.kind === "level" ? mode.level : AUTO_LEVEL, signal);
  const compressedSize = lzma2.reduce((sum, chunk) => sum + chunk.length, 0);
  return compressedSize < size ? compressedBlock(data, lzma2) : storedBlock(data);
}

/**
 * What an archive's tar is wrapped in: xz as it always was, zstd or nothing where the operator asks for it. Chosen by the
 * setting `compression` when it is written, by the file's name when it is read. Knows no tar and no destination.
 */
import { spawn } from "node:child_process";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { parseBlockMode } from "./block-compressor.ts";
import { readXz } from "./xz-reader.ts";
import { xzStream } from "./xz-writer.ts";

/** How a file of an archive ends, and what its type is to programs that ask. */
export interface Container {
  readonly extension: ".tar.xz" | ".tar.zst" | ".tar";
  readonly contentType: string;
}

const XZ: Container = { extension: ".tar.xz", contentType: "application/x-xz" };
const ZSTD: Container = { extension: ".tar.zst", contentType: "application/zstd" };
const TAR: Container = { extension: ".tar", contentType: "application/x-tar" };

/** All containers, the default one first. */
export const CONTAINERS: readonly Container[] = [XZ, ZSTD, TAR];

const DEFAULT_ZSTD_LEVEL = 3;

/** What `compression` asks for: `auto`, `store`, `xz:0` to `xz:9`, `zst`, `zst:1` to `zst:19`, or `tar`. Throws for anything else. */
export function containerOf(compression: string): Container {
  if (parseBlockMode(compression)) return XZ;
  if (compression === "tar") return TAR;
  if (zstdLevel(compression) !== undefined) return ZSTD;
  throw new Error(`compression ${compression} is not known`);
}

function zstdLevel(compression: string): number | undefined {
  const match = /^zst(?::(\d{1,2}))?$/.exec(compression);
  if (!match) return undefined;
  const level = match[1] === undefined ? DEFAULT_ZSTD_LEVEL : Number(match[1]);
  return level >= 1 && level <= 19 ? level : undefined;
}

/** Why archives cannot be written with `compression` here, or undefined. Runs the program that is needed. */
export async function missingProgram(compression: string, xz: boolean): Promise<string | undefined> {
  const program = compression.startsWith("xz:") && !xz ? "xz" : zstdLevel(compression) !== undefined ? "zstd" : undefined;
  if (program === undefined || (program === "zstd" && (await runs("zstd")))) return undefined;
  return `compression ${compression} needs the ${program} program, which is not installed`;
}

/** The file of `tar`, in chunks. Chunks of `tar` must not change afterwards. Rejects as `tar` does, and if a program fails. */
export function pack(
  tar: AsyncIterable<Uint8Array>,
  options: { readonly compression: string; readonly xz: boolean; readonly signal: AbortSignal },
): AsyncIterable<Uint8Array> {
  const { compression, xz, signal } = options;
  const mode = parseBlockMode(compression);
  if (mode) return xzStream(tar, { mode, xz, signal });
  const level = zstdLevel(compression);
  return level === undefined ? tar : through("zstd", ["-q", "-c", `-${level}`, "-T2", "--check"], tar, signal);
}

/** The tar in a file of that name. Rejects when it is damaged or cut off, and as `source` does. */
export function unpack(name: string, source: AsyncIterable<Uint8Array>, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  if (name.endsWith(TAR.extension)) return source;
  return name.endsWith(ZSTD.extension) ? through("zstd", ["-q", "-d", "-c"], source, signal) : readXz(source);
}

function runs(program: string): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(program, ["--version"], { stdio: "ignore" });
    child.on("error", () => resolve(false));
    child.on("exit", (code) => resolve(code === 0));
  });
}

/** What a program makes of `source`. Its memory and ours stay bounded by what pipes hold. */
async function* through(
  program: string,
  args: readonly string[],
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], ...(signal && { signal }) });
  let complaint = "";
  child.stderr.on("data", (chunk: Buffer) => {
    complaint = (complaint + chunk.toString("utf8")).slice(-1_000);
  });
  const ended = new Promise<void>((resolve, reject) => {
    child.on("error", (cause) => reject(new Error(`${program} cannot be run`, { cause })));
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`${program} exited with ${code}: ${complaint.trim()}`))));
  });
  const input = Readable.from(source, { objectMode: false });
  // A source that fails is what matters; a pipe that the program closed shows as its exit.
  let fault: unknown;
  const fed = pipeline(input, child.stdin).catch((error: unknown) => {
    if (input.errored) fault = error;
  });
  ended.catch(() => input.destroy());
  try {
    for await (const chunk of child.stdout) yield chunk as Uint8Array;
    await fed;
    if (fault !== undefined) throw fault;
    await ended;
  } finally {
    child.kill();
    input.destroy();
    await fed;
    await ended.catch(() => undefined);
  }
}

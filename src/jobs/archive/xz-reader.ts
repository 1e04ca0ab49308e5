/**
 * Reads back the .xz files that `xz-writer.ts` writes (xz format 1.2.1): blocks with their sizes in the header, one LZMA2
 * filter, SHA-256 checked before a byte of a block is handed out. Stored blocks need no program; compressed ones are given
 * to `xz`. Files of other programs may need more and are refused.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { StreamReader } from "./stream-reader.ts";
import { type BlockRecord, streamFooter, streamHeader } from "./xz-format.ts";

/** Blocks of ours hold 8 MiB; what is much larger is not ours and not worth the memory. */
const MAX_BLOCK = 64 * 1024 * 1024;
/** The dictionary that `xz-format.ts` declares for compressed blocks. */
const DICTIONARY = "8MiB";

function corrupt(what: string): Error {
  return new Error(`the archive is damaged: ${what}`);
}

/** A variable-length integer (§1.2) and where it ends. */
function readVariable(bytes: Uint8Array, start: number): { readonly value: number; readonly end: number } {
  let value = 0;
  for (let at = start, factor = 1; at < bytes.length && at - start < 9; at++, factor *= 0x80) {
    const byte = bytes[at] ?? 0;
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return { value, end: at + 1 };
  }
  throw corrupt("a length in a block header");
}

interface BlockHeader {
  readonly headerSize: number;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
}

async function readBlockHeader(reader: StreamReader, sizeByte: number): Promise<BlockHeader> {
  const headerSize = (sizeByte + 1) * 4;
  const rest = Buffer.from(await reader.read(headerSize - 1));
  const whole = Buffer.concat([Buffer.of(sizeByte), rest]);
  if (crc32(whole.subarray(0, -4)) !== whole.readUInt32LE(whole.length - 4)) throw corrupt("a block header");
  if (rest[0] !== 0xc0) throw new Error("the archive was not written by this program: its blocks do not say their sizes");
  const compressed = readVariable(rest, 1);
  const uncompressed = readVariable(rest, compressed.end);
  if (compressed.value > MAX_BLOCK || uncompressed.value > MAX_BLOCK)
    throw new Error("the archive was not written by this program: large blocks");
  return { headerSize, compressedSize: compressed.value, uncompressedSize: uncompressed.value };
}

/** The data of LZMA2 chunks that are all stored; undefined if one is compressed. */
function unstore(lzma2: Uint8Array): Uint8Array[] | undefined {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < lzma2.length; ) {
    const control = lzma2[at];
    if (control === 0) return pieces;
    if (control !== 1 && control !== 2) return undefined;
    const length = (((lzma2[at + 1] ?? 0) << 8) | (lzma2[at + 2] ?? 0)) + 1;
    if (at + 3 + length > lzma2.length) throw corrupt("a stored chunk");
    pieces.push(lzma2.subarray(at + 3, at + 3 + length));
    at += 3 + length;
  }
  throw corrupt("a block without an end");
}

/** Decompresses raw LZMA2 by the `xz` program. */
function decompress(lzma2: Uint8Array): Promise<Uint8Array[]> {
  return new Promise((resolve, reject) => {
    const args = ["--format=raw", `--lzma2=dict=${DICTIONARY}`, "--decompress", "--stdout"];
    const child = spawn("xz", args, { stdio: ["pipe", "pipe", "pipe"] });
    const output: Uint8Array[] = [];
    let complaint = "";
    child.stdout.on("data", (chunk: Uint8Array) => output.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => {
      complaint += chunk.toString("utf8");
    });
    child.on("error", (cause) => reject(new Error("compressed blocks need the xz program, which cannot be run", { cause })));
    child.on("close", (code) => (code === 0 ? resolve(output) : reject(corrupt(complaint.trim()))));
    // A broken pipe shows as the exit status, which says more.
    child.stdin.on("error", () => child.stdin.destroy());
    child.stdin.end(lzma2);
  });
}

async function readBlock(reader: StreamReader, header: BlockHeader): Promise<{ chunks: readonly Uint8Array[]; record: BlockRecord }> {
  const { headerSize, compressedSize, uncompressedSize } = header;
  const padded = Math.ceil(compressedSize / 4) * 4;
  const lzma2 = (await reader.read(padded)).subarray(0, compressedSize);
  const check = Buffer.from(await reader.read(32));
  const chunks = unstore(lzma2) ?? (await decompress(lzma2));
  const hash = createHash("sha256");
  let size = 0;
  for (const chunk of chunks) {
    hash.update(chunk);
    size += chunk.length;
  }
  if (size !== uncompressedSize || !hash.digest().equals(check)) throw corrupt("the checksum of a block is wrong");
  return { chunks, record: { unpaddedSize: headerSize + compressedSize + check.length, uncompressedSize } };
}

/** The data of an .xz file of ours. Rejects when it is damaged or cut off, and as `source` does. */
export async function* readXz(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = new StreamReader(source);
  const records: BlockRecord[] = [];
  try {
    const expected = streamHeader();
    if (Buffer.compare(await reader.read(expected.length), expected) !== 0) throw new Error("the archive was not written by this program");
    for (;;) {
      const [sizeByte = 0] = await reader.read(1);
      if (sizeByte === 0) break;
      const { chunks, record } = await readBlock(reader, await readBlockHeader(reader, sizeByte));
      records.push(record);
      yield* chunks;
    }
    const footer = streamFooter(records).subarray(1);
    if (Buffer.compare(await reader.read(footer.length), footer) !== 0) throw corrupt("its index");
    if (await reader.tryRead(1)) throw corrupt("it goes on after its end");
  } finally {
    await reader.close();
  }
}

/**
 * Reads back the tar streams that `archive-stream.ts` writes: ustar with pax records. Every length is checked; other types
 * of members than files and directories are refused.
 */
import { StreamReader } from "./stream-reader.ts";
import { BLOCK_SIZE, paddingLength, type TarMember } from "./tar-writer.ts";

/** Longest pax header that is read: paths are at most some thousand bytes. */
const MAX_PAX = 64 * 1024;

/** A member and its content, which must be read to its end, or not at all, before the next member is asked for. */
export interface ReadMember extends TarMember {
  /** Where its headers begin in the stream. */
  readonly offset: number;
  readonly content: AsyncIterable<Uint8Array>;
}

function text(block: Uint8Array, start: number, length: number): string {
  const field = Buffer.from(block.buffer, block.byteOffset + start, length);
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end < 0 ? length : end);
}

function octal(block: Uint8Array, start: number, length: number): number {
  const digits = text(block, start, length).trim();
  if (!/^[0-7]*$/.test(digits)) throw new Error("the archive is damaged: a number in a header");
  return digits === "" ? 0 : Number.parseInt(digits, 8);
}

function checkSum(block: Uint8Array): void {
  let sum = 0;
  for (let i = 0; i < BLOCK_SIZE; i++) sum += i >= 148 && i < 156 ? 0x20 : (block[i] ?? 0);
  if (sum !== octal(block, 148, 8)) throw new Error("the archive is damaged: the checksum of a header");
}

/** The records of a pax header (POSIX.1-2001): `LENGTH KEYWORD=VALUE\n`. */
function parsePax(bytes: Uint8Array): Map<string, string> {
  const records = new Map<string, string>();
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(0x20, at);
    const length = space < 0 ? 0 : Number(data.toString("latin1", at, space));
    const end = at + length;
    if (!Number.isSafeInteger(length) || length < 5 || end > data.length) throw new Error("the archive is damaged: a pax header");
    const record = data.toString("utf8", space + 1, end - 1);
    const equals = record.indexOf("=");
    records.set(record.slice(0, equals), record.slice(equals + 1));
    at = end;
  }
  return records;
}

function checkedPath(path: string): string {
  const segments = path.replace(/\/$/, "").split("/");
  if (path.includes("\0") || segments.some((segment) => segment === "" || segment === "." || segment === "..")) {
    throw new Error(`the archive holds the unsafe path ${JSON.stringify(path)}`);
  }
  return path;
}

function memberOf(block: Uint8Array, pax: ReadonlyMap<string, string>): TarMember {
  const prefix = text(block, 345, 155);
  const name = text(block, 0, 100);
  const path = checkedPath(pax.get("path") ?? (prefix === "" ? name : `${prefix}/${name}`));
  const size = Number(pax.get("size") ?? octal(block, 124, 12));
  const mtime = Number(pax.get("mtime") ?? octal(block, 136, 12));
  if (!Number.isSafeInteger(size) || size < 0 || !Number.isFinite(mtime))
    throw new Error("the archive is damaged: size or time of a member");
  const typeflag = String.fromCharCode(block[156] ?? 0);
  if (typeflag !== "0" && typeflag !== "5") throw new Error(`the archive holds a member of the type ${JSON.stringify(typeflag)}: ${path}`);
  return { path, type: typeflag === "5" ? "directory" : "file", size, mode: octal(block, 100, 8), mtime };
}

/** The members of a tar stream in order. Rejects when it is damaged or cut off, and as `source` does. */
export async function* readTar(source: AsyncIterable<Uint8Array>): AsyncGenerator<ReadMember> {
  const reader = new StreamReader(source);
  try {
    let pax = new Map<string, string>();
    let start: number | undefined;
    for (;;) {
      const at = reader.position;
      const block = await reader.read(BLOCK_SIZE);
      if (block.every((byte) => byte === 0)) break;
      checkSum(block);
      start ??= at;
      if (block[156] === 0x78) {
        const length = octal(block, 124, 12);
        if (length > MAX_PAX) throw new Error("the archive is damaged: a pax header is too long");
        pax = parsePax(await reader.read(length));
        await reader.read(paddingLength(length));
        continue;
      }
      const member = memberOf(block, pax);
      const contentEnd = reader.position + member.size;
      yield { ...member, offset: start, content: reader.pieces(member.size) };
      for await (const _ of reader.pieces(contentEnd - reader.position + paddingLength(member.size)));
      pax = new Map();
      start = undefined;
    }
    for (let rest = await reader.tryRead(BLOCK_SIZE); rest; rest = await reader.tryRead(BLOCK_SIZE)) {
      if (rest.some((byte) => byte !== 0)) throw new Error("the archive is damaged: something follows its end");
    }
  } finally {
    await reader.close();
  }
}

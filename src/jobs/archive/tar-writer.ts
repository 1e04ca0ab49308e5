/**
 * Tar headers for customer backups: ustar (POSIX.1-1988), with a pax extended header (POSIX.1-2001) only for what ustar
 * cannot hold. Pure, no I/O; same input, same bytes. Knows nothing of stores or compression.
 */

/** Size of a tar block; headers are one, contents are padded to a multiple. */
export const BLOCK_SIZE = 512;
/** GNU tar's default record: an archive is padded to a multiple of it. */
const RECORD_SIZE = 10_240;
/** Largest size 11 octal digits hold. */
const MAX_USTAR_SIZE = 0o77777777777;
const NAME_LENGTH = 100;
const PREFIX_LENGTH = 155;

/** One member of an archive. */
export interface TarMember {
  /** Relative, `/`-separated, without `.` or `..`; directories end in `/`. */
  readonly path: string;
  readonly type: "file" | "directory";
  /** Bytes of the contents; 0 for directories. */
  readonly size: number;
  /** Permission bits. */
  readonly mode: number;
  /** Seconds since the epoch; may have a fraction. */
  readonly mtime: number;
}

/** Splits a path at a `/` into ustar's prefix and name fields; undefined if it does not fit. */
function split(path: string): { readonly prefix: string; readonly name: string } | undefined {
  if (path.length <= NAME_LENGTH) return { prefix: "", name: path };
  const end = Math.min(path.length - 2, PREFIX_LENGTH);
  const at = path.lastIndexOf("/", end);
  if (at <= 0 || path.length - at - 1 > NAME_LENGTH) return undefined;
  return { prefix: path.slice(0, at), name: path.slice(at + 1) };
}

function octal(field: Buffer, value: number): void {
  field.write(
    `${Math.max(0, value)
      .toString(8)
      .padStart(field.length - 1, "0")}\0`,
    "latin1",
  );
}

/** One ustar header block (POSIX.1-2017 pax, "ustar Interchange Format"). Values must fit. */
function ustarHeader(fields: { prefix: string; name: string; mode: number; size: number; mtime: number; typeflag: string }): Buffer {
  const block = Buffer.alloc(BLOCK_SIZE);
  block.write(fields.name, 0, NAME_LENGTH, "latin1");
  octal(block.subarray(100, 108), fields.mode & 0o7777);
  octal(block.subarray(108, 116), 0);
  octal(block.subarray(116, 124), 0);
  octal(block.subarray(124, 136), fields.size);
  octal(block.subarray(136, 148), fields.mtime);
  block.fill(" ", 148, 156);
  block.write(fields.typeflag, 156, "latin1");
  block.write("ustar\x0000", 257, "latin1");
  octal(block.subarray(329, 337), 0);
  octal(block.subarray(337, 345), 0);
  block.write(fields.prefix, 345, PREFIX_LENGTH, "latin1");
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

/** One pax record: its decimal length counts itself (pax "Extended Header"). */
function paxRecord(keyword: string, value: string): Buffer {
  const rest = Buffer.byteLength(` ${keyword}=${value}\n`);
  let length = rest + String(rest).length;
  if (String(length).length > String(rest).length) length = rest + String(length).length;
  return Buffer.from(`${length} ${keyword}=${value}\n`);
}

/** Bytes of zeros that follow contents of `size` bytes. */
export function paddingLength(size: number): number {
  return (BLOCK_SIZE - (size % BLOCK_SIZE)) % BLOCK_SIZE;
}

/** A name for readers that do not know pax: ASCII, cut to what fits. */
function fallbackName(path: string): string {
  const ascii = path.replace(/[^\x20-\x7e]/g, "_");
  return ascii.length <= NAME_LENGTH ? ascii : ascii.slice(-NAME_LENGTH).replace(/^\/+/, "");
}

/**
 * The header block(s) of a member: 512 bytes, or a pax header before it where path (not ASCII, or too long to split),
 * size (over 8 GiB - 1) or time (fraction, before 1970, after 2242) need one. The contents follow, then
 * `paddingLength(size)` zeros.
 */
export function encodeHeader(member: TarMember): Uint8Array {
  const records: Buffer[] = [];
  const plain = /^[\x20-\x7e]*$/.test(member.path) ? split(member.path) : undefined;
  // libarchive turns UTF-8 names into their composed form, which is another name; it leaves binary ones alone.
  if (!plain && member.path !== member.path.normalize("NFC")) records.push(paxRecord("hdrcharset", "BINARY"));
  if (!plain) records.push(paxRecord("path", member.path));
  if (member.size > MAX_USTAR_SIZE) records.push(paxRecord("size", String(member.size)));
  const timeFits = Number.isInteger(member.mtime) && member.mtime >= 0 && member.mtime <= MAX_USTAR_SIZE;
  if (!timeFits) records.push(paxRecord("mtime", String(member.mtime)));
  const mtime = timeFits ? member.mtime : Math.min(Math.max(0, Math.floor(member.mtime)), MAX_USTAR_SIZE);
  const header = ustarHeader({
    ...(plain ?? { prefix: "", name: fallbackName(member.path) }),
    mode: member.mode,
    size: Math.min(member.size, MAX_USTAR_SIZE),
    mtime,
    typeflag: member.type === "directory" ? "5" : "0",
  });
  if (records.length === 0) return header;
  const body = Buffer.concat(records);
  const paxName = split(`PaxHeaders/${fallbackName(member.path)}`.slice(0, NAME_LENGTH)) ?? { prefix: "", name: "PaxHeaders" };
  const pax = ustarHeader({ ...paxName, mode: 0o644, size: body.length, mtime, typeflag: "x" });
  return Buffer.concat([pax, body, Buffer.alloc(paddingLength(body.length)), header]);
}

/** What ends an archive of `length` bytes so far: two zero blocks, then zeros up to a whole record of 10,240 bytes. */
export function endOfArchive(length: number): Uint8Array {
  const total = Math.ceil((length + 2 * BLOCK_SIZE) / RECORD_SIZE) * RECORD_SIZE;
  return Buffer.alloc(total - length);
}

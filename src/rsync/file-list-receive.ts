/**
 * Reads the sender's file list (rsync flist.c `recv_file_entry`, protocol 29–31). Everything in it is checked: lengths,
 * types, numbers, names that would leave the root of the transfer. Knows no files.
 */
import { ProtocolError } from "../errors.ts";
import { type ByteCursor, INCOMPLETE } from "./byte-cursor.ts";
import { CHECKSUM_LENGTH } from "./checksums.ts";
import { ExitStatus, RsyncExit } from "./exit-codes.ts";
import { EntryFlag, type FileEntry, FileList, typeOfMode } from "./file-list.ts";
import { Xmit } from "./file-list-flags.ts";
import type { MultiplexReader } from "./multiplex-reader.ts";
import type { ServerOptions } from "./server-options.ts";

const MAX_NAME = 4095;
const MAX_IDS = 100_000;

/** What a file list may hold at most. */
export interface FileListLimits {
  readonly entries: number;
  /** Bytes of all names together. */
  readonly nameBytes: number;
  /** Called with the bytes of text of each entry; throws when there is no room for it. */
  readonly hold?: (textBytes: number) => void;
}

/** Limits unless the caller has others. */
export const DEFAULT_LIMITS: FileListLimits = { entries: 2_000_000, nameBytes: 512 * 1024 * 1024 };

/** How entries are written, beyond the options. */
export interface FileListFormat {
  readonly protocol: number;
  /** The end may carry an error word (compat flag 0x08, always at protocol 31). */
  readonly safe: boolean;
}

/** A file list as it came, in sending order. */
export interface ReceivedFileList {
  readonly list: FileList;
  readonly ioError: number;
}

/** Removes empty and `.` components; a leading `/` stays with `-R`. Throws `RsyncExit` for what is no safe name. */
export function cleanName(name: string, relative: boolean): string {
  if (name === ".") return name;
  const absolute = name.startsWith("/");
  const components = name.split("/").filter((component) => component !== "" && component !== ".");
  if (name === "" || name.includes("\0") || components.includes("..") || (absolute && !relative)) {
    throw new RsyncExit(ExitStatus.unsupported, `ABORTING due to unsafe pathname from sender: ${JSON.stringify(name.slice(0, 200))}`);
  }
  const joined = components.join("/");
  return absolute ? `/${joined}` : joined || ".";
}

/** Names that need `cleanName`: with an empty, `.` or `..` component. */
const SUSPICIOUS = /(^|\/)\.{0,2}(\/|$)/;

/** Decodes entries into a `FileList`. */
export class FileListDecoder {
  readonly list = new FileList();
  /** Bits of the error word at the end of the list. */
  ioError = 0;
  readonly #options: ServerOptions;
  readonly #format: FileListFormat;
  readonly #limits: FileListLimits;
  readonly #name = Buffer.alloc(MAX_NAME + 1);
  #nameLength = 0;
  #mode = 0;
  #mtime = 0;
  #nameBytes = 0;
  /** Device of the last entry that has one, and numbers of hard-linked files by device and inode (protocol 29). */
  #device = "";
  readonly #files = new Map<string, number>();
  #hierarchy: string | undefined;

  constructor(options: ServerOptions, format: FileListFormat, limits: FileListLimits = DEFAULT_LIMITS) {
    this.#options = options;
    this.#format = format;
    this.#limits = limits;
  }

  /** Reads as many whole entries as there are; true at the end of the list. Throws `INCOMPLETE` when there is not even one. */
  decode(cursor: ByteCursor): boolean {
    for (let count = 0; ; count++) {
      const mark = cursor.position;
      try {
        if (!this.#entry(cursor)) return true;
      } catch (error) {
        if (error !== INCOMPLETE || count === 0) throw error;
        cursor.position = mark;
        return false;
      }
    }
  }

  /** Reads one entry; false at the end of the list. */
  #entry(cursor: ByteCursor): boolean {
    const { protocol, safe } = this.#format;
    let flags = cursor.u8();
    if (flags === 0) return false;
    if (flags & Xmit.extended) flags |= cursor.u8() << 8;
    if (safe && flags === (Xmit.extended | Xmit.hardLinkFirst)) {
      this.ioError |= cursor.varint();
      return false;
    }
    const length = this.#decodeName(cursor, flags);
    const name = this.#name.toString("latin1", 0, length);
    if (protocol >= 30 && flags & Xmit.hardLinked && !(flags & Xmit.hardLinkFirst)) this.#hardLink(cursor, name);
    else this.#attributes(cursor, flags, name);
    this.#nameLength = length;
    this.#nameBytes += length;
    this.#limits.hold?.(length);
    if (this.list.length > this.#limits.entries || this.#nameBytes > this.#limits.nameBytes) {
      throw new RsyncExit(ExitStatus.outOfMemory, "rsync: the file list is too large for this server");
    }
    return true;
  }

  /** Reads the name into `#name`; returns its length. What it overwrites is not needed to read it again. */
  #decodeName(cursor: ByteCursor, flags: number): number {
    const shared = flags & Xmit.sameName ? cursor.u8() : 0;
    const rest = flags & Xmit.longName ? this.#int30(cursor) : cursor.u8();
    if (shared > this.#nameLength || rest < 0 || shared + rest > MAX_NAME) throw new ProtocolError("overlong name in the file list");
    cursor.copyTo(this.#name, shared, rest);
    return shared + rest;
  }

  #int30(cursor: ByteCursor): number {
    return this.#format.protocol >= 30 ? cursor.varint() : cursor.i32();
  }

  #hardLink(cursor: ByteCursor, name: string): void {
    const first = cursor.varint();
    if (first < 0 || first >= this.list.length) throw new ProtocolError("hard link to an entry that does not exist");
    this.#mode = this.list.mode(first);
    this.#mtime = this.list.mtime(first);
    this.#add({
      name,
      size: this.list.size(first),
      mtime: this.#mtime,
      mode: this.#mode,
      flags: 0,
      group: first + 1,
      checksum: this.list.checksum(first)?.slice(),
      target: this.list.target(this.list.name(first)),
    });
  }

  #attributes(cursor: ByteCursor, flags: number, name: string): void {
    const { protocol } = this.#format;
    const size = protocol >= 30 ? cursor.varlong(3) : cursor.longint();
    if (size < 0) throw new ProtocolError("negative size in the file list");
    const mtime = flags & Xmit.sameTime ? this.#mtime : protocol >= 30 ? cursor.varlong(4) : cursor.u32();
    if (protocol >= 31 && flags & Xmit.nanoseconds) cursor.varint();
    const mode = flags & Xmit.sameMode ? this.#mode : cursor.i32();
    const type = typeOfMode(mode);
    if (!type) throw new ProtocolError(`invalid mode ${mode.toString(8)} in the file list`);
    if (this.#options.owner && !(flags & Xmit.sameUid)) this.#id(cursor, flags & Xmit.userNameOrSameDevice);
    if (this.#options.group && !(flags & Xmit.sameGid)) this.#id(cursor, flags & Xmit.groupNameOrByteMinor);
    const device = (type === "device" && this.#options.devices) || (type === "special" && this.#options.specials && protocol < 31);
    if (device) this.#deviceNumbers(cursor, flags);
    const target = type === "symlink" && this.#options.links ? this.#linkTarget(cursor) : undefined;
    const group = this.#options.hardLinks && flags & Xmit.hardLinked ? this.#group(cursor, flags) : 0;
    const checksum = this.#options.checksum && type === "file" ? cursor.bytes(CHECKSUM_LENGTH) : undefined;
    const isDirectory = type === "directory";
    this.#mode = mode;
    this.#mtime = mtime;
    this.#add({
      name,
      size: isDirectory || device ? 0 : size,
      mtime,
      mode,
      flags: isDirectory ? this.#directoryFlags(flags, name) : 0,
      checksum,
      target,
      group,
    });
  }

  /**
   * What names of the same file have in common, counted from 1: the number of the first. Below protocol 30 device and
   * inode tell which those are.
   */
  #group(cursor: ByteCursor, flags: number): number {
    const own = this.list.length + 1;
    if (this.#format.protocol >= 30) return own;
    if (!(flags & Xmit.userNameOrSameDevice)) this.#device = cursor.longintText();
    const file = `${this.#device}:${cursor.longintText()}`;
    const known = this.#files.get(file);
    if (known !== undefined) return known;
    this.#limits.hold?.(file.length);
    this.#files.set(file, own);
    return own;
  }

  #add(entry: FileEntry): void {
    const name = SUSPICIOUS.test(entry.name) || entry.name.includes("\0") ? cleanName(entry.name, this.#options.relative) : entry.name;
    this.list.add(name === entry.name ? entry : { ...entry, name });
  }

  #id(cursor: ByteCursor, nameFollows: number): void {
    this.#int30(cursor);
    if (this.#format.protocol >= 30 && nameFollows) cursor.bytes(cursor.u8());
  }

  #deviceNumbers(cursor: ByteCursor, flags: number): void {
    if (!(flags & Xmit.sameMajorOrNoContent)) this.#int30(cursor);
    if (this.#format.protocol >= 30) cursor.varint();
    else if (flags & Xmit.groupNameOrByteMinor) cursor.u8();
    else cursor.i32();
  }

  #linkTarget(cursor: ByteCursor): string {
    const length = this.#int30(cursor);
    if (length < 1 || length > MAX_NAME) throw new ProtocolError("invalid length of a symbolic link in the file list");
    this.#limits.hold?.(length);
    return cursor.latin1(length);
  }

  /** Whether the contents of a directory are sent: told from protocol 30 on, below it follows from the order of entries. */
  #directoryFlags(flags: number, name: string): number {
    const top = flags & Xmit.topDirectory ? EntryFlag.top : 0;
    if (this.#format.protocol >= 30) return flags & Xmit.sameMajorOrNoContent ? top : top | EntryFlag.content;
    if (top && this.#options.recurse) this.#hierarchy = name;
    const hierarchy = this.#hierarchy;
    if (hierarchy === undefined) return top;
    if (hierarchy === "." || name === hierarchy || name.startsWith(`${hierarchy}/`)) return top | EntryFlag.content;
    this.#hierarchy = undefined;
    return top;
  }
}

/** Reads one id list (`-o`, `-g`): its values have no meaning here. */
async function receiveIds(reader: MultiplexReader, protocol: number): Promise<void> {
  for (let count = 0; count < MAX_IDS; count++) {
    const id = await reader.decode((cursor) => {
      const value = protocol >= 30 ? cursor.varint() : cursor.i32();
      if (value !== 0) cursor.bytes(cursor.u8());
      return value;
    });
    if (id === 0) return;
  }
  throw new ProtocolError("too many ids after the file list");
}

/** Reads the whole list with what follows it. */
export async function receiveFileList(
  reader: MultiplexReader,
  options: ServerOptions,
  format: FileListFormat,
  limits: FileListLimits = DEFAULT_LIMITS,
): Promise<ReceivedFileList> {
  const decoder = new FileListDecoder(options, format, limits);
  while (!(await reader.decode((cursor) => decoder.decode(cursor)))) {
    // The rest of the list is still on its way.
  }
  if (options.owner && !options.numericIds) await receiveIds(reader, format.protocol);
  if (options.group && !options.numericIds) await receiveIds(reader, format.protocol);
  const ioError = format.protocol < 30 ? await reader.decode((cursor) => cursor.i32()) : decoder.ioError;
  return { list: decoder.list, ioError };
}

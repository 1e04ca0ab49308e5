/**
 * Writes our file list (rsync flist.c `send_file_entry`, protocol 29–31). Knows no files.
 */
import type { ByteBuilder } from "./byte-builder.ts";
import { EntryFlag, type FileEntry, typeOfMode } from "./file-list.ts";
import { Xmit } from "./file-list-flags.ts";
import type { FileListFormat } from "./file-list-receive.ts";
import type { ServerOptions } from "./server-options.ts";

const MAX_SHARED = 255;

function sharedPrefix(left: string, right: string): number {
  const most = Math.min(left.length, right.length, MAX_SHARED);
  let length = 0;
  while (length < most && left.charCodeAt(length) === right.charCodeAt(length)) length++;
  return length;
}

/** Encodes entries one after the other; each refers to the one before. */
export class FileListEncoder {
  readonly #out: ByteBuilder;
  readonly #options: ServerOptions;
  readonly #format: FileListFormat;
  #name = "";
  #mode = 0;
  #mtime = 0;
  #first = true;

  constructor(out: ByteBuilder, options: ServerOptions, format: FileListFormat) {
    this.#out = out;
    this.#options = options;
    this.#format = format;
  }

  /** Appends one entry. Owner and group are always sent as 0. */
  entry(entry: FileEntry): void {
    const { protocol } = this.#format;
    const out = this.#out;
    const isDirectory = typeOfMode(entry.mode) === "directory";
    const mtime = protocol < 30 ? entry.mtime >>> 0 : entry.mtime;
    const shared = sharedPrefix(this.#name, entry.name);
    const rest = entry.name.length - shared;
    const flags = this.#flags(entry, isDirectory, mtime, shared, rest);
    if (flags & Xmit.extended) out.u16(flags);
    else out.u8(flags);
    if (shared > 0) out.u8(shared);
    if (!(flags & Xmit.longName)) out.u8(rest);
    else if (protocol >= 30) out.varint(rest);
    else out.i32(rest);
    out.latin1(entry.name.slice(shared));
    if (protocol >= 30) out.varlong(entry.size, 3);
    else out.longint(entry.size);
    if (!(flags & Xmit.sameTime)) {
      if (protocol >= 30) out.varlong(mtime, 4);
      else out.i32(mtime);
    }
    if (!(flags & Xmit.sameMode)) out.i32(entry.mode);
    if (this.#options.owner && !(flags & Xmit.sameUid)) this.#int30(0);
    if (this.#options.group && !(flags & Xmit.sameGid)) this.#int30(0);
    if (entry.checksum) out.bytes(entry.checksum);
    this.#name = entry.name;
    this.#mode = entry.mode;
    this.#mtime = mtime;
    this.#first = false;
  }

  #int30(value: number): void {
    if (this.#format.protocol >= 30) this.#out.varint(value);
    else this.#out.i32(value);
  }

  #flags(entry: FileEntry, isDirectory: boolean, mtime: number, shared: number, rest: number): number {
    let flags = this.#first ? 0 : (entry.mode === this.#mode ? Xmit.sameMode : 0) | (mtime === this.#mtime ? Xmit.sameTime : 0);
    if (!this.#options.owner || !this.#first) flags |= Xmit.sameUid;
    if (!this.#options.group || !this.#first) flags |= Xmit.sameGid;
    if (shared > 0) flags |= Xmit.sameName;
    if (rest > 255) flags |= Xmit.longName;
    if (isDirectory) {
      if (entry.flags & EntryFlag.top) flags |= Xmit.topDirectory;
      if (this.#format.protocol >= 30 && !(entry.flags & EntryFlag.content)) flags |= Xmit.sameMajorOrNoContent;
    }
    if (flags === 0) flags = isDirectory ? Xmit.extended : Xmit.topDirectory;
    return flags > 0xff ? flags | Xmit.extended : flags;
  }

  /** Ends the list with what follows it. An error word that cannot be told here is left to the caller: see the result. */
  end(ioError: number): boolean {
    const { protocol, safe } = this.#format;
    const out = this.#out;
    const told = ioError === 0 || protocol < 30 || safe;
    if (safe && ioError !== 0) {
      out.u16(Xmit.extended | Xmit.hardLinkFirst);
      out.varint(ioError);
    } else out.u8(0);
    if (this.#options.owner && !this.#options.numericIds) this.#int30(0);
    if (this.#options.group && !this.#options.numericIds) this.#int30(0);
    if (protocol < 30) out.i32(ioError);
    return told;
  }
}

/**
 * Extensions of SFTP version 3 on the wire: those of OpenSSH (OpenSSH PROTOCOL §4), `copy-data`, `home-directory`
 * (draft-ietf-secsh-filexfer-extensions-00) and `check-file` as clients send it. Pure; knows no files.
 */
import { ProtocolError } from "../../errors.ts";
import type { AttributeChange, FileSystemStatistics } from "../../vfs/file-system.ts";
import { readAttributes } from "./attributes.ts";
import { MAX_HANDLE_BYTES, MAX_IDS, MAX_NAME_BYTES, MAX_PATH_BYTES } from "./constants.ts";
import { WireReader } from "./reader.ts";
import type { WireWriter } from "./writer.ts";

/** What VERSION advertises: name and version of each extension. `check-file` is answered but not advertised: it needs a stored checksum. */
export const ADVERTISED_EXTENSIONS: readonly (readonly [name: string, version: string])[] = [
  ["posix-rename@openssh.com", "1"],
  ["statvfs@openssh.com", "2"],
  ["fstatvfs@openssh.com", "2"],
  ["fsync@openssh.com", "1"],
  ["lsetstat@openssh.com", "1"],
  ["limits@openssh.com", "1"],
  ["expand-path@openssh.com", "1"],
  ["copy-data", "1"],
  ["home-directory", "1"],
  ["users-groups-by-id@openssh.com", "1"],
];

/** A decoded extended request. Handles are views of the packet. */
export type ExtensionRequest =
  | { readonly name: "posix-rename@openssh.com"; readonly from: string; readonly to: string }
  | { readonly name: "statvfs@openssh.com" | "expand-path@openssh.com"; readonly path: string }
  | { readonly name: "fstatvfs@openssh.com" | "fsync@openssh.com"; readonly handle: Uint8Array }
  | { readonly name: "lsetstat@openssh.com"; readonly path: string; readonly attributes: AttributeChange }
  | { readonly name: "limits@openssh.com" }
  | { readonly name: "home-directory"; readonly user: string }
  | { readonly name: "users-groups-by-id@openssh.com"; readonly uids: readonly number[]; readonly gids: readonly number[] }
  | {
      readonly name: "copy-data";
      readonly source: Uint8Array;
      readonly sourceOffset: number;
      /** 0: up to the end of the source. */
      readonly length: number;
      readonly handle: Uint8Array;
      readonly offset: number;
    }
  | {
      readonly name: "check-file";
      readonly of: { readonly handle: Uint8Array } | { readonly path: string };
      /** In the client's order of preference. */
      readonly algorithms: readonly string[];
      readonly start: number;
      /** 0: up to the end. */
      readonly length: number;
      /** 0: one hash over all. */
      readonly blockSize: number;
    }
  /** `requested` is the name as the client sent it, for the log. */
  | { readonly name: "unknown"; readonly requested: string };

/** Reads an EXTENDED request behind its id. Throws `ProtocolError` if it is malformed. */
export function readExtension(reader: WireReader): ExtensionRequest {
  const name = reader.text(MAX_NAME_BYTES);
  switch (name) {
    case "posix-rename@openssh.com":
      return { name, from: reader.text(MAX_PATH_BYTES), to: reader.text(MAX_PATH_BYTES) };
    case "statvfs@openssh.com":
    case "expand-path@openssh.com":
      return { name, path: reader.text(MAX_PATH_BYTES) };
    case "fstatvfs@openssh.com":
    case "fsync@openssh.com":
      return { name, handle: readHandle(reader) };
    case "lsetstat@openssh.com":
      return { name, path: reader.text(MAX_PATH_BYTES), attributes: readAttributes(reader) };
    case "limits@openssh.com":
      return { name };
    case "home-directory":
      return { name, user: reader.text(MAX_NAME_BYTES) };
    case "users-groups-by-id@openssh.com":
      return { name, uids: readIds(reader), gids: readIds(reader) };
    case "copy-data":
      return readCopyData(reader);
    case "check-file":
    case "check-file-handle":
      return readCheckFile(reader, { handle: readHandle(reader) });
    case "check-file-name":
      return readCheckFile(reader, { path: reader.text(MAX_PATH_BYTES) });
    default:
      return { name: "unknown", requested: name };
  }
}

/** A copy: the packet is lent. */
function readHandle(reader: WireReader): Uint8Array {
  return Buffer.from(reader.string(MAX_HANDLE_BYTES));
}

function readCopyData(reader: WireReader): ExtensionRequest {
  const source = readHandle(reader);
  const sourceOffset = reader.uint64();
  const length = reader.uint64();
  const handle = readHandle(reader);
  const offset = reader.uint64();
  if (!Number.isSafeInteger(sourceOffset + length) || !Number.isSafeInteger(offset + length)) {
    throw new ProtocolError("copy-data ends out of range");
  }
  return { name: "copy-data", source, sourceOffset, length, handle, offset };
}

function readCheckFile(reader: WireReader, of: { handle: Uint8Array } | { path: string }): ExtensionRequest {
  const algorithms = reader.text(MAX_NAME_BYTES).split(",");
  return { name: "check-file", of, algorithms, start: reader.uint64(), length: reader.uint64(), blockSize: reader.uint32() };
}

function readIds(reader: WireReader): number[] {
  const list = reader.string(MAX_IDS * 4);
  if (list.length % 4 !== 0) throw new ProtocolError("list of ids is cut short");
  const ids = new WireReader(list);
  return Array.from({ length: list.length / 4 }, () => ids.uint32());
}

/** Limits that `limits@openssh.com` answers with. Bytes and a count; OpenSSH PROTOCOL §4.8. */
export interface Limits {
  readonly packetBytes: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly openHandles: number;
}

/** Writes the body of the reply to `limits@openssh.com`. */
export function writeLimits(writer: WireWriter, limits: Limits): void {
  writer.uint64(limits.packetBytes);
  writer.uint64(limits.readBytes);
  writer.uint64(limits.writeBytes);
  writer.uint64(limits.openHandles);
}

const BLOCK_BYTES = 4096;
const READ_ONLY_FLAG = 1;

/** Writes the body of the reply to `statvfs@openssh.com`, OpenSSH PROTOCOL §4.4, in blocks of 4 KiB. */
export function writeStatvfs(writer: WireWriter, statistics: FileSystemStatistics): void {
  const blocks = Math.floor(statistics.totalBytes / BLOCK_BYTES);
  const free = Math.floor(statistics.freeBytes / BLOCK_BYTES);
  const { totalFiles, freeFiles, maxNameLength, readOnly } = statistics;
  const fileSystemId = 0;
  const values = [BLOCK_BYTES, BLOCK_BYTES, blocks, free, free, totalFiles, freeFiles, freeFiles, fileSystemId];
  for (const value of values) writer.uint64(value);
  writer.uint64(readOnly ? READ_ONLY_FLAG : 0);
  writer.uint64(maxNameLength);
}

/** Writes a list of names as `users-groups-by-id@openssh.com` wants it: a string of strings; empty where there is no name. */
export function writeNames(writer: WireWriter, names: readonly string[]): void {
  const encoded = names.map((name) => Buffer.from(name));
  writer.uint32(encoded.reduce((sum, name) => sum + 4 + name.length, 0));
  for (const name of encoded) writer.string(name);
}

/** Writes the body of the reply to `check-file`, as paramiko reads it. */
export function writeChecksum(writer: WireWriter, algorithm: string, digest: Uint8Array): void {
  writer.text("check-file");
  writer.text(algorithm);
  writer.bytes(digest);
}

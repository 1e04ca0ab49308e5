/**
 * Replies on the wire, draft-ietf-secsh-filexfer-02 §4 and §7. Pure; knows neither files nor the channel.
 */
import type { Attributes } from "../../vfs/file-system.ts";
import { writeAttributes, writeNoAttributes } from "./attributes.ts";
import { MAX_NAME_REPLY_BYTES, MAX_NAMES, PacketType, SFTP_VERSION, type StatusCode } from "./constants.ts";
import { ADVERTISED_EXTENSIONS } from "./extensions.ts";
import type { WireWriter } from "./writer.ts";

/** Where the count stands in a NAME packet: behind length, type and id. */
const NAME_COUNT_OFFSET = 9;

/** One name of a NAME reply. */
export interface NameEntry {
  readonly name: string;
  readonly attributes: Attributes;
}

/** Answers INIT: version 3 and what is served beyond it. */
export function writeVersion(writer: WireWriter): void {
  writer.begin(PacketType.VERSION);
  writer.uint32(SFTP_VERSION);
  for (const [name, version] of ADVERTISED_EXTENSIONS) {
    writer.text(name);
    writer.text(version);
  }
  writer.end();
}

/** STATUS with a text for people, language unsaid. */
export function writeStatus(writer: WireWriter, id: number, code: StatusCode, text: string): void {
  writer.begin(PacketType.STATUS);
  writer.uint32(id);
  writer.uint32(code);
  writer.text(text);
  writer.text("");
  writer.end();
}

/** HANDLE. */
export function writeHandle(writer: WireWriter, id: number, handle: Uint8Array): void {
  writer.begin(PacketType.HANDLE);
  writer.uint32(id);
  writer.string(handle);
  writer.end();
}

/** The head of a DATA reply; the caller sends `length` bytes of data right behind. */
export function writeDataHeader(writer: WireWriter, id: number, length: number): void {
  writer.begin(PacketType.DATA);
  writer.uint32(id);
  writer.uint32(length);
  writer.end(length);
}

/** ATTRS. */
export function writeAttrs(writer: WireWriter, id: number, attributes: Attributes): void {
  writer.begin(PacketType.ATTRS);
  writer.uint32(id);
  writeAttributes(writer, attributes);
  writer.end();
}

/** NAME with one path and no attributes, as REALPATH and READLINK are answered. */
export function writePath(writer: WireWriter, id: number, path: string): void {
  writer.begin(PacketType.NAME);
  writer.uint32(id);
  writer.uint32(1);
  writer.text(path);
  writer.text(path);
  writeNoAttributes(writer);
  writer.end();
}

/** NAME with the entries from `start` on that fit into one packet, at least one. Returns how many those were. */
export function writeEntries(
  writer: WireWriter,
  id: number,
  entries: readonly NameEntry[],
  start: number,
  longname: (entry: NameEntry) => string,
): number {
  writer.begin(PacketType.NAME);
  writer.uint32(id);
  writer.uint32(0);
  let count = 0;
  while (count < MAX_NAMES && writer.packetLength < MAX_NAME_REPLY_BYTES) {
    const entry = entries[start + count];
    if (!entry) break;
    writer.text(entry.name);
    writer.text(longname(entry));
    writeAttributes(writer, entry.attributes);
    count++;
  }
  writer.patch(NAME_COUNT_OFFSET, count);
  writer.end();
  return count;
}

/** EXTENDED_REPLY; `body` writes what the extension answers. */
export function writeExtendedReply(writer: WireWriter, id: number, body: (writer: WireWriter) => void): void {
  writer.begin(PacketType.EXTENDED_REPLY);
  writer.uint32(id);
  body(writer);
  writer.end();
}

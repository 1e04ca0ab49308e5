/**
 * File attributes on the wire, draft-ietf-secsh-filexfer-02 §5. Knows no packet.
 */
import { ProtocolError } from "../../errors.ts";
import type { AttributeChange, Attributes } from "../../vfs/file-system.ts";
import { AttributeFlag, FileTypeBits } from "./constants.ts";
import type { WireReader } from "./reader.ts";
import type { WireWriter } from "./writer.ts";

const MAX_UINT32 = 0xffffffff;
const PERMISSION_BITS = 0o7777;
const ALL_FLAGS = AttributeFlag.SIZE | AttributeFlag.UIDGID | AttributeFlag.PERMISSIONS | AttributeFlag.ACMODTIME;

/**
 * Reads ATTRS as a change. File type bits of the permissions are dropped, extended pairs skipped.
 * Throws `ProtocolError` if they are cut short or out of range.
 */
export function readAttributes(reader: WireReader): AttributeChange {
  const flags = reader.uint32();
  const change: { -readonly [K in keyof AttributeChange]: AttributeChange[K] } = {};
  if (flags & AttributeFlag.SIZE) change.size = reader.uint64();
  if (flags & AttributeFlag.UIDGID) {
    change.uid = reader.uint32();
    change.gid = reader.uint32();
  }
  if (flags & AttributeFlag.PERMISSIONS) change.mode = reader.uint32() & PERMISSION_BITS;
  if (flags & AttributeFlag.ACMODTIME) {
    change.atime = reader.uint32();
    change.mtime = reader.uint32();
  }
  if (flags & AttributeFlag.EXTENDED) skipExtended(reader);
  return change;
}

/** Writes ATTRS. Times are clamped to what 32 bits hold. */
export function writeAttributes(writer: WireWriter, attributes: Attributes): void {
  writer.uint32(ALL_FLAGS);
  writer.uint64(attributes.size);
  writer.uint32(attributes.uid >>> 0);
  writer.uint32(attributes.gid >>> 0);
  writer.uint32(FileTypeBits[attributes.type] | (attributes.mode & PERMISSION_BITS));
  writer.uint32(clampTime(attributes.atime));
  writer.uint32(clampTime(attributes.mtime));
}

/** Writes ATTRS that say nothing. */
export function writeNoAttributes(writer: WireWriter): void {
  writer.uint32(0);
}

function skipExtended(reader: WireReader): void {
  const count = reader.uint32();
  if (count > reader.remaining / 8) throw new ProtocolError(`${count} extended attributes, only ${reader.remaining} bytes left`);
  for (let pair = 0; pair < count; pair++) {
    reader.string(reader.remaining);
    reader.string(reader.remaining);
  }
}

function clampTime(seconds: number): number {
  return Math.min(Math.max(Math.trunc(seconds), 0), MAX_UINT32);
}

/**
 * Item headers: what the generator asks for or reports, and the sender echoes (rsync.h `ITEM_*`, sender.c
 * `read_ndx_and_attrs`, protocol ≥ 29). Pure.
 */
import { ProtocolError } from "../errors.ts";
import type { ByteBuilder } from "./byte-builder.ts";
import type { ByteCursor } from "./byte-cursor.ts";

/** Bits of `Item.flags`. */
export const ItemFlag = {
  reportChange: 0x0002,
  reportSize: 0x0004,
  reportTime: 0x0008,
  reportPerms: 0x0010,
  basisTypeFollows: 0x0800,
  nameFollows: 0x1000,
  isNew: 0x2000,
  localChange: 0x4000,
  transfer: 0x8000,
} as const;

const MAX_NAME = 4095;

/** What follows a file index. */
export interface Item {
  readonly flags: number;
  /** Present if `flags` has `basisTypeFollows`. */
  readonly basisType?: number;
  /** Present if `flags` has `nameFollows`. */
  readonly name?: string;
}

/** Reads what follows a file index. */
export function decodeItem(cursor: ByteCursor): Item {
  const flags = cursor.u16();
  const basisType = flags & ItemFlag.basisTypeFollows ? cursor.u8() : undefined;
  const name = flags & ItemFlag.nameFollows ? cursor.vstring() : undefined;
  if (name !== undefined && name.length > MAX_NAME) throw new ProtocolError("overlong name in an item header");
  return { flags, ...(basisType !== undefined && { basisType }), ...(name !== undefined && { name }) };
}

/** Writes what follows a file index. */
export function encodeItem(out: ByteBuilder, item: Item): void {
  out.u16(item.flags);
  if (item.flags & ItemFlag.basisTypeFollows) out.u8(item.basisType ?? 0);
  if (item.flags & ItemFlag.nameFollows) out.vstring(item.name ?? "");
}

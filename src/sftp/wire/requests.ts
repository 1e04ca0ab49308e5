/**
 * Requests on the wire, draft-ietf-secsh-filexfer-02 §4 and §6: from a packet's bytes to a checked value. Pure; knows
 * neither files nor which handles exist.
 */
import { ProtocolError } from "../../errors.ts";
import type { AttributeChange } from "../../vfs/file-system.ts";
import { readAttributes } from "./attributes.ts";
import { MAX_HANDLE_BYTES, MAX_PATH_BYTES, PacketType } from "./constants.ts";
import { type ExtensionRequest, readExtension } from "./extensions.ts";
import { WireReader } from "./reader.ts";

/**
 * A whole packet without its length field: `bytes` in all, in one or more slices. Those of a WRITE may lie in a slab and
 * stay until it is released; those of any other request are lent, and nothing decoded from them keeps a view.
 */
export interface Packet {
  readonly bytes: number;
  readonly chunks: readonly Uint8Array[];
}

interface OnPath {
  readonly path: string;
}
interface OnHandle {
  /** As received; what it stands for is the handle table's business. */
  readonly handle: Uint8Array;
}

/** What each kind of request carries besides its id. */
export interface RequestBodies {
  open: OnPath & { readonly pflags: number; readonly attributes: AttributeChange };
  close: OnHandle;
  read: OnHandle & { readonly offset: number; readonly length: number };
  /** The data stay slices of the packet. */
  write: OnHandle & { readonly offset: number; readonly length: number; readonly chunks: readonly Uint8Array[] };
  lstat: OnPath;
  fstat: OnHandle;
  setstat: OnPath & { readonly attributes: AttributeChange };
  fsetstat: OnHandle & { readonly attributes: AttributeChange };
  opendir: OnPath;
  readdir: OnHandle;
  remove: OnPath;
  mkdir: OnPath & { readonly attributes: AttributeChange };
  rmdir: OnPath;
  realpath: OnPath;
  stat: OnPath;
  rename: { readonly from: string; readonly to: string };
  readlink: OnPath;
  /** In OpenSSH's order of arguments, which all clients follow (OpenSSH PROTOCOL §4.1), not the draft's. */
  symlink: OnPath & { readonly target: string };
  extended: { readonly extension: ExtensionRequest };
  /** A type this server does not know; answered, never fatal. */
  unknown: { readonly type: number };
}

/** The name of a kind of request. */
export type RequestKind = keyof RequestBodies;

/** A request of the kinds `K`. */
export type RequestOf<K extends RequestKind> = { [P in K]: { readonly kind: P; readonly id: number } & RequestBodies[P] }[K];

/** Any request but INIT. */
export type Request = RequestOf<RequestKind>;

/** Bytes before a packet's own fields: type and request id. */
const PREFIX_BYTES = 5;

/** Most bytes of a WRITE before its data: prefix, handle, offset, length of the data. */
const WRITE_HEADER_BYTES = PREFIX_BYTES + 4 + MAX_HANDLE_BYTES + 8 + 4;

/** The type of a packet, which is never empty. */
export function packetType(packet: Packet): number {
  return packet.chunks[0]?.[0] ?? 0;
}

/** The id of a request, or undefined if the packet is too short to have one. */
export function requestId(packet: Packet): number | undefined {
  return packet.bytes < PREFIX_BYTES ? undefined : new WireReader(firstBytes(packet, PREFIX_BYTES), 1).uint32();
}

/** The version an INIT offers. Throws `ProtocolError` if it is cut short. What follows the version is ignored. */
export function decodeInit(packet: Packet): number {
  return new WireReader(firstBytes(packet, PREFIX_BYTES), 1).uint32();
}

/** Decodes any request but INIT. Throws `ProtocolError` if it is malformed; bytes behind its last field are ignored, as OpenSSH does. */
export function decodeRequest(packet: Packet): Request {
  const type = packetType(packet);
  if (type === PacketType.WRITE) return decodeWrite(packet);
  const reader = new WireReader(firstBytes(packet, packet.bytes), 1);
  const id = reader.uint32();
  return decodeBody(type, id, reader);
}

function decodeBody(type: number, id: number, reader: WireReader): Request {
  switch (type) {
    case PacketType.OPEN:
      return { kind: "open", id, path: readPath(reader), pflags: reader.uint32(), attributes: readAttributes(reader) };
    case PacketType.CLOSE:
      return { kind: "close", id, handle: readHandle(reader) };
    case PacketType.READ:
      return { kind: "read", id, handle: readHandle(reader), offset: reader.uint64(), length: reader.uint32() };
    case PacketType.LSTAT:
      return { kind: "lstat", id, path: readPath(reader) };
    case PacketType.FSTAT:
      return { kind: "fstat", id, handle: readHandle(reader) };
    case PacketType.SETSTAT:
      return { kind: "setstat", id, path: readPath(reader), attributes: readAttributes(reader) };
    case PacketType.FSETSTAT:
      return { kind: "fsetstat", id, handle: readHandle(reader), attributes: readAttributes(reader) };
    case PacketType.OPENDIR:
      return { kind: "opendir", id, path: readPath(reader) };
    case PacketType.READDIR:
      return { kind: "readdir", id, handle: readHandle(reader) };
    case PacketType.REMOVE:
      return { kind: "remove", id, path: readPath(reader) };
    case PacketType.MKDIR:
      return { kind: "mkdir", id, path: readPath(reader), attributes: readAttributes(reader) };
    case PacketType.RMDIR:
      return { kind: "rmdir", id, path: readPath(reader) };
    case PacketType.REALPATH:
      return { kind: "realpath", id, path: readPath(reader) };
    case PacketType.STAT:
      return { kind: "stat", id, path: readPath(reader) };
    case PacketType.RENAME:
      return { kind: "rename", id, from: readPath(reader), to: readPath(reader) };
    case PacketType.READLINK:
      return { kind: "readlink", id, path: readPath(reader) };
    case PacketType.SYMLINK:
      return { kind: "symlink", id, target: readPath(reader), path: readPath(reader) };
    case PacketType.EXTENDED:
      return { kind: "extended", id, extension: readExtension(reader) };
    default:
      return { kind: "unknown", id, type };
  }
}

/** Decodes a WRITE whose data may lie in many slices: only its header is ever put together. */
function decodeWrite(packet: Packet): Request {
  const reader = new WireReader(firstBytes(packet, Math.min(packet.bytes, WRITE_HEADER_BYTES)), 1);
  const id = reader.uint32();
  const handle = readHandle(reader);
  const offset = reader.uint64();
  const length = reader.uint32();
  const { position } = reader;
  if (length > packet.bytes - position) throw new ProtocolError(`WRITE of ${length} bytes, only ${packet.bytes - position} sent`);
  if (!Number.isSafeInteger(offset + length)) throw new ProtocolError("WRITE ends out of range");
  return { kind: "write", id, handle, offset, length, chunks: cut(packet.chunks, position, length) };
}

/** The handle that a malformed WRITE was for; undefined if not even that can be read. */
export function writeHandleOf(packet: Packet): Uint8Array | undefined {
  try {
    const reader = new WireReader(firstBytes(packet, Math.min(packet.bytes, WRITE_HEADER_BYTES)), PREFIX_BYTES);
    return readHandle(reader);
  } catch (error) {
    if (error instanceof ProtocolError) return undefined;
    throw error;
  }
}

/** `length` bytes of `chunks` from `start` on, as views. */
function cut(chunks: readonly Uint8Array[], start: number, length: number): Uint8Array[] {
  const views: Uint8Array[] = [];
  let skip = start;
  let left = length;
  for (const chunk of chunks) {
    if (left === 0) break;
    if (skip >= chunk.length) {
      skip -= chunk.length;
      continue;
    }
    const view = chunk.subarray(skip, skip + left);
    views.push(view);
    left -= view.length;
    skip = 0;
  }
  return views;
}

/** At least the first `bytes` bytes of a packet in one piece: in place where the first slice holds them, else put together. */
function firstBytes(packet: Packet, bytes: number): Uint8Array {
  const first = packet.chunks[0];
  if (first && (first.length >= bytes || packet.chunks.length === 1)) return first;
  return Buffer.concat(cut(packet.chunks, 0, bytes));
}

function readPath(reader: WireReader): string {
  return reader.text(MAX_PATH_BYTES);
}

function readHandle(reader: WireReader): Uint8Array {
  return Buffer.from(reader.string(MAX_HANDLE_BYTES));
}

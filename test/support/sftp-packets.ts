/** Encoding and decoding of SFTP version 3 packets (draft-ietf-secsh-filexfer-02), as small as a test client needs. */

/** Packet types. */
export const FXP = {
  INIT: 1,
  VERSION: 2,
  OPEN: 3,
  CLOSE: 4,
  READ: 5,
  WRITE: 6,
  LSTAT: 7,
  FSTAT: 8,
  SETSTAT: 9,
  FSETSTAT: 10,
  OPENDIR: 11,
  READDIR: 12,
  REMOVE: 13,
  MKDIR: 14,
  RMDIR: 15,
  REALPATH: 16,
  STAT: 17,
  RENAME: 18,
  READLINK: 19,
  SYMLINK: 20,
  STATUS: 101,
  HANDLE: 102,
  DATA: 103,
  NAME: 104,
  ATTRS: 105,
  EXTENDED: 200,
  EXTENDED_REPLY: 201,
} as const;

/** Flags of OPEN. */
export const FXF = { READ: 1, WRITE: 2, APPEND: 4, CREAT: 8, TRUNC: 16, EXCL: 32 } as const;

/** Codes of STATUS. */
export const FX = { OK: 0, EOF: 1, NO_SUCH_FILE: 2, PERMISSION_DENIED: 3, FAILURE: 4, BAD_MESSAGE: 5, OP_UNSUPPORTED: 8 } as const;

/** Attributes as they go over the wire; absent fields are absent there. */
export interface SftpAttributes {
  readonly size?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** With the file type's bits. */
  readonly permissions?: number;
  readonly atime?: number;
  readonly mtime?: number;
}

/** One name of a listing. */
export interface SftpName {
  readonly filename: string;
  readonly longname: string;
  readonly attributes: SftpAttributes;
}

/** 32-bit number. */
export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** 64-bit number. */
export function uint64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** Length and bytes. */
export function string(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([uint32(bytes.length), bytes]);
}

/** Attributes with their flags. */
export function encodeAttributes(attributes: SftpAttributes = {}): Buffer {
  const { size, uid, gid, permissions, atime, mtime } = attributes;
  const fields: Buffer[] = [];
  let flags = 0;
  if (size !== undefined) {
    flags |= 1;
    fields.push(uint64(size));
  }
  if (uid !== undefined && gid !== undefined) {
    flags |= 2;
    fields.push(uint32(uid), uint32(gid));
  }
  if (permissions !== undefined) {
    flags |= 4;
    fields.push(uint32(permissions));
  }
  if (mtime !== undefined) {
    flags |= 8;
    fields.push(uint32(atime ?? mtime), uint32(mtime));
  }
  return Buffer.concat([uint32(flags), ...fields]);
}

/** A whole packet: length, type, fields. */
export function packet(type: number, ...fields: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat([Buffer.from([type]), ...fields]);
  return Buffer.concat([uint32(body.length), body]);
}

/** Reads the fields of one packet in order; throws past its end. */
export class FieldReader {
  readonly #bytes: Buffer;
  #position = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get remaining(): number {
    return this.#bytes.length - this.#position;
  }

  uint32(): number {
    this.#position += 4;
    return this.#bytes.readUInt32BE(this.#position - 4);
  }

  uint64(): number {
    this.#position += 8;
    return Number(this.#bytes.readBigUInt64BE(this.#position - 8));
  }

  bytes(): Buffer {
    const length = this.uint32();
    if (length > this.remaining) throw new Error(`a string of ${length} bytes in ${this.remaining}`);
    this.#position += length;
    return this.#bytes.subarray(this.#position - length, this.#position);
  }

  text(): string {
    return this.bytes().toString("utf8");
  }

  attributes(): SftpAttributes {
    const flags = this.uint32();
    const size = flags & 1 ? { size: this.uint64() } : {};
    const owner = flags & 2 ? { uid: this.uint32(), gid: this.uint32() } : {};
    const permissions = flags & 4 ? { permissions: this.uint32() } : {};
    const times = flags & 8 ? { atime: this.uint32(), mtime: this.uint32() } : {};
    return { ...size, ...owner, ...permissions, ...times };
  }

  names(): SftpName[] {
    return Array.from({ length: this.uint32() }, () => ({
      filename: this.text(),
      longname: this.text(),
      attributes: this.attributes(),
    }));
  }
}

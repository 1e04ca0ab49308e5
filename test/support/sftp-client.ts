/**
 * A raw SFTP client on a ByteChannel for tests: sends any bytes, keeps every reply. Written from the draft, independent
 * of the server's codec.
 */
import type { ByteChannel } from "../../src/byte-channel.ts";

/** A reply as it came. `fields` begins behind the request id. */
export interface RawReply {
  readonly type: number;
  readonly id: number;
  readonly fields: Buffer;
}

/** A decoded STATUS. */
export interface Status {
  readonly code: number;
  readonly text: string;
}

export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};
export const u64 = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};
export const str = (value: string | Uint8Array): Buffer => {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  return Buffer.concat([u32(bytes.length), bytes]);
};
/** A packet of the given type with its length field. */
export const packet = (type: number, ...fields: readonly Uint8Array[]): Buffer => {
  const body = Buffer.concat([Buffer.from([type]), ...fields]);
  return Buffer.concat([u32(body.length), body]);
};

/** Attributes as a client sends them. */
export interface SentAttributes {
  readonly size?: number | bigint;
  readonly owner?: readonly [uid: number, gid: number];
  readonly permissions?: number;
  readonly times?: readonly [atime: number, mtime: number];
}
export const attrs = ({ size, owner, permissions, times }: SentAttributes = {}): Buffer => {
  const flags = (size === undefined ? 0 : 1) | (owner ? 2 : 0) | (permissions === undefined ? 0 : 4) | (times ? 8 : 0);
  return Buffer.concat([
    u32(flags),
    ...(size === undefined ? [] : [u64(size)]),
    ...(owner ?? []).map(u32),
    ...(permissions === undefined ? [] : [u32(permissions)]),
    ...(times ?? []).map(u32),
  ]);
};

/** pflags. */
export const R = 1;
export const W = 2;
export const APPEND = 4;
export const CREAT = 8;
export const TRUNC = 16;
export const EXCL = 32;

/** Thrown by the convenience calls when the server answers with a STATUS that is not OK. */
export class StatusError extends Error {
  readonly status: Status;
  constructor(status: Status) {
    super(`${status.code}: ${status.text}`);
    this.status = status;
  }
}

/** One name of a NAME reply. */
export interface Name {
  readonly name: string;
  readonly longname: string;
  readonly attributes: Buffer;
}

/** See the head of this file. */
export class SftpClient {
  readonly #channel: ByteChannel;
  readonly #waiting = new Map<number, (reply: RawReply) => void>();
  #received = Buffer.alloc(0);
  #id = 0;
  #reading = true;
  /** Every reply, in the order they came; VERSION has id 0. */
  readonly replies: RawReply[] = [];
  ended = false;

  constructor(channel: ByteChannel) {
    this.#channel = channel;
    channel.receive({
      data: (chunk) => {
        if (this.#reading) channel.consume(chunk.length);
        this.#received = Buffer.concat([this.#received, chunk]);
        this.#cut();
      },
      end: () => {
        this.ended = true;
      },
    });
  }

  /** No longer gives the server its window back. */
  stopReading(): void {
    this.#reading = false;
  }

  /** Sends bytes as they are. */
  raw(...bytes: readonly Uint8Array[]): void {
    this.#channel.write(...bytes);
  }

  /** INIT; resolves with the extensions that VERSION advertises. */
  async init(version = 3): Promise<Map<string, string>> {
    const reply = new Promise<RawReply>((resolve) => this.#waiting.set(0, resolve));
    this.raw(packet(1, u32(version)));
    const { fields } = await reply;
    const extensions = new Map<string, string>();
    for (let at = 0; at < fields.length; ) {
      const name = readString(fields, at);
      const value = readString(fields, at + 4 + name.length);
      extensions.set(name.toString(), value.toString());
      at += 8 + name.length + value.length;
    }
    return extensions;
  }

  /** Sends a request with a new id; resolves with its reply. */
  request(type: number, ...fields: readonly Uint8Array[]): Promise<RawReply> {
    const id = ++this.#id;
    const reply = this.reply(id);
    this.raw(packet(type, u32(id), ...fields));
    return reply;
  }

  /** Resolves with the reply to `id`. */
  reply(id: number): Promise<RawReply> {
    return new Promise((resolve) => this.#waiting.set(id, resolve));
  }

  /** A request whose answer is a STATUS. */
  async status(type: number, ...fields: readonly Uint8Array[]): Promise<Status> {
    return statusOf(await this.request(type, ...fields));
  }

  open(path: string, pflags: number, attributes: SentAttributes = {}): Promise<Buffer> {
    return this.#handle(3, str(path), u32(pflags), attrs(attributes));
  }

  opendir(path: string): Promise<Buffer> {
    return this.#handle(11, str(path));
  }

  close(handle: Uint8Array): Promise<Status> {
    return this.status(4, str(handle));
  }

  write(handle: Uint8Array, offset: number | bigint, data: Uint8Array): Promise<Status> {
    return this.status(6, str(handle), u64(offset), str(data));
  }

  /** The data, or undefined for EOF. */
  async read(handle: Uint8Array, offset: number | bigint, length: number): Promise<Buffer | undefined> {
    const reply = await this.request(5, str(handle), u64(offset), u32(length));
    if (reply.type === 103) return readString(reply.fields, 0);
    const status = statusOf(reply);
    if (status.code !== 1) throw new StatusError(status);
    return undefined;
  }

  /** The names, or undefined for EOF. */
  async readdir(handle: Uint8Array): Promise<Name[] | undefined> {
    const reply = await this.request(12, str(handle));
    if (reply.type === 104) return namesOf(reply);
    const status = statusOf(reply);
    if (status.code !== 1) throw new StatusError(status);
    return undefined;
  }

  /** All names of a directory, `.` and `..` too. */
  async list(path: string): Promise<Name[]> {
    const handle = await this.opendir(path);
    const all: Name[] = [];
    for (let names = await this.readdir(handle); names; names = await this.readdir(handle)) all.push(...names);
    await this.close(handle);
    return all;
  }

  /** The answer of REALPATH and the like. */
  async path(type: number, ...fields: readonly Uint8Array[]): Promise<string> {
    const reply = await this.request(type, ...fields);
    if (reply.type !== 104) throw new StatusError(statusOf(reply));
    return namesOf(reply)[0]?.name ?? "";
  }

  /** STAT, LSTAT or FSTAT: size, permissions and mtime. */
  async stat(type: 17 | 7 | 8, of: string | Uint8Array): Promise<{ size: number; permissions: number; mtime: number }> {
    const reply = await this.request(type, str(of));
    if (reply.type !== 105) throw new StatusError(statusOf(reply));
    return attributesOf(reply.fields);
  }

  extended(name: string, ...fields: readonly Uint8Array[]): Promise<RawReply> {
    return this.request(200, str(name), ...fields);
  }

  /** Writes a whole file in one OPEN, one WRITE and one CLOSE. */
  async put(path: string, data: Uint8Array | string): Promise<Status> {
    const handle = await this.open(path, W | CREAT | TRUNC);
    await this.write(handle, 0, typeof data === "string" ? Buffer.from(data) : data);
    return this.close(handle);
  }

  /** Reads a whole file by READs of 32 KiB. */
  async get(path: string): Promise<Buffer> {
    const handle = await this.open(path, R);
    const chunks: Buffer[] = [];
    let offset = 0;
    for (let chunk = await this.read(handle, 0, 32768); chunk; chunk = await this.read(handle, offset, 32768)) {
      chunks.push(chunk);
      offset += chunk.length;
    }
    await this.close(handle);
    return Buffer.concat(chunks);
  }

  async #handle(type: number, ...fields: readonly Uint8Array[]): Promise<Buffer> {
    const reply = await this.request(type, ...fields);
    if (reply.type !== 102) throw new StatusError(statusOf(reply));
    return readString(reply.fields, 0);
  }

  #cut(): void {
    while (this.#received.length >= 4) {
      const length = this.#received.readUInt32BE(0);
      if (this.#received.length < 4 + length) return;
      const body = this.#received.subarray(4, 4 + length);
      this.#received = this.#received.subarray(4 + length);
      const type = body.readUInt8(0);
      const reply = { type, id: type === 2 ? 0 : body.readUInt32BE(1), fields: body.subarray(5) };
      this.replies.push(reply);
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      waiting?.(reply);
    }
  }
}

/** A STATUS reply decoded; throws for any other. */
export function statusOf(reply: RawReply): Status {
  if (reply.type !== 101) throw new Error(`STATUS expected, not ${reply.type}`);
  return { code: reply.fields.readUInt32BE(0), text: readString(reply.fields, 4).toString() };
}

/** The fields of ATTRS as this server sends them: all of them. */
export function attributesOf(fields: Buffer): { size: number; permissions: number; mtime: number } {
  if (fields.readUInt32BE(0) !== 15) throw new Error("all attributes expected");
  return { size: Number(fields.readBigUInt64BE(4)), permissions: fields.readUInt32BE(20), mtime: fields.readUInt32BE(28) };
}

/** The names of a NAME reply. */
export function namesOf(reply: RawReply): Name[] {
  const names: Name[] = [];
  let at = 4;
  for (let left = reply.fields.readUInt32BE(0); left > 0; left--) {
    const name = readString(reply.fields, at);
    const longname = readString(reply.fields, at + 4 + name.length);
    at += 8 + name.length + longname.length;
    const length = reply.fields.readUInt32BE(at) === 0 ? 4 : 32;
    names.push({ name: name.toString(), longname: longname.toString(), attributes: reply.fields.subarray(at, at + length) });
    at += length;
  }
  return names;
}

function readString(bytes: Buffer, at: number): Buffer {
  const length = bytes.readUInt32BE(at);
  return bytes.subarray(at + 4, at + 4 + length);
}

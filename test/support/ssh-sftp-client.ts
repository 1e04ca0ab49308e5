/**
 * A small SFTP client over SSH that sends exactly the packets a test wants, in the order it wants, over the channel of
 * ssh2's client. Used to replay other clients' dialogues, to send nonsense, and to cut the connection at any packet.
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { Client, type ClientChannel } from "ssh2";
import type { TestGateway } from "./gateway.ts";
import {
  encodeAttributes,
  FieldReader,
  FX,
  FXP,
  packet,
  type SftpAttributes,
  type SftpName,
  string,
  uint32,
  uint64,
} from "./sftp-packets.ts";

/** A STATUS other than OK. */
export class SftpStatusError extends Error {
  override readonly name = "SftpStatusError";
  readonly code: number;
  constructor(code: number, text: string) {
    super(`status ${code}: ${text}`);
    this.code = code;
  }
}

/** One answer, undecoded behind its request id. */
export interface SftpReply {
  readonly type: number;
  readonly fields: FieldReader;
}

interface Waiting {
  readonly resolve: (reply: SftpReply) => void;
  readonly reject: (error: Error) => void;
}

/** What a client has to know of a gateway. */
export type LoginTarget = Pick<TestGateway, "port" | "keyFile"> & { readonly user: string; readonly localAddress?: string };

/** Logs in to a gateway under test. */
export async function connectSsh(gateway: LoginTarget): Promise<Client> {
  const client = new Client();
  client.on("error", () => undefined); // a cut connection is what tests are about, and may be told more than once
  const lost = once(client, "close").then(() => Promise.reject(new Error("the connection was closed before the login")));
  lost.catch(() => undefined); // every connection is closed some day
  const ready = Promise.race([once(client, "ready"), lost]);
  client.connect({
    host: "127.0.0.1",
    port: gateway.port,
    username: gateway.user,
    privateKey: readFileSync(gateway.keyFile),
    readyTimeout: 20_000,
    ...(gateway.localAddress !== undefined && { localAddress: gateway.localAddress }),
  });
  await ready;
  // On Node 24 ssh2's client sends a request in pieces, each of which would wait 40 ms for the acknowledgement of the last.
  client.setNoDelay(true);
  return client;
}

/** One SFTP session. */
export class SshSftpClient {
  readonly ssh: Client;
  readonly channel: ClientChannel;
  /** Extensions the server advertised, by name. */
  readonly extensions = new Map<string, string>();
  readonly #waiting = new Map<number, Waiting>();
  #version: Waiting | undefined;
  #buffer: Buffer = Buffer.alloc(0);
  #nextId = 1;
  #closed: Error | undefined;

  private constructor(ssh: Client, channel: ClientChannel) {
    this.ssh = ssh;
    this.channel = channel;
    channel.on("data", (chunk: Buffer) => this.#receive(chunk));
    channel.on("error", () => undefined);
    channel.on("close", () => this.#fail(new Error("the channel was closed")));
    ssh.on("close", () => this.#fail(new Error("the connection was closed")));
  }

  /** Logs in, starts the subsystem and exchanges versions. */
  static async connect(gateway: LoginTarget, version = 3): Promise<SshSftpClient> {
    return SshSftpClient.over(await connectSsh(gateway), version);
  }

  /** Starts another session on a connection. */
  static async over(ssh: Client, version = 3): Promise<SshSftpClient> {
    const channel = await new Promise<ClientChannel>((resolve, reject) => {
      ssh.once("close", () => reject(new Error("the connection was closed")));
      ssh.subsys("sftp", (error, opened) => (error ? reject(error) : resolve(opened)));
    });
    const client = new SshSftpClient(ssh, channel);
    const answer = new Promise<SftpReply>((resolve, reject) => {
      client.#version = { resolve, reject };
    });
    client.send(packet(FXP.INIT, uint32(version)));
    const { fields } = await answer;
    fields.uint32();
    while (fields.remaining > 0) client.extensions.set(fields.text(), fields.text());
    return client;
  }

  /** True once the channel or the connection is closed. */
  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  /** Sends bytes as they are. */
  send(bytes: Uint8Array): void {
    this.channel.write(bytes);
  }

  /** Sends a request with the next id and waits for its answer, whatever it is. */
  request(type: number, ...fields: readonly Uint8Array[]): Promise<SftpReply> {
    if (this.#closed) return Promise.reject(this.#closed);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.send(packet(type, uint32(id), ...fields));
    });
  }

  /** The answer to a request that the test sends itself, under an id of its own. */
  answerTo(id: number): Promise<SftpReply> {
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  /** As `request`, but rejects with `SftpStatusError` for a STATUS other than OK. */
  async ask(type: number, ...fields: readonly Uint8Array[]): Promise<SftpReply> {
    const reply = await this.request(type, ...fields);
    if (reply.type !== FXP.STATUS) return reply;
    const code = reply.fields.uint32();
    if (code !== FX.OK) throw new SftpStatusError(code, reply.fields.remaining > 0 ? reply.fields.text() : "");
    return reply;
  }

  async open(path: string, pflags: number, attributes: SftpAttributes = {}): Promise<Buffer> {
    return (await this.ask(FXP.OPEN, string(path), uint32(pflags), encodeAttributes(attributes))).fields.bytes();
  }

  async opendir(path: string): Promise<Buffer> {
    return (await this.ask(FXP.OPENDIR, string(path))).fields.bytes();
  }

  async close(handle: Uint8Array): Promise<void> {
    await this.ask(FXP.CLOSE, string(handle));
  }

  async write(handle: Uint8Array, offset: number, data: Uint8Array): Promise<void> {
    await this.ask(FXP.WRITE, string(handle), uint64(offset), string(data));
  }

  /** Bytes at an offset; an empty buffer at the end of the file. */
  async read(handle: Uint8Array, offset: number, length: number): Promise<Buffer> {
    const reply = await this.request(FXP.READ, string(handle), uint64(offset), uint32(length));
    if (reply.type === FXP.DATA) return reply.fields.bytes();
    const code = reply.fields.uint32();
    if (code === FX.EOF) return Buffer.alloc(0);
    throw new SftpStatusError(code, reply.fields.text());
  }

  async stat(path: string): Promise<SftpAttributes> {
    return (await this.ask(FXP.STAT, string(path))).fields.attributes();
  }

  async lstat(path: string): Promise<SftpAttributes> {
    return (await this.ask(FXP.LSTAT, string(path))).fields.attributes();
  }

  async fstat(handle: Uint8Array): Promise<SftpAttributes> {
    return (await this.ask(FXP.FSTAT, string(handle))).fields.attributes();
  }

  async setstat(path: string, attributes: SftpAttributes): Promise<void> {
    await this.ask(FXP.SETSTAT, string(path), encodeAttributes(attributes));
  }

  async fsetstat(handle: Uint8Array, attributes: SftpAttributes): Promise<void> {
    await this.ask(FXP.FSETSTAT, string(handle), encodeAttributes(attributes));
  }

  async remove(path: string): Promise<void> {
    await this.ask(FXP.REMOVE, string(path));
  }

  async mkdir(path: string, attributes: SftpAttributes = {}): Promise<void> {
    await this.ask(FXP.MKDIR, string(path), encodeAttributes(attributes));
  }

  async rmdir(path: string): Promise<void> {
    await this.ask(FXP.RMDIR, string(path));
  }

  async realpath(path: string): Promise<string> {
    return (await this.ask(FXP.REALPATH, string(path))).fields.names()[0]?.filename ?? "";
  }

  async rename(from: string, to: string): Promise<void> {
    await this.ask(FXP.RENAME, string(from), string(to));
  }

  async posixRename(from: string, to: string): Promise<void> {
    await this.extended("posix-rename@openssh.com", string(from), string(to));
  }

  async extended(name: string, ...fields: readonly Uint8Array[]): Promise<SftpReply> {
    return this.ask(FXP.EXTENDED, string(name), ...fields);
  }

  /** The next names of an open directory; an empty list at its end. */
  async readdir(handle: Uint8Array): Promise<SftpName[]> {
    const reply = await this.request(FXP.READDIR, string(handle));
    if (reply.type === FXP.NAME) return reply.fields.names();
    const code = reply.fields.uint32();
    if (code === FX.EOF) return [];
    throw new SftpStatusError(code, reply.fields.text());
  }

  /** All names of a directory but `.` and `..`. */
  async list(path: string): Promise<SftpName[]> {
    const handle = await this.opendir(path);
    const all: SftpName[] = [];
    for (let names = await this.readdir(handle); names.length > 0; names = await this.readdir(handle)) all.push(...names);
    await this.close(handle);
    return all.filter(({ filename }) => filename !== "." && filename !== "..");
  }

  /** Writes a file whole: OPEN, pipelined WRITEs of `block` bytes, CLOSE. */
  async putFile(path: string, data: Uint8Array, block = 32_768, attributes: SftpAttributes = {}): Promise<void> {
    const handle = await this.open(path, 2 | 8 | 16, attributes);
    await this.writeAll(handle, 0, data, block);
    await this.close(handle);
  }

  /** WRITEs of `data` from `offset` on, 64 of them outstanding, as OpenSSH does. */
  async writeAll(handle: Uint8Array, offset: number, data: Uint8Array, block = 32_768): Promise<void> {
    const outstanding: Promise<void>[] = [];
    for (let at = 0; at < data.length; at += block) {
      const write = this.write(handle, offset + at, data.subarray(at, at + block));
      write.catch(() => undefined); // awaited below, or lost with an earlier failure
      outstanding.push(write);
      if (outstanding.length >= 64) await outstanding.shift();
    }
    await Promise.all(outstanding);
  }

  /** Reads a file whole. */
  async getFile(path: string, block = 32_768): Promise<Buffer> {
    const handle = await this.open(path, 1);
    const chunks: Buffer[] = [];
    let offset = 0;
    for (;;) {
      const chunk = await this.read(handle, offset, block);
      if (chunk.length === 0) break;
      chunks.push(chunk);
      offset += chunk.length;
    }
    await this.close(handle);
    return Buffer.concat(chunks);
  }

  /** Logs out in good order and waits until the connection is closed. */
  async end(): Promise<void> {
    if (this.#closed) return;
    const closed = once(this.ssh, "close");
    this.channel.end();
    this.ssh.end();
    await closed;
  }

  /** Cuts the connection at once, as a lost network would once it is noticed. */
  destroy(): void {
    this.ssh.destroy();
  }

  #receive(chunk: Buffer): void {
    this.#buffer = this.#buffer.length > 0 ? Buffer.concat([this.#buffer, chunk]) : chunk;
    while (this.#buffer.length >= 4) {
      const end = 4 + this.#buffer.readUInt32BE(0);
      if (this.#buffer.length < end) return;
      const body = this.#buffer.subarray(4, end);
      this.#buffer = this.#buffer.subarray(end);
      this.#dispatch(body[0] ?? 0, new FieldReader(body.subarray(1)));
    }
  }

  #dispatch(type: number, fields: FieldReader): void {
    if (type === FXP.VERSION) {
      this.#version?.resolve({ type, fields });
      return;
    }
    const id = fields.uint32();
    const waiting = this.#waiting.get(id);
    if (!waiting) throw new Error(`an answer to request ${id}, which nobody made`);
    this.#waiting.delete(id);
    waiting.resolve({ type, fields });
  }

  #fail(error: Error): void {
    this.#closed ??= error;
    this.#version?.reject(error);
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}

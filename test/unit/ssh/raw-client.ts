/** A client that sends what it is told, right or wrong, for the tests of src/ssh: ssh2's transport without its client. */
import { createPrivateKey, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect, type Socket } from "node:net";
import { parseAuthorizedKeys } from "../../../src/auth/authorized-keys.ts";
import { WireReader, wireString } from "../../../src/auth/wire-reader.ts";
import { encodeMessage, Message } from "../../../src/ssh/messages.ts";

interface ClientProtocol {
  parse(chunk: Buffer, start: number, end: number): void;
  start(): void;
  cleanup(): void;
  rekey(): void;
  _onPayload: (payload: Buffer) => undefined;
  _kex: { sessionID: Buffer };
  _kexinit: Buffer | undefined;
  _cipher: { encrypt(packet: Buffer): void };
  _packetRW: {
    write: {
      allocStart: number;
      allocStartKEX: number;
      alloc(bytes: number, force?: boolean): Buffer;
      finalize(packet: Buffer, force?: boolean): Buffer;
    };
  };
}

const require = createRequire(import.meta.url);
const Protocol = require("ssh2/lib/protocol/Protocol.js") as new (config: object) => ClientProtocol;
const { sendPacket } = require("ssh2/lib/protocol/utils.js") as {
  sendPacket: (protocol: ClientProtocol, packet: Buffer, bypass?: boolean) => void;
};
const { parseKey } = require("ssh2/lib/protocol/keyParser.js") as { parseKey: (text: Buffer) => { getPrivatePEM(): string } };

/** One raw connection. */
export class RawClient {
  readonly socket: Socket;
  readonly received: Buffer[] = [];
  readonly closed: Promise<void>;
  readonly #protocol: ClientProtocol;
  #ready = false;
  readonly #waiting = new Set<() => void>();
  #gone = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    this.#protocol = new Protocol({
      ident: "rawclient",
      onWrite: (bytes: Buffer) => socket.write(bytes),
      onError: () => socket.destroy(),
      onHandshakeComplete: () => {
        this.#ready = true;
        this.#wake();
      },
      messageHandlers: {},
    });
    this.#protocol._onPayload = (payload) => {
      if (payload[0] === Message.KEXINIT) {
        const handlers = require("ssh2/lib/protocol/handlers.js") as ((protocol: ClientProtocol, payload: Buffer) => undefined)[];
        return handlers[Message.KEXINIT]?.(this.#protocol, payload);
      }
      this.received.push(Buffer.from(payload));
      this.#wake();
      return undefined;
    };
    socket.on("data", (chunk) => {
      try {
        this.#protocol.parse(chunk as Buffer, 0, chunk.length);
      } catch {
        socket.destroy(); // the server's farewell may come in the middle of a key exchange
      }
    });
    socket.on("error", () => undefined);
    this.closed = new Promise((resolve) => {
      socket.on("close", () => {
        this.#gone = true;
        this.#wake();
        resolve();
      });
    });
  }

  /** Connects, from another local address if one is given, and exchanges keys. */
  static async connect(port: number, localAddress = "127.0.0.1"): Promise<RawClient> {
    const socket = connect({ host: "127.0.0.1", port, noDelay: true, localAddress });
    const client = new RawClient(socket);
    await Promise.race([new Promise((resolve) => socket.once("connect", resolve)), client.closed]);
    client.#protocol.start();
    await client.until(() => client.#ready);
    return client;
  }

  /** Connects, exchanges keys and logs in. */
  static async login(port: number, keyFile: string, user = "alice", localAddress = "127.0.0.1"): Promise<RawClient> {
    const client = await RawClient.connect(port, localAddress);
    client.send(encodeMessage(Message.SERVICE_REQUEST, "ssh-userauth"));
    await client.next(Message.SERVICE_ACCEPT);
    client.send(client.signedLogin(user, keyFile));
    await client.next(Message.USERAUTH_SUCCESS);
    return client;
  }

  /** A USERAUTH_REQUEST for an ed25519 key with a right signature. */
  signedLogin(user: string, keyFile: string): Buffer {
    const blob = parseAuthorizedKeys(readFileSync(`${keyFile}.pub`, "utf8"))[0]?.blob ?? Buffer.alloc(0);
    const request = encodeMessage(Message.USERAUTH_REQUEST, user, "ssh-connection", "publickey", true, "ssh-ed25519", blob);
    const key = createPrivateKey(parseKeyFile(keyFile));
    const signature = sign(null, Buffer.concat([wireString(this.#protocol._kex.sessionID), request]), key);
    return Buffer.concat([request, wireString(Buffer.concat([wireString("ssh-ed25519"), wireString(signature)]))]);
  }

  /** Sends one message. */
  send(payload: Uint8Array): void {
    if (this.#gone || this.socket.destroyed) return;
    const writer = this.#protocol._packetRW.write;
    const packet = writer.alloc(payload.length);
    packet.set(payload, writer.allocStart);
    sendPacket(this.#protocol, writer.finalize(packet));
  }

  /** Sends one message even while keys are exchanged. */
  sendNow(payload: Uint8Array): void {
    const writer = this.#protocol._packetRW.write;
    const packet = writer.alloc(payload.length, true);
    packet.set(payload, writer.allocStartKEX);
    sendPacket(this.#protocol, writer.finalize(packet, true), true);
  }

  /** Starts a key exchange. */
  rekey(): void {
    this.#protocol.rekey();
  }

  /** Takes the first message of `type` received; rejects when the connection goes first. */
  async next(type: number): Promise<Buffer> {
    let found: Buffer | undefined;
    await this.until(() => {
      const index = this.received.findIndex((payload) => payload[0] === type);
      if (index >= 0) [found] = this.received.splice(index, 1);
      return index >= 0;
    });
    if (!found) throw new Error(`the connection closed before message ${type}`);
    return found;
  }

  /** Opens a session channel; returns the server's number and window. */
  async openSession(window = 2 ** 20, maxPacket = 32768, id = 0): Promise<{ number: number; window: number }> {
    this.send(encodeMessage(Message.CHANNEL_OPEN, "session", id, window, maxPacket));
    const reader = new WireReader(await this.next(Message.CHANNEL_OPEN_CONFIRMATION), 5);
    return { number: reader.uint32(), window: reader.uint32() };
  }

  /** Resolves when `condition` holds; rejects when the connection goes first. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.#gone) throw new Error("the connection closed");
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

function parseKeyFile(keyFile: string): string {
  return parseKey(readFileSync(keyFile)).getPrivatePEM();
}

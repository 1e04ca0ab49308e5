/**
 * Attacks that never end, for `attack-rates.ts`, which runs one of them in a process of its own: what somebody who may log
 * in can send as fast as it goes. Each keeps so much on its way that the gateway always has work.
 */
import { encodeMessage, Message } from "../../src/ssh/messages.ts";
import { FXP, packet, string, uint32, uint64 } from "../support/sftp-packets.ts";
import { connectSsh, type LoginTarget, SshSftpClient } from "../support/ssh-sftp-client.ts";
import { RawClient } from "../unit/ssh/raw-client.ts";

/** Sends for ever; rejects when the gateway has had enough. */
export type Attack = (target: LoginTarget) => Promise<never>;

/** Messages sent before the socket is looked at. */
const BURST = 256;
const OWN_ID = 7;
const CHANNELS = 60;

const login = ({ port, keyFile, user }: LoginTarget): Promise<RawClient> => RawClient.login(port, keyFile, user);

/** Sends what `next` makes, again and again, as fast as the socket takes it; what comes back is thrown away. */
async function flood(client: RawClient, next: (at: number) => void): Promise<never> {
  const { socket } = client;
  for (let at = 0; ; ) {
    if (socket.destroyed) throw new Error("dropped");
    socket.cork();
    for (const end = at + BURST; at < end; at++) next(at);
    socket.uncork();
    client.received.length = 0;
    const isFull = socket.writableLength > 256 * 1024;
    await new Promise<void>((resolve) => {
      if (!isFull) setImmediate(resolve);
      else {
        socket.once("drain", resolve);
        socket.once("close", resolve);
      }
    });
  }
}

const raw =
  (message: (number: number, at: number) => Uint8Array): Attack =>
  async (target) => {
    const client = await login(target);
    const { number } = await client.openSession();
    return flood(client, (at) => client.send(message(number, at)));
  };

/** Requests of one channel within its window. */
const sftp =
  (request: (at: number, handle: Buffer) => Buffer, setUp?: Buffer): Attack =>
  async (target) => {
    const client = await login(target);
    const { number, window } = await client.openSession(0x7fff_ffff);
    let credit = window;
    const send = (bytes: Buffer): void => {
      credit -= bytes.length;
      client.send(encodeMessage(Message.CHANNEL_DATA, number, bytes));
    };
    client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "subsystem", true, "sftp"));
    await client.next(Message.CHANNEL_SUCCESS);
    send(packet(FXP.INIT, uint32(3)));
    await client.next(Message.CHANNEL_DATA);
    let handle: Buffer = Buffer.alloc(8);
    if (setUp) {
      send(setUp);
      const answer = await client.next(Message.CHANNEL_DATA);
      handle = answer.subarray(9 + 13, 9 + 21);
    }
    let unread = 0;
    let at = 0;
    for (;;) {
      client.socket.cork();
      for (let count = 0; count < BURST; count++) {
        const batch: Buffer[] = [];
        for (let each = 0; each < 16; each++) batch.push(request(at++, handle));
        const bytes = Buffer.concat(batch);
        if (credit < bytes.length) break;
        send(bytes);
      }
      client.socket.uncork();
      await new Promise((resolve) => setImmediate(resolve));
      for (const payload of client.received.splice(0)) {
        if (payload[0] === Message.CHANNEL_WINDOW_ADJUST) credit += payload.readUInt32BE(5);
        if (payload[0] === Message.CHANNEL_DATA) unread += payload.length - 9;
      }
      if (unread > 1 << 20) {
        client.send(encodeMessage(Message.CHANNEL_WINDOW_ADJUST, number, unread));
        unread = 0;
      }
      if (client.socket.destroyed) throw new Error("dropped");
    }
  };

/** As many requests as may run at once on each of many channels. */
const onManyChannels =
  (request: (client: SshSftpClient, at: number) => Promise<unknown>): Attack =>
  async (target) => {
    const ssh = await connectSsh(target);
    const lane = async (client: SshSftpClient): Promise<never> => {
      for (let at = 0; ; at++) await request(client, at).catch(() => undefined);
    };
    const channels = await Promise.all(Array.from({ length: CHANNELS }, () => SshSftpClient.over(ssh)));
    await Promise.race(channels.flatMap((client) => Array.from({ length: BURST }, () => lane(client))));
    throw new Error("over");
  };

const path = string("attachments/x");

/** By name. */
export const ATTACKS: Readonly<Record<string, Attack>> = {
  spinning: async () => {
    for (;;) await new Promise((resolve) => setImmediate(resolve));
  },
  "ignored messages": raw(() => encodeMessage(Message.IGNORE, "x")),
  "channel requests": raw((number) => encodeMessage(Message.CHANNEL_REQUEST, number, "env", false, "LC_ALL", "C")),
  "channel requests with answers": raw((number) => encodeMessage(Message.CHANNEL_REQUEST, number, "env", true, "LC_ALL", "C")),
  "global requests": raw(() => encodeMessage(Message.GLOBAL_REQUEST, "x", true)),
  "channel opens": raw((_number, at) => encodeMessage(Message.CHANNEL_OPEN, "session", at, 1 << 20, 32768)),
  "other channel opens": raw((_number, at) => encodeMessage(Message.CHANNEL_OPEN, "direct-tcpip", at, 1 << 20, 32768)),
  "window adjusts": raw((number) => encodeMessage(Message.CHANNEL_WINDOW_ADJUST, number, 0)),
  "unknown messages": raw(() => encodeMessage(192, "x")),
  "empty data": raw((number) => encodeMessage(Message.CHANNEL_DATA, number, "")),
  "channels opened and closed": async (target) => {
    const client = await login(target);
    return flood(client, (at) => {
      client.send(encodeMessage(Message.CHANNEL_OPEN, "session", at, 1 << 20, 32768));
      client.send(encodeMessage(Message.CHANNEL_CLOSE, at));
    });
  },
  "key exchanges": async (target) => {
    const client = await login(target);
    for (;;) {
      client.rekey();
      client.sendNow(encodeMessage(Message.IGNORE, "x"));
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (client.socket.destroyed) throw new Error("dropped");
    }
  },
  opens: sftp((at) => packet(FXP.OPEN, uint32(at), path, uint32(1), uint32(0))),
  opendirs: sftp((at) => packet(FXP.OPENDIR, uint32(at), string("attachments"))),
  stats: sftp((at) => packet(FXP.STAT, uint32(at), path)),
  "stats of nothing": sftp((at) => packet(FXP.STAT, uint32(at), string(`attachments/none-${at}`))),
  "stats on many channels": onManyChannels((client, at) => client.stat(`attachments/none-${at}`)),
  "opendirs on many channels": onManyChannels(async (client) => client.list("attachments")),
  realpaths: sftp((at) => packet(FXP.REALPATH, uint32(at), string("."))),
  "foreign handles": sftp((at) => packet(FXP.READ, uint32(at), string(Buffer.alloc(8, 7)), uint64(0), uint32(32768))),
  "unknown requests": sftp((at) => packet(77, uint32(at))),
  "malformed requests": sftp((at) => packet(FXP.STAT, uint32(at), uint32(0xffff_ffff))),
  "reads of a byte": sftp(
    (at, handle) => packet(FXP.READ, uint32(at), string(handle), uint64(0), uint32(1)),
    packet(FXP.OPEN, uint32(OWN_ID), path, uint32(1), uint32(0)),
  ),
  logins: async (target) => {
    for (;;) {
      const client = await login(target);
      client.socket.destroy();
    }
  },
  "key exchanges without login": async ({ port }) => {
    const lane = async (): Promise<never> => {
      for (;;) {
        const client = await RawClient.connect(port);
        client.socket.destroy();
      }
    };
    await Promise.all(Array.from({ length: 4 }, lane));
    throw new Error("over");
  },
};

/**
 * SSH before login: random and damaged openings, key exchanges and login messages. The server answers or drops, gives
 * everything back, and serves the next one.
 */
import { connect, type Socket } from "node:net";
import { encodeMessage, Message } from "../../src/ssh/messages.ts";
import { mutate } from "../support/mutate.ts";
import { Random } from "../support/random.ts";
import { RawClient } from "../unit/ssh/raw-client.ts";
import { type Fixture, startServer } from "../unit/ssh/server-fixture.ts";
import { demand, type FuzzTarget, within } from "./fuzz-target.ts";

const PATIENCE_MS = 20_000;
const LISTS = ["curve25519-sha256", "ssh-ed25519", "aes128-ctr", "aes128-ctr", "hmac-sha2-256", "hmac-sha2-256", "none", "none", "", ""];
const KEXINIT = Buffer.concat([Buffer.of(Message.KEXINIT), Buffer.alloc(16), encodeMessage(0, ...LISTS, false, 0).subarray(1)]);
const LOGIN = [
  encodeMessage(Message.SERVICE_REQUEST, "ssh-userauth"),
  encodeMessage(Message.USERAUTH_REQUEST, "alice", "ssh-connection", "none"),
  encodeMessage(Message.USERAUTH_REQUEST, "alice", "ssh-connection", "publickey", false, "ssh-ed25519", Buffer.alloc(51)),
  encodeMessage(Message.USERAUTH_REQUEST, "alice", "ssh-connection", "publickey", true, "ssh-ed25519", Buffer.alloc(51), Buffer.alloc(83)),
  encodeMessage(Message.USERAUTH_REQUEST, "alice", "ssh-connection", "password", false, "secret"),
  encodeMessage(Message.USERAUTH_REQUEST, "bob", "ssh-connection", "keyboard-interactive", "", ""),
  encodeMessage(Message.EXT_INFO, 1, "server-sig-algs", "x"),
  encodeMessage(Message.IGNORE, "x"),
  encodeMessage(Message.DEBUG, true, "x", ""),
  encodeMessage(Message.UNIMPLEMENTED, 1),
];

/** An unencrypted packet (RFC 4253 §6). */
function packet(payload: Uint8Array): Buffer {
  const padding = 16 - ((5 + payload.length) % 8);
  const header = Buffer.alloc(5);
  header.writeUInt32BE(1 + payload.length + padding);
  header[4] = padding;
  return Buffer.concat([header, payload, Buffer.alloc(padding)]);
}

async function beforeKeys(port: number, random: Random): Promise<number> {
  const socket: Socket = connect({ host: "127.0.0.1", port });
  socket.on("error", () => undefined);
  socket.resume();
  const closed = new Promise((resolve) => socket.once("close", resolve));
  const ident = Buffer.from(random.pick(["SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0-x\n", "SSH-1.99-PuTTY\r\n", "SSH-2.0-JSCH\r\n", ""]));
  const messages = Array.from({ length: 1 + random.below(3) }, () =>
    packet(
      random.chance(0.8)
        ? mutate(KEXINIT, random)
        : random.pick([KEXINIT, encodeMessage(30, Buffer.alloc(32, 9)), Buffer.of(21), ...LOGIN]),
    ),
  );
  const all = Buffer.concat([
    random.chance(0.9) ? ident : mutate(ident, random),
    ...(random.chance(0.8) ? messages : messages.map((bytes) => mutate(bytes, random))),
  ]);
  const cut = random.below(all.length + 1);
  socket.write(all.subarray(0, cut));
  socket.end(all.subarray(cut));
  await within(PATIENCE_MS, "a connection before keys", closed);
  return messages.length + 1;
}

async function beforeLogin(port: number, random: Random): Promise<number> {
  const client = await within(PATIENCE_MS, "a key exchange", RawClient.connect(port));
  client.send(encodeMessage(Message.SERVICE_REQUEST, "ssh-userauth"));
  const count = 1 + random.below(12);
  for (let at = 0; at < count; at++) {
    const message = random.pick(LOGIN);
    client.send(random.chance(0.7) ? mutate(message, random) : message);
    if (random.chance(0.1)) await new Promise((resolve) => setImmediate(resolve));
  }
  client.socket.end();
  await within(PATIENCE_MS, "a connection before login", client.closed);
  return count + 1;
}

async function atRest({ server, budget, log }: Fixture): Promise<void> {
  while (server.connectionCount > 0) await new Promise((resolve) => setImmediate(resolve));
  demand(budget.used === 0, `${budget.used} bytes of budget leaked`);
  demand(server.registry.sessions.length === 0, "somebody is logged in");
  const login = log.find(({ msg }) => msg === "login");
  demand(login === undefined, `somebody logged in: ${JSON.stringify(login)}`);
  log.length = 0;
}

/** See the head of this file. */
export const preauthFuzz: FuzzTarget = {
  name: "preauth",
  unit: "messages",
  open: async () => {
    const fixture = await startServer();
    return {
      run: async (seed) => {
        const random = new Random(seed);
        const sent = await (random.chance(0.5) ? beforeKeys(fixture.port, random) : beforeLogin(fixture.port, random));
        await within(PATIENCE_MS, "the server", atRest(fixture));
        return sent;
      },
      close: () => fixture.stop(),
    };
  },
};

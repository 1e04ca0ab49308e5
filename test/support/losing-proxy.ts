/**
 * An SSH server in front of the gateway that passes SFTP on, packet by packet, and loses both connections where a client that
 * has written sends its first CLOSE: every WRITE has been answered, the CLOSE never arrives. It has the gateway's host key and
 * repeats the client's ident, by which the gateway knows the client's habits.
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import ssh2, { Client, type ClientChannel, type Connection, type ServerChannel } from "ssh2";
import type { TestGateway } from "./gateway.ts";
import { FXP } from "./sftp-packets.ts";

/** Where to connect, and how to end it. */
export interface LosingProxy {
  readonly port: number;
  /** How many connections were lost before their CLOSE. */
  readonly lost: number;
  /** Ends every connection and stops listening. */
  close(): Promise<void>;
}

/** Listens on a free port of 127.0.0.1; after `times` lost connections it loses no more. */
export async function startLosingProxy(gateway: TestGateway, times = Number.POSITIVE_INFINITY): Promise<LosingProxy> {
  const connections = new Set<Connection | Client>();
  let lost = 0;
  const track = (connection: Connection | Client): void => {
    connections.add(connection);
    connection.on("close", () => connections.delete(connection));
    connection.on("error", () => connection.end()); // how these connections end
  };
  const hostKeys = [readFileSync(join(gateway.dir, "keys/ssh_host_ed25519_key"))];
  const server = new ssh2.Server({ hostKeys }, (client, { header }) => {
    track(client);
    client.on("authentication", (context) => context.accept());
    client.on("session", (accept) => {
      accept().on("subsystem", (acceptChannel, rejectChannel, { name }) => {
        if (name !== "sftp") return rejectChannel();
        const channel = acceptChannel();
        const { versions, comments } = header;
        const upstream = connect(gateway, [versions.software, comments].filter(Boolean).join(" "));
        track(upstream);
        upstream.on("ready", () => {
          upstream.setNoDelay(true);
          upstream.subsys("sftp", (error, target) => {
            if (error) return void client.end();
            pass(channel, target, () => {
              if (lost === times) return false;
              lost += 1;
              upstream.destroy();
              client.end();
              return true;
            });
          });
        });
      });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get lost() {
      return lost;
    },
    close: async () => {
      for (const connection of connections) connection.end();
      await new Promise<void>((closed) => server.close(() => closed()));
    },
  };
}

function connect(gateway: TestGateway, ident: string): Client {
  const upstream = new Client();
  const privateKey = readFileSync(gateway.keyFile);
  upstream.connect({ host: "127.0.0.1", port: gateway.port, username: gateway.user, privateKey, ident });
  return upstream;
}

/** Passes packets on in both directions. Before the first CLOSE of a client that has written `lose` may end that. */
function pass(client: ServerChannel, gateway: ClientChannel, lose: () => boolean): void {
  let unanswered = 0;
  let hasWritten = false;
  const held: Buffer[] = [];
  const send = (packet: Buffer): void => {
    unanswered += 1;
    gateway.write(packet);
  };
  /** What was sent before CLOSE has been answered. */
  const settle = (): void => {
    if (held.length === 0 || unanswered > 0 || lose()) return;
    hasWritten = false;
    for (const packet of held.splice(0)) send(packet);
  };
  for (const channel of [client, gateway]) channel.on("error", () => undefined); // lost connections are what this is about
  eachPacket(gateway, (packet) => {
    unanswered -= 1;
    client.write(packet);
    settle();
  });
  eachPacket(client, (packet) => {
    const type = packet[4];
    hasWritten ||= type === FXP.WRITE;
    if (held.length === 0 && !(type === FXP.CLOSE && hasWritten)) return send(packet);
    held.push(packet);
    settle();
  });
  client.on("end", () => gateway.end());
}

/** Cuts what comes over a channel into SFTP packets, with their lengths before them. */
function eachPacket(channel: ServerChannel | ClientChannel, take: (packet: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  channel.on("data", (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (rest.length - at >= 4 && rest.length - at >= 4 + rest.readUInt32BE(at)) {
      const end = at + 4 + rest.readUInt32BE(at);
      take(rest.subarray(at, end));
      at = end;
    }
    rest = rest.subarray(at);
  });
}

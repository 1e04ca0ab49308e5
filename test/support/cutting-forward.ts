/**
 * A TCP forwarder that loses the connection after so many bytes. All of them reach the server before its side ends, so
 * that what it can have kept does not depend on how fast it reads; the client's side is reset. What the server still says is
 * read and dropped, and its end awaited: a socket that is closed before would reset it, and what it has not read be lost.
 */
import { once } from "node:events";
import { type AddressInfo, createConnection, createServer, type Socket } from "node:net";

/** Where to connect, and how to end it. */
export interface CuttingForward {
  readonly port: number;
  /** Whether a connection was lost because it had sent its bytes. */
  readonly cut: boolean;
  /** Ends every connection and stops listening. */
  close(): Promise<void>;
}

/** Listens on a free port of 127.0.0.1; each connection is forwarded to `port` there and lost after `bytes` of the client's. */
export async function startCuttingForward(port: number, bytes: number): Promise<CuttingForward> {
  const sockets = new Set<Socket>();
  const ending: Promise<unknown>[] = [];
  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy()); // a reset is how these connections end
  };
  let cut = false;
  const server = createServer((client) => {
    const upstream = createConnection(port, "127.0.0.1");
    track(client);
    track(upstream);
    upstream.pipe(client);
    let left = bytes;
    client.on("data", (data) => {
      const part = data.subarray(0, left);
      left -= part.length;
      if (left === 0) {
        cut = true;
        ending.push(new Promise((ended) => upstream.once("close", ended)));
        upstream.unpipe(client);
        upstream.resume();
        upstream.end(part, () => client.resetAndDestroy());
        client.pause();
        return;
      }
      if (upstream.write(part)) return;
      client.pause();
      upstream.once("drain", () => client.resume());
    });
    client.once("end", () => upstream.end());
    upstream.once("close", () => client.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get cut() {
      return cut;
    },
    close: async () => {
      await Promise.all(ending);
      for (const socket of sockets) socket.destroy();
      await new Promise((closed) => server.close(closed));
    },
  };
}

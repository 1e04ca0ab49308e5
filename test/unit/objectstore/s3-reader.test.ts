import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { buffer } from "node:stream/consumers";
import { afterEach, describe, expect, it } from "vitest";
import { type ReadRequest, S3Reader } from "../../../src/objectstore/s3/s3-reader.ts";
import { TransportTimeout } from "../../../src/objectstore/s3/transport-timeout.ts";

const MIB = 1024 * 1024;
const cleanUps: (() => void)[] = [];

afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
});

/** A server that answers each request with what `answer` says, for the connection's and the request's number. */
async function serverThat(
  answer: (socket: Socket, connection: number, request: number) => void,
): Promise<{ get(): ReadRequest; reader: S3Reader }> {
  let connections = 0;
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    const connection = ++connections;
    let requests = 0;
    let text = "";
    sockets.add(socket.on("error", () => undefined));
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      for (let end = text.indexOf("\r\n\r\n"); end >= 0; end = text.indexOf("\r\n\r\n")) {
        text = text.slice(end + 4);
        answer(socket, connection, ++requests);
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const reader = new S3Reader({ connectMs: 1_000, maxConnections: 2 });
  cleanUps.push(() => {
    reader.destroy();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { reader, get: () => ({ host: "127.0.0.1", port, path: "/bucket/key", headers: {}, idleMs: 300 }) };
}

function head(length: number): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`;
}

describe("reading from a store", () => {
  it("gets bodies of all sizes over one connection", async () => {
    const sizes = [0, 1, 70_000, 3 * MIB];
    const bodies = sizes.map((size, index) => Buffer.alloc(size, index + 1));
    const seen: number[] = [];
    const { reader, get } = await serverThat((socket, connection, request) => {
      seen.push(connection);
      const body = bodies[request - 1] ?? Buffer.alloc(0);
      socket.write(head(body.length));
      socket.write(body);
    });
    for (const body of bodies) expect((await buffer((await reader.get(get())).body)).equals(body)).toBe(true);
    expect(seen).toEqual([1, 1, 1, 1]);
  });

  it("asks again on a new connection when the store closed the one it kept", async () => {
    const { reader, get } = await serverThat((socket, connection, request) => {
      if (connection === 1 && request === 2) socket.destroy();
      else socket.write(`${head(2)}ok`);
    });
    for (let round = 0; round < 2; round++) expect((await buffer((await reader.get(get())).body)).toString()).toBe("ok");
  });

  it("fails a body that ends early, and a store that is silent", async () => {
    const { reader, get } = await serverThat((socket, connection) => {
      if (connection === 1) socket.end(`${head(10)}half`);
    });
    const { body } = await reader.get(get());
    await expect(buffer(body)).rejects.toMatchObject({ code: "ECONNRESET" });
    await expect(reader.get(get())).rejects.toBeInstanceOf(TransportTimeout);
  });

  it("does not take a slow reader for a silent store, and holds little of the body for it", async () => {
    const whole = Buffer.alloc(32 * MIB, 7);
    let written = 0;
    const { reader, get } = await serverThat((socket) => {
      socket.write(head(whole.length));
      socket.write(whole, () => {
        written = whole.length;
      });
    });
    const { body } = await reader.get({ ...get(), idleMs: 1_000 });
    await new Promise((resolve) => setTimeout(resolve, 1_500)); // longer than the limit on silence
    expect(written).toBe(0);
    expect((await buffer(body)).equals(whole)).toBe(true);
  });

  it("lets a body go, and aborts", async () => {
    const { reader, get } = await serverThat((socket, connection) => void (connection < 3 && socket.write(`${head(100)}x`)));
    const { body } = await reader.get(get());
    body.destroy();
    const stop = new AbortController();
    const second = await reader.get({ ...get(), signal: stop.signal });
    stop.abort(new Error("enough"));
    await expect(buffer(second.body)).rejects.toThrow("enough");
    const third = reader.get({ ...get(), idleMs: 5_000, signal: AbortSignal.timeout(50) });
    await expect(third).rejects.toThrow();
  });

  it("refuses to send a header that would begin another line", async () => {
    const { reader, get } = await serverThat(() => undefined);
    await expect(reader.get({ ...get(), headers: { "x-a": "b\r\nx-c: d" } })).rejects.toThrow(TypeError);
    await expect(reader.get({ ...get(), path: "/a b" })).rejects.toThrow(TypeError);
  });
});

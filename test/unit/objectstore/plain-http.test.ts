import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { buffer } from "node:stream/consumers";
import { afterEach, describe, expect, it } from "vitest";
import type { PlainRequest } from "../../../src/objectstore/s3/plain-connection.ts";
import { PlainHttp } from "../../../src/objectstore/s3/plain-http.ts";
import { TransportTimeout } from "../../../src/objectstore/s3/transport-timeout.ts";

const MIB = 1024 * 1024;
const cleanUps: (() => void)[] = [];

afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
});

/** A client of `server` and the port this listens at; after the test both are closed, and the server's `sockets`. */
async function clientOf(server: Server, sockets: ReadonlySet<Socket>): Promise<{ http: PlainHttp; port: number }> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const http = new PlainHttp({ connectMs: 1_000, maxConnections: 2 });
  cleanUps.push(() => {
    http.destroy("now");
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { http, port };
}

/** A server that answers each request with what `answer` says, for the connection's and the request's number. */
async function serverThat(
  answer: (socket: Socket, connection: number, request: number) => void,
): Promise<{ get(): PlainRequest; http: PlainHttp }> {
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
  const { http, port } = await clientOf(server, sockets);
  return { http, get: () => ({ method: "GET", host: "127.0.0.1", port, path: "/bucket/key", headers: {}, idleMs: 300 }) };
}

function head(length: number): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`;
}

describe("reading from a store over plain HTTP", () => {
  it("gets bodies of all sizes over one connection", async () => {
    const sizes = [0, 1, 70_000, 3 * MIB];
    const bodies = sizes.map((size, index) => Buffer.alloc(size, index + 1));
    const seen: number[] = [];
    const { http, get } = await serverThat((socket, connection, request) => {
      seen.push(connection);
      const body = bodies[request - 1] ?? Buffer.alloc(0);
      socket.write(head(body.length));
      socket.write(body);
    });
    for (const body of bodies) expect((await buffer((await http.send(get())).body)).equals(body)).toBe(true);
    expect(seen).toEqual([1, 1, 1, 1]);
  });

  it("asks again on a new connection when the store closed the one it kept", async () => {
    const { http, get } = await serverThat((socket, connection, request) => {
      if (connection === 1 && request === 2) socket.destroy();
      else socket.write(`${head(2)}ok`);
    });
    for (let round = 0; round < 2; round++) expect((await buffer((await http.send(get())).body)).toString()).toBe("ok");
  });

  it("fails a body that ends early, and a store that is silent", async () => {
    const { http, get } = await serverThat((socket, connection) => {
      if (connection === 1) socket.end(`${head(10)}half`);
    });
    const { body } = await http.send(get());
    await expect(buffer(body)).rejects.toMatchObject({ code: "ECONNRESET" });
    await expect(http.send(get())).rejects.toBeInstanceOf(TransportTimeout);
  });

  it("does not take a slow reader for a silent store, and holds little of the body for it", async () => {
    const whole = Buffer.alloc(32 * MIB, 7);
    let written = 0;
    const { http, get } = await serverThat((socket) => {
      socket.write(head(whole.length));
      socket.write(whole, () => {
        written = whole.length;
      });
    });
    const { body } = await http.send({ ...get(), idleMs: 1_000 });
    await new Promise((resolve) => setTimeout(resolve, 1_500)); // longer than the limit on silence
    expect(written).toBe(0);
    expect((await buffer(body)).equals(whole)).toBe(true);
  });

  it("lets a body go, and aborts", async () => {
    const { http, get } = await serverThat((socket, connection) => void (connection < 3 && socket.write(`${head(100)}x`)));
    const { body } = await http.send(get());
    body.destroy();
    const stop = new AbortController();
    const second = await http.send({ ...get(), signal: stop.signal });
    stop.abort(new Error("enough"));
    await expect(buffer(second.body)).rejects.toThrow("enough");
    const third = http.send({ ...get(), idleMs: 5_000, signal: AbortSignal.timeout(50) });
    await expect(third).rejects.toThrow();
  });

  it("refuses to send a header that would begin another line", async () => {
    const { http, get } = await serverThat(() => undefined);
    await expect(http.send({ ...get(), headers: { "x-a": "b\r\nx-c: d" } })).rejects.toThrow(TypeError);
    await expect(http.send({ ...get(), path: "/a b" })).rejects.toThrow(TypeError);
  });
});

/** What a store does with a PUT: `taken` is what it got so far, `head` with the empty line. */
type PutAnswer = (
  socket: Socket,
  taken: { readonly head: string; readonly body: Buffer; readonly connection: number; readonly request: number },
) => void;

/** A store that takes bodies by their content length; `onHead` sees each request before its body. */
async function storeThat(
  answer: PutAnswer,
  onHead?: PutAnswer,
): Promise<{ put(body: readonly Uint8Array[], more?: Partial<PlainRequest>): PlainRequest; http: PlainHttp }> {
  let connections = 0;
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    const connection = ++connections;
    let request = 0;
    let pieces: Buffer[] = [];
    let seenHead = false;
    sockets.add(socket.on("error", () => undefined));
    socket.on("data", (chunk) => {
      pieces.push(chunk);
      const all = Buffer.concat(pieces);
      pieces = [all];
      const end = all.indexOf("\r\n\r\n") + 4;
      if (end < 4) return;
      const text = all.toString("latin1", 0, end);
      if (!seenHead) onHead?.(socket, { head: text, body: Buffer.alloc(0), connection, request: request + 1 });
      seenHead = true;
      const length = Number(/content-length: (\d+)/.exec(text)?.[1] ?? 0);
      if (all.length < end + length) return;
      pieces = [all.subarray(end + length)];
      seenHead = false;
      answer(socket, { head: text, body: all.subarray(end, end + length), connection, request: ++request });
    });
  });
  const { http, port } = await clientOf(server, sockets);
  const put = (body: readonly Uint8Array[], more: Partial<PlainRequest> = {}): PlainRequest => {
    const length = body.reduce((sum, chunk) => sum + chunk.byteLength, 0);
    return {
      method: "PUT",
      host: "127.0.0.1",
      port,
      path: "/bucket/key",
      headers: { "content-length": String(length) },
      body,
      idleMs: 5_000,
      ...more,
    };
  };
  return { put, http };
}

describe("writing to a store over plain HTTP", () => {
  it("sends bodies of all sizes, whole and in order, over one connection", async () => {
    const bodies = [
      [],
      [Buffer.from("a")],
      [Buffer.from("abc"), Buffer.alloc(0), Buffer.from("d")],
      Array.from({ length: 40 }, (_, index) => Buffer.alloc(200_000, index)),
    ];
    const seen: { connection: number; body: Buffer }[] = [];
    const { put, http } = await storeThat((socket, { body, connection }) => {
      seen.push({ body: Buffer.from(body), connection });
      socket.write(head(0));
    });
    for (const body of bodies) (await http.send(put(body))).body.resume();
    expect(seen.map(({ connection }) => connection)).toEqual([1, 1, 1, 1]);
    for (const [index, { body }] of seen.entries()) expect(body.equals(Buffer.concat(bodies[index] ?? []))).toBe(true);
  });

  it("does not send a PUT twice when the store closed the connection it kept", async () => {
    const { put, http } = await storeThat((socket, { request }) => void (request === 2 ? socket.destroy() : socket.write(head(0))));
    const body = [Buffer.from("x")];
    (await http.send(put(body))).body.resume();
    await expect(http.send(put(body))).rejects.toMatchObject({ code: "ECONNRESET" });
    expect((await http.send(put(body))).statusCode).toBe(200);
  });

  it("hears an answer that comes before the body is sent, and does not use the connection again", async () => {
    const text = "HTTP/1.1 503 Slow Down\r\nContent-Length: 4\r\n\r\nslow";
    const connections: number[] = [];
    const { put, http } = await storeThat(
      (socket) => void socket.write(head(0)),
      (socket, { connection }) => {
        connections.push(connection);
        if (connection === 1) {
          socket.write(text);
          socket.pause();
        }
      },
    );
    const refused = await http.send(put(Array.from({ length: 64 }, () => Buffer.alloc(MIB))));
    expect(refused.statusCode).toBe(503);
    expect((await buffer(refused.body)).toString()).toBe("slow");
    expect((await http.send(put([Buffer.from("x")]))).statusCode).toBe(200);
    expect(connections).toEqual([1, 2]);
  });

  it("takes interim answers for what they are", async () => {
    const { put, http } = await storeThat((socket) => void socket.write(`HTTP/1.1 100 Continue\r\n\r\n${head(0)}`));
    expect((await http.send(put([Buffer.from("x")]))).statusCode).toBe(200);
  });

  it("fails with what is no HTTP, with silence, and when the caller gives up", async () => {
    const { put, http } = await storeThat(
      (socket, { connection }) => void (connection === 1 && socket.write("220 mail.example ESMTP\r\n\r\n")),
    );
    await expect(http.send(put([Buffer.from("x")]))).rejects.toThrow("no HTTP/1.1 response");
    await expect(http.send(put([Buffer.from("x")], { idleMs: 100 }))).rejects.toBeInstanceOf(TransportTimeout);
    const stop = new AbortController();
    const given = http.send(put([Buffer.from("x")], { signal: stop.signal }));
    stop.abort(new Error("enough"));
    await expect(given).rejects.toThrow("enough");
  });

  it("lets requests wait for a connection in their order, and those that are given up make room", async () => {
    const held: Socket[] = [];
    const order: string[] = [];
    const { put, http } = await storeThat((socket, { body }) => {
      order.push(body.toString());
      held.push(socket);
    });
    const send = (name: string, signal?: AbortSignal): Promise<unknown> => http.send(put([Buffer.from(name)], signal ? { signal } : {}));
    const stop = new AbortController();
    const first = [send("a"), send("b")];
    const given = send("c", stop.signal);
    const last = [send("d"), send("e")];
    stop.abort(new Error("enough"));
    await expect(given).rejects.toThrow("enough");
    const answering = setInterval(() => held.shift()?.write(head(0)), 1);
    await Promise.all([...first, ...last]);
    clearInterval(answering);
    expect(order.slice(0, 2).sort()).toEqual(["a", "b"]);
    expect(order.slice(2).sort()).toEqual(["d", "e"]);
  });

  it("drops what is being sent when it is closed, and sends nothing afterwards", async () => {
    const { put, http } = await storeThat(() => undefined);
    const under = [http.send(put([Buffer.from("x")])), http.send(put([Buffer.from("y")])), http.send(put([Buffer.from("waits")]))];
    http.destroy("now");
    for (const settled of await Promise.allSettled(under))
      expect(settled).toMatchObject({ status: "rejected", reason: { code: "ECONNRESET" } });
    await expect(http.send(put([]))).rejects.toMatchObject({ code: "ECONNRESET" });
  });

  it("refuses a body of another length than announced, and gives HEAD no body", async () => {
    const { put, http } = await storeThat((socket) => void socket.write(head(10)));
    await expect(http.send(put([Buffer.from("x")], { headers: { "content-length": "2" } }))).rejects.toThrow(TypeError);
    await expect(http.send(put([Buffer.from("x")], { headers: {} }))).rejects.toThrow(TypeError);
    for (let round = 0; round < 2; round++) {
      const { method, body: unsent, ...rest } = put([]);
      const answer = await http.send({ ...rest, method: "HEAD", headers: {} });
      expect(answer.headers["content-length"]).toBe("10");
      expect((await buffer(answer.body)).length).toBe(0);
    }
  });
});

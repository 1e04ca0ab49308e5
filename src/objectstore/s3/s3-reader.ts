/**
 * GET requests over plain HTTP/1.1 on connections of their own, which read into one buffer of the process and hand bodies
 * out in slabs: node's client makes two new buffers of every piece of a body, and collecting those costs more than all
 * the rest of a download. Knows nothing of S3's operations; TLS stays with node's client.
 */
import { connect, type Socket } from "node:net";
import { Readable } from "node:stream";
import { holdSlab, poison, releaseSlab, SlabPool } from "../../slab-pool.ts";
import { ChunkedDecoder, MalformedResponse, MAX_HEAD_BYTES, parseResponseHead, type ResponseHead } from "./http-response.ts";
import { TransportTimeout } from "./transport-timeout.ts";

const READ_BUFFER_BYTES = 256 * 1024;
/** Bodies that are known to be shorter get buffers of their own. */
const SLAB_WORTHY = 64 * 1024;
/** Pieces of a body that wait for its reader before the connection is no longer read. */
const MAX_WAITING_PIECES = 2;
/** An idle connection is not used again after this, unless the store said that it closes it earlier. */
const MAX_IDLE_MS = 30_000;
/** How long before that the store may close it. */
const IDLE_MARGIN_MS = 1_000;

const slabs = new SlabPool(256 * 1024, 4 * 1024 * 1024);
const sharedBuffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);

/** One GET. */
export interface ReadRequest {
  readonly host: string;
  readonly port: number;
  /** With the query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Longest silence while bytes are wanted. */
  readonly idleMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** The answer; whoever gets it reads `body` to its end or destroys it. Chunks of the body are as `ObjectBody.body` says. */
export interface ReadResponse {
  readonly statusCode: number;
  readonly reason: string;
  readonly headers: Record<string, string>;
  readonly body: Readable;
}

/** See the head of this file. Close it with `destroy`. */
export class S3Reader {
  readonly #connectMs: number;
  readonly #maxConnections: number;
  readonly #idle = new Map<string, Connection[]>();
  readonly #waiting: (() => void)[] = [];
  #open = 0;
  #isClosed = false;

  constructor(options: { readonly connectMs: number; readonly maxConnections: number }) {
    this.#connectMs = options.connectMs;
    this.#maxConnections = options.maxConnections;
  }

  /** Sends a GET and resolves with the head of the answer. Rejects with the network's error or a `TransportTimeout`. */
  async get(request: ReadRequest): Promise<ReadResponse> {
    const text = requestText(request);
    const origin = `${request.host}:${request.port}`;
    const used = this.#takeIdle(origin);
    if (used) {
      try {
        return await used.exchange(text, request);
      } catch (error) {
        // The store closed it just as it was used again.
        if (used.hasHeard || request.signal?.aborted || error instanceof TransportTimeout) throw error;
      }
    }
    while (this.#open >= this.#maxConnections) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    request.signal?.throwIfAborted();
    return this.#connect(origin, request).exchange(text, request);
  }

  /** Closes idle connections now and busy ones when they are done. */
  destroy(): void {
    this.#isClosed = true;
    for (const connections of this.#idle.values()) for (const connection of connections) connection.close();
    this.#idle.clear();
  }

  #takeIdle(origin: string): Connection | undefined {
    const idle = this.#idle.get(origin);
    for (let connection = idle?.pop(); connection; connection = idle?.pop()) {
      if (connection.isFresh) return connection;
      connection.close();
    }
    return undefined;
  }

  #connect(origin: string, { host, port }: ReadRequest): Connection {
    this.#open++;
    return new Connection({
      host,
      port,
      connectMs: this.#connectMs,
      onIdle: (connection) => {
        if (this.#isClosed) return connection.close();
        const idle = this.#idle.get(origin) ?? [];
        this.#idle.set(origin, idle);
        idle.push(connection);
      },
      onClose: (connection) => {
        this.#open--;
        this.#waiting.shift()?.();
        const idle = this.#idle.get(origin);
        const index = idle?.indexOf(connection) ?? -1;
        if (index >= 0) idle?.splice(index, 1);
      },
    });
  }
}

interface ConnectionOptions {
  readonly host: string;
  readonly port: number;
  readonly connectMs: number;
  readonly onIdle: (connection: Connection) => void;
  readonly onClose: (connection: Connection) => void;
}

/** A request that is not answered whole. */
interface Exchange {
  readonly resolve: (response: ReadResponse) => void;
  readonly reject: (error: unknown) => void;
  readonly idleMs: number;
  readonly endListening: () => void;
}

/** One connection: one request at a time. */
class Connection {
  readonly #options: ConnectionOptions;
  readonly #socket: Socket;
  #exchange: Exchange | undefined;
  /** The head as far as it has come. */
  #head = "";
  #body: Body | undefined;
  #keepsAlive = false;
  /** Bytes of the body to come, where it has a length. */
  #left = Number.POSITIVE_INFINITY;
  #chunked: ChunkedDecoder | undefined;
  #slab: Buffer | undefined;
  #used = 0;
  #hasEnded = false;
  #idleSince = 0;
  #idleLimitMs = MAX_IDLE_MS;
  /** True once any byte of the current answer has come. */
  hasHeard = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    const { host, port, connectMs } = options;
    const buffer = process.platform === "win32" ? Buffer.allocUnsafeSlow(READ_BUFFER_BYTES) : sharedBuffer;
    const callback = (bytes: number): boolean => {
      const received = buffer.subarray(0, bytes);
      this.#received(received);
      poison(received);
      return true;
    };
    this.#socket = connect({ host, port, noDelay: true, keepAlive: true, onread: { buffer, callback } });
    const timer = setTimeout(() => this.#socket.destroy(new TransportTimeout(`no connection within ${connectMs} ms`, false)), connectMs);
    this.#socket.once("connect", () => clearTimeout(timer));
    this.#socket.on("timeout", () => this.#socket.destroy(new TransportTimeout(`no byte for ${this.#exchange?.idleMs ?? 0} ms`, true)));
    this.#socket.on("end", () => {
      this.#hasEnded = true;
    });
    let cause: Error | undefined;
    this.#socket.on("error", (error) => {
      cause = error;
    });
    this.#socket.once("close", () => {
      clearTimeout(timer);
      this.#closed(cause);
      options.onClose(this);
    });
  }

  /** True if the store has most likely not closed it yet. */
  get isFresh(): boolean {
    return !this.#socket.destroyed && performance.now() - this.#idleSince < this.#idleLimitMs;
  }

  exchange(text: string, { idleMs, signal }: ReadRequest): Promise<ReadResponse> {
    this.hasHeard = false;
    this.#head = "";
    this.#socket.ref();
    return new Promise((resolve, reject) => {
      const onAbort = (): void => void this.#socket.destroy(signal?.reason instanceof Error ? signal.reason : new Error("aborted"));
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#exchange = { resolve, reject, idleMs, endListening: () => signal?.removeEventListener("abort", onAbort) };
      this.#socket.setTimeout(idleMs);
      this.#socket.resume();
      this.#socket.write(text, "latin1");
      if (this.#socket.destroyed) this.#closed(undefined);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #received(bytes: Buffer): void {
    try {
      if (!this.#exchange) throw new MalformedResponse("the store sends what nobody asked for");
      this.hasHeard = true;
      const rest = this.#body ? bytes : this.#takeHead(bytes);
      if (rest && this.#body) this.#takeBody(rest);
    } catch (error) {
      this.#socket.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** Returns what follows the head, once it is there. */
  #takeHead(bytes: Buffer): Buffer | undefined {
    const before = this.#head.length;
    this.#head += bytes.toString("latin1", 0, MAX_HEAD_BYTES);
    const end = this.#head.indexOf("\r\n\r\n");
    if (end < 0) {
      if (this.#head.length >= MAX_HEAD_BYTES) throw new MalformedResponse("the head of the answer is too long");
      return undefined;
    }
    const head = parseResponseHead(this.#head.slice(0, end));
    const rest = bytes.subarray(end + 4 - before);
    this.#head = "";
    // RFC 9110 §15.2: any number of interim answers may come first
    if (head.statusCode < 200) return rest.length > 0 ? this.#takeHead(rest) : undefined;
    this.#beginBody(head);
    return rest;
  }

  #beginBody(head: ResponseHead): void {
    const { statusCode, reason, headers, bodyEnd, keepsAlive } = head;
    const idleMs = this.#exchange?.idleMs ?? 0;
    this.#keepsAlive = keepsAlive;
    const seconds = /timeout=(\d{1,6})/.exec(headers["keep-alive"] ?? "")?.[1];
    this.#idleLimitMs = seconds === undefined ? MAX_IDLE_MS : Math.min(MAX_IDLE_MS, Number(seconds) * 1000 - IDLE_MARGIN_MS);
    this.#left = typeof bodyEnd === "number" ? bodyEnd : Number.POSITIVE_INFINITY;
    this.#chunked = bodyEnd === "chunked" ? new ChunkedDecoder() : undefined;
    this.#slab = this.#left >= SLAB_WORTHY ? slabs.take() : undefined;
    this.#used = 0;
    const body = new Body(
      () => {
        if (this.#body !== body) return;
        this.#socket.setTimeout(idleMs);
        this.#socket.resume();
      },
      () => {
        if (this.#body === body) this.#socket.destroy();
      },
    );
    this.#body = body;
    this.#exchange?.resolve({ statusCode, reason, headers, body });
    if (this.#left === 0) this.#finish();
  }

  #takeBody(bytes: Buffer): void {
    if (this.#chunked) {
      const taken = this.#chunked.decode(bytes, (data) => this.#pass(data));
      if (!this.#chunked.isDone) return;
      if (taken < bytes.length) this.#keepsAlive = false;
      this.#finish();
      return;
    }
    const data = bytes.length > this.#left ? bytes.subarray(0, this.#left) : bytes;
    if (data.length < bytes.length) this.#keepsAlive = false;
    this.#left -= data.length;
    this.#pass(data);
    if (this.#left === 0) this.#finish();
  }

  /** Hands a copy of `data`, which is lent, to the body's reader. */
  #pass(data: Uint8Array): void {
    for (let at = 0; at < data.length && this.#body; ) {
      let piece: Uint8Array;
      if (this.#slab) {
        if (this.#used === this.#slab.length) {
          releaseSlab(this.#slab);
          this.#slab = slabs.take();
          this.#used = 0;
        }
        const part = data.subarray(at, at + this.#slab.length - this.#used);
        piece = this.#slab.subarray(this.#used, this.#used + part.length);
        piece.set(part);
        holdSlab(piece);
        this.#used += part.length;
      } else piece = Buffer.from(at === 0 ? data : data.subarray(at));
      at += piece.length;
      if (this.#body.push(piece)) continue;
      this.#socket.pause();
      this.#socket.setTimeout(0); // a slow reader is no fault of the store
    }
  }

  /** The answer is here whole: the connection is free. */
  #finish(): void {
    const body = this.#body;
    this.#endExchange();
    body?.push(null);
    if (!this.#keepsAlive) return void this.#socket.destroy();
    this.#socket.setTimeout(0);
    this.#socket.resume(); // to see it closed by the store
    this.#socket.unref();
    this.#idleSince = performance.now();
    this.#options.onIdle(this);
  }

  #closed(cause: Error | undefined): void {
    const { hasHeard } = this;
    const exchange = this.#exchange;
    const body = this.#body;
    const endsWithConnection = this.#left === Number.POSITIVE_INFINITY && !this.#chunked;
    this.#endExchange();
    if (!exchange) return;
    if (body && endsWithConnection && this.#hasEnded && !cause) {
      body.push(null);
      return;
    }
    const text = hasHeard ? "the store closed the connection in the middle of its answer" : "the store closed the connection";
    const error = cause ?? Object.assign(new Error(text), { code: "ECONNRESET" });
    if (body) body.destroy(error);
    else exchange.reject(error);
  }

  #endExchange(): void {
    this.#exchange?.endListening();
    this.#exchange = undefined;
    this.#body = undefined;
    if (this.#slab) releaseSlab(this.#slab);
    this.#slab = undefined;
  }
}

/** The body of an answer: pieces as they come, each of them on its own. */
class Body extends Readable {
  readonly #wanted: () => void;
  readonly #dropped: () => void;

  constructor(wanted: () => void, dropped: () => void) {
    super({ objectMode: true, highWaterMark: MAX_WAITING_PIECES });
    this.#wanted = wanted;
    this.#dropped = dropped;
    this.on("error", () => undefined); // who does not read it any more need not hear of it
  }

  override _read(): void {
    this.#wanted();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#dropped();
    callback(error);
  }
}

function requestText({ host, port, path, headers }: ReadRequest): string {
  const lines = [`GET ${path} HTTP/1.1`];
  if (headers.host === undefined) lines.push(`host: ${host.includes(":") ? `[${host}]` : host}:${port}`);
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  // biome's and node's rule for field values: nothing that could begin another line
  if (/\s/.test(path) || lines.some((line) => /[^\t\x20-\x7e\x80-\xff]/.test(line))) throw new TypeError("a header cannot be sent");
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/**
 * One connection for plain HTTP/1.1, one request at a time, which reads into one buffer of the process and hands bodies
 * out in slabs: node's client makes two new buffers of every piece of a body, and collecting those costs more than all
 * the rest of a download; its requests cost more than all the rest of a small upload, and go out in two writes. Knows
 * nothing of S3's operations.
 */
import { connect, type Socket } from "node:net";
import { Readable } from "node:stream";
import { holdSlab, poison, releaseSlab, SlabPool } from "../../slab-pool.ts";
import { totalLength } from "../request-checks.ts";
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

/** Bytes of a request's body handed to the socket before waiting for it to drain. */
const BODY_BATCH = 1024 * 1024;

/** One request. */
export interface PlainRequest {
  readonly method: string;
  readonly host: string;
  readonly port: number;
  /** With the query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** All there; with it `content-length` is among the headers and is right. Not changed before the answer is here whole or the request has failed. */
  readonly body?: readonly Uint8Array[];
  /** Longest silence while bytes are wanted or sent. */
  readonly idleMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** The answer; whoever gets it reads `body` to its end or destroys it. Chunks of the body are as `ObjectBody.body` says. */
export interface PlainResponse {
  readonly statusCode: number;
  readonly reason: string;
  readonly headers: Record<string, string>;
  readonly body: Readable;
}

/** Where a connection goes, and who hears that it is free or gone. */
export interface ConnectionOptions {
  readonly host: string;
  readonly port: number;
  readonly connectMs: number;
  readonly onIdle: () => void;
  readonly onClose: () => void;
}

/** A request that is not answered whole. */
interface Exchange {
  readonly isHead: boolean;
  readonly resolve: (response: PlainResponse) => void;
  readonly reject: (error: unknown) => void;
  readonly idleMs: number;
  readonly endListening: () => void;
}

/** See the head of this file. */
export class Connection {
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
  /** Bytes of the request's body wait for the socket to drain. */
  #hasMoreToSend = false;
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
      options.onClose();
    });
  }

  /** True if the store has most likely not closed it yet. */
  get isFresh(): boolean {
    return !this.#socket.destroyed && !this.#hasEnded && performance.now() - this.#idleSince < this.#idleLimitMs;
  }

  /** True between requests. */
  get isIdle(): boolean {
    return this.#exchange === undefined;
  }

  /** Sends `request`, of which `text` is the head. Rejects with the network's error or a `TransportTimeout`. */
  exchange(text: string, { method, idleMs, signal, body = [] }: PlainRequest): Promise<PlainResponse> {
    this.hasHeard = false;
    this.#head = "";
    this.#socket.ref();
    return new Promise((resolve, reject) => {
      const onAbort = (): void => void this.#socket.destroy(signal?.reason instanceof Error ? signal.reason : new Error("aborted"));
      signal?.addEventListener("abort", onAbort, { once: true });
      const endListening = (): void => signal?.removeEventListener("abort", onAbort);
      this.#exchange = { isHead: method === "HEAD", resolve, reject, idleMs, endListening };
      this.#socket.setTimeout(idleMs);
      this.#socket.resume();
      this.#send(text, body, 0);
      if (this.#socket.destroyed) this.#closed(undefined);
    });
  }

  /** Ends it at once, and the request with it. */
  close(): void {
    this.#socket.destroy();
  }

  /** Writes the head, if it is still to come, and the body from its chunk `index` on, in batches of one system call each. */
  #send(text: string, body: readonly Uint8Array[], index: number): void {
    const exchange = this.#exchange;
    let room = BODY_BATCH;
    let next = index;
    this.#socket.cork();
    if (text !== "") this.#socket.write(text, "latin1");
    for (; room > 0 && next < body.length; next++) {
      const chunk = body[next];
      if (chunk === undefined || chunk.byteLength === 0) continue;
      this.#socket.write(chunk);
      room -= chunk.byteLength;
    }
    this.#socket.uncork();
    this.#hasMoreToSend = next < body.length;
    if (!this.#hasMoreToSend) return;
    const goOn = (): void => {
      if (this.#exchange === exchange) this.#send("", body, next);
    };
    // A batch is far beyond what the socket takes without asking to wait.
    this.#socket.once("drain", goOn);
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
    const head = parseResponseHead(this.#head.slice(0, end), this.#exchange?.isHead);
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
    // An answer that came before the request was sent: nobody knows where the next one would begin.
    const isSent = !this.#hasMoreToSend && this.#socket.writableLength === 0;
    if (!this.#keepsAlive || !isSent) return void this.#socket.destroy();
    this.#socket.setTimeout(0);
    this.#socket.resume(); // to see it closed by the store
    this.#socket.unref();
    this.#idleSince = performance.now();
    this.#options.onIdle();
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

/** The head of a request as it is sent. Throws a `TypeError` if it cannot be. */
export function requestText({ method, host, port, path, headers, body }: PlainRequest): string {
  const lines = [`${method} ${path} HTTP/1.1`];
  if (headers.host === undefined) lines.push(`host: ${host.includes(":") ? `[${host}]` : host}:${port}`);
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  if (body && headers["content-length"] !== String(totalLength(body)))
    throw new TypeError("a body has another length than its header says");
  // biome's and node's rule for field values: nothing that could begin another line
  if (/\s/.test(path) || lines.some((line) => /[^\t\x20-\x7e\x80-\xff]/.test(line))) throw new TypeError("a header cannot be sent");
  return `${lines.join("\r\n")}\r\n\r\n`;
}

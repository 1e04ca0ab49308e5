/**
 * The HTTP/1.1 transport the AWS SDK sends its requests through: node's own client with separate connection pools for
 * reading, writing and control requests, limits on connecting and on silence, and bodies written from chunk lists.
 *
 * It stands in for @smithy/node-http-handler 4.14, which sets four timers a request, has one pool and one time limit for
 * all requests of a client, and pipes bodies chunk by chunk. Knows nothing of S3's operations.
 */
import { Agent as HttpAgent, request as httpRequest } from "node:http";
import type { ClientRequest, IncomingMessage, OutgoingHttpHeaders } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { Readable } from "node:stream";
import { isCephRequestId } from "./condition-check.ts";
import { PlainHttp } from "./plain-http.ts";
import { TransportTimeout } from "./transport-timeout.ts";

/**
 * Which pool and time limit a request uses. `read`: bodies that somebody reads at their own pace; `write`: large bodies;
 * `control`: everything small; `slow`: control requests the store may compute on before it answers.
 */
export type Lane = "read" | "write" | "control" | "slow";

/** What a request needs to know beyond what the SDK hands over. */
export interface S3Call {
  readonly lane: Lane;
  readonly signal?: AbortSignal | undefined;
  /** Bytes the store may have to move before it answers; its time limit grows with them. */
  readonly workBytes?: number | undefined;
  /** Added to the request before it is signed. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Reads the text of a successful answer instead of the SDK; undefined leaves it to the SDK after all. */
  readonly parse?: (text: string) => object | undefined;
  /** What the SDK takes for the answer; nothing is sent then. */
  readonly answer?: WireResponse | ((request: WireRequest) => WireResponse) | undefined;
}

/** Under this key an `S3Call` travels in a command's input and in the signed request. */
export const CALL: unique symbol = Symbol("s3-call");

/** Under this key an answer that was already received travels in the request it belongs to. */
export const ANSWER: unique symbol = Symbol("s3-answer");

/** Attaches to a command what the transport must know. With `client.send(command, options)` the SDK would drop its middleware cache. */
export function withCall<C extends { readonly input: object }>(command: C, call: S3Call): C {
  Object.assign(command.input, { [CALL]: call });
  return command;
}

/** Connections kept for reading: many, because an open one waits for its reader. */
const MAX_READ_SOCKETS = 1024;
const MAX_CONTROL_SOCKETS = 64;

/** Bytes a second that a store moves at least while it copies or assembles an object. */
const SLOWEST_WORK = 20 * 1024 * 1024;

/** Bytes of a body handed to the socket before waiting for it to drain. */
const BODY_BATCH = 1024 * 1024;

/** A body from chunks that are all there; written without copies by `S3Transport`, readable for anybody else. */
export class ChunkBody extends Readable {
  readonly chunks: readonly Uint8Array[];

  constructor(chunks: readonly Uint8Array[]) {
    super({ highWaterMark: 0 });
    this.chunks = chunks;
  }

  override _read(): void {
    for (const chunk of this.chunks) this.push(chunk);
    this.push(null);
  }
}

/** Sizes and time limits of a transport, in milliseconds. */
export interface TransportOptions {
  readonly maxWriteSockets: number;
  readonly connectMs: number;
  readonly idleMs: number;
  readonly slowIdleMs: number;
}

/** A request as the SDK hands it over (`HttpRequest` of @smithy/types), as far as it is used. */
export interface WireRequest {
  readonly method: string;
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly path: string;
  readonly query?: Readonly<Record<string, string | readonly string[] | null>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly [CALL]?: S3Call;
  readonly [ANSWER]?: WireResponse;
}

/** An answer as the SDK expects it (`HttpResponse` of @smithy/types). */
export interface WireResponse {
  readonly statusCode: number;
  readonly reason: string | undefined;
  readonly headers: Record<string, string>;
  readonly body: Readable;
}

interface Pools {
  readonly read: HttpAgent | HttpsAgent;
  readonly write: HttpAgent | HttpsAgent;
  readonly control: HttpAgent | HttpsAgent;
}

/** Connection pools and time limits for one endpoint. Close it with `destroy`. */
export class S3Transport {
  readonly metadata = { handlerProtocol: "http/1.1" };
  readonly #options: TransportOptions;
  readonly #pools = new Map<string, Pools>();
  readonly #plain: Readonly<Record<"read" | "write" | "control", PlainHttp>>;
  #isCeph: boolean | undefined;

  constructor(options: TransportOptions) {
    this.#options = options;
    const { connectMs, maxWriteSockets } = options;
    this.#plain = {
      read: new PlainHttp({ connectMs, maxConnections: MAX_READ_SOCKETS }),
      write: new PlainHttp({ connectMs, maxConnections: maxWriteSockets }),
      control: new PlainHttp({ connectMs, maxConnections: MAX_CONTROL_SOCKETS }),
    };
  }

  /** Whether Ceph RGW has answered; false until the first answer. */
  get isCeph(): boolean {
    return this.#isCeph ?? false;
  }

  /** Sends one request and resolves with the head of the answer. Rejects with the network's error or a `TransportTimeout`. */
  handle(request: WireRequest): Promise<{ response: WireResponse }> {
    if (request[ANSWER]) return Promise.resolve({ response: request[ANSWER] });
    const call: S3Call = request[CALL] ?? { lane: "control" };
    const { signal } = call;
    if (signal?.aborted) return Promise.reject(signal.reason);
    const plain = this.#plainFor(request, call);
    if (plain) return this.#sendPlain(plain, request, call);
    return new Promise((resolve, reject) => {
      const wire = this.#open(request, call);
      let response: IncomingMessage | undefined;
      const end = (cause: Error): void => {
        if (response) response.destroy(cause);
        else wire.destroy(cause);
      };
      const onAbort = (): void => end(asError(signal?.reason));
      signal?.addEventListener("abort", onAbort, { once: true });
      wire.once("close", () => signal?.removeEventListener("abort", onAbort));
      wire.on("error", reject);
      wire.on("timeout", () => end(new TransportTimeout(`no byte for ${this.#idleMs(call)} ms`, true)));
      this.#limitConnecting(wire);
      wire.once("response", (answer) => {
        response = answer;
        this.#hear(answer.headers["x-amz-request-id"]);
        answer.on("error", ignore);
        answer.once("end", () => {
          if (!wire.writableFinished) wire.destroy();
        });
        resolve({
          response: {
            statusCode: answer.statusCode ?? 0,
            reason: answer.statusMessage,
            headers: joinHeaders(answer.headers),
            body: answer,
          },
        });
      });
      sendBody(wire, request.body);
    });
  }

  /** Closes all connections now, but those that somebody reads from when they are done. */
  destroy(): void {
    for (const { read, write, control } of this.#pools.values()) for (const agent of [read, write, control]) agent.destroy();
    this.#pools.clear();
    this.#plain.read.destroy("when-done");
    this.#plain.write.destroy("now");
    this.#plain.control.destroy("now");
  }

  /** The SDK's hook for run-time extensions, which are not used. */
  updateHttpClientConfig(): void {}

  /** The SDK's hook for run-time extensions, which are not used. */
  httpHandlerConfigs(): Record<string, unknown> {
    return {};
  }

  /** What sends a request that need not go through node's client. */
  #plainFor({ protocol, method, body }: WireRequest, { lane }: S3Call): PlainHttp | undefined {
    if (protocol !== "http:") return undefined;
    if (method === "PUT") return lane === "write" && body instanceof ChunkBody ? this.#plain.write : undefined;
    if (body || lane === "write" || lane === "slow") return undefined;
    if (method === "GET") return lane === "read" ? this.#plain.read : undefined;
    return method === "HEAD" ? this.#plain[lane] : undefined;
  }

  async #sendPlain(plain: PlainHttp, request: WireRequest, call: S3Call): Promise<{ response: WireResponse }> {
    const { method, hostname, port = 80, path, query, headers, body } = request;
    const response = await plain.send({
      method,
      host: hostname.startsWith("[") ? hostname.slice(1, -1) : hostname,
      port,
      path: query ? withQuery(path, query) : path,
      headers,
      ...(body instanceof ChunkBody ? { body: body.chunks } : {}),
      idleMs: this.#idleMs(call),
      signal: call.signal,
    });
    this.#hear(response.headers["x-amz-request-id"]);
    return { response };
  }

  #hear(requestId: string | string[] | undefined): void {
    this.#isCeph ??= isCephRequestId(String(requestId));
  }

  #open({ method, protocol, hostname, port, path, query, headers }: WireRequest, call: S3Call): ClientRequest {
    const secure = protocol === "https:";
    const pools = this.#poolsFor(protocol, secure);
    return (secure ? httpsRequest : httpRequest)({
      agent: call.lane === "slow" ? pools.control : pools[call.lane],
      host: hostname.startsWith("[") ? hostname.slice(1, -1) : hostname,
      port,
      method,
      path: query ? withQuery(path, query) : path,
      headers,
      timeout: this.#idleMs(call),
    });
  }

  #idleMs({ lane, workBytes = 0 }: S3Call): number {
    if (lane !== "slow") return this.#options.idleMs;
    return this.#options.slowIdleMs + Math.ceil((workBytes / SLOWEST_WORK) * 1000);
  }

  #poolsFor(protocol: string, secure: boolean): Pools {
    let pools = this.#pools.get(protocol);
    if (!pools) {
      const create = (maxSockets: number): HttpAgent | HttpsAgent =>
        secure ? new HttpsAgent({ keepAlive: true, maxSockets }) : new HttpAgent({ keepAlive: true, maxSockets });
      pools = { read: create(MAX_READ_SOCKETS), write: create(this.#options.maxWriteSockets), control: create(MAX_CONTROL_SOCKETS) };
      this.#pools.set(protocol, pools);
    }
    return pools;
  }

  #limitConnecting(wire: ClientRequest): void {
    const { connectMs } = this.#options;
    wire.once("socket", (socket) => {
      if (!socket.connecting) return;
      const timer = setTimeout(() => wire.destroy(new TransportTimeout(`no connection within ${connectMs} ms`, false)), connectMs);
      const stop = (): void => clearTimeout(timer);
      socket.once("connect", stop);
      wire.once("close", stop);
    });
  }
}

/** Writes the body and ends the request; a chunk list goes in batches, each corked into one system call. */
function sendBody(wire: ClientRequest, body: unknown): void {
  if (body instanceof ChunkBody) sendChunks(wire, body.chunks);
  else if (body instanceof Readable) sendStream(wire, body);
  else if (typeof body === "string" || body instanceof Uint8Array) wire.end(body);
  else wire.end();
}

/** Ends the stream with the request, whatever happens to it, and the request with a stream that fails. */
function sendStream(wire: ClientRequest, body: Readable): void {
  body.on("error", (error) => wire.destroy(error));
  wire.once("close", () => body.destroy());
  body.pipe(wire);
}

function sendChunks(wire: ClientRequest, chunks: readonly Uint8Array[]): void {
  let index = 0;
  const sendBatches = (): void => {
    while (index < chunks.length && !wire.destroyed) {
      let room = BODY_BATCH;
      wire.cork();
      for (; room > 0 && index < chunks.length; index++) {
        const chunk = chunks[index];
        if (chunk === undefined || chunk.byteLength === 0) continue;
        wire.write(chunk);
        room -= chunk.byteLength;
      }
      wire.uncork();
      if (wire.writableNeedDrain && index < chunks.length) {
        wire.once("drain", sendBatches);
        return;
      }
    }
    wire.end();
  };
  sendBatches();
}

/** RFC 3986 form of a path segment or query component: the signature is computed over exactly this. */
export function encodeComponent(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

function withQuery(path: string, query: NonNullable<WireRequest["query"]>): string {
  const parts: string[] = [];
  for (const [name, value] of Object.entries(query)) {
    const encodedName = encodeComponent(name);
    if (value === null) parts.push(encodedName);
    else if (typeof value === "string") parts.push(value === "" ? `${encodedName}=` : `${encodedName}=${encodeComponent(value)}`);
    else for (const single of value) parts.push(`${encodedName}=${encodeComponent(single)}`);
  }
  return parts.length === 0 ? path : `${path}?${parts.join("&")}`;
}

function joinHeaders(headers: OutgoingHttpHeaders): Record<string, string> {
  const joined: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) joined[name] = Array.isArray(value) ? value.join(", ") : String(value);
  }
  return joined;
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error("aborted", { cause: reason });
}

function ignore(): void {}

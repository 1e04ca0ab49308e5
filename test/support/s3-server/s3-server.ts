/**
 * An S3 server in this process for tests and benchmarks: general purpose bucket semantics in memory, SigV4 checked,
 * faults injected, requests counted. Path-style addressing over plain HTTP; no versions, ACLs or policies.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Bucket } from "./bucket.ts";
import { Contents } from "./contents.ts";
import type { Exchange, Reply, StoreState } from "./exchange.ts";
import { type Fault, type FaultAction, FaultTable, type InjectedFault } from "./faults.ts";
import { operations } from "./operations.ts";
import { receiveBody } from "./receive-body.ts";
import { RequestLog, type RequestRecord } from "./request-log.ts";
import { S3Error } from "./s3-error.ts";
import { headerOf, parseS3Request } from "./s3-request.ts";
import { closed, errorReply, sendReply } from "./send-reply.ts";
import { SignatureVerifier } from "./sigv4.ts";

/** An access key. */
export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** How to start the server; every field has a default. */
export interface S3ServerOptions {
  /** Buckets that exist from the start. */
  readonly buckets?: readonly string[];
  /** Smallest part but the last, in bytes (default S3's 5 MiB). */
  readonly minPartSize?: number;
  /** Largest single PUT, part or copy, in bytes (default S3's 5 GiB). */
  readonly maxPutSize?: number;
  readonly region?: string;
  readonly credentials?: S3Credentials;
  /** Account that owns the buckets, for `x-amz-expected-bucket-owner`. */
  readonly owner?: string;
  /** MD5 based ETags as S3 gives them (default); without, random ones, which saves 1.8 CPU-seconds per GiB. */
  readonly md5?: boolean;
  /** Take the checksum of the whole source for that of a copied range, as versitygw 1.4 does (default false). */
  readonly copiesSourceChecksum?: boolean;
  /** Refuse to complete an upload with checksums whose parts come without theirs, as versitygw 1.4 does (default false). */
  readonly wantsChecksumsAgain?: boolean;
  /** Answer a repeated CompleteMultipartUpload as the first (default false: NoSuchUpload). */
  readonly rememberCompleted?: boolean;
  /** TCP port on 127.0.0.1 (default: any free one). */
  readonly port?: number;
}

const DEFAULT_CREDENTIALS: S3Credentials = { accessKeyId: "AKIATESTSERVER", secretAccessKey: "test-server-secret" };

/** Starts a server on 127.0.0.1. Whoever starts it closes it. */
export async function startS3Server(options: S3ServerOptions = {}): Promise<S3Server> {
  const server = new S3Server(options);
  await server.listen(options.port ?? 0);
  return server;
}

/** A running server: see `startS3Server`. */
export class S3Server {
  readonly credentials: S3Credentials;
  readonly region: string;
  readonly requests = new RequestLog();
  /** Direct access to what is stored, without requests. */
  readonly contents: Contents;
  /** Added to every request, in milliseconds. */
  latencyMs = 0;
  /** Shared by all request bodies; undefined: as fast as it goes. */
  uploadBytesPerSecond: number | undefined;
  readonly #state: StoreState;
  readonly #faults = new FaultTable();
  readonly #verifier: SignatureVerifier;
  readonly #owner: string;
  readonly #server: Server;
  #paceFreeAtMs = 0;

  constructor(options: S3ServerOptions) {
    this.credentials = options.credentials ?? DEFAULT_CREDENTIALS;
    this.region = options.region ?? "us-east-1";
    this.#owner = options.owner ?? "111122223333";
    this.#state = {
      buckets: new Map((options.buckets ?? []).map((name) => [name, new Bucket(name)])),
      region: this.region,
      minPartSize: options.minPartSize ?? 5 * 1024 * 1024,
      maxPutSize: options.maxPutSize ?? 5 * 1024 ** 3,
      md5: options.md5 ?? true,
      copiesSourceChecksum: options.copiesSourceChecksum ?? false,
      wantsChecksumsAgain: options.wantsChecksumsAgain ?? false,
      rememberCompleted: options.rememberCompleted ?? false,
      completed: new Map(),
      now: () => Date.now(),
    };
    this.contents = new Contents(this.#state);
    const secrets = new Map([[this.credentials.accessKeyId, this.credentials.secretAccessKey]]);
    this.#verifier = new SignatureVerifier(secrets, this.region);
    this.#server = createServer({ noDelay: true, keepAliveTimeout: 60_000, requestTimeout: 0, highWaterMark: 256 * 1024 });
    this.#server.on("request", (request, response) => void this.#serve(request, response));
    this.#server.on("clientError", (_error, socket) => socket.destroy());
  }

  /** `http://127.0.0.1:PORT`. */
  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Begins to accept connections. */
  async listen(port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(port, "127.0.0.1", resolve);
    });
  }

  /** Puts a fault in force until it has hit its number of times, is removed, or `reset` is called. */
  fault(fault: Fault): InjectedFault {
    return this.#faults.inject(fault);
  }

  /** Empties all buckets, removes faults, delays and the request log. */
  reset(): void {
    this.clearFaults();
    for (const bucket of this.#state.buckets.values()) bucket.clear();
    this.#state.completed.clear();
    this.requests.clear();
  }

  /** Removes faults and delays; contents and log stay. */
  clearFaults(): void {
    this.#faults.clear();
    this.latencyMs = 0;
    this.uploadBytesPerSecond = undefined;
  }

  /** Drops all connections and stops listening. */
  async close(): Promise<void> {
    const done = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await done;
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = incoming.url ?? "/";
    let record: RequestRecord | undefined;
    try {
      const request = parseS3Request(incoming.method ?? "GET", url, incoming.headers);
      record = this.requests.begin(request);
      this.#verifier.verify(request);
      await this.#serveRequest(record, incoming, response);
    } catch (error) {
      await answerError(error, incoming, response, record);
    } finally {
      if (record) {
        record.isDropped = record.status === 0 || (response.destroyed && !response.writableFinished);
        this.requests.finish(record);
      }
    }
  }

  async #serveRequest(record: RequestRecord, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.latencyMs > 0) await sleep(this.latencyMs);
    const fault = this.#faults.take(record.request);
    if (fault) record.fault = fault.kind;
    if (fault && (await actBefore(fault, incoming, response))) return;
    this.#checkOwner(record);
    const reply = await operations[record.operation](this.#exchange(record, incoming, response, fault));
    if (fault?.kind === "late-commit") {
      if (fault.answer === "reset") response.socket?.resetAndDestroy();
      else if (fault.answer === "hang") await closed(response);
      else throw new S3Error(fault.answer.status, fault.answer.code);
      return;
    }
    await drain(incoming);
    record.status = reply.status;
    record.bytesOut = await sendReply(response, identified(reply), fault);
  }

  #exchange(record: RequestRecord, incoming: IncomingMessage, response: ServerResponse, fault: FaultAction | undefined): Exchange {
    const { buckets, md5 } = this.#state;
    const { request } = record;
    const pace = (size: number): Promise<void> | undefined => {
      record.bytesIn += size;
      const limit = fault?.kind === "stall" || fault?.kind === "reset" ? fault.afterBytes : undefined;
      if (limit === undefined || record.bytesIn <= limit) return this.#throttle(size);
      if (fault?.kind === "reset") response.socket?.resetAndDestroy();
      return closed(response);
    };
    return {
      request,
      state: this.#state,
      get bucket(): Bucket {
        const bucket = buckets.get(request.bucket);
        if (!bucket)
          throw new S3Error(404, "NoSuchBucket", "The specified bucket does not exist", { details: { BucketName: request.bucket } });
        return bucket;
      },
      receive: (options) => receiveBody(incoming, { md5, pace, ...options }),
    };
  }

  #throttle(size: number): Promise<void> | undefined {
    if (this.uploadBytesPerSecond === undefined) return undefined;
    const now = Date.now();
    this.#paceFreeAtMs = Math.max(now, this.#paceFreeAtMs) + (size * 1000) / this.uploadBytesPerSecond;
    const waitMs = this.#paceFreeAtMs - now;
    return waitMs > 2 ? sleep(waitMs) : undefined;
  }

  #checkOwner({ request }: RequestRecord): void {
    for (const name of ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"]) {
      const expected = headerOf(request, name);
      if (expected !== undefined && expected !== this.#owner) throw new S3Error(403, "AccessDenied", "Access Denied");
    }
  }
}

/** Acts on faults that replace the serving of a request; true: there is nothing left to do. */
async function actBefore(fault: FaultAction, incoming: IncomingMessage, response: ServerResponse): Promise<boolean> {
  switch (fault.kind) {
    case "status":
      if (!fault.early) await drain(incoming);
      throw new S3Error(fault.status, fault.code, fault.message);
    case "error-in-200":
      await drain(incoming);
      throw new S3Error(200, fault.code, "We encountered an internal error. Please try again.");
    case "reset":
      if (fault.afterBytes !== undefined) return false;
      if (fault.at !== "before-body") await drain(incoming);
      response.socket?.resetAndDestroy();
      return true;
    case "hang":
      if (fault.readsBody !== false) await drain(incoming);
      await closed(response);
      return true;
    case "delay":
      await sleep(fault.ms);
      return false;
    case "hold":
      await Promise.race([fault.until, closed(response)]);
      return response.destroyed;
    default:
      return false;
  }
}

let requestNumber = 0;

function identified(reply: Reply): Reply {
  const id = (++requestNumber).toString(16).toUpperCase().padStart(16, "0");
  return { ...reply, headers: { "x-amz-request-id": id, server: "AmazonS3", ...reply.headers } };
}

async function drain(incoming: IncomingMessage): Promise<void> {
  if (incoming.readableEnded || incoming.destroyed) return;
  if (incoming.complete && incoming.readableLength === 0) return;
  await new Promise<void>((resolve) => {
    incoming.once("end", resolve);
    incoming.once("close", resolve);
    incoming.resume();
  });
}

async function answerError(
  error: unknown,
  incoming: IncomingMessage,
  response: ServerResponse,
  record: RequestRecord | undefined,
): Promise<void> {
  if (response.destroyed || response.headersSent) {
    response.destroy();
    return;
  }
  const known = error instanceof S3Error ? error : new S3Error(500, "InternalError", String(error));
  if (!(error instanceof S3Error)) process.stderr.write(`s3-server: ${String((error as Error)?.stack ?? error)}\n`);
  const isEarly = record?.fault === "status" && !incoming.complete;
  if (isEarly) incoming.resume();
  else await drain(incoming);
  if (record) record.status = known.status;
  await sendReply(response, identified(errorReply(known, incoming.url ?? "/", incoming.method === "HEAD")));
}

/**
 * Stands between a server under test and the S3 server: counts requests by operation, adds a latency to each, passes
 * bytes through untouched. Knows HTTP only as far as it must to see where requests begin.
 */
import { createServer, connect as connectTcp, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { parseS3Request } from "../../support/s3-server/s3-request.ts";
import { RequestFraming, type RequestHead } from "./request-framing.ts";

/** What went through since the last reset. */
export interface RequestCounts {
  /** Requests by S3 operation. */
  readonly operations: Readonly<Record<string, number>>;
  /** Most requests at one moment whose answer had not begun. */
  readonly mostInFlight: number;
}

/** A proxy that runs; `listen` it, and it ends with its process. */
export class CountingProxy {
  /** Added to every request before the store sees it, in milliseconds. */
  latencyMs = 0;
  readonly #upstreamPort: number;
  readonly #operations = new Map<string, number>();
  #inFlight = 0;
  #mostInFlight = 0;

  constructor(upstreamPort: number) {
    this.#upstreamPort = upstreamPort;
  }

  /** Listens on a free port of 127.0.0.1 and resolves to it. */
  listen(): Promise<number> {
    const server = createServer({ noDelay: true, highWaterMark: 256 * 1024 }, (client) => this.#serve(client));
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", 1024, () => {
        const address = server.address();
        if (address !== null && typeof address === "object") resolve(address.port);
      });
    });
  }

  counts(): RequestCounts {
    return { operations: Object.fromEntries(this.#operations), mostInFlight: this.#mostInFlight };
  }

  reset(): void {
    this.#operations.clear();
    this.#mostInFlight = this.#inFlight;
  }

  #serve(client: Socket): void {
    const store = connectTcp({ port: this.#upstreamPort, host: "127.0.0.1", noDelay: true });
    const framing = new RequestFraming();
    let unanswered = 0;
    let isHeld = false;
    const answered = (): void => {
      this.#inFlight -= unanswered;
      unanswered = 0;
    };
    const end = (): void => {
      answered();
      client.destroy();
      store.destroy();
    };
    const forward = async (bytes: Buffer): Promise<void> => {
      const heads = framing.push(bytes);
      for (const head of heads) this.#count(head);
      unanswered += heads.length;
      if (heads.length > 0 && this.latencyMs > 0) {
        isHeld = true;
        client.pause();
        await sleep(this.latencyMs);
        isHeld = false;
        client.resume();
      }
      if (!store.destroyed && !store.write(bytes)) client.pause();
    };
    client.on("data", (bytes: Buffer) => void forward(bytes).catch(end));
    store.on("drain", () => {
      if (!isHeld) client.resume();
    });
    store.on("data", (bytes: Buffer) => {
      if (!isContinue(bytes)) answered();
      if (!client.write(bytes)) store.pause();
    });
    client.on("drain", () => store.resume());
    for (const socket of [client, store]) {
      socket.on("error", end);
      socket.on("close", end);
    }
  }

  #count(head: RequestHead): void {
    this.#inFlight++;
    this.#mostInFlight = Math.max(this.#mostInFlight, this.#inFlight);
    const name = operationOf(head);
    this.#operations.set(name, (this.#operations.get(name) ?? 0) + 1);
  }
}

function operationOf({ method, url, headers }: RequestHead): string {
  try {
    return parseS3Request(method, url, headers).operation;
  } catch (error) {
    return error instanceof Error ? `other: ${method}` : "other";
  }
}

/** True for an interim answer: the request is still being sent. */
function isContinue(bytes: Buffer): boolean {
  return bytes.length < 64 && bytes.toString("latin1", 0, 12) === "HTTP/1.1 100";
}

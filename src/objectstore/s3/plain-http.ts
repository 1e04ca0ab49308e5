/**
 * A pool of connections for plain HTTP/1.1 (`plain-connection.ts`): requests use a connection again that is free, open
 * one more up to a limit, or wait for their turn. Knows nothing of S3's operations; TLS stays with node's client.
 */
import { Connection, requestText, type PlainRequest, type PlainResponse } from "./plain-connection.ts";
import { TransportTimeout } from "./transport-timeout.ts";

/** Requests that may be sent twice without anybody noticing. */
const REPEATABLE = new Set(["GET", "HEAD"]);

/** See the head of this file. Close it with `destroy`. */
export class PlainHttp {
  readonly #connectMs: number;
  readonly #maxConnections: number;
  readonly #open = new Set<Connection>();
  readonly #idle = new Map<string, Connection[]>();
  readonly #waiting: (() => void)[] = [];
  #isClosed = false;

  /** `maxConnections` to all hosts together; `connectMs` for each to be made. */
  constructor(options: { readonly connectMs: number; readonly maxConnections: number }) {
    this.#connectMs = options.connectMs;
    this.#maxConnections = options.maxConnections;
  }

  /**
   * Sends a request and resolves with the head of the answer. Rejects with the network's error, a `TransportTimeout` or
   * the signal's reason. A GET or HEAD is asked again when the store closed a connection just as it was used again; a PUT
   * fails then, since it may have taken effect.
   */
  async send(request: PlainRequest): Promise<PlainResponse> {
    const text = requestText(request);
    const origin = `${request.host}:${request.port}`;
    if (this.#waiting.length > 0) await this.#turn(origin, request.signal);
    for (;;) {
      // Whoever tries again gets a new pool, unless the process is to send nothing any more.
      if (this.#isClosed) throw Object.assign(new Error("the connections to the store are closed"), { code: "ECONNRESET" });
      const used = this.#takeIdle(origin);
      if (used) {
        try {
          return await used.exchange(text, request);
        } catch (error) {
          const isStale = !used.hasHeard && !request.signal?.aborted && !(error instanceof TransportTimeout);
          if (!isStale || !REPEATABLE.has(request.method)) throw error;
        }
      }
      if (this.#open.size < this.#maxConnections) return this.#connect(origin, request).exchange(text, request);
      await this.#turn(origin, request.signal);
    }
  }

  /** Closes idle connections now and busy ones when they are done, or at once. */
  destroy(busyOnes: "when-done" | "now"): void {
    this.#isClosed = true;
    this.#idle.clear();
    for (const connection of this.#open) if (busyOnes === "now" || connection.isIdle) connection.close();
  }

  #takeIdle(origin: string): Connection | undefined {
    const idle = this.#idle.get(origin);
    for (let connection = idle?.pop(); connection; connection = idle?.pop()) {
      if (connection.isFresh) return connection;
      connection.close();
    }
    return undefined;
  }

  /** Waits until a connection is free or closed; those that wait come first. Rejects with the signal's reason. */
  async #turn(origin: string, signal: AbortSignal | undefined): Promise<void> {
    this.#closeOneElsewhere(origin);
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        const index = this.#waiting.indexOf(go);
        if (index >= 0) this.#waiting.splice(index, 1);
        reject(signal?.reason instanceof Error ? signal.reason : new Error("aborted", { cause: signal?.reason }));
      };
      const go = (): void => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.push(go);
    });
    if (!signal?.aborted) return;
    this.#waiting.shift()?.();
    signal.throwIfAborted();
  }

  /** Makes room if all connections are open and one to another host is idle. */
  #closeOneElsewhere(origin: string): void {
    if (this.#open.size < this.#maxConnections) return;
    for (const [other, idle] of this.#idle) {
      const [oldest] = idle;
      if (other === origin || oldest === undefined) continue;
      oldest.close();
      return;
    }
  }

  #connect(origin: string, { host, port }: PlainRequest): Connection {
    const connection = new Connection({
      host,
      port,
      connectMs: this.#connectMs,
      onIdle: () => {
        if (this.#isClosed) return connection.close();
        const idle = this.#idle.get(origin) ?? [];
        this.#idle.set(origin, idle);
        idle.push(connection);
        this.#waiting.shift()?.();
      },
      onClose: () => {
        this.#open.delete(connection);
        const idle = this.#idle.get(origin);
        const index = idle?.indexOf(connection) ?? -1;
        if (index >= 0) idle?.splice(index, 1);
        if (idle?.length === 0) this.#idle.delete(origin);
        this.#waiting.shift()?.();
      },
    });
    this.#open.add(connection);
    return connection;
  }
}

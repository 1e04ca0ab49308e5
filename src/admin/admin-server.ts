/**
 * A small HTTP server for health checks and metrics: `/healthz`, `/readyz`, `/metrics`. No secrets, no changes, GET and
 * HEAD only. Knows nothing of what is healthy: it is told.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What the server asks for. */
export interface AdminSource {
  /** Whether new sessions are taken; a reason otherwise. */
  readonly readiness: () => { readonly ready: boolean; readonly reason: string };
  /** Prometheus text. Must not reject. */
  readonly metrics: () => Promise<string>;
  /** Told of what goes wrong after the start, such as no file descriptors left to accept with. */
  readonly onError: (error: Error) => void;
}

const HEADERS_TIMEOUT_MS = 5_000;
const MAX_CONNECTIONS = 64;

function answer(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    "content-type": `${type}; charset=utf-8`,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  response.end(body);
}

function handle(source: AdminSource, request: IncomingMessage, response: ServerResponse): void {
  request.resume();
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    answer(response, 405, "text/plain", "only GET and HEAD\n");
    return;
  }
  switch (request.url?.split("?")[0]) {
    case "/healthz":
      answer(response, 200, "text/plain", "ok\n");
      return;
    case "/readyz": {
      const { ready, reason } = source.readiness();
      answer(response, ready ? 200 : 503, "text/plain", `${reason}\n`);
      return;
    }
    case "/metrics":
      source
        .metrics()
        .then((text) => answer(response, 200, "text/plain; version=0.0.4", text))
        .catch((error: unknown) => response.destroy(error instanceof Error ? error : new Error(String(error))));
      return;
    default:
      answer(response, 404, "text/plain", "there are /healthz, /readyz and /metrics\n");
  }
}

/** A listening admin server. Whoever starts one owes `close`. */
export class AdminServer {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens; rejects with the system's error if the address cannot be had. */
  static start(listen: { readonly host: string; readonly port: number }, source: AdminSource): Promise<AdminServer> {
    const server = createServer(
      { headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: HEADERS_TIMEOUT_MS, keepAliveTimeout: 1000 },
      (request, response) => handle(source, request, response),
    );
    server.maxConnections = MAX_CONNECTIONS;
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(listen.port, listen.host, () => {
        server.off("error", reject);
        server.on("error", source.onError);
        resolve(new AdminServer(server));
      });
    });
  }

  /** `HOST:PORT` that it listens on. */
  get address(): string {
    const address = this.#server.address() as AddressInfo;
    return address.family === "IPv6" ? `[${address.address}]:${address.port}` : `${address.address}:${address.port}`;
  }

  /** Stops listening and ends all connections. */
  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

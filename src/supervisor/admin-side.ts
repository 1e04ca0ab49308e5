/**
 * Health and metrics of the whole gateway: what the workers counted, added up, and what the supervisor knows itself. A
 * worker that is gone stays in the sums with what it last said. Knows no connections.
 */
import type { AdminServer } from "../admin/admin-server.ts";
import { formatFamilies, mergeFamilies, type MetricFamily, Metrics } from "../admin/metrics.ts";
import type { ListenAddress } from "../config/schema.ts";
import { ConfigError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { isTaken } from "./front-door.ts";

/** What the supervisor knows itself. */
export interface SupervisorFigures {
  readonly workers: () => number;
  readonly restarts: () => number;
  readonly withoutLogin: () => number;
  readonly refused: () => number;
  readonly penalized: () => number;
}

/** What one worker said; no families if it did not answer in time. */
export interface WorkerFigures {
  readonly process: string;
  readonly pid: number | undefined;
  readonly families: readonly MetricFamily[] | undefined;
}

/** What the side door is made of. */
export interface AdminSideOptions {
  readonly listen: ListenAddress | undefined;
  readonly portFallback: boolean;
  readonly log: Logger;
  readonly readiness: () => { readonly ready: boolean; readonly reason: string };
  /** Asks all workers that run. */
  readonly ask: () => Promise<readonly WorkerFigures[]>;
  readonly figures: SupervisorFigures;
}

/** A listening side door; `close` is owed. */
export type AdminSide = Pick<AdminServer, "address" | "close">;

/** Listens if the configuration wants it. Rejects with a `ConfigError` if the address cannot be had. */
export async function startAdminSide(options: AdminSideOptions): Promise<AdminSide | undefined> {
  const { listen, portFallback, log, readiness } = options;
  if (!listen) return undefined;
  // Loaded only where it is wanted: the HTTP server costs the supervisor a megabyte.
  const { AdminServer } = await import("../admin/admin-server.ts");
  const collector = new Collector(options);
  const source = {
    readiness,
    metrics: () => collector.text(),
    onError: (error: Error) => log.error({ err: error }, "admin server failed"),
  };
  let server: AdminServer;
  try {
    server = await AdminServer.start(listen, source);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    if (!portFallback || !isTaken(error)) throw new ConfigError(`admin.listen: ${reason}`, undefined, { cause: error });
    server = await AdminServer.start({ host: listen.host, port: 0 }, source);
  }
  log.info({ address: server.address }, "admin server listening");
  return server;
}

/** Adds up. */
class Collector {
  readonly #options: AdminSideOptions;
  readonly #own = new Metrics();
  /** What each running worker last said, by process id. */
  #last = new Map<number | undefined, WorkerFigures>();
  /** What workers counted that are gone: counters must not go back. */
  #departed: readonly MetricFamily[] = [];
  #restarts = 0;
  #refused = 0;

  constructor(options: AdminSideOptions) {
    this.#options = options;
    const { figures } = options;
    this.#own.gauge("gateway_workers", "Worker processes that take connections.", figures.workers);
    this.#own.gauge("gateway_connections_without_login", "Connections that nobody has logged in on yet.", figures.withoutLogin);
    this.#own.gauge("gateway_sources_refused", "Addresses that are refused for their offences.", figures.penalized);
    const own = { perProcess: true };
    this.#own.gauge("gateway_resident_bytes", "Resident memory of each process.", () => process.memoryUsage.rss(), own);
    this.#own.counter("gateway_worker_restarts_total", "Worker processes that ended and were started anew.");
    this.#own.counter("gateway_connections_refused_total", "Connections that were refused before login.");
  }

  async text(): Promise<string> {
    const { ask, figures } = this.#options;
    this.#learn(await ask());
    this.#own.add("gateway_worker_restarts_total", figures.restarts() - this.#restarts);
    this.#own.add("gateway_connections_refused_total", figures.refused() - this.#refused);
    this.#restarts = figures.restarts();
    this.#refused = figures.refused();
    const running = [...this.#last.values()].map(({ process: name, families }) => ({ process: name, families: families ?? [] }));
    const departed = { process: "departed", families: this.#departed };
    return formatFamilies(mergeFamilies([...running, departed, { process: "supervisor", families: this.#own.families() }]));
  }

  #learn(answers: readonly WorkerFigures[]): void {
    const now = new Map<number | undefined, WorkerFigures>();
    for (const answer of answers) now.set(answer.pid, answer.families ? answer : (this.#last.get(answer.pid) ?? answer));
    for (const [pid, { families }] of this.#last) {
      if (now.has(pid)) continue;
      const counted = (families ?? []).filter(({ type }) => type === "counter");
      const parts = [this.#departed, counted].map((part) => ({ process: "departed", families: part }));
      this.#departed = mergeFamilies(parts);
    }
    this.#last = now;
  }
}

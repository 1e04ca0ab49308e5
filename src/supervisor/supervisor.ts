/**
 * The process that a gateway is started as: listens, limits, hands connections to worker processes, starts those anew
 * that end, and ends all of them in order. Small on purpose: it reads nothing that clients send, and neither the stores
 * nor SSH nor the configuration's reader are loaded here. What it knows of the configuration the first worker tells it.
 */
import type { MetricFamily } from "../admin/metrics.ts";
import { ConfigError } from "../errors.ts";
import { checkStateMode } from "../gateway/file-modes.ts";
import { type OpenPenalties, openPenalties } from "../gateway/source-penalties.ts";
import { createLogger, type Logger } from "../log.ts";
import { type AdminSide, startAdminSide, type WorkerFigures } from "./admin-side.ts";
import { Answers } from "./answers.ts";
import { BudgetShares } from "./budget-shares.ts";
import { type Connection, Connections } from "./connections.ts";
import { FrontDoor } from "./front-door.ts";
import type { RunningGateway, SupervisorSettings, ToSupervisor } from "./messages.ts";
import { SharedRates } from "./shared-rates.ts";
import { WorkerPool } from "./worker-pool.ts";
import type { WorkerProcess } from "./worker-process.ts";

/** A connection this old without login may make room for a newer one. */
const EVICTABLE_AFTER_MS = 3_000;
/** After the time for transfers: a CLOSE that was received is carried through (30 s), and stores are closed. */
const SETTLE_GRACE_MS = 40_000;
/** How long the first worker waits for the others. */
const START_TIMEOUT_MS = 5_000;
/** How long a worker may take to say what it has counted. */
const METRICS_TIMEOUT_MS = 2_000;
const ARCHIVE_TIMEOUT_MS = 5_000;

/** How a supervisor starts. */
export interface SupervisorOptions {
  /** Absolute path. */
  readonly configFile: string;
  /** Takes free ports where the configured ones are taken; for the demonstration. */
  readonly portFallback: boolean;
}

/** What exists once the configuration is known. */
interface Parts {
  readonly log: Logger;
  readonly settings: SupervisorSettings;
  readonly connections: Connections<WorkerProcess>;
  readonly door: FrontDoor;
  readonly budget: BudgetShares<WorkerProcess>;
  readonly penalties: OpenPenalties | undefined;
  admin: AdminSide | undefined;
}

/** See the head of this file. Whoever starts one owes `drain`. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #pool: WorkerPool;
  readonly #rates = new SharedRates();
  readonly #metrics = new Answers<readonly MetricFamily[]>();
  readonly #archives = new Answers<boolean>();
  readonly #ready: Promise<SupervisorSettings>;
  #hostKeys: readonly string[] = [];
  #settle: { resolve: (settings: SupervisorSettings) => void; reject: (error: Error) => void } | undefined;
  #parts: Parts | undefined;
  #draining: Promise<void> | undefined;
  #isServing = false;
  #onReady: (() => void) | undefined;

  private constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#ready = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.#pool = new WorkerPool({
      configFile: options.configFile,
      onMessage: (worker, message) => this.#message(worker, message),
      onGone: (worker) => this.#workerGone(worker),
    });
  }

  /** Starts everything; resolves when all addresses are listened on. Rejects with a `ConfigError` if something cannot be had. */
  static async start(options: SupervisorOptions): Promise<Supervisor> {
    const supervisor = new Supervisor(options);
    supervisor.#pool.startFirst();
    const settings = await supervisor.#ready;
    try {
      await supervisor.#open(settings);
    } catch (error) {
      await supervisor.#close();
      throw error;
    }
    return supervisor;
  }

  /** What a demonstration prints. */
  get running(): RunningGateway {
    return { addresses: this.#parts?.door.addresses ?? [], adminAddress: this.#parts?.admin?.address, hostKeys: this.#hostKeys };
  }

  /** Connections, with and without login. */
  get connectionCount(): number {
    return this.#parts?.connections.size ?? 0;
  }

  /** The gateway's log. */
  get log(): Logger | undefined {
    return this.#parts?.log;
  }

  /** Lets every worker read the configuration and the host keys again. */
  reload(): void {
    this.#pool.hurry();
    this.#pool.broadcast({ type: "reload" });
  }

  /**
   * Refuses new connections and logins with a reason, lets running sessions finish within `server.limits.drain`, and ends
   * everything. Idempotent.
   */
  drain(): Promise<void> {
    this.#draining ??= this.#drain();
    return this.#draining;
  }

  /** Ends all workers at once: what is under way can be resumed. */
  kill(): void {
    this.#pool.kill();
  }

  async #open(settings: SupervisorSettings): Promise<void> {
    const { server } = settings;
    const log = createLogger(settings.log);
    await checkStateMode(server.state, log);
    const penalties = await openPenalties(server, log);
    const connections = new Connections<WorkerProcess>({
      unauthenticated: {
        total: server.limits.maxUnauthenticated,
        perAddress: server.limits.maxUnauthenticatedPerIp,
        evictableAfterMs: EVICTABLE_AFTER_MS,
      },
      sessionsPerUser: server.limits.maxSessionsPerUser,
      sources: penalties?.policy,
      evicted: (address, reason) => door.noteRefusal(address, reason),
      end: ({ worker, id }, reason) => {
        if (worker) worker.send({ type: "end", id, reason });
        else door.line.drop(id);
      },
    });
    const door = new FrontDoor({
      listen: server.listen,
      proxies: server.proxyProtocol,
      connections,
      pool: this.#pool,
      log,
      portFallback: this.#options.portFallback,
      longestWaitMs: server.limits.loginGrace,
    });
    const budget = new BudgetShares<WorkerProcess>({
      total: server.memoryBudget,
      workers: settings.workers,
      grant: (worker, limit) => worker.send({ type: "budget", limit }),
    });
    const parts: Parts = { log, settings, connections, door, budget, penalties, admin: undefined };
    this.#parts = parts;
    this.#pool.log = log;
    this.#pool.startOthers(settings.workers);
    await this.#allReady(settings.workers);
    await door.open();
    parts.admin = await this.#openAdmin(parts);
    for (const worker of this.#pool.ready) this.#serve(worker);
    this.#isServing = true;
  }

  /** The start is over when no worker takes time from those who are served; one that fails does not hold it up for long. */
  async #allReady(workers: number): Promise<void> {
    if (this.#pool.ready.length >= workers) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, START_TIMEOUT_MS);
      this.#onReady = () => {
        if (this.#pool.ready.length < workers) return;
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #openAdmin({ log, settings, connections, door, penalties }: Parts): Promise<AdminSide | undefined> {
    return startAdminSide({
      listen: settings.admin.listen,
      portFallback: this.#options.portFallback,
      log,
      readiness: () => {
        if (this.#draining) return { ready: false, reason: "draining" };
        return this.#pool.ready.length > 0 ? { ready: true, reason: "ready" } : { ready: false, reason: "no worker" };
      },
      ask: () => this.#askMetrics(),
      figures: {
        workers: () => this.#pool.ready.length,
        restarts: () => this.#pool.restarts,
        withoutLogin: () => connections.withoutLogin,
        refused: () => door.refused,
        penalized: () => penalties?.refusedCount() ?? 0,
      },
    });
  }

  /** A worker takes connections from now on. */
  #serve(worker: WorkerProcess): void {
    const parts = this.#parts;
    if (!parts) return;
    parts.log.info({ worker: worker.slot, pid: worker.pid }, "worker ready");
    worker.send({ type: "listening", port: parts.door.addresses[0]?.port ?? 0 });
    parts.budget.add(worker);
    parts.door.line.advance();
  }

  #message(worker: WorkerProcess, message: ToSupervisor): void {
    this.#pool.answered(worker);
    switch (message.type) {
      case "ready":
        this.#workerReady(worker, message);
        return;
      case "failed":
        this.#pool.failed(worker, message);
        return;
      case "busy":
        worker.busy(message.share);
        return;
      case "metrics":
        this.#metrics.answer(message.request, message.families);
        return;
      case "archive-open":
        this.#askArchive(worker, message).catch((error: unknown) => this.log?.error({ err: error }, "workers could not be asked"));
        return;
      case "answer":
        this.#archives.answer(message.request, message.yes);
        return;
      case "reloaded":
        this.#pool.hurry();
        this.#pool.broadcast({ type: "reload" }, worker);
        return;
      case "pong":
        return;
      default:
        this.#connectionMessage(worker, message);
    }
  }

  #connectionMessage(worker: WorkerProcess, message: ToSupervisor): void {
    const parts = this.#parts;
    if (!parts) return;
    const { connections, penalties, budget, door } = parts;
    switch (message.type) {
      case "taken":
        door.line.taken(worker, message.id);
        return;
      case "lost":
        door.line.lost(message.id);
        return;
      case "named": {
        const refusal = connections.named(message.id, message.address);
        if (refusal !== undefined) door.noteRefusal(message.address, refusal);
        worker.send({ type: "verdict", id: message.id, refusal });
        return;
      }
      case "progress":
        connections.progress(message.id, message.stage);
        return;
      case "logged-in":
        connections.loggedIn(message.id, message.user);
        return;
      case "closed":
        this.#connectionClosed(worker, connections.closed(message.id));
        return;
      case "offence":
        penalties?.policy.offence(message.address, message.kind);
        return;
      case "known":
        penalties?.policy.loggedIn(message.address);
        return;
      case "spent": {
        const { user, rates, bytes } = message;
        const aheadMs = this.#rates.spent(user, rates, bytes);
        this.#pool.broadcast({ type: "rates", user, aheadMs });
        return;
      }
      case "budget":
        budget.report(worker, message.used, message.isShort);
        return;
      default:
    }
  }

  #connectionClosed(worker: WorkerProcess, connection: Connection<WorkerProcess> | undefined): void {
    if (connection) worker.closed(connection.address);
  }

  #workerReady(worker: WorkerProcess, { settings, hostKeys }: Extract<ToSupervisor, { type: "ready" }>): void {
    worker.isReady = true;
    this.#hostKeys = hostKeys;
    this.#settle?.resolve(settings);
    if (this.#isServing) this.#serve(worker);
    this.#onReady?.();
    // It has read the configuration of now; the others may have that of its predecessor's last reload.
    if (worker.slot === 0) this.#pool.broadcast({ type: "reload" }, worker);
  }

  #workerGone(worker: WorkerProcess): Readonly<Record<string, unknown>> {
    const failure = this.#pool.firstFailure;
    if (!this.#parts) {
      const message = failure?.message ?? "the worker process ended while it started";
      this.#settle?.reject(failure?.isUsage ? new ConfigError(message) : new Error(message));
    }
    this.#parts?.budget.remove(worker);
    const connections = this.#parts?.connections.workerGone(worker) ?? 0;
    this.#parts?.door.line.workerGone(worker);
    return { connections };
  }

  async #askMetrics(): Promise<WorkerFigures[]> {
    const answers = this.#pool.ready.map(async (worker) => {
      const families = await this.#metrics.ask(METRICS_TIMEOUT_MS, (request) => worker.send({ type: "metrics", request }));
      return { process: `worker-${worker.slot}`, pid: worker.pid, families };
    });
    return Promise.all(answers);
  }

  /** A worker wants to know whether any of the others reads an archive; one that does not answer might. */
  async #askArchive(asking: WorkerProcess, { user, name, request }: Extract<ToSupervisor, { type: "archive-open" }>): Promise<void> {
    const others = this.#pool.ready.filter((worker) => worker !== asking);
    const answers = await Promise.all(
      others.map((worker) =>
        this.#archives.ask(ARCHIVE_TIMEOUT_MS, (asked) => worker.send({ type: "archive-open", request: asked, user, name })),
      ),
    );
    asking.send({ type: "answer", request, yes: answers.some((answer) => answer !== false) });
  }

  async #drain(): Promise<void> {
    const { door, settings } = this.#parts ?? {};
    door?.refuseAll("the server is shutting down");
    await this.#pool.end(settings?.server.limits.drain ?? 0, SETTLE_GRACE_MS);
    await this.#close();
  }

  async #close(): Promise<void> {
    await this.#pool.end(0, SETTLE_GRACE_MS);
    this.#parts?.door.close();
    await this.#parts?.admin?.close();
    await this.#parts?.penalties?.close();
  }
}

/**
 * The composition root of a worker: makes the parts that serve sessions from the configuration, wires them, and ends them
 * in order. The only place that sees both the network and the stores. Who listens, and what counts for all workers
 * together, is the supervisor's business.
 */
import path from "node:path";
import { Metrics } from "./admin/metrics.ts";
import type { AuthUser } from "./auth/authenticator.ts";
import { ByteBudget } from "./byte-budget.ts";
import type { GatewayConfig } from "./config/gateway-config.ts";
import { createCommands } from "./gateway/commands.ts";
import { JobRunner } from "./gateway/job-runner.ts";
import { type FilesLease, UserFiles } from "./gateway/user-files.ts";
import { HandedConnections } from "./gateway/handed-connections.ts";
import { needsRestart, sessionsToEnd } from "./gateway/reload.ts";
import { GatewaySessions } from "./gateway/session-handlers.ts";
import { RateLimit } from "./gateway/rate-limit.ts";
import { shareLimits } from "./gateway/shared-limits.ts";
import type { SupervisorLink } from "./gateway/supervisor-link.ts";
import { Answers } from "./supervisor/answers.ts";
import type { UserRates } from "./gateway/throttled-channel.ts";
import type { Logger } from "./log.ts";
import { haltRequests } from "./objectstore/s3/s3-client.ts";
import { LoopTurns } from "./loop-turns.ts";
import type { SourcePolicy } from "./ssh/admission.ts";
import type { HostKey } from "./ssh/host-keys.ts";
import type { SessionInfo } from "./ssh/session-registry.ts";
import { SshServer, type SshServerOptions } from "./ssh/ssh-server.ts";

/** How long work may go on after its connections are gone: a CLOSE that was received is carried through. */
const SETTLE_TIMEOUT_MS = 30_000;
const SWEEP_INTERVAL_MS = 3_600_000;
/** Connections without login are bounded where they are accepted. */
const COUNTED_ELSEWHERE = { total: Number.MAX_SAFE_INTEGER, perAddress: Number.MAX_SAFE_INTEGER, evictableAfterMs: 0 };

/** Time the supervisor needs to ask all other workers. */
const ARCHIVE_TIMEOUT_MS = 10_000;

/** How a gateway starts. */
export interface GatewayOptions {
  readonly config: GatewayConfig;
  readonly log: Logger;
  readonly link: SupervisorLink;
  readonly place: WorkerPlace;
}

/** Which of the node's workers this is. */
export interface WorkerPlace {
  readonly slot: number;
  /** How many there are. */
  readonly workers: number;
  /** The first one's number in the node's table of processes. */
  readonly firstProcess: number;
}

/** Everything that lives as long as the gateway. */
interface Parts {
  readonly budget: ByteBudget;
  readonly metrics: Metrics;
  readonly files: UserFiles;
  readonly sessions: GatewaySessions;
  readonly server: SshServer;
  readonly connections: HandedConnections;
  readonly endSharing: () => void;
  /** Runs in the first worker only. */
  readonly jobs: JobRunner | undefined;
}

/** A running gateway. Whoever starts one owes `drain`. */
export class Gateway {
  readonly #log: Logger;
  #config: GatewayConfig;
  #rates: ReadonlyMap<string, UserRates>;
  #parts: Parts | undefined;
  #sweepTimer: NodeJS.Timeout | undefined;
  #draining: Promise<void> | undefined;
  #port = 22;

  private constructor(options: GatewayOptions) {
    this.#config = options.config;
    this.#rates = ratesOf(options.config);
    this.#log = options.log;
  }

  /** Starts everything; resolves when connections can be taken. Rejects with a ConfigError if something cannot be had. */
  static async start(options: GatewayOptions): Promise<Gateway> {
    const gateway = new Gateway(options);
    gateway.#parts = await gateway.#open(options);
    gateway.#parts.jobs?.start(options.config);
    if (options.place.slot > 0) return gateway;
    gateway.#sweepTimer = setInterval(() => gateway.#sweep(), SWEEP_INTERVAL_MS);
    gateway.#sweep();
    return gateway;
  }

  /** The server's keys. */
  get hostKeys(): readonly HostKey[] {
    return this.#server.hostKeys;
  }

  /** Live logins. */
  get sessionCount(): number {
    return this.#server.registry.sessions.length;
  }

  /** Lets `next` count from now on; sessions that it no longer allows end. */
  reconfigure(next: GatewayConfig, previous: GatewayConfig): void {
    this.#config = next;
    this.#rates = ratesOf(next);
    for (const { user, keyFingerprints, reason } of sessionsToEnd(next, previous)) {
      const ended = this.#server.registry.endSessions(user, (fingerprint) => keyFingerprints?.has(fingerprint) ?? true, reason);
      if (ended > 0) this.#log.info({ user, sessions: ended, reason }, "sessions ended by the new configuration");
    }
    const revoked = this.#server.registry.endRevoked(
      (credential) => next.server.revoked.check(credential) !== undefined,
      "your key or certificate was revoked",
    );
    if (revoked > 0) this.#log.warn({ audit: true, sessions: revoked, reason: "revoked" }, "sessions ended");
    this.#parts?.files.reconfigure(next);
    this.#parts?.jobs?.start(next);
    const restart = needsRestart(next, previous);
    if (restart.length > 0) this.#log.warn({ keys: restart }, "changes that count only after a restart");
  }

  /** Reads the host keys again: new ones are served from now on. A folder that cannot be used is logged, the old keys stay. */
  async reloadHostKeys(): Promise<void> {
    try {
      await this.#server.reloadHostKeys();
    } catch (error) {
      this.#log.error({ err: error }, "host keys not reloaded, the loaded ones stay");
    }
  }

  /** Takes nothing new, lets running sessions finish within `timeoutMs`, and ends everything. Idempotent. */
  drain(timeoutMs: number): Promise<void> {
    this.#draining ??= this.#drain(timeoutMs);
    return this.#draining;
  }

  /**
   * Keeps what was received of open uploads on this node's disk, and asks the stores for nothing more. For the end of a
   * process without a supervisor; sessions are left to end with it.
   */
  async abandon(): Promise<void> {
    haltRequests();
    await this.#parts?.files.close();
  }

  get #server(): SshServer {
    if (!this.#parts) throw new Error("the gateway has not started");
    return this.#parts.server;
  }

  async #open({ config, link, place }: GatewayOptions): Promise<Parts> {
    const log = this.#log;
    const budget = new ByteBudget(Math.floor(config.server.memoryBudget / place.workers));
    const metrics = new Metrics();
    const files = await UserFiles.open({ config, budget, metrics, log, place });
    const turns = new LoopTurns();
    const sessions = new GatewaySessions({
      budget,
      turns,
      commands: createCommands(budget, path.join(config.server.state, "rsync-notes")),
      log,
      files: (session) => this.#filesOf(files, session),
      rates: (user) => this.#rates.get(user),
      greeting: (session) => this.#greeting(session),
    });
    try {
      const server = new SshServer({ ...this.#serverOptions(config, sessions, budget, sourcesOf(link)), turns });
      await server.prepare({ quiet: place.slot > 0 });
      this.#defineMetrics(metrics, budget, server, sessions);
      const connections = new HandedConnections(link, server, log);
      const endSharing = shareLimits({ link, budget, connections, rates: () => this.#rates });
      const archives = new Answers<boolean>();
      const isOpen = async (user: string, name: string): Promise<boolean> =>
        files.backups.isOpen(user, name) ||
        (place.workers > 1 &&
          (await archives.ask(ARCHIVE_TIMEOUT_MS, (request) => link.send({ type: "archive-open", request, user, name }))) !== false);
      link.handle({
        listening: ({ port }) => {
          this.#port = port;
        },
        metrics: ({ request }) => link.send({ type: "metrics", request, families: metrics.families() }),
        "archive-open": ({ request, user, name }) => link.send({ type: "answer", request, yes: files.backups.isOpen(user, name) }),
        answer: ({ request, yes }) => archives.answer(request, yes),
      });
      const jobs = place.slot === 0 ? new JobRunner({ metrics, log, isOpen }) : undefined;
      return { budget, metrics, files, sessions, server, connections, endSharing, jobs };
    } catch (error) {
      await files.close();
      throw error;
    }
  }

  #serverOptions({ server }: GatewayConfig, handlers: GatewaySessions, budget: ByteBudget, sources: SourcePolicy): SshServerOptions {
    const { limits, banner } = server;
    return {
      listen: [],
      hostKeys: server.hostKeys,
      users: { find: (name) => this.#findUser(name), revocations: () => this.#config.server.revoked },
      handlers,
      budget,
      log: this.#log,
      algorithms: server.algorithms,
      ...(banner === undefined ? {} : { banner }),
      sources,
      limits: {
        loginGraceMs: limits.loginGrace,
        authTries: limits.maxAuthTries,
        unauthenticated: COUNTED_ELSEWHERE,
        sessionsPerUser: limits.maxSessionsPerUser,
        channels: limits.maxChannelsPerConnection,
        idleMs: limits.idleTimeout,
        lifetimeMs: limits.maxSessionTime,
        keepaliveMs: limits.keepaliveInterval,
      },
    };
  }

  #defineMetrics(metrics: Metrics, budget: ByteBudget, server: SshServer, sessions: GatewaySessions): void {
    metrics.gauge("gateway_connections", "Open SSH connections, with and without login.", () => server.connectionCount);
    metrics.gauge("gateway_sessions", "Logged-in connections.", () => server.registry.sessions.length);
    metrics.gauge("gateway_channels", "Sftp sessions and commands being served.", () => sessions.runningCount);
    metrics.gauge("gateway_memory_budget_bytes", "Memory that clients together may make the gateway hold.", () => budget.limit);
    metrics.gauge("gateway_memory_used_bytes", "Part of it that is held.", () => budget.used);
    const own = { perProcess: true };
    metrics.gauge("gateway_resident_bytes", "Resident memory of each process.", () => process.memoryUsage.rss(), own);
  }

  /** Asked at each login attempt: a change of the configuration counts at once. */
  #findUser(name: string): AuthUser | undefined {
    const user = this.#config.users.get(name);
    return user && { name, keys: user.keys, allowSha1Signatures: this.#config.server.allowSha1Signatures };
  }

  async #filesOf(files: UserFiles, session: SessionInfo): Promise<FilesLease> {
    const user = this.#config.users.get(session.user);
    if (!user) throw new Error(`user ${session.user} is no longer configured`);
    return files.lease(user, session);
  }

  #greeting({ user }: SessionInfo): string {
    const { motd } = this.#config.server;
    const lines = [
      `You are logged in as ${user}. There is no shell here; sftp, scp and rsync are served.`,
      `  sftp -P ${this.#port} ${user}@HOST`,
    ];
    return `${motd === undefined ? "" : `${motd.trimEnd()}\n`}${lines.join("\n")}\n`;
  }

  #sweep(): void {
    this.#parts?.files.sweep().catch((error: unknown) => this.#log.error({ err: error }, "sweep of unfinished uploads failed"));
  }

  async #drain(timeoutMs: number): Promise<void> {
    clearInterval(this.#sweepTimer);
    const parts = this.#parts;
    if (!parts) return;
    const jobsEnded = parts.jobs?.stop();
    await parts.server.drain(timeoutMs);
    await withinTime(parts.sessions.settled(), SETTLE_TIMEOUT_MS, () =>
      this.#log.warn({ sessions: parts.sessions.runningCount }, "sessions did not end in time"),
    );
    await jobsEnded;
    parts.endSharing();
    await parts.files.close();
  }
}

/** Offences are counted where connections are accepted. */
function sourcesOf(link: SupervisorLink): SourcePolicy {
  return {
    refusal: () => undefined,
    offence: (address, kind) => link.send({ type: "offence", address, kind }),
    loggedIn: (address) => link.send({ type: "known", address }),
  };
}

function ratesOf({ users }: GatewayConfig): Map<string, UserRates> {
  const rates = new Map<string, UserRates>();
  for (const { name, bandwidth } of users.values()) {
    if (!bandwidth) continue;
    const { up, down } = bandwidth;
    rates.set(name, { up: up === undefined ? undefined : new RateLimit(up), down: down === undefined ? undefined : new RateLimit(down) });
  }
  return rates;
}

/** Waits for `work`, but no longer than `limitMs`; then `onTimeout` is called. */
async function withinTime(work: Promise<void>, limitMs: number, onTimeout: () => void): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      onTimeout();
      resolve();
    }, limitMs);
  });
  await Promise.race([work, limit]);
  clearTimeout(timer);
}

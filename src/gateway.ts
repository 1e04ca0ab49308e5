/**
 * The composition root: makes the parts of the running gateway from the configuration, wires them, and ends them in
 * order. The only place that sees both the network and the stores.
 */
import type { AddressInfo } from "node:net";
import path from "node:path";
import { AdminServer } from "./admin/admin-server.ts";
import { Metrics } from "./admin/metrics.ts";
import type { AuthUser } from "./auth/authenticator.ts";
import { ByteBudget } from "./byte-budget.ts";
import { ConfigError } from "./errors.ts";
import type { GatewayConfig } from "./config/gateway-config.ts";
import type { ListenAddress } from "./config/schema.ts";
import { createCommands } from "./gateway/commands.ts";
import { JobRunner } from "./gateway/job-runner.ts";
import { type FilesLease, UserFiles } from "./gateway/user-files.ts";
import { formatAddress, isTaken } from "./gateway/listeners.ts";
import { type OpenPenalties, openPenalties } from "./gateway/source-penalties.ts";
import { needsRestart, sessionsToEnd } from "./gateway/reload.ts";
import { GatewaySessions } from "./gateway/session-handlers.ts";
import { RateLimit, type UserRates } from "./gateway/throttled-channel.ts";
import type { Logger } from "./log.ts";
import type { SourcePolicy } from "./ssh/admission.ts";
import type { HostKey } from "./ssh/host-keys.ts";
import type { SessionInfo } from "./ssh/session-registry.ts";
import { SshServer, type SshServerOptions } from "./ssh/ssh-server.ts";

/** How long work may go on after its connections are gone: a CLOSE that was received is carried through. */
const SETTLE_TIMEOUT_MS = 30_000;
const SWEEP_INTERVAL_MS = 3_600_000;
/** A connection this old without login may make room for a newer one. */
const EVICTABLE_AFTER_MS = 3_000;

/** How a gateway starts. */
export interface GatewayOptions {
  readonly config: GatewayConfig;
  readonly log: Logger;
  /** Takes a free port where the configured one is taken; for the demonstration. */
  readonly portFallback?: boolean;
  /** Who counts offences, where that is somebody else; else this gateway does, as `server.penalties` says. */
  readonly sources?: SourcePolicy;
}

/** Everything that lives as long as the gateway. */
interface Parts {
  readonly budget: ByteBudget;
  readonly metrics: Metrics;
  readonly files: UserFiles;
  readonly sessions: GatewaySessions;
  readonly server: SshServer;
  readonly admin: AdminServer | undefined;
  readonly jobs: JobRunner;
  readonly penalties: OpenPenalties | undefined;
}

/** A running gateway. Whoever starts one owes `drain`. */
export class Gateway {
  readonly #log: Logger;
  #config: GatewayConfig;
  #rates: ReadonlyMap<string, UserRates>;
  #parts: Parts | undefined;
  #sweepTimer: NodeJS.Timeout | undefined;
  #draining: Promise<void> | undefined;

  private constructor(options: GatewayOptions) {
    this.#config = options.config;
    this.#rates = ratesOf(options.config);
    this.#log = options.log;
  }

  /** Starts everything; resolves when all addresses are listened on. Rejects with a ConfigError if something cannot be had. */
  static async start(options: GatewayOptions): Promise<Gateway> {
    const gateway = new Gateway(options);
    gateway.#parts = await gateway.#open(options);
    gateway.#sweepTimer = setInterval(() => gateway.#sweep(), SWEEP_INTERVAL_MS);
    gateway.#sweep();
    gateway.#parts.jobs.start(options.config);
    return gateway;
  }

  /** Where SSH is listened on, with real ports. */
  get addresses(): readonly ListenAddress[] {
    return this.#server.addresses.map(({ address, port }: AddressInfo) => ({ host: address, port }));
  }

  /** `HOST:PORT` of the admin server, if there is one. */
  get adminAddress(): string | undefined {
    return this.#parts?.admin?.address;
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
    this.#parts?.jobs.start(next);
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

  /** Takes nothing new, lets running sessions finish within `server.limits.drain`, and ends everything. Idempotent. */
  drain(): Promise<void> {
    this.#draining ??= this.#drain();
    return this.#draining;
  }

  get #server(): SshServer {
    if (!this.#parts) throw new Error("the gateway has not started");
    return this.#parts.server;
  }

  async #open(options: GatewayOptions): Promise<Parts> {
    const { config } = options;
    const budget = new ByteBudget(config.server.memoryBudget);
    const metrics = new Metrics();
    const files = await UserFiles.open({ config, budget, metrics, log: this.#log });
    const sessions = new GatewaySessions({
      budget,
      commands: createCommands(budget, path.join(config.server.state, "rsync-notes")),
      log: this.#log,
      files: (session) => this.#filesOf(files, session),
      rates: (user) => this.#rates.get(user),
      greeting: (session) => this.#greeting(session),
    });
    let server: SshServer | undefined;
    let penalties: OpenPenalties | undefined;
    try {
      penalties = options.sources ? undefined : await openPenalties(config.server, this.#log);
      const sshOptions = this.#serverOptions(config, sessions, budget, options.sources ?? penalties?.policy);
      server = await this.#listen(sshOptions, options.portFallback ?? false);
      this.#defineMetrics(metrics, budget, server, sessions);
      const jobs = new JobRunner({ metrics, log: this.#log, isOpen: (user, name) => files.backups.isOpen(user, name) });
      const admin = await this.#startAdmin(config, metrics, options.portFallback ?? false);
      return { budget, metrics, files, sessions, server, admin, jobs, penalties };
    } catch (error) {
      await penalties?.close();
      await server?.close();
      await files.close();
      throw error;
    }
  }

  async #listen(options: SshServerOptions, portFallback: boolean): Promise<SshServer> {
    const server = new SshServer(options);
    try {
      await server.listen();
      return server;
    } catch (error) {
      if (!portFallback || !isTaken(error)) throw error;
      this.#log.warn({ addresses: options.listen.map(formatAddress) }, "address taken, using a free port");
      const fallback = new SshServer({ ...options, listen: options.listen.map(({ host }) => ({ host, port: 0 })) });
      await fallback.listen();
      return fallback;
    }
  }

  #serverOptions(
    { server }: GatewayConfig,
    handlers: GatewaySessions,
    budget: ByteBudget,
    sources: SourcePolicy | undefined,
  ): SshServerOptions {
    const { limits, banner } = server;
    return {
      listen: server.listen,
      hostKeys: server.hostKeys,
      users: { find: (name) => this.#findUser(name), revocations: () => this.#config.server.revoked },
      handlers,
      budget,
      log: this.#log,
      algorithms: server.algorithms,
      ...(banner === undefined ? {} : { banner }),
      ...(sources === undefined ? {} : { sources }),
      limits: {
        loginGraceMs: limits.loginGrace,
        authTries: limits.maxAuthTries,
        unauthenticated: {
          total: limits.maxUnauthenticated,
          perAddress: limits.maxUnauthenticatedPerIp,
          evictableAfterMs: EVICTABLE_AFTER_MS,
        },
        sessionsPerUser: limits.maxSessionsPerUser,
        channels: limits.maxChannelsPerConnection,
        idleMs: limits.idleTimeout,
        keepaliveMs: limits.keepaliveInterval,
      },
    };
  }

  async #startAdmin(config: GatewayConfig, metrics: Metrics, portFallback: boolean): Promise<AdminServer | undefined> {
    const { listen } = config.admin;
    if (!listen) return undefined;
    const source = {
      readiness: () => (this.#draining ? { ready: false, reason: "draining" } : { ready: true, reason: "ready" }),
      metrics: () => metrics.format(),
      onError: (error: Error) => this.#log.error({ error }, "admin server failed"),
    };
    let server: AdminServer;
    try {
      server = await AdminServer.start(listen, source);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (!portFallback || !isTaken(error)) throw new ConfigError(`admin.listen: ${reason}`, undefined, { cause: error });
      server = await AdminServer.start({ host: listen.host, port: 0 }, source);
    }
    this.#log.info({ address: server.address }, "admin server listening");
    return server;
  }

  #defineMetrics(metrics: Metrics, budget: ByteBudget, server: SshServer, sessions: GatewaySessions): void {
    metrics.gauge("gateway_connections", "Open SSH connections, with and without login.", () => server.connectionCount);
    metrics.gauge("gateway_sessions", "Logged-in connections.", () => server.registry.sessions.length);
    metrics.gauge("gateway_channels", "Sftp sessions and commands being served.", () => sessions.runningCount);
    metrics.gauge("gateway_memory_budget_bytes", "Memory that clients together may make the gateway hold.", () => budget.limit);
    metrics.gauge("gateway_memory_used_bytes", "Part of it that is held.", () => budget.used);
    metrics.gauge("gateway_resident_bytes", "Resident memory of the process.", () => process.memoryUsage.rss());
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
    const port = this.addresses[0]?.port ?? 22;
    const { motd } = this.#config.server;
    const lines = [
      `You are logged in as ${user}. There is no shell here; sftp, scp and rsync are served.`,
      `  sftp -P ${port} ${user}@HOST`,
    ];
    return `${motd === undefined ? "" : `${motd.trimEnd()}\n`}${lines.join("\n")}\n`;
  }

  #sweep(): void {
    this.#parts?.files.sweep().catch((error: unknown) => this.#log.error({ err: error }, "sweep of unfinished uploads failed"));
  }

  async #drain(): Promise<void> {
    clearInterval(this.#sweepTimer);
    const parts = this.#parts;
    if (!parts) return;
    const jobsEnded = parts.jobs.stop();
    await parts.server.drain(this.#config.server.limits.drain);
    await withinTime(parts.sessions.settled(), SETTLE_TIMEOUT_MS, () =>
      this.#log.warn({ sessions: parts.sessions.runningCount }, "sessions did not end in time"),
    );
    await jobsEnded;
    await parts.penalties?.close();
    await parts.files.close();
    await parts.admin?.close();
  }
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

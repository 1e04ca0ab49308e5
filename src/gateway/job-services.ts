import { join } from "node:path";
import { makeFolder } from "../make-folder.ts";
import type { GatewayConfig, JobConfig, UserConfig } from "../config/gateway-config.ts";
import { xzAvailable } from "../jobs/archive/block-compressor.ts";
import { type BackupDestination, openDestination } from "../jobs/backup-destination.ts";
import { runBackup } from "../jobs/backup-job.ts";
import { type JobContext, type JobKind, type JobOutcome, worstExitCode } from "../jobs/job.ts";
import { JobHistory } from "../jobs/job-history.ts";
import { type HeldLock, takeLock } from "../jobs/job-lock.ts";
import type { ScheduledJob } from "../jobs/scheduler.ts";
import { createSyncJob } from "../jobs/sync/sync-job.ts";
import { openSide, regionPair } from "../jobs/sync/sync-places.ts";
import { sweep, type Swept, type SweepPlace } from "../jobs/sweep-job.ts";
import type { Logger } from "../log.ts";
import { openStorage } from "../objectstore/open-store.ts";
import { type Clock, systemClock } from "../vfs/uploads/clock.ts";
import { TemporaryNames, unmistakable } from "../vfs/uploads/temporary-names.ts";
import { type OpenedStorage, openUserStorage } from "./storages.ts";

/** Where a region is synced to: a sync that was killed leaves unfinished uploads there. */
async function openRegionBackup(region: string, config: GatewayConfig): Promise<SweepPlace & { close(): Promise<void> }> {
  const { destination } = regionPair(region, config);
  const { store, prefix } = await openSide(destination, {
    flags: { profile: undefined, region: undefined, sourceRegion: undefined, endpointUrl: undefined },
    storage: { storageClass: undefined, acl: undefined, sse: undefined, sseKmsKeyId: undefined },
    role: "source",
    dryRun: true,
    onRequest: () => undefined,
    onThrottle: () => undefined,
  });
  return { owner: `backup of ${region}`, kind: "uploads", store, prefix, close: () => store.close() };
}

type JobOfKind<Kind extends JobConfig["kind"]> = JobConfig & { readonly kind: Kind };

/** What runs each kind of job. */
export interface JobKinds {
  readonly backup: JobKind<JobOfKind<"backup">>;
  readonly sweep: JobKind<JobOfKind<"sweep">>;
  readonly sync: JobKind<JobOfKind<"sync">>;
}

/** What the jobs work with. */
export interface JobServicesOptions {
  readonly config: GatewayConfig;
  readonly log: Logger;
  readonly clock?: Clock;
  /** True while a session reads that file of the user's archives. */
  readonly isOpen?: (user: string, name: string) => Promise<boolean>;
}

/** How users are backed up. */
export interface BackupRequest {
  readonly users: readonly UserConfig[];
  readonly full?: boolean;
  readonly allowEmpty?: boolean;
  /** Told of each user that is done. */
  readonly onUser?: (user: string, outcome: JobOutcome) => void;
}

/** How is swept. */
export interface SweepRequest {
  readonly dryRun: boolean;
  readonly onSwept?: (swept: Swept) => void;
}

/** See the head of this file. */
export class JobServices {
  readonly history: JobHistory;
  readonly kinds: JobKinds;
  readonly #options: JobServicesOptions;
  readonly #clock: Clock;

  constructor(options: JobServicesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.history = new JobHistory(options.config.server.state);
    this.kinds = {
      backup: { run: (job, context) => this.backup({ users: this.#usersOf(job) }, context) },
      sweep: { run: (_job, context) => this.sweep({ dryRun: false }, context) },
      sync: createSyncJob(options.config),
    };
  }

  /** The job, ready to run under its lock. */
  runnable(job: JobConfig): ScheduledJob {
    return {
      name: job.name,
      when: job,
      lock: () => this.lock(`job-${job.name}`),
      run: (context) => this.#run(job, context),
    };
  }

  /** Backs up one user after the other; the failure of one does not keep the others from it. Rejects only when it is aborted. */
  async backup(request: BackupRequest, context: JobContext): Promise<JobOutcome> {
    const outcomes: JobOutcome[] = [];
    for (const user of request.users) {
      context.signal.throwIfAborted();
      const outcome = await this.#backupOrSay(user, request, context);
      outcomes.push(outcome);
      request.onUser?.(user.name, outcome);
    }
    const [only, ...more] = outcomes;
    if (only && more.length === 0) return only;
    const exitCode = worstExitCode(outcomes.map((outcome) => outcome.exitCode));
    const failed = outcomes.filter((outcome) => outcome.exitCode === 1).length;
    const warned = outcomes.filter((outcome) => outcome.exitCode === 2).length;
    const summary = `${outcomes.length} users: ${outcomes.length - failed - warned} clean, ${warned} with warnings, ${failed} failed`;
    return {
      exitCode,
      summary,
      details: { users: outcomes.map(({ exitCode: code, summary: line }) => ({ exitCode: code, summary: line })) },
    };
  }

  /** Sweeps all users' storages, the archives and the locks. Rejects only when it is aborted. */
  async sweep(request: SweepRequest, context: JobContext): Promise<JobOutcome> {
    const { config, log } = this.#options;
    const temporary = new TemporaryNames(unmistakable(config.uploads.temporaryNames));
    const opened: (() => Promise<void>)[] = [];
    const places: SweepPlace[] = [];
    const unreachable: string[] = [];
    const add = async (owner: string, open: () => Promise<SweepPlace & { close(): Promise<void> }>): Promise<void> => {
      try {
        const place = await open();
        opened.push(() => place.close());
        places.push(place);
      } catch (error) {
        context.log.warn({ err: error, owner }, "a place could not be opened to be swept");
        unreachable.push(owner);
      }
    };
    try {
      for (const user of config.users.values()) {
        if (!user.readOnly) await add(user.name, () => this.#storagePlace(user));
        const { backups } = config;
        const owner = `archives of ${user.name}`;
        if (!backups || !user.backup) continue;
        await add(owner, async () => ({ owner, kind: "archives", ...(await openDestination(backups.storage, user.name, log)) }));
      }
      for (const { name, backup } of config.regions.values()) {
        if (backup?.startsWith("s3://")) await add(`backup of ${name}`, () => openRegionBackup(name, config));
      }
      await add("locks", async () => {
        const { store, prefix, [Symbol.asyncDispose]: close } = await this.#openLocks();
        return { owner: "locks", kind: "locks", store, prefix, close: async () => close() };
      });
      const outcome = await sweep({
        ...context,
        places,
        expiryMs: config.uploads.expiry,
        isTemporary: (key) => temporary.finalKey(key) !== undefined,
        dryRun: request.dryRun,
        now: () => this.#clock.now(),
        ...(request.onSwept ? { onSwept: request.onSwept } : {}),
      });
      if (unreachable.length === 0) return outcome;
      return {
        ...outcome,
        exitCode: worstExitCode([outcome.exitCode, 2]),
        summary: `${outcome.summary}; not reached: ${unreachable.join(", ")}`,
      };
    } finally {
      await Promise.all(opened.map((close) => close()));
    }
  }

  /** Takes a lock beside the archives, or, without a place for them, on this node. Rejects with a LockedError. */
  async lock(name: string): Promise<HeldLock> {
    const { store, prefix, [Symbol.asyncDispose]: close } = await this.#openLocks();
    try {
      const held = await takeLock(name, { store, prefix, clock: this.#clock, log: this.#options.log });
      return {
        signal: held.signal,
        release: async () => {
          await held.release();
          await close();
        },
      };
    } catch (error) {
      await close();
      throw error;
    }
  }

  #run(job: JobConfig, context: JobContext): Promise<JobOutcome> {
    switch (job.kind) {
      case "backup":
        return this.kinds.backup.run(job, context);
      case "sweep":
        return this.kinds.sweep.run(job, context);
      case "sync":
        return this.kinds.sync.run(job, context);
    }
  }

  #usersOf({ users }: JobOfKind<"backup">): UserConfig[] {
    const all = [...this.#options.config.users.values()].filter(({ backup }) => backup !== undefined);
    return users ? all.filter(({ name }) => users.includes(name)) : all;
  }

  async #storagePlace({ name, storage }: UserConfig): Promise<SweepPlace & { close(): Promise<void> }> {
    const { store, prefix, [Symbol.asyncDispose]: close } = await openUserStorage(storage, this.#options.log);
    return { owner: name, kind: "storage", store, prefix, close: async () => close() };
  }

  async #openLocks(): Promise<OpenedStorage> {
    const { backups, server } = this.#options.config;
    if (backups) return openUserStorage(backups.storage, this.#options.log);
    const folder = join(server.state, "locks");
    await makeFolder(folder, 0o700);
    const { store, prefix } = await openStorage(`file://${folder}`);
    return { store, prefix, [Symbol.asyncDispose]: () => store.close() };
  }

  async #backupOrSay(user: UserConfig, request: BackupRequest, context: JobContext): Promise<JobOutcome> {
    try {
      return await this.#backupUser(user, request, context);
    } catch (error) {
      context.signal.throwIfAborted();
      const reason = error instanceof Error ? error.message : String(error);
      context.log.error({ err: error, user: user.name }, "backup failed, the previous archive stays");
      return { exitCode: 1, summary: `${user.name}: not published, the previous archive stays: ${reason}` };
    }
  }

  async #backupUser(user: UserConfig, request: BackupRequest, context: JobContext): Promise<JobOutcome> {
    const { backups } = this.#options.config;
    if (!backups || !user.backup) throw new Error(`there are no backups of ${user.name}: write backups: in the configuration`);
    const held = await this.lock(`backup-${user.name}`);
    let destination: BackupDestination | undefined;
    try {
      await using source = await openUserStorage(user.storage, this.#options.log);
      destination = await openDestination(backups.storage, user.name, this.#options.log);
      const temporary = new TemporaryNames(unmistakable(this.#options.config.uploads.temporaryNames));
      const { full, allowEmpty } = request;
      return await runBackup({
        user: user.name,
        source: { ...source, isLocal: user.storage.location.kind === "file" },
        destination,
        settings: user.backup,
        graceMs: backups.graceMs,
        isPartial: (key) => temporary.finalKey(key) !== undefined,
        xz: await xzAvailable(),
        log: context.log,
        signal: AbortSignal.any([context.signal, held.signal]),
        now: () => this.#clock.now(),
        ...(full === undefined ? {} : { full }),
        ...(allowEmpty === undefined ? {} : { allowEmpty }),
        onProgress: context.onProgress,
        isOpen: async (name) => (await this.#options.isOpen?.(user.name, name)) ?? false,
      });
    } finally {
      await destination?.close();
      await held.release();
    }
  }
}

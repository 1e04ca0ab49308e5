/**
 * Runs the configuration's jobs for as long as the gateway runs, and counts them. A new configuration replaces the schedule
 * at once; a run that is under way comes to its end.
 */
import { isDeepStrictEqual } from "node:util";
import type { Metrics } from "../admin/metrics.ts";
import type { GatewayConfig, JobConfig } from "../config/gateway-config.ts";
import type { RunRecord } from "../jobs/job-history.ts";
import { Scheduler } from "../jobs/scheduler.ts";
import type { Logger } from "../log.ts";
import { systemClock } from "../vfs/uploads/clock.ts";
import { JobServices } from "./job-services.ts";

const RUNS = "gateway_job_runs_total";
const LAST_SUCCESS = "gateway_job_last_success_seconds";
const SWEPT = "gateway_swept_total";

/** What the runner is made with. */
export interface JobRunnerOptions {
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Whether any session of the node reads this archive. */
  readonly isOpen: (user: string, name: string) => Promise<boolean>;
}

/** What decides whether a schedule must be made anew: everything but places in files. */
function essence({ jobs, users, backups, regions, uploads }: GatewayConfig): unknown {
  const bare = (map: ReadonlyMap<string, object>): unknown[] =>
    [...map].map(([name, value]) => [name, { ...value, definedAt: undefined, keys: undefined }]);
  return [bare(jobs), bare(users), bare(regions), backups, uploads];
}

/** See the head of this file. Whoever makes one owes `stop`. */
export class JobRunner {
  readonly #options: JobRunnerOptions;
  #essence: unknown;
  #scheduler: Scheduler | undefined;
  /** Replaced ones whose last runs have not ended. */
  #retired: readonly Scheduler[] = [];
  /** Starts and stops, one after the other. */
  #turn: Promise<void> = Promise.resolve();

  constructor(options: JobRunnerOptions) {
    this.#options = options;
    const { metrics } = options;
    metrics.counter(RUNS, "Runs of scheduled jobs, by job and result (clean, warnings, failed, skipped).");
    metrics.counter(SWEPT, "What sweeps removed, by kind.");
    metrics.gauge(LAST_SUCCESS, "When a job last ended without failing, in seconds since the epoch.");
  }

  /** Lets the jobs of `config` count from now on. */
  start(config: GatewayConfig): void {
    const next = essence(config);
    if (isDeepStrictEqual(next, this.#essence)) return;
    const isFirst = this.#essence === undefined;
    this.#essence = next;
    this.#inTurn(() => this.#replace(config, isFirst));
  }

  /** Ends the runs under way, which publish nothing, and waits for them. */
  async stop(): Promise<void> {
    this.#inTurn(async () => {
      await Promise.all([this.#scheduler, ...this.#retired].map((scheduler) => scheduler?.stop()));
    });
    await this.#turn;
  }

  #inTurn(step: () => Promise<void>): void {
    this.#turn = this.#turn.then(step).catch((error: unknown) => this.#options.log.error({ err: error }, "jobs could not be scheduled"));
  }

  async #replace(config: GatewayConfig, isFirst: boolean): Promise<void> {
    const { log, isOpen } = this.#options;
    if (this.#scheduler) {
      this.#scheduler.retire();
      this.#retired = [...this.#retired, this.#scheduler].filter(({ isRunning }) => isRunning);
    }
    const services = new JobServices({ config, log, isOpen });
    const jobs = [...config.jobs.values()].map((job) => {
      const runnable = services.runnable(job);
      // What is to run at the start runs once, not again with each change of the configuration.
      return isFirst ? runnable : { ...runnable, when: { ...runnable.when, runOnStart: false } };
    });
    this.#scheduler = new Scheduler({
      jobs,
      history: services.history,
      clock: systemClock,
      log,
      onRun: (run) => this.#count(run, config.jobs.get(run.job)),
    });
    await this.#scheduler.start();
  }

  #count(run: RunRecord, job: JobConfig | undefined): void {
    const { metrics } = this.#options;
    const result = run.exitCode === undefined ? "skipped" : (["clean", "failed", "warnings"] as const)[run.exitCode];
    metrics.add(RUNS, 1, { job: run.job, result });
    if (run.exitCode === 0 || run.exitCode === 2) metrics.set(LAST_SUCCESS, run.endedMs / 1000, { job: run.job });
    if (job?.kind !== "sweep") return;
    for (const [kind, count] of Object.entries(run.details ?? {})) {
      if (typeof count === "number") metrics.add(SWEPT, count, { kind });
    }
  }
}

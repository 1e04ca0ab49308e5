/** One run of a job: under its lock, into the history and the log. Knows no kind of job. */
import type { Clock } from "../vfs/uploads/clock.ts";
import type { JobContext, JobLog, JobOutcome } from "./job.ts";
import type { RunHistory, RunRecord, RunTrigger } from "./job-history.ts";
import { type HeldLock, LockedError } from "./job-lock.ts";

/** What a job needs to run. */
export interface RunnableJob {
  readonly name: string;
  /** Takes the job's lock; rejects with a LockedError if somebody has it. */
  readonly lock: () => Promise<HeldLock>;
  readonly run: (context: JobContext) => Promise<JobOutcome>;
}

/** What a run is told and tells. */
export interface RunOptions {
  readonly trigger: RunTrigger;
  readonly history: RunHistory;
  readonly clock: Clock;
  readonly log: JobLog;
  readonly signal: AbortSignal;
  readonly onProgress?: JobContext["onProgress"];
}

async function underLock(job: RunnableJob, options: RunOptions): Promise<JobOutcome> {
  const held = await job.lock();
  try {
    const signal = AbortSignal.any([options.signal, held.signal]);
    return await job.run({ signal, log: options.log, onProgress: options.onProgress });
  } finally {
    await held.release();
  }
}

async function outcomeOf(job: RunnableJob, options: RunOptions): Promise<Pick<RunRecord, "exitCode" | "summary" | "details">> {
  const { log, trigger } = options;
  try {
    const outcome = await underLock(job, options);
    const level = outcome.exitCode === 0 ? "info" : outcome.exitCode === 2 ? "warn" : "error";
    log[level]({ job: job.name, trigger, exitCode: outcome.exitCode, summary: outcome.summary }, "job ended");
    return outcome;
  } catch (error) {
    const summary = error instanceof Error ? error.message : String(error);
    if (error instanceof LockedError) {
      log.info({ job: job.name, trigger, summary }, "job skipped");
      return { summary };
    }
    log.error({ err: error, job: job.name, trigger }, "job failed");
    return { exitCode: 1, summary };
  }
}

/** Runs the job. Never rejects: a failure is a record with exit code 1, a run that somebody else holds up one without. */
export async function runJob(job: RunnableJob, options: RunOptions): Promise<RunRecord> {
  const { clock, history, log, trigger } = options;
  const startedMs = clock.now();
  log.info({ job: job.name, trigger }, "job begins");
  const outcome = await outcomeOf(job, options);
  const record: RunRecord = { job: job.name, trigger, startedMs, endedMs: clock.now(), ...outcome };
  try {
    await history.add(record);
  } catch (error) {
    log.warn({ err: error, job: job.name }, "run of a job could not be remembered");
  }
  return record;
}

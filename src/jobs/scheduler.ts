/**
 * Runs jobs by the clock: cron lines in a time zone, later by chance where told so, once at the start where told so, and
 * once for runs that were missed while nothing ran. A job that still runs is not begun again. Knows no kind of job.
 */
import { Cron } from "croner";
import type { Clock } from "../vfs/uploads/clock.ts";
import type { JobLog } from "./job.ts";
import type { RunHistory, RunRecord, RunTrigger } from "./job-history.ts";
import { runJob, type RunnableJob } from "./run-job.ts";

/** Longest single wait: timers are limited, and the machine's clock may be set or sleep. */
const MAX_WAIT_MS = 600_000;

/** When a job runs; times in milliseconds. */
export interface Schedule {
  /** Cron fields; absent: only on demand. */
  readonly schedule?: string | undefined;
  readonly timezone: string;
  readonly jitter: number;
  readonly runOnStart: boolean;
  readonly catchUp: boolean;
}

/** A job with its schedule. */
export interface ScheduledJob extends RunnableJob {
  readonly when: Schedule;
}

/** What a scheduler works with. */
export interface SchedulerOptions {
  readonly jobs: readonly ScheduledJob[];
  readonly history: RunHistory;
  readonly clock: Clock;
  readonly log: JobLog;
  /** Between 0 and 1, for the jitter (default `Math.random`). */
  readonly random?: () => number;
  /** Told of each run that ended, the skipped ones too. */
  readonly onRun?: (run: RunRecord) => void;
}

/** When `schedule` comes next after `afterMs`; undefined if never. Throws for a line that is none. */
export function nextRunMs({ schedule, timezone }: Pick<Schedule, "schedule" | "timezone">, afterMs: number): number | undefined {
  if (schedule === undefined) return undefined;
  return new Cron(schedule, { paused: true, timezone }).nextRun(new Date(afterMs))?.getTime();
}

/** Waits for and runs one job. */
class Timetable {
  readonly #job: ScheduledJob;
  readonly #options: SchedulerOptions;
  readonly #signal: AbortSignal;
  #running: Promise<void> | undefined;
  #cancel: (() => void) | undefined;

  constructor(job: ScheduledJob, options: SchedulerOptions, signal: AbortSignal) {
    this.#job = job;
    this.#options = options;
    this.#signal = signal;
  }

  /** Resolves when what runs now has ended. */
  get running(): Promise<void> | undefined {
    return this.#running;
  }

  async start(): Promise<void> {
    const { when, name } = this.#job;
    const { clock, history, log } = this.#options;
    const now = clock.now();
    this.#planAfter(now);
    if (when.runOnStart) {
      this.#begin("start");
      return;
    }
    if (!when.catchUp || when.schedule === undefined) return;
    try {
      const last = (await history.list(name)).findLast(({ exitCode }) => exitCode !== undefined);
      const due = last && nextRunMs(when, last.startedMs);
      if (due !== undefined && due < now && !this.#signal.aborted) this.#begin("missed");
    } catch (error) {
      log.warn({ err: error, job: name }, "history of a job cannot be read, a missed run is not made up for");
    }
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #planAfter(afterMs: number): void {
    const { when } = this.#job;
    const dueMs = nextRunMs(when, afterMs);
    if (dueMs === undefined) return;
    const delayMs = Math.floor((this.#options.random ?? Math.random)() * when.jitter);
    this.#waitUntil(dueMs + delayMs, dueMs);
  }

  /** `dueMs` is when the schedule says, `beginMs` that and the jitter. */
  #waitUntil(beginMs: number, dueMs: number): void {
    if (this.#signal.aborted) return;
    const { clock } = this.#options;
    const waitMs = beginMs - clock.now();
    if (waitMs > 0) {
      this.#cancel = clock.after(Math.min(waitMs, MAX_WAIT_MS), () => this.#waitUntil(beginMs, dueMs));
      return;
    }
    this.#begin("schedule");
    // From the later of the two on, so that neither a jitter nor a sleeping machine makes a row of runs.
    this.#planAfter(Math.max(dueMs, clock.now()));
  }

  #begin(trigger: RunTrigger): void {
    const { clock, history, log, onRun } = this.#options;
    if (this.#running) {
      const at = clock.now();
      const record: RunRecord = { job: this.#job.name, trigger, startedMs: at, endedMs: at, summary: "the run before has not ended yet" };
      log.warn({ job: this.#job.name }, "job skipped, the run before has not ended yet");
      history.add(record).catch((error: unknown) => log.warn({ err: error, job: this.#job.name }, "run of a job could not be remembered"));
      onRun?.(record);
      return;
    }
    this.#running = runJob(this.#job, { trigger, history, clock, log, signal: this.#signal }).then((record) => {
      this.#running = undefined;
      onRun?.(record);
    });
  }
}

/** See the head of this file. Whoever starts it owes `stop`. */
export class Scheduler {
  readonly #timetables: readonly Timetable[];
  readonly #stop = new AbortController();

  constructor(options: SchedulerOptions) {
    this.#timetables = options.jobs.map((job) => new Timetable(job, options, this.#stop.signal));
  }

  /** Begins to wait; resolves when missed runs have been looked for. */
  async start(): Promise<void> {
    await Promise.all(this.#timetables.map((timetable) => timetable.start()));
  }

  /** Begins no more runs and lets those under way come to their end; `stop` is still owed. */
  retire(): void {
    for (const timetable of this.#timetables) timetable.stop();
  }

  /** True while a job runs. */
  get isRunning(): boolean {
    return this.#timetables.some(({ running }) => running !== undefined);
  }

  /** Begins no more runs, ends those under way, and waits for them. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error("the gateway stops"));
    for (const timetable of this.#timetables) timetable.stop();
    await Promise.all(this.#timetables.map(({ running }) => running));
  }
}

/** What `jobs list`, `run`, `history`, and `sweep` do. Loaded only for them: the other commands start in half the time without. */
import { resolve } from "node:path";
import type { GatewayConfig, JobConfig } from "../config/gateway-config.ts";
import { loadConfig } from "../config/load.ts";
import { JobServices } from "../gateway/job-services.ts";
import { lastSuccess, type RunRecord } from "../jobs/job-history.ts";
import { runJob } from "../jobs/run-job.ts";
import { nextRunMs } from "../jobs/scheduler.ts";
import { systemClock } from "../vfs/uploads/clock.ts";
import { interruptible } from "./interruptible.ts";
import { createJobLog, createProgress, printOutcome, type ShowOptions, silentLog } from "./progress.ts";
import { EXIT_FAILURE, EXIT_OK, formatTable, type Terminal, UsageError } from "./terminal.ts";

/** Options of the command line. */
export interface JobsOptions extends ShowOptions {
  readonly config: string;
}

/** Options of the command line. */
export interface SweepCommandOptions extends JobsOptions {
  readonly yes?: boolean;
}

function time(ms: number | undefined): string {
  return ms === undefined ? "-" : `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

function result({ exitCode }: RunRecord): string {
  return exitCode === undefined ? "skipped" : (["clean", "failed", "warnings"] as const)[exitCode];
}

function jobOf({ jobs, file }: GatewayConfig, name: string): JobConfig {
  const job = jobs.get(name);
  if (!job) throw new UsageError(`job "${name}" is not defined in ${file}; there are ${[...jobs.keys()].join(", ") || "none"}`);
  return job;
}

/** Prints the list: returns the exit code. Rejects with a UsageError or ConfigError for what cannot be meant. */
export async function list(options: JobsOptions, terminal: Terminal): Promise<number> {
  const { config } = await loadConfig(resolve(options.config));
  const { history } = new JobServices({ config, log: silentLog() });
  const jobs = await Promise.all(
    [...config.jobs.values()].map(async (job) => {
      const runs = await history.list(job.name);
      const next = nextRunMs(job, Date.now());
      return { job, last: runs.findLast(({ exitCode }) => exitCode !== undefined), success: lastSuccess(runs), next };
    }),
  );
  if (options.json) {
    const view = jobs.map(({ job: { name, kind, schedule, timezone }, last, success, next }) => ({
      name,
      kind,
      schedule,
      timezone,
      lastRun: last,
      lastSuccessMs: success?.endedMs,
      nextRunMs: next,
    }));
    terminal.print(JSON.stringify(view, null, 2));
    return EXIT_OK;
  }
  const rows = jobs.map(({ job, last, success, next }) => [
    job.name,
    job.kind,
    job.schedule === undefined ? "on demand" : `${job.schedule} ${job.timezone}`,
    last ? `${time(last.endedMs)} ${result(last)}` : "-",
    time(success?.endedMs),
    time(next),
  ]);
  for (const line of formatTable([["NAME", "KIND", "SCHEDULE", "LAST RUN", "LAST SUCCESS", "NEXT RUN"], ...rows]))
    terminal.print(line.trimEnd());
  return EXIT_OK;
}

/** Makes archives, or runs a job now: returns the exit code. Rejects with a UsageError or ConfigError for what cannot be meant. */
export async function run(name: string, options: JobsOptions, terminal: Terminal): Promise<number> {
  const { config } = await loadConfig(resolve(options.config));
  const services = new JobServices({ config, log: silentLog() });
  const runnable = services.runnable(jobOf(config, name));
  const progress = createProgress(terminal, options);
  const work = async (signal: AbortSignal): Promise<number> => {
    const record = await runJob(runnable, {
      trigger: "command",
      history: services.history,
      clock: systemClock,
      log: createJobLog(terminal, options),
      signal,
      onProgress: progress.report.bind(progress),
    });
    const { summary, details } = record;
    const exitCode = record.exitCode ?? EXIT_FAILURE;
    printOutcome(terminal, progress, { exitCode, summary, ...(details ? { details } : {}) }, options);
    return exitCode;
  };
  try {
    return await interruptible(terminal, work, () => `interrupted: ${name} did not end, what it had published before stays`);
  } finally {
    progress.done();
  }
}

/** Prints the last runs of a job: returns the exit code. Rejects with a UsageError or ConfigError for what cannot be meant. */
export async function showHistory(name: string, options: JobsOptions, terminal: Terminal): Promise<number> {
  const { config } = await loadConfig(resolve(options.config));
  const job = jobOf(config, name);
  const runs = await new JobServices({ config, log: silentLog() }).history.list(job.name);
  if (options.json) {
    for (const record of runs) terminal.print(JSON.stringify(record));
    return EXIT_OK;
  }
  if (runs.length === 0) terminal.print(`${name} has not run on this node`);
  const rows = runs.map((record) => [
    time(record.startedMs),
    `${((record.endedMs - record.startedMs) / 1000).toFixed(1)} s`,
    record.trigger,
    result(record),
    record.summary,
  ]);
  for (const line of formatTable(rows)) terminal.print(line.trimEnd());
  return EXIT_OK;
}

/** Sweeps, or says what it would do: returns the exit code. Rejects with a UsageError or ConfigError for what cannot be meant. */
export async function sweep(options: SweepCommandOptions, terminal: Terminal): Promise<number> {
  const { config } = await loadConfig(resolve(options.config));
  const services = new JobServices({ config, log: silentLog() });
  const dryRun = options.yes !== true;
  let count = 0;
  const work = async (signal: AbortSignal): Promise<number> => {
    const outcome = await services.sweep(
      {
        dryRun,
        onSwept: (swept) => {
          count++;
          if (options.json) terminal.print(JSON.stringify({ event: "swept", dryRun, ...swept }));
          else if (!options.quiet) {
            const days = (swept.ageMs / 86_400_000).toFixed(1);
            terminal.print(`${dryRun ? "(dry run) " : ""}${swept.kind}: ${swept.owner}: ${swept.key}, ${days} days old`);
          }
        },
      },
      { signal, log: createJobLog(terminal, options) },
    );
    if (options.json) terminal.print(JSON.stringify({ event: "end", ...outcome }));
    else if (!options.quiet) terminal.print(`${outcome.summary}${dryRun ? "; write --yes to remove" : ""}`);
    return outcome.exitCode;
  };
  return interruptible(terminal, work, () => `interrupted after ${count} ${dryRun ? "found" : "removed"}`);
}

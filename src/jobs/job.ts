/**
 * What a job is: something that runs by the clock or on demand, under a lock, and ends with an exit code. Knows no kind of
 * job.
 */

/** How a run ended: 0 clean, 2 done with warnings, 1 failed with the previous result kept. */
export type JobExitCode = 0 | 1 | 2;

/** What a run says of itself. */
export interface JobOutcome {
  readonly exitCode: JobExitCode;
  /** One line for people. */
  readonly summary: string;
  /** Counts and sizes, for machines. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** How far a run has come. */
export interface JobProgress {
  readonly done: number;
  /** 0 where it is not known. */
  readonly total: number;
  readonly unit: "bytes" | "objects";
  /** What is being worked on. */
  readonly label: string;
}

/** Where jobs log; pino's loggers fit. */
export interface JobLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What a run gets. */
export interface JobContext {
  /** Aborts when the run is to end now. */
  readonly signal: AbortSignal;
  readonly log: JobLog;
  readonly onProgress?: ((progress: JobProgress) => void) | undefined;
}

/**
 * A kind of job: what `jobs:` in the configuration may run. `Settings` is the job's part of the configuration. `run`
 * rejects where it failed as a whole, which counts as exit code 1.
 */
export interface JobKind<Settings> {
  run(settings: Settings, context: JobContext): Promise<JobOutcome>;
}

/** The worst of several outcomes: 1 over 2 over 0. */
export function worstExitCode(codes: Iterable<JobExitCode>): JobExitCode {
  let worst: JobExitCode = 0;
  for (const code of codes) if (code === 1 || (code === 2 && worst === 0)) worst = code;
  return worst;
}

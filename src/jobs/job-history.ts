/**
 * The last runs of each job, in files of JSON lines in the state directory that every process of the node appends to.
 * A shortcut for people: nothing but the making up for missed runs depends on it.
 */
import { appendFile, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { JobExitCode } from "./job.ts";

/** Runs that are kept of each job. */
const KEPT_RUNS = 100;
/** The file is cut to `KEPT_RUNS` when it has more lines than this. */
const MAX_LINES = 400;

/** Why a run began. */
export type RunTrigger = "schedule" | "start" | "missed" | "command";

/** One run. */
export interface RunRecord {
  readonly job: string;
  readonly trigger: RunTrigger;
  readonly startedMs: number;
  readonly endedMs: number;
  /** Absent for a run that was skipped because another one was under way. */
  readonly exitCode?: JobExitCode;
  readonly summary: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Where runs are remembered. */
export interface RunHistory {
  /** Remembers a run. */
  add(run: RunRecord): Promise<void>;
  /** The last runs of `job`, oldest first. */
  list(job: string): Promise<RunRecord[]>;
}

/** Runs by job: see the head of this file. */
export class JobHistory implements RunHistory {
  readonly #folder: string;

  /** `stateFolder` is the node's state directory. */
  constructor(stateFolder: string) {
    this.#folder = join(stateFolder, "jobs");
  }

  /** Remembers a run. Rejects with the system's error. */
  async add(run: RunRecord): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const file = this.#file(run.job);
    await appendFile(file, `${JSON.stringify(run)}\n`);
    const lines = (await readFile(file, "utf8")).split("\n");
    if (lines.length <= MAX_LINES) return;
    const staged = `${file}.${process.pid}`;
    await writeFile(staged, lines.slice(-KEPT_RUNS - 1).join("\n"));
    await rename(staged, file);
  }

  /** The last runs of `job`, oldest first. Lines that cannot be read are passed over. */
  async list(job: string): Promise<RunRecord[]> {
    let text: string;
    try {
      text = await readFile(this.#file(job), "utf8");
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
      throw error;
    }
    return text
      .split("\n")
      .slice(-KEPT_RUNS - 1)
      .flatMap(parseRun);
  }

  #file(job: string): string {
    return join(this.#folder, `${encodeURIComponent(job)}.jsonl`);
  }
}

function parseRun(line: string): RunRecord[] {
  if (line === "") return [];
  try {
    const value: unknown = JSON.parse(line);
    const isRun = typeof value === "object" && value !== null && "startedMs" in value && typeof value.startedMs === "number";
    return isRun ? [value as RunRecord] : [];
  } catch (error) {
    // A process that died while it wrote leaves half a line.
    if (error instanceof SyntaxError) return [];
    throw error;
  }
}

/** The last run that reached its end without failing; undefined if there was none. */
export function lastSuccess(runs: readonly RunRecord[]): RunRecord | undefined {
  return runs.findLast(({ exitCode }) => exitCode === 0 || exitCode === 2);
}

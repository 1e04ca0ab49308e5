/** Jobs by a simulated clock: daylight saving, jitter, missed and overlapping runs. */
import { appendFileSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { JobOutcome } from "../../../src/jobs/job.ts";
import { JobHistory, lastSuccess, type RunHistory, type RunRecord } from "../../../src/jobs/job-history.ts";
import { LockedError } from "../../../src/jobs/job-lock.ts";
import { nextRunMs, type Schedule, Scheduler, type ScheduledJob } from "../../../src/jobs/scheduler.ts";
import { QUIET } from "./backup-fixture.ts";
import { SimulatedClock } from "./simulated-clock.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const at = (text: string): number => Date.parse(text);
const iso = (ms: number): string => new Date(ms).toISOString().slice(0, 16);

/** Remembers without a disk, which would take time that the simulated clock does not know of. */
class HistoryInMemory implements RunHistory {
  readonly #runs: RunRecord[] = [];

  async add(run: RunRecord): Promise<void> {
    this.#runs.push(run);
  }

  async list(job: string): Promise<RunRecord[]> {
    return this.#runs.filter((run) => run.job === job);
  }
}

class Night {
  readonly history = new HistoryInMemory();
  readonly clock: SimulatedClock;
  readonly runs: RunRecord[] = [];
  readonly began: string[] = [];
  scheduler: Scheduler | undefined;
  outcome: () => Promise<JobOutcome> = async () => ({ exitCode: 0, summary: "done" });
  lock: ScheduledJob["lock"] = async () => ({ signal: new AbortController().signal, release: async () => undefined });

  constructor(start: string) {
    this.clock = new SimulatedClock(at(start));
  }

  async start(when: Partial<Schedule>, random = 0): Promise<void> {
    const job: ScheduledJob = {
      name: "nightly",
      when: { schedule: "0 3 * * *", timezone: "UTC", jitter: 0, runOnStart: false, catchUp: true, ...when },
      lock: () => this.lock(),
      run: async ({ signal }) => {
        this.began.push(iso(this.clock.now()));
        const aborted = new Promise<JobOutcome>((_, reject) =>
          signal.addEventListener("abort", () => reject(signal.reason), { once: true }),
        );
        return Promise.race([this.outcome(), aborted]);
      },
    };
    const { clock, history } = this;
    this.scheduler = new Scheduler({ jobs: [job], history, clock, log: QUIET, random: () => random, onRun: (run) => this.runs.push(run) });
    await this.scheduler.start();
  }
}

describe("the scheduler", () => {
  let night: Night;
  const make = (start: string): Night => {
    night = new Night(start);
    return night;
  };
  beforeEach(() => void make("2026-11-01T00:00:00Z"));
  afterEach(() => night.scheduler?.stop());

  it("runs each day, and remembers each run", async () => {
    await night.start({});
    await night.clock.advance(3 * DAY);
    expect(night.began).toEqual(["2026-11-01T03:00", "2026-11-02T03:00", "2026-11-03T03:00"]);
    const remembered = await night.history.list("nightly");
    expect(remembered.map(({ trigger, exitCode, summary }) => [trigger, exitCode, summary])).toEqual(
      Array(3).fill(["schedule", 0, "done"]),
    );
    expect(lastSuccess(remembered)?.endedMs).toBe(at("2026-11-03T03:00:00Z"));
  });

  it.each([
    // The clock goes from 2:00 to 3:00 on 8 March: 2:30 does not exist; it runs once all the same.
    ["2026-03-07T12:00:00Z", "30 2 * * *", ["2026-03-08T08:00", "2026-03-09T07:30"]],
    // The clock goes from 2:00 back to 1:00 on 1 November: 1:30 comes twice and counts once.
    ["2026-10-31T12:00:00Z", "30 1 * * *", ["2026-11-01T06:30", "2026-11-02T07:30"]],
    ["2026-10-31T12:00:00Z", "0 3 * * *", ["2026-11-01T09:00", "2026-11-02T09:00"]],
  ])("follows daylight saving in Chicago from %s on: %s", async (start, schedule, expected) => {
    make(start);
    await night.start({ schedule, timezone: "America/Chicago" });
    await night.clock.advance(2 * DAY);
    expect(night.began).toEqual(expected);
  });

  it("begins later by chance, within the jitter", async () => {
    await night.start({ jitter: HOUR }, 0.5);
    await night.clock.advance(2 * DAY);
    expect(night.began).toEqual(["2026-11-01T03:30", "2026-11-02T03:30"]);
  });

  it("runs at the start where told so", async () => {
    await night.start({ runOnStart: true, schedule: undefined });
    await night.clock.advance(DAY);
    expect(night.began).toEqual(["2026-11-01T00:00"]);
    expect(night.runs[0]?.trigger).toBe("start");
  });

  it("makes up once for runs that were missed, and not where told so", async () => {
    const past = {
      job: "nightly",
      trigger: "schedule",
      exitCode: 0,
      summary: "",
      startedMs: at("2026-10-20T03:00:00Z"),
      endedMs: 0,
    } as const;
    await night.history.add(past);
    await night.start({ catchUp: false });
    await night.clock.advance(HOUR);
    expect(night.began).toEqual([]);
    await night.scheduler?.stop();
    await night.start({});
    await night.clock.advance(HOUR);
    expect(night.began).toEqual(["2026-11-01T01:00"]);
    expect(night.runs[0]?.trigger).toBe("missed");
    await night.scheduler?.stop();
    await night.start({});
    await night.clock.advance(1000);
    expect(night.began).toHaveLength(1);
  });

  it("does not begin a job that still runs", async () => {
    let finish: (outcome: JobOutcome) => void = () => undefined;
    night.outcome = () => new Promise((resolve) => (finish = resolve));
    await night.start({});
    await night.clock.advance(2 * DAY);
    expect(night.began).toHaveLength(1);
    expect(night.runs).toMatchObject([{ summary: "the run before has not ended yet" }]);
    expect(night.runs[0]).not.toHaveProperty("exitCode");
    finish({ exitCode: 2, summary: "late" });
    await night.clock.advance(DAY);
    expect(night.runs.map(({ summary }) => summary)).toEqual(["the run before has not ended yet", "late"]);
    expect(night.began).toHaveLength(2);
  });

  it("counts a run that another host holds up as skipped, and a failure as failed", async () => {
    night.lock = async () => Promise.reject(new LockedError("nightly is already running on other"));
    await night.start({});
    await night.clock.advance(DAY);
    night.lock = async () => ({ signal: new AbortController().signal, release: async () => undefined });
    night.outcome = () => Promise.reject(new Error("the store is away"));
    await night.clock.advance(DAY);
    expect(night.runs).toMatchObject([{ summary: "nightly is already running on other" }, { exitCode: 1, summary: "the store is away" }]);
    expect(night.began).toHaveLength(1);
    expect(lastSuccess(await night.history.list("nightly"))).toBeUndefined();
  });

  it("ends the run under way when it stops", async () => {
    night.outcome = () => new Promise(() => undefined);
    await night.start({});
    await night.clock.advance(4 * HOUR);
    await night.scheduler?.stop();
    expect(night.runs).toMatchObject([{ exitCode: 1, summary: "the gateway stops" }]);
    await night.clock.advance(5 * DAY);
    expect(night.began).toHaveLength(1);
  });

  it("lets a run come to its end when it retires", async () => {
    let finish: (outcome: JobOutcome) => void = () => undefined;
    night.outcome = () => new Promise((resolve) => (finish = resolve));
    await night.start({});
    await night.clock.advance(4 * HOUR);
    night.scheduler?.retire();
    expect(night.scheduler?.isRunning).toBe(true);
    finish({ exitCode: 0, summary: "whole" });
    await night.clock.advance(5 * DAY);
    expect(night.runs).toMatchObject([{ exitCode: 0, summary: "whole" }]);
  });

  it("knows no next run of a job without a schedule", () => {
    expect(nextRunMs({ schedule: undefined, timezone: "UTC" }, 0)).toBeUndefined();
    expect(nextRunMs({ schedule: "0 3 * * 0", timezone: "UTC" }, at("2026-11-23T00:00:00Z"))).toBe(at("2026-11-29T03:00:00Z"));
  });
});

describe("the history", () => {
  it("keeps the last runs, and passes over half a line", async () => {
    const folder = mkdtempSync(join(tmpdir(), "history-"));
    const history = new JobHistory(folder);
    const run = (startedMs: number): RunRecord => ({
      job: "a/b",
      trigger: "command",
      startedMs,
      endedMs: startedMs,
      exitCode: 0,
      summary: "",
    });
    for (let i = 0; i < 450; i++) await history.add(run(i));
    const [file] = readdirSync(join(folder, "jobs"));
    appendFileSync(join(folder, "jobs", file ?? ""), '{"job":"a/b","startedMs":');
    const runs = await history.list("a/b");
    expect(runs.at(-1)?.startedMs).toBe(449);
    expect(runs.length).toBeGreaterThanOrEqual(99);
    expect(await history.list("other")).toEqual([]);
    rmSync(folder, { recursive: true });
  });
});

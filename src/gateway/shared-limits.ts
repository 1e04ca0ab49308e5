/**
 * What a worker tells its supervisor, and is told, so that limits hold for all workers together: how busy it is, memory,
 * bandwidth of users. Knows no sessions.
 */
import { performance } from "node:perf_hooks";
import type { ByteBudget } from "../byte-budget.ts";
import type { SupervisorLink } from "./supervisor-link.ts";
import type { UserRates } from "./throttled-channel.ts";

const TICK_MS = 100;
/** The event loop is judged this often. */
const BUSY_TICKS = 5;
const BUSY_STEP = 0.1;
/** Whoever holds more than this share of its memory asks for more before anybody has to wait. */
const SHORT_SHARE = 1 / 4;

/** What is reported. */
export interface SharedLimitsOptions {
  readonly link: SupervisorLink;
  readonly budget: ByteBudget;
  /** Connections so far, and now. */
  readonly connections: { readonly seen: number; readonly size: number };
  readonly rates: () => ReadonlyMap<string, UserRates>;
}

/** Begins to report. Returns the function that ends it. */
export function shareLimits({ link, budget, connections, rates }: SharedLimitsOptions): () => void {
  link.handle({
    budget: ({ limit }) => budget.resize(limit),
    rates: ({ user, aheadMs }) => {
      const known = rates().get(user);
      known?.up?.waitFor(aheadMs.up);
      known?.down?.waitFor(aheadMs.down);
    },
  });
  let ticks = 0;
  let utilization = performance.eventLoopUtilization();
  let reported = { share: 0, seen: 0 };
  let wasShort = false;
  const reportBusy = (): void => {
    const now = performance.eventLoopUtilization();
    const share = performance.eventLoopUtilization(now, utilization).utilization;
    utilization = now;
    if (Math.abs(share - reported.share) < BUSY_STEP && reported.seen === connections.seen) return;
    reported = { share, seen: connections.seen };
    link.send({ type: "busy", share });
  };
  const reportMemory = (): void => {
    const isShort = budget.underPressure || budget.used > budget.limit * SHORT_SHARE;
    if (isShort || wasShort) link.send({ type: "budget", used: budget.used, isShort });
    wasShort = isShort;
  };
  const timer = setInterval(() => {
    if (++ticks % BUSY_TICKS === 0) reportBusy();
    reportMemory();
    for (const [user, { up, down }] of rates()) {
      const bytes = { up: up?.takeSpent() ?? 0, down: down?.takeSpent() ?? 0 };
      if (bytes.up + bytes.down > 0)
        link.send({
          type: "spent",
          user,
          rates: { ...(up && { up: up.bytesPerSecond }), ...(down && { down: down.bytesPerSecond }) },
          bytes,
        });
    }
  }, TICK_MS);
  timer.unref();
  const endPressure = budget.onPressure(reportMemory);
  return () => {
    clearInterval(timer);
    endPressure();
  };
}

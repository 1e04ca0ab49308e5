/** What a piece of work costs the server under test: time, CPU, memory, requests; and whether others disturbed. */
import { cpus } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { Peer } from "./peers/peer.ts";
import { cpuSeconds, machineBusySeconds, memory } from "./process-figures.ts";

/** What was measured. */
export interface Figures<T = unknown> {
  readonly result: T;
  /** Wall time of the work. */
  readonly seconds: number;
  /** CPU of the server's processes. */
  readonly cpuSeconds: number;
  /** Largest sums seen over the server's processes, and the proportional one before the work. */
  readonly peakPssMiB: number;
  readonly peakRssMiB: number;
  readonly restMiB: number;
  /** Requests to the store by operation; empty without a store. */
  readonly requests: Readonly<Record<string, number>>;
  /** Most unanswered requests at one moment. */
  readonly mostInFlight: number;
  /** True if processes outside the bench used more than a tenth of the machine. */
  readonly isDisturbed: boolean;
}

/** Share of one core that looking at memory may cost. */
const SAMPLING_SHARE = 0.04;
const MIN_INTERVAL_MS = 50;
const DISTURBED_SHARE = 0.1;

/** Runs `work` and measures the peer meanwhile. */
export async function measure<T>(peer: Peer, work: () => Promise<T>): Promise<Figures<T>> {
  const pids = peer.pids();
  const rest = memory(pids);
  let [pss, rss] = [rest.pssMiB, rest.rssMiB];
  await peer.proxy?.reset();
  const stop = new AbortController();
  const sampling = sample(() => {
    const now = memory(pids);
    pss = Math.max(pss, now.pssMiB);
    rss = Math.max(rss, now.rssMiB);
  }, stop.signal);
  const [cpu, own, busy] = [cpuSeconds(pids), cpuSeconds([process.pid]), machineBusySeconds()];
  const began = performance.now();
  try {
    const result = await work();
    const seconds = (performance.now() - began) / 1000;
    const used = cpuSeconds(pids) - cpu;
    const foreign = machineBusySeconds() - busy - (cpuSeconds([process.pid]) - own);
    const counts = await peer.proxy?.counts();
    return {
      result,
      seconds,
      cpuSeconds: used,
      peakPssMiB: pss,
      peakRssMiB: rss,
      restMiB: rest.pssMiB,
      requests: counts?.operations ?? {},
      mostInFlight: counts?.mostInFlight ?? 0,
      isDisturbed: foreign > DISTURBED_SHARE * cpus().length * Math.max(seconds, 1),
    };
  } finally {
    stop.abort();
    await sampling;
  }
}

async function sample(look: () => void, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const began = performance.now();
    look();
    const pauseMs = Math.max(MIN_INTERVAL_MS, (performance.now() - began) / SAMPLING_SHARE);
    await sleep(pauseMs, undefined, { signal }).catch(() => undefined); // aborted: the work has ended
  }
}

/** How many worker processes a machine gets when the configuration leaves it to us. Starts none. */
import { readFileSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import type { ServerConfig } from "../config/gateway-config.ts";

const MIB = 1024 * 1024;
/** What a worker needs beside the memory that clients make it hold. */
const WORKER_BYTES = 96 * MIB;
/** A worker with less of the memory budget than this would slow single transfers down. */
const MIN_BUDGET_SHARE = 32 * MIB;
const MAX_WORKERS = 64;

/** What counts of a machine or container. */
export interface MachineSize {
  readonly cores: number;
  readonly memoryBytes: number;
}

/**
 * Cores that are left to the kernel, the supervisor and what else runs: on two cores one worker moved more for eight
 * clients than two did (docs/adr/0002-processes.md).
 */
const SPARE_CORES = 1;

/** The number of workers for `server.workers`: at least 1. */
export function workerCount({ workers, memoryBudget }: Pick<ServerConfig, "workers" | "memoryBudget">, machine = machineSize()): number {
  if (workers !== "auto") return workers;
  const byMemory = Math.floor((machine.memoryBytes - memoryBudget) / WORKER_BYTES);
  const byBudget = Math.floor(memoryBudget / MIN_BUDGET_SHARE);
  return Math.max(1, Math.min(machine.cores - SPARE_CORES, byMemory, byBudget, MAX_WORKERS));
}

/** Cores and memory that this process may use. */
export function machineSize(): MachineSize {
  const limit = process.constrainedMemory();
  const memoryBytes = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  return { cores: Math.max(1, Math.min(availableParallelism(), cpuQuota(readCpuMax()))), memoryBytes };
}

/** Cores of a container's quota in the form of cgroup v2's `cpu.max`, such as `150000 100000`; infinite without one. */
export function cpuQuota(cpuMax: string): number {
  const [quota, period] = cpuMax.trim().split(" ").map(Number);
  return quota !== undefined && period !== undefined && quota > 0 && period > 0 ? Math.ceil(quota / period) : Number.POSITIVE_INFINITY;
}

/** Node 20's `availableParallelism` does not know of quotas. */
function readCpuMax(): string {
  try {
    return readFileSync("/sys/fs/cgroup/cpu.max", "utf8");
  } catch {
    return ""; // another system, or no limits
  }
}

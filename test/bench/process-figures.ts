/** CPU time and memory of processes and all their descendants, from Linux' /proc (proc(5)). */
import { readdirSync, readFileSync } from "node:fs";

const TICKS_PER_SECOND = 100;
const KIB_PER_MIB = 1024;

interface Row {
  readonly pid: number;
  readonly parent: number;
  readonly cpuSeconds: number;
}

/** Memory of a process tree at one moment, in MiB. */
export interface Memory {
  /** Proportional set size: pages that processes share count once. */
  readonly pssMiB: number;
  /** Sum of the resident sets, shared pages as often as they are mapped. */
  readonly rssMiB: number;
}

function readOrNothing(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH")) return ""; // it ended meanwhile
    throw error;
  }
}

function rows(): Row[] {
  const found: Row[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readOrNothing(`/proc/${name}/stat`);
    if (stat === "") continue;
    // Fields after the name in parentheses: 1 = ppid, 11 to 14 = utime stime cutime cstime.
    const fields = stat
      .slice(stat.lastIndexOf(")") + 2)
      .split(" ")
      .map(Number);
    const cpu = [11, 12, 13, 14].reduce((sum, index) => sum + (fields[index] ?? 0), 0);
    found.push({ pid: Number(name), parent: fields[1] ?? 0, cpuSeconds: cpu / TICKS_PER_SECOND });
  }
  return found;
}

function treeOf(pids: readonly number[]): Row[] {
  const all = rows();
  const tree = new Set(pids);
  for (let before = 0; before !== tree.size; ) {
    before = tree.size;
    for (const row of all) if (tree.has(row.parent)) tree.add(row.pid);
  }
  return all.filter((row) => tree.has(row.pid));
}

/** Seconds of CPU that the processes, their descendants, and those of them that ended have used. */
export function cpuSeconds(pids: readonly number[]): number {
  return treeOf(pids).reduce((sum, row) => sum + row.cpuSeconds, 0);
}

/** Memory of the processes and their descendants now. */
export function memory(pids: readonly number[]): Memory {
  let [pss, rss] = [0, 0];
  for (const { pid } of treeOf(pids)) {
    const rollup = readOrNothing(`/proc/${pid}/smaps_rollup`);
    pss += Number(/^Pss:\s+(\d+) kB/m.exec(rollup)?.[1] ?? 0);
    rss += Number(/^Rss:\s+(\d+) kB/m.exec(rollup)?.[1] ?? 0);
  }
  return { pssMiB: pss / KIB_PER_MIB, rssMiB: rss / KIB_PER_MIB };
}

/** Seconds that all CPUs of the machine together were busy since it started, time stolen by its host included. */
export function machineBusySeconds(): number {
  const [line = ""] = readFileSync("/proc/stat", "utf8").split("\n");
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line.split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND;
}

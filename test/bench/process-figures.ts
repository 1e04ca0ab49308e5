/** CPU time and memory of a process and all its descendants, from Linux' /proc. */
import { readdirSync, readFileSync } from "node:fs";

const TICKS_PER_SECOND = 100;

interface Row {
  readonly pid: number;
  readonly parent: number;
  readonly cpuSeconds: number;
}

function rows(): Row[] {
  const found: Row[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    let stat: string;
    try {
      stat = readFileSync(`/proc/${name}/stat`, "utf8");
    } catch {
      continue; // It ended between the listing and the look.
    }
    // Fields after the name in parentheses (proc(5)): 1 = ppid, 11 to 14 = utime stime cutime cstime.
    const fields = stat
      .slice(stat.lastIndexOf(")") + 2)
      .split(" ")
      .map(Number);
    const cpu = [11, 12, 13, 14].reduce((sum, index) => sum + (fields[index] ?? 0), 0);
    found.push({ pid: Number(name), parent: fields[1] ?? 0, cpuSeconds: cpu / TICKS_PER_SECOND });
  }
  return found;
}

/** Seconds of CPU that the process `pid`, its children, and those that ended have used. */
export function cpuSeconds(pid: number): number {
  const all = rows();
  const tree = new Set([pid]);
  for (let before = 0; before !== tree.size; ) {
    before = tree.size;
    for (const row of all) if (tree.has(row.parent)) tree.add(row.pid);
  }
  return all.filter((row) => tree.has(row.pid)).reduce((sum, row) => sum + row.cpuSeconds, 0);
}

/** Largest resident memory of the process itself so far, in MiB. */
export function peakMiB(pid: number): number {
  const line = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Math.round(Number(line?.[1] ?? 0) / 1024);
}

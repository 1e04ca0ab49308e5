/** Machines with little of something: small disks and memory limits, where this user may make them (root, usually). */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, statfsSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A small disk. */
export interface SmallDisk {
  /** Its folder. */
  readonly value: string;
  remove(): void;
}

/** A memory limit. */
export interface MemoryLimit {
  /** Command that starts a program under it. */
  readonly value: readonly string[];
  /** Waits until the last process under it has gone. */
  remove(): Promise<void>;
  peakMiB(): number;
}

/** A file system of so many MiB, as a folder; undefined where this user may not mount one. */
export function smallDisk(mebibytes: number): SmallDisk | undefined {
  const folder = mkdtempSync(join(tmpdir(), "small-disk-"));
  if (spawnSync("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m`, "tmpfs", folder]).status !== 0) {
    rmdirSync(folder);
    return undefined;
  }
  const remove = () => {
    spawnSync("umount", ["-l", folder]);
    rmdirSync(folder);
  };
  return { value: folder, remove };
}

/** Whether `smallDisk` works here; prints so where it does not. */
export function hasSmallDisks(): boolean {
  const disk = smallDisk(1);
  disk?.remove();
  if (!disk) process.stdout.write("may not mount, tests skipped: full disks\n");
  return disk !== undefined;
}

/** Fills a file system to its last byte; returns the function that frees it again. */
export function fillDisk(folder: string): () => void {
  const file = join(folder, "filler");
  const { bavail, bsize } = statfsSync(folder);
  writeFileSync(file, Buffer.alloc(bavail * bsize, 1));
  return () => unlinkSync(file);
}

const CONTROLLER = "/sys/fs/cgroup/memory";

/** A launcher whose process may use so many MiB, after which the kernel kills it; undefined where there is no cgroup v1 to make. */
export function memoryLimit(mebibytes: number): MemoryLimit | undefined {
  const group = join(CONTROLLER, `gateway-test-${process.pid}-${mebibytes}`);
  try {
    mkdirSync(group);
    writeFileSync(join(group, "memory.limit_in_bytes"), String(mebibytes * 1024 * 1024));
  } catch (error) {
    process.stdout.write(`no memory limits here, tests skipped: ${String(error)}\n`);
    return undefined;
  }
  return {
    value: ["sh", "-c", `echo $$ > ${join(group, "cgroup.procs")} && exec "$@"`, "sh"],
    remove: () => removeGroup(group),
    peakMiB: () => Number(readFileSync(join(group, "memory.max_usage_in_bytes"), "utf8")) / 1024 / 1024,
  };
}

const PATIENCE_MS = 10_000;

/** Removes a group once the last process in it has gone: workers outlive a killed supervisor for a moment. */
async function removeGroup(group: string): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (readFileSync(join(group, "cgroup.procs"), "utf8") !== "" && performance.now() < end) await sleep(50); // the kernel tells nobody
  rmdirSync(group);
}

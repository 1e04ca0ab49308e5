/** A bucket mounted by s3fs, with s3fs' caches at their defaults. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { BucketPlace } from "../storage.ts";

/**
 * Mounts the place at `home`; `dir` takes the secret and temporary files, `more` are options of s3fs. Rejects if nothing is
 * mounted after 20 s.
 */
export async function mountS3fs(
  program: string,
  dir: string,
  place: BucketPlace,
  home: string,
  more: readonly string[] = [],
): Promise<ChildProcess> {
  const { accessKeyId, secretAccessKey } = place.credentials;
  const secret = join(dir, "s3fs.passwd");
  writeFileSync(secret, `${accessKeyId}:${secretAccessKey}`, { mode: 0o600 });
  mkdirSync(join(dir, "tmp"), { recursive: true });
  const options = [
    `url=${place.endpoint}`,
    "use_path_request_style",
    `endpoint=${place.region}`,
    `passwd_file=${secret}`,
    `tmpdir=${join(dir, "tmp")}`,
    ...more,
  ];
  const source = `${place.bucket}:/${place.prefix.replace(/\/$/, "")}`;
  const child = spawn(program, [source, home, "-f", ...options.flatMap((option) => ["-o", option])], { stdio: "ignore" });
  for (let tries = 0; tries < 400; tries++) {
    if (isMounted(home)) return child;
    if (child.exitCode !== null) break;
    await sleep(50); // another program gives no event to wait for
  }
  throw new Error("s3fs did not mount");
}

/** Whether something is mounted at the folder, also if its server is gone. */
export function isMounted(folder: string): boolean {
  return readFileSync("/proc/self/mounts", "utf8").includes(` ${folder} `);
}

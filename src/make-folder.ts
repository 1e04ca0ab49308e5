/** Makes folders on the local disk. */
import { mkdir, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

/**
 * Makes `localPath` and what is missing above it, each with `mode`; a folder that is there stays as it is. Rejects with
 * the system's error. Node's own recursive `mkdir` (20.20, 24.11) never returns where the system answers ENOENT below a
 * folder that exists, as `/proc` does; test/unit/make-folder.test.ts shows it.
 */
export async function makeFolder(localPath: string, mode = 0o777): Promise<void> {
  const missing: string[] = [];
  for (let folder = resolve(localPath); !(await exists(folder)); folder = dirname(folder)) missing.unshift(folder);
  for (const folder of missing) {
    try {
      await mkdir(folder, { mode });
    } catch (error) {
      // Another process made it meanwhile.
      if (!hasCode(error, "EEXIST")) throw error;
    }
  }
}

async function exists(folder: string): Promise<boolean> {
  try {
    await stat(folder);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}

/**
 * Changes a configuration file safely: one writer at a time, checked before it is written, replaced in one step. Knows
 * nothing of what is changed.
 */
import { open, readFile, realpath, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type LoadedConfig, loadConfig } from "../config/load.ts";

const LOCK_WAIT_MS = 10_000;
const LOCK_RETRY_MS = 50;

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

async function holderIsGone(lockFile: string): Promise<boolean> {
  try {
    const pid = Number(await readFile(lockFile, "utf8"));
    if (!Number.isSafeInteger(pid) || pid <= 0) return Date.now() - (await stat(lockFile)).mtimeMs > LOCK_WAIT_MS;
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return hasCode(error, "ESRCH");
  }
}

/** Runs `action` while this process holds the lock beside `file`. Rejects if another one keeps it for 10 seconds. */
async function withLock<T>(file: string, action: () => Promise<T>): Promise<T> {
  const lockFile = `${file}.lock`;
  const deadline = Date.now() + LOCK_WAIT_MS;
  for (;;) {
    try {
      await writeFile(lockFile, String(process.pid), { flag: "wx", mode: 0o600 });
      break;
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      if (await holderIsGone(lockFile)) await rm(lockFile, { force: true });
      else if (Date.now() > deadline) throw new Error(`${lockFile} is held by another process: wait for it, or remove the file`);
      else await delay(LOCK_RETRY_MS);
    }
  }
  try {
    return await action();
  } finally {
    await rm(lockFile, { force: true });
  }
}

async function replaceFile(file: string, text: string): Promise<void> {
  const { mode, uid, gid } = await stat(file);
  const staged = join(dirname(file), `.${process.pid}.${Date.now()}.yaml.new`);
  try {
    const handle = await open(staged, "wx", mode & 0o777);
    try {
      await handle.writeFile(text);
      if (process.getuid?.() === 0) await handle.chown(uid, gid);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(staged, file);
  } catch (error) {
    await rm(staged, { force: true });
    throw error;
  }
}

/**
 * Replaces `target`, the main file `main` or one of its drop-ins, by what `edit` makes of its text, if the configuration
 * is then still good. Rejects with a ConfigError otherwise and leaves the file alone. Returns the new configuration.
 */
export async function editConfigFile(main: string, target: string, edit: (text: string) => string): Promise<LoadedConfig> {
  const localPath = await realpath(target);
  return withLock(localPath, async () => {
    const text = edit(await readFile(localPath, "utf8"));
    const loaded = await loadConfig(main, { replacements: new Map([[target, text]]) });
    await replaceFile(localPath, text);
    return loaded;
  });
}

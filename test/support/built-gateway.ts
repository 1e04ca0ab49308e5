/** Makes sure that `dist/` holds what `src/` says, once for all test files that run at the same time. */
import { existsSync, mkdirSync, readdirSync, rmdirSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { run } from "./processes.ts";

/** The project's folder. */
export const PROJECT = fileURLToPath(new URL("../..", import.meta.url));

const BUILT = join(PROJECT, "dist/main.js");

/** The program under test: what `npm run build` makes, or `$GATEWAY_MAIN`, which is then not built. */
export const MAIN = process.env.GATEWAY_MAIN ?? BUILT;

/** Builds if any source is newer than its output. Two test files wait for each other. */
export async function ensureBuilt(): Promise<void> {
  if (MAIN !== BUILT || isFresh()) return;
  const lock = join(tmpdir(), `sftp-s3-gateway-build-${process.getuid?.() ?? 0}-${PROJECT.replaceAll("/", "-")}`);
  const end = Date.now() + 60_000;
  while (!tryLock(lock)) {
    await sleep(50); // another process holds the lock; a folder gives no event
    if (isFresh()) return;
    if (Date.now() > end) throw new Error(`${lock} is held by a build that does not end`);
  }
  try {
    if (isFresh()) return;
    const built = await run("npx", ["tsc", "-p", "tsconfig.json"], { cwd: PROJECT });
    if (built.code !== 0) process.stderr.write(`the build has errors:\n${built.stdout}\n`);
    if (!existsSync(BUILT)) throw new Error("the build did not produce dist/main.js");
  } finally {
    rmdirSync(lock);
  }
}

function isFresh(): boolean {
  return sources().every((source) => {
    const output = join(PROJECT, "dist", source.slice("src/".length).replace(/\.ts$/, ".js"));
    return existsSync(output) && statSync(output).mtimeMs >= statSync(join(PROJECT, source)).mtimeMs;
  });
}

function sources(): string[] {
  return readdirSync(join(PROJECT, "src"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `src/${name}`);
}

function tryLock(lock: string): boolean {
  try {
    mkdirSync(lock);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
}

/** Foreign programs that tests need: under CI=true a missing one fails the tests, elsewhere it skips them by name. */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** Where a program is, or undefined; `/usr/sbin` is searched too, since ordinary users do not have it on their PATH. */
export function findTool(name: string): string | undefined {
  return findTools(name)[0];
}

/** All places where a program is, in the order of the PATH: one may be an older version than the other. */
export function findTools(name: string): string[] {
  const places = new Set([...(process.env.PATH ?? "").split(delimiter), "/usr/bin", "/usr/sbin", "/sbin"]);
  return [...places].map((place) => join(place, name)).filter(isExecutable);
}

/**
 * True if all the programs are here. Otherwise prints the missing ones and returns false (for `describe.skipIf`), or
 * throws under CI=true.
 */
export function requireTool(...names: readonly string[]): boolean {
  const missing = names.filter((name) => findTool(name) === undefined);
  if (missing.length === 0) return true;
  if (process.env.CI === "true") throw new Error(`not installed: ${missing.join(", ")} (.ci/run installs what the tests need)`);
  process.stdout.write(`not installed, tests skipped: ${missing.join(", ")}\n`);
  return false;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error) return false;
    throw error;
  }
}

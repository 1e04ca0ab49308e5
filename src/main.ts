#!/usr/bin/env node
/** The program's start: hands the command line on and ends with its exit code. */
import { parseArgs } from "node:util";

/** After a command is done, something left open may keep the process alive no longer than this. */
const LINGER_MS = 3_000;

// The AWS SDK warns of its own next versions on Node 20; the version that runs is pinned in package.json.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";

// Whoever read our output may be gone before us; that is no reason to end.
process.stdout.on("error", () => undefined);
process.stderr.on("error", () => undefined);

/** The options of a plain `serve`; undefined for everything that the command line's own reader has to look at. */
function plainServe(args: readonly string[]): { config?: string | undefined } | undefined {
  if (args[0] !== "serve") return undefined;
  try {
    return parseArgs({ args: args.slice(1), options: { config: { type: "string" } } }).values;
  } catch {
    return undefined; // it explains what is wrong
  }
}

async function run(args: readonly string[]): Promise<number> {
  const options = plainServe(args);
  // The supervisor lives long and starts fast without the other commands.
  if (options) return (await import("./supervisor/serve.ts")).runServe(options);
  return (await import("./cli/program.ts")).runCommandLine(args);
}

process.exitCode = await run(process.argv.slice(2));
setTimeout(() => process.exit(), LINGER_MS).unref();

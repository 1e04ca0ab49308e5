#!/usr/bin/env node
/** The program's start: hands the command line on and ends with its exit code. */
import { runCommandLine } from "./cli/program.ts";

/** After a command is done, something left open may keep the process alive no longer than this. */
const LINGER_MS = 3_000;

// The AWS SDK warns of its own next versions on Node 20; the version that runs is pinned in package.json.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";

// Whoever read our output may be gone before us; that is no reason to end.
process.stdout.on("error", () => undefined);
process.stderr.on("error", () => undefined);

process.exitCode = await runCommandLine(process.argv.slice(2));
setTimeout(() => process.exit(), LINGER_MS).unref();

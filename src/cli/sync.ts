/** `sync`: `aws s3 sync` with guards; its options, lines and exit codes. */
import type { Command } from "commander";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { GatewayConfig } from "../config/gateway-config.ts";
import { loadConfig } from "../config/load.ts";
import { ConfigError } from "../errors.ts";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";
import { preferSmallHeap } from "./small-heap.ts";
import type { Terminal } from "./terminal.ts";

const EXIT_USAGE = 252;
const EXIT_CONFIG = 253;
const EXIT_OTHER = 255;

const HELP = `
SOURCE and DESTINATION: s3://bucket/prefix, file:///folder or a path, a user's or a region's name.
One region's name alone copies its bucket to its backup; --all does so for every region that has one.

As aws s3 sync has them:
  --size-only                copy where sizes differ (default: or where the source is newer)
  --exact-timestamps         from a bucket to a folder: also where times differ in either direction
  --delete                   delete what is on the destination only, after all copies and if none failed
  --exclude P, --include P   shell patterns; the last that matches decides
  --dryrun                   say what would be done
  --only-show-errors, --quiet, --no-progress
  --region R, --source-region R, --endpoint-url URL, --profile P
  --storage-class C, --acl A, --sse [AES256|aws:kms], --sse-kms-key-id K
  --force-glacier-transfer, --ignore-glacier-warnings

Our own:
  --max-delete N|P%|P%,N     most objects that --delete may delete (default 10%,1000)
  --force                    delete whatever --max-delete says, even if the source is empty
  --etag                     copy where ETags differ, or sizes; of objects stored in parts it remembers which belong together
  --journal FILE             where --etag remembers (default: a file in the state folder)
  --markers                  copy zero-byte directory markers, too
  --include-partial          copy unfinished uploads (*.filepart), too
  --fast-list                list long prefixes of numbered names as several key ranges at once: 5 % more requests
  --json                     one JSON object a line on standard output
  --report FILE              the same in a file, beside the ordinary output
  --config FILE              configuration file (default: ${DEFAULT_CONFIG_FILE} if it is there)

Exit codes: 0 done, 1 something failed, 2 done with warnings, 130 interrupted, 252 the command line makes no sense,
253 the configuration cannot be used, 255 a local path does not exist.`;

async function findConfig(file: string | undefined): Promise<GatewayConfig | undefined> {
  if (file === undefined && !existsSync(DEFAULT_CONFIG_FILE)) return undefined;
  return (await loadConfig(resolve(file ?? DEFAULT_CONFIG_FILE))).config;
}

/** A line that overwrites itself, where somebody watches. */
function progressLine(): ((line: string) => void) | undefined {
  if (!process.stdout.isTTY) return undefined;
  return (line) => process.stdout.write(`\r${line.slice(0, (process.stdout.columns ?? 80) - 1)}\x1b[K`);
}

/** Prints full lines over what is left of the progress line. */
function overProgress(terminal: Terminal, progress: ((line: string) => void) | undefined): Terminal {
  if (!progress) return terminal;
  const clear = (): boolean => process.stdout.write("\r\x1b[K");
  return {
    print: (line) => {
      clear();
      terminal.print(line);
    },
    printError: (line) => {
      clear();
      terminal.printError(line);
    },
  };
}

async function sync(words: readonly string[], terminal: Terminal): Promise<number> {
  preferSmallHeap();
  // Loaded here: the other commands need none of it and start in half the time.
  const { parseSyncArguments, SyncUsageError } = await import("../jobs/sync/sync-options.ts");
  const { MissingPathError } = await import("../jobs/sync/sync-places.ts");
  const { exitCodeOf, runSyncArguments } = await import("../jobs/sync/sync-job.ts");
  const interrupt = new AbortController();
  const onSignal = (): void => interrupt.abort();
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  try {
    const args = parseSyncArguments(words);
    const config = await findConfig(args.configFile);
    const progress = progressLine();
    const context = { config, signal: interrupt.signal, terminal: { ...overProgress(terminal, progress), progress } };
    return exitCodeOf(await runSyncArguments(args, context));
  } catch (error) {
    terminal.printError(error instanceof Error ? error.message : String(error));
    if (error instanceof SyncUsageError) return EXIT_USAGE;
    if (error instanceof ConfigError) return EXIT_CONFIG;
    return error instanceof MissingPathError ? EXIT_OTHER : 1;
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}

/** Adds `sync` to the program; `exit` takes the exit code. */
export function registerSync(program: Command, terminal: Terminal, exit: (code: number) => void): void {
  program
    .command("sync")
    .description("copy what is new or changed from one bucket or folder to another, as aws s3 sync does")
    .usage("SOURCE DESTINATION [options] | REGION [options] | --all [options]")
    .argument("[words...]")
    .allowUnknownOption()
    .addHelpText("after", HELP)
    // Its own parser reads the options: their order counts, and their exit code is aws-cli's.
    .action(async (_words: string[], _options: object, command: Command) => exit(await sync(command.args, terminal)));
}

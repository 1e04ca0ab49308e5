/**
 * Syncs as they are asked for: by a command line or by `jobs:` in the configuration. Opens both sides, runs, prints, closes.
 * Knows no clock and no process.
 */
import { createHash } from "node:crypto";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { GatewayConfig, JobConfig } from "../../config/gateway-config.ts";
import { formatStorageLocation } from "../../storage-location.ts";
import type { StoreLimits } from "../../objectstore/objectstore.ts";
import type { JobContext, JobKind, JobOutcome } from "../job.ts";
import { worstExitCode } from "../job.ts";
import { EtagJournal } from "./etag-journal.ts";
import { nameExcluder } from "./name-filter.ts";
import { runSync } from "./run-sync.ts";
import type { SyncSummary } from "./sync-events.ts";
import { parseSyncArguments, type SyncArguments } from "./sync-options.ts";
import { SyncOutput, summaryLine, type SyncTerminal } from "./sync-output.ts";
import { findPlace, meantBucket, openSide, refuseOverlap, regionPair, type SyncPlace } from "./sync-places.ts";
import { WorkQueue } from "./work-queue.ts";

/** Copies under way at once: at the start, and at most. One user's store takes 64 requests at a time. */
const FIRST_COPIES = 32;
const MOST_COPIES = 64;

/** What a sync needs besides its arguments. */
export interface SyncContext {
  readonly config: GatewayConfig | undefined;
  readonly terminal: SyncTerminal;
  readonly signal: AbortSignal;
  /** Limits of stores that differ from Amazon's. */
  readonly limits?: Partial<StoreLimits> | undefined;
  readonly onProgress?: ((summary: { readonly objects: number }) => void) | undefined;
}

interface Pair {
  readonly name: string | undefined;
  readonly source: SyncPlace;
  readonly destination: SyncPlace;
}

/**
 * Runs what the arguments say, one pair after the other, each whatever became of those before. Rejects with
 * `SyncUsageError` or `MissingPathError` where nothing was begun.
 */
export async function runSyncArguments(args: SyncArguments, context: SyncContext): Promise<SyncSummary[]> {
  const pairs = await pairsOf(args, context.config);
  for (const { source, destination } of pairs) refuseOverlap(source, destination, args.connection);
  const output = new SyncOutput(context.terminal, args);
  const summaries: SyncSummary[] = [];
  try {
    for (const pair of pairs) {
      if (summaries.length > 0 && context.signal.aborted) break;
      const summary = await runPair(pair, args, context, output);
      summaries.push(summary);
      output.summary(summary, pair.name);
      const hint = meantBucket(summary.fatal, [pair.source, pair.destination], context.config);
      if (hint !== undefined) output.note(hint);
    }
  } finally {
    await output.close();
  }
  return summaries;
}

async function pairsOf({ places, all }: SyncArguments, config: GatewayConfig | undefined): Promise<Pair[]> {
  if (all) {
    const regions = [...(config?.regions.values() ?? [])].filter(({ backup }) => backup !== undefined);
    return regions.map(({ name }) => ({ name, ...regionPair(name, config) }));
  }
  const [from = "", to] = places;
  if (to === undefined) return [{ name: undefined, ...regionPair(from, config) }];
  return [{ name: undefined, source: await findPlace(from, config), destination: await findPlace(to, config) }];
}

async function runPair(pair: Pair, args: SyncArguments, context: SyncContext, output: SyncOutput): Promise<SyncSummary> {
  const requests: Record<string, number> = {};
  const queue = new WorkQueue(FIRST_COPIES, MOST_COPIES);
  const { dryRun, connection: flags, storage } = args;
  const onRequest = (operation: string): void => {
    requests[operation] = (requests[operation] ?? 0) + 1;
  };
  const options = { flags, storage, dryRun, onRequest, onThrottle: () => queue.slowDown(), limits: context.limits };
  const source = await openSide(pair.source, { ...options, role: "source" });
  try {
    const destination = await openSide(pair.destination, { ...options, role: "destination" });
    const startedMs = performance.now();
    let journal: EtagJournal | undefined;
    let isWhole = false;
    try {
      journal = await openJournal(pair, args, context.config, output);
      const summary = await runSync({
        ...args,
        journal,
        source,
        destination,
        excluded: nameExcluder(args.filters, args.includePartial),
        queue,
        requests: () => ({ ...requests }),
        signal: context.signal,
        onEvent: (event) => output.event(event),
        onProgress: (counts) => {
          output.progress(counts, performance.now(), startedMs);
          context.onProgress?.({ objects: counts.scanned });
        },
      });
      isWhole = summary.fatal === undefined && !summary.interrupted;
      return summary;
    } finally {
      await journal?.finish(isWhole);
      await destination.store.close();
    }
  } finally {
    await source.store.close();
  }
}

/** The memory of `--etag`. Where its usual place cannot be used, the sync goes on without it and says so. */
async function openJournal(
  pair: Pair,
  args: SyncArguments,
  config: GatewayConfig | undefined,
  output: SyncOutput,
): Promise<EtagJournal | undefined> {
  if (args.compare !== "etag") return undefined;
  const path = journalPath(pair, args, config);
  try {
    return await EtagJournal.open(path, { readOnly: args.dryRun });
  } catch (error) {
    if (args.journal !== undefined) throw error;
    output.note(`--etag remembers nothing: ${error instanceof Error ? error.message : String(error)} (--journal FILE names another place)`);
    return undefined;
  }
}

/** Where the ETags of this pair are remembered: with the gateway's state, or in the home of whoever runs the command. */
function journalPath({ source, destination }: Pair, { journal }: SyncArguments, config: GatewayConfig | undefined): string {
  if (journal !== undefined) return resolve(journal);
  const state = config?.server.state ?? join(process.env.XDG_STATE_HOME ?? join(homedir(), ".local/state"), "sftp-s3-gateway");
  const places = [source, destination].map(({ location, connection }) => [formatStorageLocation(location), connection?.endpoint]);
  const name = createHash("sha256").update(JSON.stringify(places)).digest("hex").slice(0, 32);
  return join(state, "sync-journals", `${name}.jsonl`);
}

/** The worst of several syncs: interrupted over failed over warnings over clean. */
export function exitCodeOf(summaries: readonly SyncSummary[]): 0 | 1 | 2 | 130 {
  if (summaries.some(({ exitCode }) => exitCode === 130)) return 130;
  return worstExitCode(summaries.map(({ exitCode }) => (exitCode === 130 ? 1 : exitCode)));
}

/** A scheduled sync. */
export type SyncJobConfig = Extract<JobConfig, { readonly kind: "sync" }>;

/** The words a scheduled sync stands for: one list for each command line. */
export function jobCommandLines({ regions, source, destination, options }: SyncJobConfig): string[][] {
  if (source !== undefined && destination !== undefined) return [[source, destination, ...options]];
  return regions ? regions.map((region) => [`region:${region}`, ...options]) : [["--all", ...options]];
}

/** Runs `kind: sync` jobs of `config`; each line is logged. */
export function createSyncJob(config: GatewayConfig): JobKind<SyncJobConfig> {
  return {
    run: async (settings, context) => {
      const summaries: SyncSummary[] = [];
      for (const words of jobCommandLines(settings)) {
        summaries.push(...(await runSyncArguments(parseSyncArguments(words), jobContext(config, context))));
      }
      return outcomeOf(summaries);
    },
  };
}

function jobContext(config: GatewayConfig, { log, signal, onProgress }: JobContext): SyncContext {
  return {
    config,
    signal,
    terminal: { print: (line) => log.info({ line }, "sync"), printError: (line) => log.warn({ line }, "sync") },
    onProgress: ({ objects }) => onProgress?.({ done: objects, total: 0, unit: "objects", label: "sync" }),
  };
}

function outcomeOf(summaries: readonly SyncSummary[]): JobOutcome {
  const code = exitCodeOf(summaries);
  return {
    exitCode: code === 130 ? 1 : code,
    summary: summaries.map((summary) => summaryLine(summary)).join("; "),
    details: { syncs: summaries.map(({ fatal, ...counts }) => ({ ...counts, ...(fatal === undefined ? {} : { fatal: String(fatal) }) })) },
  };
}

/**
 * The penalties of addresses as the configuration wants them, kept in the state directory. Made once per node: by the
 * gateway's one process, or by the one that hands connections to the others.
 */
import type { ServerConfig } from "../config/gateway-config.ts";
import type { Logger } from "../log.ts";
import { makeFolder } from "../make-folder.ts";
import type { SourcePolicy } from "../ssh/admission.ts";
import { type PenaltyLimits, SourcePenalties } from "../ssh/source-penalties.ts";
import { PenaltyFile } from "../state/penalty-file.ts";

/** Penalties and their file; whoever opens them owes `close`. */
export interface OpenPenalties {
  readonly policy: SourcePolicy;
  /** Addresses that are refused now, for metrics. */
  readonly refusedCount: () => number;
  close(): Promise<void>;
}

/** Opens the penalties of a node; undefined if the configuration wants none. Rejects if the state directory cannot be made. */
export async function openPenalties({ penalties, state }: ServerConfig, log: Logger): Promise<OpenPenalties | undefined> {
  if (penalties === false) return undefined;
  await makeFolder(state, 0o700);
  const sources = new SourcePenalties(limitsOf(penalties));
  sources.onRefused = (source, forMs, kind) =>
    log.warn({ audit: true, remoteAddress: source, seconds: Math.ceil(forMs / 1000), reason: kind }, "address refused for its offences");
  const file = new PenaltyFile(state, sources, (error) => log.warn({ err: error }, "the file of penalties cannot be used"));
  return { policy: sources, refusedCount: () => sources.refusedCount, close: () => file.close() };
}

function limitsOf(penalties: Exclude<ServerConfig["penalties"], false>): PenaltyLimits {
  const { failedLogin, tooManyTries, violation, loginTimeout, threshold, max, knownFor, allow } = penalties;
  const costs = { "auth-failed": failedLogin, "too-many-tries": tooManyTries, violation, "login-timeout": loginTimeout };
  return { costs, threshold, max: Math.max(max, threshold), knownFor, allow };
}

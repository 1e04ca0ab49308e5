/** Whether a pair of objects is to be copied: aws-cli's rules (`s3 sync`), and a stricter one. Pure. */
import type { SyncPair } from "./merge.ts";

/**
 * `size-or-newer`: aws-cli's default: sizes differ, or the source was modified later. `size-only`: sizes differ.
 * `exact-timestamps`: as the default, but a download also where the times differ in either direction.
 * `etag`: sizes differ, or ETags that can be compared do; see `decide`.
 */
export type CompareMode = "size-or-newer" | "size-only" | "exact-timestamps" | "etag";

/** ETags of the two sides that are known to stand for the same bytes. */
export interface EqualEtags {
  readonly source: string;
  readonly destination: string;
}

/** What to do with a pair. `overwrite` is a copy onto a name that is there. */
export type Decision = "copy" | "overwrite" | "same" | "extra";

const PLAIN_MD5 = /^[0-9a-f]{32}$/;

/**
 * The decision for one pair. `extra` is on the destination only. A `download` (bucket to folder) gives files their object's
 * time, so that aws-cli takes a file that is newer than its object for one that was changed, and fetches it again. `equal`
 * (for `etag`): what an earlier sync saw or made; without it ETags of parts and the like say nothing, and times decide.
 */
export function decide(pair: SyncPair, mode: CompareMode, download = false, equal?: EqualEtags): Decision {
  const { source, destination } = pair;
  if (!source) return "extra";
  if (!destination) return "copy";
  if (source.size !== destination.size) return "overwrite";
  if (mode === "size-only") return "same";
  if (mode === "etag") {
    if (source.etag === destination.etag) return "same";
    if (equal) return equal.source === source.etag && equal.destination === destination.etag ? "same" : "overwrite";
    if (PLAIN_MD5.test(source.etag) && PLAIN_MD5.test(destination.etag)) return "overwrite";
  }
  const laterMs = destination.lastModifiedMs - source.lastModifiedMs;
  if (download) return laterMs > 0 || (mode === "exact-timestamps" && laterMs !== 0) ? "overwrite" : "same";
  return laterMs < 0 ? "overwrite" : "same";
}

/** Whether a pair of objects is to be copied: aws-cli's rules (`s3 sync`), and a stricter one. Pure. */
import type { SyncPair } from "./merge.ts";

/**
 * `size-or-newer`: aws-cli's default: sizes differ, or the source was modified later. `size-only`: sizes differ.
 * `etag`: both ETags are plain MD5 sums and differ, or sizes differ.
 */
export type CompareMode = "size-or-newer" | "size-only" | "etag";

/** What to do with a pair. `overwrite` is a copy onto a name that is there. */
export type Decision = "copy" | "overwrite" | "same" | "extra";

const PLAIN_MD5 = /^[0-9a-f]{32}$/;

/** The decision for one pair. `extra` is on the destination only. */
export function decide(pair: SyncPair, mode: CompareMode): Decision {
  const { source, destination } = pair;
  if (!source) return "extra";
  if (!destination) return "copy";
  if (source.size !== destination.size) return "overwrite";
  if (mode === "size-only") return "same";
  if (mode === "size-or-newer") return source.lastModifiedMs > destination.lastModifiedMs ? "overwrite" : "same";
  const comparable = PLAIN_MD5.test(source.etag) && PLAIN_MD5.test(destination.etag);
  return comparable && source.etag !== destination.etag ? "overwrite" : "same";
}

/**
 * Which permissions a file or directory gets (rsync rsync.c `dest_mode`): the sender's with `-p`, else those it has, else
 * the sender's under the usual mask; `-E` hands on whether it may be run. Pure.
 */
import type { ServerOptions } from "./server-options.ts";

/** The bits that are kept: set-user-ID and the like mean nothing on a server that runs nothing. */
export const KEPT_MODE_BITS = 0o777;
/** What a umask of 022 leaves. */
const MASKED_BITS = 0o755;
const EXECUTE_BITS = 0o111;
const READ_BITS = 0o444;

/** The mode (permission bits only) of an item that the sender has with mode `sent`, in place of one with mode `existing`, if any. */
export function destinationMode(
  { perms, executability }: Pick<ServerOptions, "perms" | "executability">,
  sent: number,
  existing?: number,
): number {
  if (perms) return sent & KEPT_MODE_BITS;
  if (existing === undefined) return sent & MASKED_BITS;
  const kept = existing & KEPT_MODE_BITS;
  if (!executability) return kept;
  if ((sent & EXECUTE_BITS) === 0) return kept & ~EXECUTE_BITS;
  return (kept & EXECUTE_BITS) === 0 ? kept | ((kept & READ_BITS) >> 2) : kept;
}

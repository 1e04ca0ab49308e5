/**
 * What a new configuration means for those who are logged in, and for what cannot change while the process runs. Pure
 * decisions; acts on nothing.
 */
import { isDeepStrictEqual } from "node:util";
import type { AuthorizedKey } from "../auth/authorized-keys.ts";
import type { GatewayConfig, UserConfig } from "../config/gateway-config.ts";

/** Sessions of `user` with one of `keyFingerprints` (undefined: with any key) are to end. */
export interface SessionsToEnd {
  readonly user: string;
  readonly keyFingerprints: ReadonlySet<string> | undefined;
  /** Shown to the client. */
  readonly reason: string;
}

function sameKey(a: AuthorizedKey, b: AuthorizedKey): boolean {
  return a.blob.equals(b.blob) && isDeepStrictEqual(a.options, b.options);
}

/** What a session's view of its files was built from. */
function filesOf({ storage, readOnly, quota, bandwidth, shared }: UserConfig): unknown {
  return { storage, readOnly, quota, bandwidth, shared };
}

function endingsOf(before: UserConfig, after: UserConfig | undefined, filesChanged: boolean): SessionsToEnd | undefined {
  const user = before.name;
  if (!after) return { user, keyFingerprints: undefined, reason: "your access was removed" };
  if (filesChanged || !isDeepStrictEqual(filesOf(before), filesOf(after))) {
    return { user, keyFingerprints: undefined, reason: "your settings have changed, please log in again" };
  }
  const gone = before.keys.filter((key) => !after.keys.some((kept) => sameKey(key, kept)));
  if (gone.length === 0) return undefined;
  return { user, keyFingerprints: new Set(gone.map(({ fingerprint }) => fingerprint)), reason: "your key was removed or changed" };
}

/** Whose sessions end when `next` replaces `previous`: of removed users and keys, and of users whose files changed. */
export function sessionsToEnd(next: GatewayConfig, previous: GatewayConfig): SessionsToEnd[] {
  const filesChanged = !isDeepStrictEqual([previous.uploads, previous.listing], [next.uploads, next.listing]);
  const ended: SessionsToEnd[] = [];
  for (const before of previous.users.values()) {
    const end = endingsOf(before, next.users.get(before.name), filesChanged);
    if (end) ended.push(end);
  }
  return ended;
}

/** Keys whose change counts only after a restart, as the file names them. */
export function needsRestart(next: GatewayConfig, previous: GatewayConfig): string[] {
  const changed: string[] = [];
  const at = (name: string, a: unknown, b: unknown): void => {
    if (!isDeepStrictEqual(a, b)) changed.push(name);
  };
  const { allowSha1Signatures: _now, motd: _nowToo, revoked: _nowAsWell, ...server } = next.server;
  for (const key of Object.keys(server) as (keyof typeof server)[]) at(`server.${key}`, previous.server[key], server[key]);
  at("admin", previous.admin, next.admin);
  at("log.format", previous.log.format, next.log.format);
  return changed;
}

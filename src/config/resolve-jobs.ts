/**
 * The second half of `resolve.ts` for `backups:` and `jobs:`: looks up the users and regions they name, and refuses a
 * place for backups that customers would reach.
 */
import type { BackupSettings, BackupsConfig, JobConfig, UserConfig } from "./gateway-config.ts";
import { nearestName } from "./nearest-name.ts";
import { checkConnection, connectionOf, type ResolveContext } from "./resolve-connection.ts";
import type { ConfigValues, UserValues } from "./schema.ts";
import { formatStorageLocation, overlaps, parseStorageLocation } from "../storage-location.ts";

/** How `user` is backed up; undefined where no backups are configured, or not for this user. */
export function backupSettings({ backup }: UserValues, { backups }: ConfigValues): BackupSettings | undefined {
  if (!backups || backup === false) return undefined;
  const { compression, keep, fullEvery, thumbnails, volumeSize } = { ...backups, ...backup };
  return Object.freeze({
    compression: compression ?? "auto",
    keep: keep ?? 2,
    fullEvery: fullEvery ?? 1,
    thumbnails: thumbnails ?? true,
    volumeSize,
  });
}

function complainUnknown(context: ResolveContext, path: readonly PropertyKey[], what: string, name: string, known: Iterable<string>): void {
  const names = [...known];
  const meant = nearestName(name, names);
  const advice = meant
    ? `did you mean "${meant}"?`
    : names.length > 0
      ? `known: ${names.slice(0, 20).join(", ")}`
      : `there are no ${what}s`;
  context.report({ location: context.locate(path), message: `${what} "${name}" is not defined: ${advice}` });
}

/** Where archives go; undefined if there are none, or if something was reported. */
export function resolveBackups(
  values: ConfigValues,
  users: ReadonlyMap<string, UserConfig>,
  context: ResolveContext,
): BackupsConfig | undefined {
  const { backups } = values;
  if (!backups) return undefined;
  const location = parseStorageLocation(backups.to);
  if (typeof location === "string") return undefined;
  const region = backups.region === undefined ? undefined : values.regions[backups.region];
  if (backups.region !== undefined && !region) {
    complainUnknown(context, ["backups", "region"], "region", backups.region, Object.keys(values.regions));
    return undefined;
  }
  if (backups.s3) checkConnection(["backups", "s3"], backups.s3, context);
  if (location.kind === "file" && (region || backups.s3)) {
    const key = region ? "region" : "s3";
    context.report({ location: context.locate(["backups", key]), message: `${key}: a file:// storage has none, remove it` });
  }
  const own = { s3: backups.s3, storageClass: undefined, sse: undefined, acl: undefined };
  const connection = location.kind === "s3" ? connectionOf(own, region) : undefined;
  const endpointOf = (endpoint: string | undefined): string => endpoint ?? "aws";
  for (const { name, storage } of users.values()) {
    const sameStore = location.kind === "file" || endpointOf(storage.connection?.endpoint) === endpointOf(connection?.endpoint);
    if (!sameStore || !overlaps(location, storage.location)) continue;
    const message = `to: overlaps the storage of user "${name}" (${storage.uri}), who could change the archives there: choose another place`;
    context.report({ location: context.locate(["backups", "to"]), message });
  }
  return Object.freeze({
    storage: Object.freeze({ uri: formatStorageLocation(location), location, connection }),
    graceMs: backups.grace,
  });
}

/** The scheduled jobs by name. */
export function resolveJobs(values: ConfigValues, context: ResolveContext): Map<string, JobConfig> {
  const jobs = new Map<string, JobConfig>();
  for (const [name, job] of Object.entries(values.jobs)) {
    const path = ["jobs", name];
    if (job.kind === "backup") {
      if (!values.backups) {
        context.report({ location: context.locate(path), message: `job "${name}" makes backups, but backups: does not say where to` });
      }
      for (const [index, user] of (job.users ?? []).entries()) {
        if (!Object.hasOwn(values.users, user))
          complainUnknown(context, [...path, "users", index], "user", user, Object.keys(values.users));
      }
    }
    if (job.kind === "sync") {
      for (const [index, region] of (job.regions ?? []).entries()) {
        const known = values.regions[region];
        if (!known) complainUnknown(context, [...path, "regions", index], "region", region, Object.keys(values.regions));
        else if (known.backup === undefined) {
          const message = `region "${region}" has no backup: write where it is copied to`;
          context.report({ location: context.locate([...path, "regions", index]), message });
        }
      }
      if ((job.source === undefined) !== (job.destination === undefined)) {
        context.report({ location: context.locate(path), message: "write both source and destination, or neither" });
      }
      if (job.source !== undefined && job.regions) {
        context.report({ location: context.locate([...path, "regions"]), message: "write either regions, or source and destination" });
      }
    }
    jobs.set(name, Object.freeze({ ...job, name, definedAt: context.locate(path) }));
  }
  return jobs;
}

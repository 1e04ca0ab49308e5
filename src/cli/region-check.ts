/**
 * The part of `config check` about regions that are copied elsewhere: both buckets must be there, and where one is not,
 * the name it was probably meant to have is printed beside it. Creates nothing.
 */
import type { GatewayConfig, RegionConfig } from "../config/gateway-config.ts";
import { StoreError } from "../errors.ts";
import type { SyncPlace } from "../jobs/sync/sync-places.ts";
import type { Terminal } from "./terminal.ts";

const NO_FLAGS = {
  flags: { profile: undefined, region: undefined, sourceRegion: undefined, endpointUrl: undefined },
  storage: { storageClass: undefined, acl: undefined, sse: undefined, sseKmsKeyId: undefined },
  role: "source",
  dryRun: true,
  onRequest: () => undefined,
  onThrottle: () => undefined,
} as const;

/** Looks at the bucket and the backup of every region that has one. Returns what does not work, as `region NAME`. */
export async function checkRegions(config: GatewayConfig, terminal: Terminal): Promise<string[]> {
  const failed: string[] = [];
  for (const region of config.regions.values()) {
    if (region.backup !== undefined && !(await checkRegion(region, config, terminal))) failed.push(`region ${region.name}`);
  }
  return failed;
}

async function checkRegion({ name, bucket, backup }: RegionConfig, config: GatewayConfig, terminal: Terminal): Promise<boolean> {
  const { regionPair } = await import("../jobs/sync/sync-places.ts");
  const { source, destination } = regionPair(name, config);
  const problems = [
    await missing(source, `bucket s3://${bucket}/`, config),
    destination.location.kind === "s3" ? await missing(destination, `backup ${backup}`, config) : undefined,
  ].filter((problem) => problem !== undefined);
  const head = `region ${name}  s3://${bucket}/ to ${backup}`;
  terminal.print(problems.length === 0 ? `ok      ${head}  both are there` : `FAILED  ${head}  ${problems.join("; ")}`);
  return problems.length === 0;
}

/** What is wrong with a bucket, or undefined. */
async function missing(place: SyncPlace, what: string, config: GatewayConfig): Promise<string | undefined> {
  try {
    await look(place);
    return undefined;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    if (error.code !== "no-such-bucket" || place.location.kind !== "s3") return `${what}: ${error.message}`;
    const meant = await existingName(place, place.location.bucket, config);
    return `${what} does not exist${meant === undefined ? "" : `, but s3://${meant}/ does: is that what was meant?`}`;
  }
}

async function look(place: SyncPlace): Promise<void> {
  const { openSide } = await import("../jobs/sync/sync-places.ts");
  const { store, prefix } = await openSide(place, NO_FLAGS);
  try {
    for await (const _page of store.list(prefix, { delimiter: "/", pageSize: 1 })) break;
  } finally {
    await store.close();
  }
}

/** A bucket of nearly that name that exists: one of the configuration's, or a usual slip put right. */
async function existingName(place: SyncPlace, bucket: string, config: GatewayConfig): Promise<string | undefined> {
  const { knownBuckets } = await import("../jobs/sync/sync-places.ts");
  const { nearestName } = await import("../config/nearest-name.ts");
  const near = nearestName(
    bucket,
    knownBuckets(config).filter((known) => known !== bucket),
  );
  const spelt = bucket.replaceAll("snaphot", "snapshot");
  const plurals = [spelt, bucket].flatMap((name) => [name, name.endsWith("s") ? name.slice(0, -1) : `${name}s`]);
  for (const candidate of new Set([...plurals, ...(near === undefined ? [] : [near])])) {
    if (candidate === bucket) continue;
    try {
      await look({ ...place, location: { kind: "s3", bucket: candidate, prefix: "" } });
      return candidate;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      // Somebody else's bucket of that name is there, too, but is not ours to suggest.
    }
  }
  return undefined;
}

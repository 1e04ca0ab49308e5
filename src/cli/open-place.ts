/** Opens what a command's argument names: USER, s3://… or file://…. Loads the stores: import it only when they are needed. */
import type { GatewayConfig } from "../config/gateway-config.ts";
import { findPlace, openSide, type SyncPlace, type SyncSide } from "../jobs/sync/sync-places.ts";
import type { StorageFlagValues } from "./storage-arguments.ts";

/** An open storage; `requests` counts by operation. Whoever opened it closes `store`. */
export interface OpenedArgument extends SyncSide {
  readonly requests: Readonly<Record<string, number>>;
}

/** The place that `target` names. Throws `SyncUsageError`. */
export function placeOf(target: string, config: GatewayConfig | undefined): Promise<SyncPlace> {
  return findPlace(target, config);
}

/** Opens a place without creating anything. Rejects with `MissingPathError` or a StoreError. */
export async function openPlace(place: SyncPlace, flags: StorageFlagValues): Promise<OpenedArgument> {
  const requests: Record<string, number> = {};
  const side = await openSide(place, {
    role: "source",
    flags: { profile: flags.profile, region: flags.region, sourceRegion: undefined, endpointUrl: flags.endpointUrl },
    storage: { storageClass: undefined, acl: undefined, sse: undefined, sseKmsKeyId: undefined },
    dryRun: false,
    onRequest: (operation) => {
      requests[operation] = (requests[operation] ?? 0) + 1;
    },
    onThrottle: () => undefined,
  });
  return { ...side, requests };
}

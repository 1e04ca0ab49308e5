/**
 * Makes one volume from the configuration: its store, its unpublished uploads, its quota. Knows no sessions.
 */
import type { Metrics } from "../admin/metrics.ts";
import type { ByteBudget } from "../byte-budget.ts";
import type { GatewayConfig, UserConfig } from "../config/gateway-config.ts";
import type { Logger } from "../log.ts";
import type { MetadataCache } from "../state/metadata-cache.ts";
import type { StateDirectory } from "../state/state-directory.ts";
import type { TailStore } from "../state/tail-store.ts";
import { UploadTable } from "../state/upload-table.ts";
import { contentTypeOf } from "../vfs/content-type.ts";
import { systemClock } from "../vfs/uploads/clock.ts";
import { SlowWrites } from "../state/slow-writes.ts";
import { UploadRegistry } from "../vfs/uploads/upload-registry.ts";
import { Volume } from "../vfs/volume.ts";
import { WriteOrder } from "../vfs/write-order.ts";
import { LayoutRules } from "./layout-rules.ts";
import { withMetrics } from "./metered-store.ts";
import { QuotaUsage } from "./quota-usage.ts";
import { openUserStorage, storageIdentity } from "./storages.ts";

/** Longest file name of Linux's file systems, in bytes. */
const LOCAL_NAME_BYTES = 255;

/** A client whose upload was cut on another node comes back within seconds; one LIST per so many costs nobody anything. */
const DISCOVERY_INTERVAL_MS = 10_000;

/** What all volumes of the process share. */
export interface VolumeContext {
  readonly state: StateDirectory;
  readonly tails: TailStore;
  readonly metadata: MetadataCache;
  readonly budget: ByteBudget;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** A volume with what belongs to it. Whoever opened it owes `close`. */
export interface OpenVolume {
  readonly volume: Volume;
  readonly uploads: UploadRegistry;
  readonly usage: QuotaUsage | undefined;
  /** Keeps open uploads for a resume and releases the store. */
  close(): Promise<void>;
}

/** A session as a volume knows it: unique in the process, and whose it is. */
export function sessionName(session: string, user: string): string {
  return `${session} ${user}`;
}

function ownerOf(name: string): { readonly user: string; readonly session: string } {
  return { user: name.slice(name.indexOf(" ") + 1), session: name };
}

/** ETags are MD5 sums unless KMS encrypts; a bucket of Amazon's may do that by default, so it must be said there. */
function etagIsMd5({ storage }: UserConfig): boolean {
  const { connection } = storage;
  return connection !== undefined && (connection.sse === "AES256" || (connection.sse === undefined && connection.endpoint !== undefined));
}

/** The table of unpublished uploads of `user`'s volume. */
export function uploadTableOf(state: StateDirectory, user: UserConfig): UploadTable {
  return new UploadTable(state, storageIdentity(user.storage));
}

/** Opens the volume of `user`; makes no request to a bucket. Rejects with a StoreError if a folder cannot be used. */
export async function openVolume(user: UserConfig, config: GatewayConfig, context: VolumeContext): Promise<OpenVolume> {
  const { budget, metadata, metrics, state, tails } = context;
  const log = context.log.child({ storage: user.storage.uri });
  const opened = await openUserStorage(user.storage, log);
  const store = withMetrics(opened.store, metrics, log);
  const { prefix } = opened;
  const isLocal = user.storage.location.kind === "file";
  const usage = user.quota && new QuotaUsage({ store, prefix, quota: user.quota, now: () => systemClock.now() });
  const elsewhere = new SlowWrites(state, storageIdentity(user.storage), (error) => log.warn({ err: error }, "state store cannot be used"));
  const order = new WriteOrder({ clock: systemClock, elsewhere });
  const uploads: UploadRegistry = new UploadRegistry({
    store,
    order,
    prefix,
    table: uploadTableOf(state, user),
    tails,
    budget,
    log,
    contentType: contentTypeOf,
    onPublished: (change) => volume.published(change),
    replaces: (key) => volume.replaces(key),
    checkQuota: async (_bytes, target) => usage?.reserveFor(target),
    temporaryNames: config.uploads.temporaryNames,
    expiryMs: config.uploads.expiry,
    discoveryIntervalMs: DISCOVERY_INTERVAL_MS,
  });
  const rules = new LayoutRules({
    store,
    prefix,
    layout: user.layout,
    thumbnailUploads: user.thumbnailUploads,
    clock: systemClock,
    log,
    onDeleted: (keys) => volume.removed(keys),
    onRemoved: () => usage?.somethingRemoved(),
    onChangedElsewhere: (bytes) => usage?.changedElsewhere(bytes),
  });
  const volume: Volume = new Volume({
    id: storageIdentity(user.storage),
    store,
    order,
    prefix,
    metadata,
    budget,
    clock: systemClock,
    log,
    pendingUploads: (session) => uploads.view(ownerOf(session)),
    listingTimes: config.listing.times,
    cheapRequests: isLocal,
    etagIsMd5: etagIsMd5(user),
    rules,
    ...(isLocal ? { maxNameBytes: LOCAL_NAME_BYTES } : {}),
  });
  return {
    volume,
    uploads,
    usage,
    close: async () => {
      await uploads.close();
      await rules.settled();
      volume.close();
      await opened[Symbol.asyncDispose]();
    },
  };
}

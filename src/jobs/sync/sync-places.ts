/**
 * What the words SOURCE and DESTINATION mean: a URI, a path, a user's or a region's name; and the stores behind them.
 * Connections come from the configuration for its own buckets, and for others from where aws-cli takes them.
 */
import { stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import type { GatewayConfig, S3Connection, UserStorage } from "../../config/gateway-config.ts";
import { nearestName } from "../../config/nearest-name.ts";
import { overlaps, parseStorageLocation, type StorageLocation } from "../../storage-location.ts";
import { StoreError } from "../../errors.ts";
import { createMemoryStore } from "../../objectstore/memory-store.ts";
import type { ObjectStore, StoreLimits } from "../../objectstore/objectstore.ts";
import { openStorage, type StorageConnection } from "../../objectstore/open-store.ts";
import { findAwsSettings } from "../../objectstore/s3/aws-settings.ts";
import { type ConnectionFlags, type StorageFlags, SyncUsageError } from "./sync-options.ts";

/** A place named by the command line, not opened yet. */
export interface SyncPlace {
  readonly location: StorageLocation;
  /** The configuration's connection; undefined for folders and for buckets it does not know. */
  readonly connection: StorageConnection | undefined;
}

/** An open side of a sync. Whoever opened it closes `store`. */
export interface SyncSide {
  readonly place: SyncPlace;
  readonly store: ObjectStore;
  /** Empty, or ends with `/`. */
  readonly prefix: string;
  /** How people and aws-cli name an object: `s3://bucket/key`, or a path relative to the working directory. */
  label(key: string): string;
}

/** The folder or bucket does not exist; ends with exit code 255, as aws-cli does. */
export class MissingPathError extends Error {
  override readonly name = "MissingPathError";
}

/** What `text` names. Throws `SyncUsageError`. */
export async function findPlace(text: string, config: GatewayConfig | undefined): Promise<SyncPlace> {
  if (text.startsWith("s3://")) return bucketPlace(text, config);
  if (text.startsWith("file:")) return folderPlace(folderOf(text));
  const [, kind, name = ""] = /^(user|region):(.+)$/.exec(text) ?? [undefined, undefined, text];
  const user = kind === "region" ? undefined : config?.users.get(name);
  const region = kind === "user" ? undefined : config?.regions.get(name);
  if (user && region) throw new SyncUsageError(`"${name}" is a user and a region: write user:${name} or region:${name}`);
  if (user) return { location: user.storage.location, connection: withDefaultRegion(user.storage.connection) };
  if (region) return bucketPlace(`s3://${region.bucket}/`, config);
  if (text.includes("/") || text === "." || text === ".." || (await isDirectory(text))) return folderPlace(resolve(text));
  const names = [...(config?.users.keys() ?? []), ...(config?.regions.keys() ?? [])];
  const meant = nearestName(name, names);
  const advice = meant ? `did you mean "${meant}"?` : "write s3://bucket/prefix, file:///folder, a path, or a user's or region's name";
  throw new SyncUsageError(`"${text}" is no user, region or folder: ${advice}`);
}

/** The pair of a region: its bucket and its backup. Throws `SyncUsageError`. */
export function regionPair(name: string, config: GatewayConfig | undefined): { source: SyncPlace; destination: SyncPlace } {
  const region = config?.regions.get(name.replace(/^region:/, ""));
  if (!region) {
    const meant = nearestName(name, config?.regions.keys() ?? []);
    throw new SyncUsageError(`"${name}" is no region${meant ? `: did you mean "${meant}"?` : " of the configuration"}`);
  }
  if (region.backup === undefined) throw new SyncUsageError(`region "${name}" has no backup: write where it is copied to`);
  const source = bucketPlace(`s3://${region.bucket}/`, config);
  return { source, destination: bucketOrFolder(region.backup, config) };
}

/** Refuses to copy a place onto itself or into itself. Throws `SyncUsageError`. */
export function refuseOverlap(source: SyncPlace, destination: SyncPlace, flags: ConnectionFlags): void {
  const at = ({ connection }: SyncPlace): string => flags.endpointUrl ?? connection?.endpoint ?? "aws";
  const sameProvider = source.location.kind === "file" || at(source) === at(destination);
  if (sameProvider && overlaps(source.location, destination.location))
    throw new SyncUsageError("source and destination overlap: one would be copied into itself");
}

/** How sides are opened. */
export interface OpenOptions {
  readonly role: "source" | "destination";
  readonly flags: ConnectionFlags;
  readonly storage: StorageFlags;
  /** Nothing may be written: a folder that is missing stays so. */
  readonly dryRun: boolean;
  readonly onRequest: (operation: string) => void;
  /** Called each time a store asks for fewer requests. */
  readonly onThrottle: () => void;
  /** Limits of a store that differ from Amazon's. */
  readonly limits?: Partial<StoreLimits> | undefined;
}

/** Opens a place. Rejects with `MissingPathError` for a source folder that does not exist, else with StoreErrors. */
export async function openSide(place: SyncPlace, options: OpenOptions): Promise<SyncSide> {
  const { location } = place;
  if (location.kind === "file") return openFolder(place, location.folder, options);
  const { bucket, prefix } = location;
  const connection = await connectionFor(place, options);
  const { store } = await openStorage(`s3://${bucket}/${prefix}`, connection);
  return { place, store, prefix, label: (key) => `s3://${bucket}/${key}` };
}

async function openFolder(place: SyncPlace, folder: string, { role, dryRun }: OpenOptions): Promise<SyncSide> {
  const label = (key: string): string => relativePath(join(folder, key));
  if (!(await isDirectory(folder))) {
    if (role === "source") throw new MissingPathError(`The user-provided path ${folder} does not exist.`);
    if (dryRun) return { place, store: createMemoryStore(), prefix: "", label };
  }
  const { store } = await openStorage(`file://${folder}`);
  return { place, store, prefix: "", label };
}

async function connectionFor({ connection }: SyncPlace, options: OpenOptions): Promise<StorageConnection> {
  const { flags, role, storage, onRequest, onThrottle, limits } = options;
  const throttled = (fields: object): void => {
    if ("fault" in fields && /slow|throttl|toomany|limit|unavailable/i.test(String(fields.fault))) onThrottle();
  };
  const log = { debug: throttled, info: () => undefined, warn: () => undefined, error: () => undefined };
  const awsRegion = (role === "source" ? flags.sourceRegion : undefined) ?? flags.region;
  const found = connection ?? (await unknownBucket(flags));
  return {
    ...found,
    ...(awsRegion === undefined ? {} : { awsRegion }),
    ...(flags.profile === undefined
      ? {}
      : { profile: flags.profile, accessKeyId: undefined, secretAccessKey: undefined, roleArn: undefined }),
    ...(flags.endpointUrl === undefined ? {} : { endpoint: flags.endpointUrl, pathStyle: true }),
    ...(role === "destination" ? storageOptions(storage) : {}),
    log,
    limits,
    onRequest,
  };
}

/** As aws-cli: default chain, its region, and path-style addressing at an endpoint of one's own. */
async function unknownBucket({ profile }: ConnectionFlags): Promise<StorageConnection> {
  const found = await findAwsSettings(profile);
  return { ...found, ...(found.endpoint === undefined ? {} : { pathStyle: true }) };
}

function storageOptions({ storageClass, acl, sse, sseKmsKeyId }: StorageFlags): Partial<StorageConnection> {
  const encryption = sseKmsKeyId === undefined ? sse : ({ algorithm: "aws:kms", kmsKeyId: sseKmsKeyId } as const);
  return {
    ...(storageClass === undefined ? {} : { storageClass }),
    ...(acl === undefined ? {} : { acl }),
    ...(encryption === undefined ? {} : { sse: encryption }),
  };
}

function bucketOrFolder(uri: string, config: GatewayConfig | undefined): SyncPlace {
  return uri.startsWith("file:") ? folderPlace(folderOf(uri)) : bucketPlace(uri, config);
}

function bucketPlace(uri: string, config: GatewayConfig | undefined): SyncPlace {
  const location = parseStorageLocation(uri);
  if (typeof location === "string") throw new SyncUsageError(location);
  return { location, connection: config && knownConnection(location, config) };
}

function folderPlace(folder: string): SyncPlace {
  const location = parseStorageLocation(`file://${folder}`);
  if (typeof location === "string") throw new SyncUsageError(location);
  return { location, connection: undefined };
}

function folderOf(uri: string): string {
  const path = uri.replace(/^file:(\/\/)?/, "");
  if (!uri.startsWith("file://") || !path.startsWith("/"))
    throw new SyncUsageError(`"${uri}" is not absolute: write file:///folder, or a plain path`);
  // Nothing is percent-decoded, as everywhere in the configuration.
  return path;
}

/** How the configuration reaches a bucket of its own: as the user's whose storage contains the place, or as the region. */
function knownConnection(location: StorageLocation, config: GatewayConfig): StorageConnection | undefined {
  if (location.kind !== "s3") return undefined;
  const { bucket, prefix } = location;
  const covers = ({ location: own }: UserStorage): boolean => own.kind === "s3" && own.bucket === bucket && prefix.startsWith(own.prefix);
  for (const { storage } of config.users.values()) if (covers(storage)) return withDefaultRegion(storage.connection);
  for (const region of config.regions.values()) {
    if (region.bucket === bucket)
      return withDefaultRegion({ ...region, storageClass: region.storageClass, sse: region.sse, acl: region.acl });
  }
  if (config.backups && covers(config.backups.storage)) return withDefaultRegion(config.backups.storage.connection);
  for (const region of config.regions.values()) {
    const backup = region.backup === undefined ? undefined : parseStorageLocation(region.backup);
    if (typeof backup !== "object" || backup.kind !== "s3" || backup.bucket !== bucket) continue;
    // The backup may be another account's, and is stored as its own bucket says.
    const { expectedBucketOwner: _owner, storageClass: _class, sse: _sse, acl: _acl, ...reach } = region;
    return withDefaultRegion({ ...reach, storageClass: undefined, sse: undefined, acl: undefined });
  }
  return undefined;
}

function withDefaultRegion(connection: S3Connection | undefined): StorageConnection | undefined {
  if (!connection) return undefined;
  const { awsRegion, endpoint, pathStyle, profile, accessKeyId, secretAccessKey, sessionToken } = connection;
  const { roleArn, externalId, stsEndpoint, expectedBucketOwner, storageClass, sse, acl } = connection;
  const reach = { endpoint, pathStyle, profile, accessKeyId, secretAccessKey, sessionToken, roleArn, externalId, stsEndpoint };
  const region = awsRegion ?? process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION;
  return { ...reach, awsRegion: region, expectedBucketOwner, storageClass, sse, acl };
}

/** Every bucket the configuration names, for telling slips of the pen. */
export function knownBuckets(config: GatewayConfig): string[] {
  const buckets = new Set<string>();
  const add = (uri: string | undefined): void => {
    const location = uri === undefined ? undefined : parseStorageLocation(uri);
    if (typeof location === "object" && location.kind === "s3") buckets.add(location.bucket);
  };
  for (const { bucket, backup } of config.regions.values()) {
    buckets.add(bucket);
    add(backup);
  }
  for (const { storage } of config.users.values()) add(storage.uri);
  add(config.backups?.storage.uri);
  return [...buckets];
}

/** A configured bucket that `error` may have meant when it says that there is none; undefined if that is not it. */
export function meantBucket(error: unknown, places: readonly SyncPlace[], config: GatewayConfig | undefined): string | undefined {
  if (!(error instanceof StoreError) || error.code !== "no-such-bucket" || !config) return undefined;
  for (const { location } of places) {
    if (location.kind !== "s3" || !error.message.includes(`s3://${location.bucket}`)) continue;
    const meant = nearestName(
      location.bucket,
      knownBuckets(config).filter((bucket) => bucket !== location.bucket),
    );
    if (meant) return `"${location.bucket}" does not exist: the configuration also names "${meant}"; nothing was created`;
  }
  return undefined;
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (error instanceof Error && "code" in error) return false;
    throw error;
  }
}

/** As aws-cli prints local files: `./name` in the working directory itself. */
function relativePath(file: string): string {
  return `${relative(process.cwd(), dirname(file)) || "."}/${basename(file)}`;
}

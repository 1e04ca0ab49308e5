/**
 * The configuration as the program uses it: names looked up, files read, paths absolute. A frozen snapshot; a change of
 * the file makes a new one. Knows nothing of YAML.
 */
import type { AuthorizedKey } from "../auth/authorized-keys.ts";
import type { Revocations } from "../auth/revocations.ts";
import type { ConfigLocation } from "../errors.ts";
import type { ConfigValues, ConnectionValues, JobValues, ListenAddress, RegionValues, SseValues, UserValues } from "./schema.ts";
import type { StorageLocation } from "../storage-location.ts";

/** How a bucket is reached and how new objects are stored in it. Holds secrets: never log it whole. */
export interface S3Connection extends ConnectionValues {
  readonly storageClass: UserValues["storageClass"];
  readonly sse: SseValues;
  readonly acl: UserValues["acl"];
}

/** Where one user's files lie. `connection` is absent for local folders. */
export interface UserStorage {
  /** The location in its normal form, for people and as identity together with the endpoint. */
  readonly uri: string;
  readonly location: StorageLocation;
  readonly connection: S3Connection | undefined;
}

/** One region: see `schema.ts`. */
export interface RegionConfig extends RegionValues {
  readonly name: string;
  readonly definedAt: ConfigLocation;
}

/** One user. */
export interface UserConfig {
  readonly name: string;
  readonly region: string | undefined;
  readonly storage: UserStorage;
  readonly keys: readonly AuthorizedKey[];
  readonly readOnly: boolean;
  /** Bytes and files. */
  readonly quota: { readonly bytes?: number; readonly files?: number } | undefined;
  /** Bytes per second. */
  readonly bandwidth: UserValues["bandwidth"];
  readonly shared: boolean;
  /** Which rules new files obey: see `schema.ts`. */
  readonly layout: UserValues["layout"];
  /** Files may be put into `thumbnails/`. */
  readonly thumbnailUploads: boolean;
  /** How the user's storage is backed up; undefined: it is not. */
  readonly backup: BackupSettings | undefined;
  readonly definedAt: ConfigLocation;
}

/** How one user's archives are made: see `jobs-schema.ts`. */
export interface BackupSettings {
  /** `auto`, `store`, or `xz:0` to `xz:9`. */
  readonly compression: string;
  readonly keep: number;
  readonly fullEvery: number;
  readonly thumbnails: boolean;
  /** Bytes. */
  readonly volumeSize: number | undefined;
}

/** Where archives go. */
export interface BackupsConfig {
  readonly storage: UserStorage;
  /** Milliseconds that a replaced archive stays at least. */
  readonly graceMs: number;
}

/** A scheduled job. */
export type JobConfig = JobValues & { readonly name: string; readonly definedAt: ConfigLocation };

/** The SSH server's part; paths absolute, sizes in bytes, times in milliseconds. */
export interface ServerConfig extends Omit<ConfigValues["server"], "listen" | "revoked"> {
  readonly listen: readonly ListenAddress[];
  /** What may no longer log in. */
  readonly revoked: Revocations;
}

/** The whole configuration. */
export interface GatewayConfig {
  /** The main file, absolute; undefined for the embedded demonstration. */
  readonly file: string | undefined;
  readonly server: ServerConfig;
  readonly admin: ConfigValues["admin"];
  readonly log: ConfigValues["log"];
  readonly uploads: ConfigValues["uploads"];
  readonly listing: ConfigValues["listing"];
  readonly regions: ReadonlyMap<string, RegionConfig>;
  readonly users: ReadonlyMap<string, UserConfig>;
  readonly backups: BackupsConfig | undefined;
  readonly jobs: ReadonlyMap<string, JobConfig>;
}

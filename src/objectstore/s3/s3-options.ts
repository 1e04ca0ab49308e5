/**
 * What `createS3Store` can be told. Knows nothing of how requests are made.
 */
import type { StoreLimits } from "../objectstore.ts";

/** Where the store's log lines go; a pino logger fits. */
export interface StoreLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** The region where none is configured. */
export const DEFAULT_REGION = "us-east-1";

/** How and as whom to reach a bucket: equal values share connections and credentials within the process. */
export interface S3ConnectionOptions {
  /** Where the bucket is (default `us-east-1`); a bucket of Amazon's that is elsewhere is found and followed there. */
  readonly awsRegion?: string | undefined;
  /** Base URL of a store that is not Amazon's. */
  readonly endpoint?: string | undefined;
  /** `https://host/bucket/key` instead of `https://bucket.host/key`. */
  readonly pathStyle?: boolean | undefined;
  /** A profile of the AWS configuration files. Without it and without keys: the AWS default chain. */
  readonly profile?: string | undefined;
  readonly accessKeyId?: string | undefined;
  readonly secretAccessKey?: string | undefined;
  readonly sessionToken?: string | undefined;
  /** A role to assume with the credentials above. */
  readonly roleArn?: string | undefined;
  readonly externalId?: string | undefined;
  /** A JSON policy that narrows the assumed role's session further. */
  readonly sessionPolicy?: string | undefined;
  /** Base URL of the token service, where it is not Amazon's. */
  readonly stsEndpoint?: string | undefined;
  /** Most connections for writing (default 128); reading and control requests have their own. */
  readonly maxSockets?: number | undefined;
  /** Time limits in milliseconds, each with a default that suits Amazon S3. */
  readonly timeouts?: S3Timeouts | undefined;
}

/** Time limits in milliseconds. */
export interface S3Timeouts {
  /** To establish a connection (default 3,000). */
  readonly connectMs?: number | undefined;
  /** Without a byte in either direction (default 15,000). */
  readonly idleMs?: number | undefined;
  /**
   * The same for requests that a store may compute on before it answers, copies and completions: default 25,000, and a
   * second more for each 20 MiB of the object.
   */
  readonly slowIdleMs?: number | undefined;
}

/** How often and how long failed requests are tried again. */
export interface RetryPolicy {
  /** Attempts of one request (default 6). */
  readonly maxAttempts: number;
  /** Attempts of one request that the store throttles (default 9). */
  readonly maxThrottledAttempts: number;
  /** No attempt begins later than this after the first, in milliseconds (default 40,000). */
  readonly totalMs: number;
  /** Longest wait before the second attempt, doubled for each further one, in milliseconds (default 100). */
  readonly baseMs: number;
  /** The same where the store throttles (default 500). */
  readonly throttledBaseMs: number;
  /** Longest wait between attempts in milliseconds (default 8,000). */
  readonly capMs: number;
}

/** Server-side encryption: SSE-S3, or SSE-KMS with the given key or Amazon's own. */
export type Encryption = "AES256" | "aws:kms" | { readonly algorithm: "AES256" | "aws:kms"; readonly kmsKeyId?: string | undefined };

/** A bucket and how its objects are stored. */
export interface S3StoreOptions extends S3ConnectionOptions {
  readonly bucket: string;
  /** AWS account that must own the bucket; sent with every request. */
  readonly expectedBucketOwner?: string | undefined;
  /** Storage class of new objects (default: the bucket's). */
  readonly storageClass?: string | undefined;
  /** Server-side encryption of new objects (default: the bucket's). */
  readonly sse?: Encryption | undefined;
  /** Canned ACL of new objects, for buckets that still use ACLs. */
  readonly acl?: string | undefined;
  readonly log?: StoreLog | undefined;
  /** Told of each request that is sent, repeated ones too, with its operation's name. */
  readonly onRequest?: ((operation: string) => void) | undefined;
  readonly retry?: Partial<RetryPolicy> | undefined;
  /**
   * Whether whole objects are checked against the CRC-32 the store keeps for them while they are read (default: only
   * where the endpoint is plain http, because TLS protects the way already).
   */
  readonly verifyReads?: boolean | undefined;
  /** Limits of a store that differ from Amazon's. */
  readonly limits?: Partial<StoreLimits> | undefined;
}

/** A log that keeps nothing. */
export const SILENT_LOG: StoreLog = { debug: ignore, info: ignore, warn: ignore, error: ignore };

function ignore(): void {}

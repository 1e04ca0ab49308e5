/**
 * Runs requests to one bucket: tries again what can be tried again, with jittered waits and within a bounded time,
 * follows the bucket to its region, renews credentials, and throws a `StoreError` for the rest. Knows no operation.
 */
import type { S3Client } from "@aws-sdk/client-s3";
import { setTimeout as delay } from "node:timers/promises";
import { StoreError } from "../../errors.ts";
import type { StoreErrorCode } from "../../errors.ts";
import { checkNotAborted } from "../request-checks.ts";
import type { DirectRequests } from "./direct-requests.ts";
import { DEFAULT_RETRY_POLICY, retryWaitMs } from "./retry-policy.ts";
import { acquireConnection } from "./s3-client.ts";
import type { S3Connection } from "./s3-client.ts";
import { classifyFault, translateFault } from "./s3-errors.ts";
import type { S3Fault } from "./s3-errors.ts";
import type { Lane, S3Call } from "./s3-http.ts";
import { SILENT_LOG } from "./s3-options.ts";
import type { RetryPolicy, S3StoreOptions, StoreLog } from "./s3-options.ts";
import { ThrottlePace } from "./throttle-pace.ts";

/** Bytes damaged on the way are sent again only this often: a defect that stays must show. */
const MAX_CORRUPTED_ATTEMPTS = 3;

/** Operations that count as reads where S3 limits how many there are. */
const READS = /^(?:Get|Head|List)/;

/** One request, to be sent as often as needed. */
export interface RequestPlan<T> {
  /** The S3 operation, for logs and errors. */
  readonly operation: string;
  readonly key?: string;
  readonly lane: Lane;
  readonly signal?: AbortSignal | undefined;
  /** Bytes the store may have to move before it answers (lane `slow`). */
  readonly workBytes?: number | undefined;
  /** Extra headers of the request. */
  readonly headers?: Readonly<Record<string, string>>;
  /** What a code means for this operation, where that differs. */
  readonly codes?: Partial<Record<StoreErrorCode, StoreErrorCode>>;
  /** Sends the request once, with a fresh body. */
  readonly attempt: (client: S3Client, call: S3Call, direct: DirectRequests) => Promise<T>;
  /**
   * Asked when the request failed for good although an earlier or the last attempt may have taken effect: a value means
   * that it did and is the result.
   */
  readonly recover?: (fault: S3Fault) => Promise<T | undefined>;
}

/** What has happened to one request so far. */
interface Progress {
  readonly startedMs: number;
  attempts: number;
  ambiguous: boolean;
  refreshed: boolean;
  moved: boolean;
}

/** Requests to one bucket: see the head of this file. Close it with `close`. */
export class S3Requests {
  readonly bucket: string;
  readonly #policy: RetryPolicy;
  readonly #log: StoreLog;
  #connection: S3Connection | undefined;
  readonly #options: S3StoreOptions;
  /** S3 limits what it reads and what it changes apart. */
  readonly #paces = { read: new ThrottlePace(), write: new ThrottlePace() };

  constructor(options: S3StoreOptions) {
    this.bucket = options.bucket;
    this.#options = options;
    this.#policy = { ...DEFAULT_RETRY_POLICY, ...options.retry };
    this.#log = options.log ?? SILENT_LOG;
  }

  /** Whether Ceph RGW has answered from there. */
  get isCeph(): boolean {
    return this.#connected().isCeph;
  }

  /** Sends the request until it succeeds or cannot. Rejects with a `StoreError`. */
  async run<T>(plan: RequestPlan<T>): Promise<T> {
    const progress: Progress = { startedMs: performance.now(), attempts: 0, ambiguous: false, refreshed: false, moved: false };
    const pace = this.#paces[READS.test(plan.operation) ? "read" : "write"];
    for (;;) {
      checkNotAborted(plan.signal);
      const waitMs = pace.reserve(performance.now());
      if (waitMs > 0) await sleep(waitMs, plan.signal);
      progress.attempts++;
      this.#options.onRequest?.(plan.operation);
      try {
        const { lane, signal, workBytes, headers } = plan;
        const call = { lane, signal, workBytes, ...(headers === undefined ? {} : { headers }) };
        const { client, direct } = this.#connected();
        const result = await plan.attempt(client, call, direct);
        pace.taken(performance.now());
        return result;
      } catch (error) {
        if (error instanceof StoreError) throw error;
        checkNotAborted(plan.signal);
        if (classifyFault(error).retry === "throttled") pace.refused(performance.now());
        const recovered = await this.#afterFailure(plan, progress, error);
        if (recovered !== undefined) return recovered.value;
      }
    }
  }

  /** Releases the connections. Requests still running fail or finish; later ones connect again. */
  close(): void {
    this.#connection?.release();
    this.#connection = undefined;
  }

  #connected(): S3Connection {
    this.#connection ??= acquireConnection(this.#options, this.#log);
    return this.#connection;
  }

  /** Waits until the next attempt, or says what the request turned out to have done, or throws what it failed with. */
  async #afterFailure<T>(plan: RequestPlan<T>, progress: Progress, error: unknown): Promise<{ value: T } | undefined> {
    const fault = classifyFault(error);
    progress.ambiguous ||= fault.ambiguous;
    const fields = { operation: plan.operation, bucket: this.bucket, key: plan.key, fault: fault.name, status: fault.status };
    const waitMs = await this.#prepareRetry(fault, progress);
    if (waitMs === undefined) {
      if (progress.ambiguous && plan.recover) {
        const value = await plan.recover(fault);
        if (value !== undefined) return { value };
      }
      const where = plan.key === undefined ? this.bucket : `${this.bucket}/${plan.key}`;
      const code = plan.codes?.[fault.code] ?? fault.code;
      const translated = translateFault({ ...fault, code }, `${plan.operation} s3://${where} failed`, error);
      if (needsOperator(code)) this.#log.error({ ...fields, advice: fault.advice }, "store refuses requests");
      else if (code === "invalid-argument") this.#log.warn({ ...fields, reason: translated.message }, "store does not accept a request");
      throw translated;
    }
    this.#log.debug({ ...fields, attempt: progress.attempts, waitMs }, "store request is tried again");
    if (waitMs > 0) await sleep(waitMs, plan.signal);
    return undefined;
  }

  /** Milliseconds until the next attempt; undefined if there is none. Renews credentials or changes the region first. */
  async #prepareRetry(fault: S3Fault, progress: Progress): Promise<number | undefined> {
    switch (fault.retry) {
      case "no":
        return undefined;
      case "credentials":
        return (await this.#refreshCredentials(progress)) ? 0 : undefined;
      case "region":
        return this.#moveToRegion(fault.region, progress) ? 0 : undefined;
      default:
        return this.#backOff(fault, progress);
    }
  }

  async #refreshCredentials(progress: Progress): Promise<boolean> {
    if (progress.refreshed) return false;
    progress.refreshed = true;
    try {
      await this.#connected().refreshCredentials();
      return true;
    } catch (error) {
      this.#log.error({ bucket: this.bucket, err: error }, "credentials cannot be renewed");
      return false;
    }
  }

  #moveToRegion(region: string | undefined, progress: Progress): boolean {
    const connection = this.#connected();
    if (region === undefined || progress.moved || this.#options.endpoint !== undefined) return false;
    progress.moved = true;
    if (connection.options.awsRegion === region) return true;
    this.#log.warn(
      { bucket: this.bucket, configured: connection.options.awsRegion, actual: region },
      "bucket is in another region: correct awsRegion",
    );
    this.#connection = acquireConnection({ ...this.#options, awsRegion: region }, this.#log);
    connection.release();
    return true;
  }

  #backOff(fault: S3Fault, { attempts, startedMs }: Progress): number | undefined {
    const maxAttempts = Math.min(
      this.#policy.maxAttempts,
      fault.code === "checksum-mismatch" ? MAX_CORRUPTED_ATTEMPTS : Number.POSITIVE_INFINITY,
    );
    const elapsedMs = performance.now() - startedMs;
    return retryWaitMs(this.#policy, { attempts, elapsedMs, isThrottled: fault.retry === "throttled", maxAttempts }, Math.random());
  }
}

/** Codes that somebody must act on. */
function needsOperator(code: StoreErrorCode): boolean {
  return (
    code === "access-denied" ||
    code === "no-such-bucket" ||
    code === "wrong-region" ||
    code === "expired-credentials" ||
    code === "no-space"
  );
}

async function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(ms, undefined, signal ? { signal } : {});
  } catch (error) {
    throw new StoreError("aborted", "the request was given up by its caller", { cause: error });
  }
}

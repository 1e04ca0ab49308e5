/** When a failed request is sent again: pure arithmetic, so that a model of many gateways can run on the very same rule. */
import type { RetryPolicy } from "./s3-options.ts";

/** What a store does unless it is told otherwise. */
export const DEFAULT_RETRY_POLICY: RetryPolicy = {
  maxAttempts: 6,
  maxThrottledAttempts: 9,
  totalMs: 40_000,
  baseMs: 100,
  throttledBaseMs: 500,
  capMs: 8_000,
};

/** What has happened to a request so far. */
export interface Attempted {
  /** Attempts made, 1 or more. */
  readonly attempts: number;
  /** Milliseconds since the first began. */
  readonly elapsedMs: number;
  /** The store asked for fewer requests. */
  readonly isThrottled: boolean;
  /** A lower limit of attempts than the policy's. */
  readonly maxAttempts?: number;
}

/**
 * Milliseconds to wait before the next attempt, or undefined if there is none. Full jitter: anything between nothing and a
 * limit that doubles each time. `random` is from 0 to 1.
 */
export function retryWaitMs(policy: RetryPolicy, attempted: Attempted, random: number): number | undefined {
  const { attempts, elapsedMs, isThrottled } = attempted;
  const most = isThrottled ? policy.maxThrottledAttempts : (attempted.maxAttempts ?? policy.maxAttempts);
  if (attempts >= most) return undefined;
  const longest = Math.min(policy.capMs, (isThrottled ? policy.throttledBaseMs : policy.baseMs) * 2 ** (attempts - 1));
  const waitMs = random * longest;
  return elapsedMs + waitMs > policy.totalMs ? undefined : waitMs;
}

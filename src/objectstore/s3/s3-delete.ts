/**
 * Deleting objects: one request for one key, batches for many, and every key accounted for. Knows nothing of why.
 */
import { DeleteObjectCommand, DeleteObjectsCommand } from "@aws-sdk/client-s3";
import { StoreError } from "../../errors.ts";
import { classifyFault, translateFault } from "./s3-errors.ts";
import { withCall } from "./s3-http.ts";
import type { BucketFields } from "./s3-listing.ts";
import type { S3Requests } from "./s3-requests.ts";

/** Most keys of one DeleteObjects (Amazon S3 API Reference). */
const BATCH_SIZE = 1000;
/** Single deletions at once, where a batch cannot be used. */
const PARALLEL = 16;
/** Times a batch is sent again for the keys that failed in a way that may pass. */
const MAX_ROUNDS = 4;

/** Control characters cannot be written in the XML of a batch. */
const NOT_IN_XML = /[\p{Cc}\ufffe\uffff]/u;

/** What could not be deleted, and why. */
interface Failure {
  readonly key: string;
  readonly error: StoreError;
}

/** See `ObjectStore.delete`. */
export async function deleteObjects(
  requests: S3Requests,
  bucket: BucketFields,
  keys: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const single = keys.length === 1 ? [...keys] : keys.filter((key) => NOT_IN_XML.test(key));
  const batched = keys.length === 1 ? [] : keys.filter((key) => !NOT_IN_XML.test(key));
  const failures: Failure[] = [];
  for (let start = 0; start < batched.length; start += BATCH_SIZE) {
    failures.push(...(await deleteBatch(requests, bucket, batched.slice(start, start + BATCH_SIZE), signal)));
  }
  failures.push(...(await deleteSingly(requests, bucket, single, signal)));
  throwFailures(failures, keys.length);
}

function throwFailures(failures: readonly Failure[], total: number): void {
  const [first, ...others] = failures;
  if (first === undefined) return;
  if (others.length === 0 && total === 1) throw first.error;
  const named = failures.slice(0, 3).map(({ key }) => JSON.stringify(key));
  const errors = failures.map(({ error }) => error);
  throw new StoreError(
    first.error.code,
    `${failures.length} of ${total} objects were not deleted (${named.join(", ")}, …): ${first.error.message}`,
    {
      cause: new AggregateError(errors),
    },
  );
}

async function deleteSingly(
  requests: S3Requests,
  bucket: BucketFields,
  keys: readonly string[],
  signal: AbortSignal | undefined,
): Promise<Failure[]> {
  const failures: Failure[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let key = keys[next++]; key !== undefined; key = keys[next++]) {
      try {
        await deleteOne(requests, bucket, key, signal);
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        if (error.code !== "not-found") failures.push({ key, error });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL, keys.length) }, work));
  return failures;
}

async function deleteOne(requests: S3Requests, bucket: BucketFields, key: string, signal: AbortSignal | undefined): Promise<void> {
  await requests.run({
    operation: "DeleteObject",
    key,
    lane: "control",
    signal,
    attempt: (client, call) => client.send(withCall(new DeleteObjectCommand({ ...bucket, Key: key }), call)),
  });
}

async function deleteBatch(
  requests: S3Requests,
  bucket: BucketFields,
  keys: readonly string[],
  signal: AbortSignal | undefined,
): Promise<Failure[]> {
  let left = keys;
  const failures: Failure[] = [];
  for (let round = 1; left.length > 0; round++) {
    const answer = await sendBatch(requests, bucket, left, signal);
    if (answer === "unsupported") return [...failures, ...(await deleteSingly(requests, bucket, left, signal))];
    if (answer instanceof StoreError) return [...failures, ...left.map((key) => ({ key, error: answer }))];
    const again: string[] = [];
    for (const key of left) {
      const error = answer.get(key);
      if (error === undefined) continue;
      const passing = error.code === "unavailable" || error.code === "slow-down" || error.code === "io";
      if (passing && round < MAX_ROUNDS) again.push(key);
      else if (error.code !== "not-found") failures.push({ key, error });
    }
    left = again;
  }
  return failures;
}

/** What happened to the keys that were not deleted; or that the store knows no batches; or why the whole batch failed. */
async function sendBatch(
  requests: S3Requests,
  bucket: BucketFields,
  keys: readonly string[],
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, StoreError> | "unsupported" | StoreError> {
  try {
    return await requests.run({
      operation: "DeleteObjects",
      lane: "control",
      signal,
      attempt: async (client, call) => {
        const command = new DeleteObjectsCommand({ ...bucket, Delete: { Objects: keys.map((Key) => ({ Key })), Quiet: false } });
        const { Deleted, Errors } = await client.send(withCall(command, call));
        const missing = new Map(
          keys.map((key) => [key, new StoreError("io", `the store did not say what became of ${JSON.stringify(key)}`)]),
        );
        for (const { Key } of Deleted ?? []) if (Key !== undefined) missing.delete(Key);
        for (const { Key, Code, Message } of Errors ?? []) {
          if (Key === undefined) continue;
          const cause = Object.assign(new Error(Message ?? ""), { name: Code ?? "UnknownError", $metadata: { httpStatusCode: 400 } });
          missing.set(Key, translateFault(classifyFault(cause), `DeleteObjects s3://${requests.bucket}/${Key} failed`, cause));
        }
        return missing;
      },
    });
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    if (error.code === "aborted") throw error;
    return error.code === "unsupported" ? "unsupported" : error;
  }
}

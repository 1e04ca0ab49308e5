/**
 * Conditions of writes at stores that ignore them and say nothing. Ceph RGW 16.2 knows `If-None-Match: *` of PutObject; it
 * refuses every `If-Match` there, and ignores conditions of CompleteMultipartUpload, CopyObject and UploadPartCopy. What
 * is to be replaced is looked at before by a HEAD, the source of a part after it was copied. Another writer can come
 * between a HEAD and the write; that one's version is then lost, as it would be without the HEAD.
 */
import { StoreError } from "../../errors.ts";
import type { ObjectInfo, WriteCondition } from "../objectstore.ts";

/** `x-amz-request-id` of Ceph RGW: `tx`, 21 hexadecimal digits, the time, the instance, the zone. */
const CEPH_REQUEST_ID = /^tx[0-9a-f]{21}-[0-9a-f]+-[0-9a-f]+-/;

/** Whether an answer's `x-amz-request-id` is one of Ceph RGW's. */
export function isCephRequestId(requestId: string | undefined): boolean {
  return requestId !== undefined && CEPH_REQUEST_ID.test(requestId);
}

/** What looking needs of the store. */
export interface CheckedStore {
  /** Whether the store has been seen to be one that ignores conditions. */
  readonly ignoresConditions: boolean;
  readonly head: (key: string) => Promise<ObjectInfo>;
}

/**
 * Looks whether the condition of a write holds, where the store would not. Rejects `precondition-failed` if it does not.
 * `knowsAbsence`: the operation's `If-None-Match` is honoured everywhere.
 */
export async function checkIgnoredCondition(
  { ignoresConditions, head }: CheckedStore,
  key: string,
  { ifMatch, ifNoneMatch }: WriteCondition,
  knowsAbsence: boolean,
): Promise<void> {
  if (!ignoresConditions || (ifMatch === undefined && (ifNoneMatch === undefined || knowsAbsence))) return;
  const found = await head(key).catch((error: unknown) => {
    if (error instanceof StoreError && error.code === "not-found") return undefined;
    throw error;
  });
  if (ifNoneMatch !== undefined && found) throw new StoreError("precondition-failed", `object ${JSON.stringify(key)} exists`);
  if (ifMatch !== undefined && found?.etag !== ifMatch) {
    throw new StoreError("precondition-failed", `object ${JSON.stringify(key)} is not version ${ifMatch}`);
  }
}

/**
 * Reads objects for an archive although they may change, vanish or break off meanwhile. A version is named by its ETag in
 * every request, so that bytes of two versions never mix. Knows no tar.
 */
import { setTimeout as delay } from "node:timers/promises";
import { StoreError } from "../../errors.ts";
import type { ObjectBody, ObjectInfo, ObjectStore } from "../../objectstore/objectstore.ts";
import type { SourceFile } from "./archive-source.ts";

/** Times a new version is turned to before the object counts as unreadable. */
const MAX_VERSIONS = 3;
/** Broken bodies taken up again by a ranged request, without a byte of progress between them. */
const MAX_BREAKS = 4;
const BREAK_WAIT_MS = 100;

/** The object is gone. */
export interface Vanished {
  readonly kind: "vanished";
}

/** A whole object in memory. */
export interface Spooled {
  readonly kind: "spooled";
  readonly info: ObjectInfo;
  readonly chunks: readonly Uint8Array[];
  /** It is another version than the one listed. */
  readonly changed: boolean;
}

/** The object is larger than may be spooled: it is to be read when its turn comes. */
export interface TooLarge {
  readonly kind: "too-large";
}

/** How objects are fetched. */
export interface FetchOptions {
  readonly store: ObjectStore;
  readonly signal: AbortSignal;
  /** Wait in ms between attempts, doubled for each (default 100); tests give 0. */
  readonly breakWaitMs?: number | undefined;
  /** Asks after each object whether it still is that version: for disks, where programs write into files that are there. */
  readonly recheck?: boolean;
}

function isCode(error: unknown, ...codes: readonly StoreError["code"][]): boolean {
  return error instanceof StoreError && codes.includes(error.code);
}

/** The version that is not there any more, or was cut: `precondition-failed`, or a range beyond its end. */
function isReplaced(error: unknown): boolean {
  return isCode(error, "precondition-failed", "invalid-argument");
}

function isBreak(error: unknown): boolean {
  return isCode(error, "io", "unavailable", "slow-down", "checksum-mismatch");
}

/** An object that is open, of a known version. */
export interface OpenedObject {
  readonly body: ObjectBody;
  readonly changed: boolean;
}

/** Opens the listed version, or the current one if it was replaced; undefined if it is gone. Rejects as the store does. */
export async function openCurrent(
  { store, signal }: FetchOptions,
  file: Pick<SourceFile, "key" | "etag">,
): Promise<OpenedObject | undefined> {
  let etag: string | undefined = file.etag;
  for (let versions = 0; ; versions++) {
    try {
      const body = await store.get(file.key, { signal, ...(etag === undefined ? {} : { ifMatch: etag }) });
      return { body, changed: body.info.etag !== file.etag };
    } catch (error) {
      if (isCode(error, "not-found")) return undefined;
      if (!isReplaced(error) || versions >= MAX_VERSIONS) throw error;
      etag = undefined;
    }
  }
}

/**
 * The bytes of an opened object to its end, taken up again by ranged requests for the same version where the connection
 * breaks. Rejects with a StoreError: `precondition-failed` or `not-found` if that version is gone before its end.
 */
export async function* readVersion(options: FetchOptions, opened: ObjectBody): AsyncGenerator<Uint8Array> {
  const { store, signal, breakWaitMs = BREAK_WAIT_MS, recheck = false } = options;
  const { key, etag, size } = opened.info;
  let current: ObjectBody | undefined = opened;
  let offset = 0;
  let breaks = 0;
  try {
    for (;;) {
      try {
        current ??= await store.get(key, { range: { start: offset }, ifMatch: etag, signal });
        for await (const chunk of current.body) {
          if (offset + chunk.length > size) throw new StoreError("io", `${key} has more than the ${size} bytes it was said to have`);
          offset += chunk.length;
          breaks = 0;
          yield chunk;
        }
        if (offset < size) throw new StoreError("io", `${key} ended after ${offset} of ${size} bytes`);
        if (recheck && (await store.head(key, signal)).etag !== etag) throw new StoreError("precondition-failed", `${key} has changed`);
        return;
      } catch (error) {
        current?.destroy();
        current = undefined;
        if (!isBreak(error) || offset >= size || ++breaks > MAX_BREAKS) throw error;
        if (breakWaitMs > 0) await delay(breakWaitMs * 2 ** (breaks - 1), undefined, { signal });
      }
    }
  } finally {
    current?.destroy();
  }
}

/** True for the end of a version while it was being read: replaced or removed. */
export function isVersionGone(error: unknown): boolean {
  return isReplaced(error) || isCode(error, "not-found");
}

/**
 * Reads an object whole into memory; one whose bytes change meanwhile is read again from its start. `limit` is the most
 * it may have grown to. Rejects as the store does when it cannot be read.
 */
export async function spool(options: FetchOptions, file: SourceFile, limit: number): Promise<Spooled | Vanished | TooLarge> {
  let etag = file.etag;
  for (let versions = 0; ; versions++) {
    const opened = await openCurrent(options, { key: file.key, etag });
    if (!opened) return { kind: "vanished" };
    const { body } = opened;
    if (body.info.size > limit) {
      body.destroy();
      return { kind: "too-large" };
    }
    const chunks: Uint8Array[] = [];
    try {
      for await (const chunk of readVersion(options, body)) chunks.push(chunk);
      return { kind: "spooled", info: body.info, chunks, changed: body.info.etag !== file.etag };
    } catch (error) {
      if (!isVersionGone(error) || versions >= MAX_VERSIONS) throw error;
      etag = body.info.etag;
    }
  }
}

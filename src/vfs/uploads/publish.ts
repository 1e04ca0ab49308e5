/**
 * The moment an upload becomes visible: one `put` or one `complete`, with times and mode in the object's metadata; one
 * copy onto itself more only if they were set after the store had been told others. Knows no handles.
 */
import { StoreError } from "../../errors.ts";
import type { ObjectInfo, ObjectProperties, ObjectStore, PutResult, WriteCondition } from "../../objectstore/objectstore.ts";
import { readTimes, writeTimes } from "../object-metadata.ts";
import type { ReadyContent } from "./content-options.ts";
import type { PublishedVersion } from "./live-reader.ts";
import type { TimesAndMode } from "./upload-record.ts";
import type { UploadVolume } from "./upload-volume.ts";

/** What the store is to be told about an object. `base`: the published version whose other metadata stay. */
export function propertiesOf(
  volume: UploadVolume,
  upload: { readonly key: string; readonly times: TimesAndMode; readonly base: ObjectInfo | undefined },
): ObjectProperties {
  const { key, times, base } = upload;
  const old = base?.metadata ?? {};
  // Changed bytes make a stored time of the old version wrong.
  const mtime = times.mtime ?? (readTimes(old).mtime === undefined ? undefined : Math.floor(volume.clock.now() / 1000));
  return { contentType: base?.contentType ?? volume.contentType(key), metadata: writeTimes(old, { mtime, mode: times.mode }) };
}

/** True if the object would say the same with both. */
export function sameProperties(one: ObjectProperties, other: ObjectProperties): boolean {
  const first = one.metadata ?? {};
  const second = other.metadata ?? {};
  const names = new Set([...Object.keys(first), ...Object.keys(second)]);
  return one.contentType === other.contentType && [...names].every((name) => first[name] === second[name]);
}

/** Publishes a file that is ready under `key`; undefined: it was only opened, and another has come into being meanwhile. */
export async function placeReady(volume: UploadVolume, key: string, ready: ReadyContent): Promise<Placed | undefined> {
  try {
    return await placeUnder(volume, key, ready.condition, (condition) => publishUnder(volume, ready.assembler, key, condition));
  } catch (error) {
    if (ready.onlyIfAbsent && error instanceof StoreError && error.code === "precondition-failed") return undefined;
    throw error;
  }
}

/** Failures of a conditional write after which it is tried without its condition. */
const WITHOUT_CONDITION: ReadonlySet<string> = new Set(["precondition-failed", "unsupported", "invalid-argument"]);

/** Stores that refused the condition itself: they are not asked again. */
const withoutConditions = new WeakSet<ObjectStore>();

/** What was stored, and whether it took a file's place (undefined: nobody knows or wants to). */
export interface Placed {
  readonly result: PutResult;
  readonly replaced: boolean | undefined;
}

/**
 * Publishes under `key` by `publish`, and finds out whether that replaces a file where it matters: at no cost for a new
 * file, which is written on the condition that it is new; a file whose being there shows only then is written twice.
 */
export async function placeUnder(
  volume: UploadVolume,
  key: string,
  condition: WriteCondition,
  publish: (condition: WriteCondition) => Promise<PutResult>,
): Promise<Placed> {
  const isConditional = condition.ifMatch !== undefined || condition.ifNoneMatch !== undefined;
  const replaced = isConditional ? condition.ifMatch !== undefined : await volume.replaces(key);
  if (replaced !== "unknown") return { result: await publish(condition), replaced };
  if (withoutConditions.has(volume.store)) return { result: await publish(condition), replaced: undefined };
  try {
    return { result: await publish({ ifNoneMatch: "*" }), replaced: false };
  } catch (error) {
    if (!(error instanceof StoreError) || !WITHOUT_CONDITION.has(error.code)) throw error;
    const result = await publish(condition);
    if (error.code === "precondition-failed") return { result, replaced: true };
    withoutConditions.add(volume.store);
    return { result, replaced: undefined };
  }
}

/** Where a file goes that was renamed while it is open. */
export interface NewName {
  readonly key: string;
  /** The virtual path, for texts. */
  readonly path: string;
}

/** What can be published under its own key, or under another one while the store knows nothing of it. */
export interface Publishable {
  readonly key: string;
  readonly isBegun: boolean;
  publish(condition: WriteCondition, key?: string): Promise<PutResult>;
}

/**
 * Publishes under `key`, which is another one if the file was renamed while it was open. What the store knows under the
 * old key already appears there, if nothing else has taken that name, is copied, and goes.
 */
async function publishUnder(volume: UploadVolume, content: Publishable, key: string, condition: WriteCondition): Promise<PutResult> {
  if (content.key === key) return content.publish(condition);
  if (!content.isBegun) return content.publish(condition, key);
  const made = await content.publish({ ifNoneMatch: "*" });
  const copied = await volume.store.copy(content.key, key, { sourceIfMatch: made.etag, sourceSize: made.size, ...condition });
  await volume.store.delete([content.key]);
  return copied;
}

/** An object that has just been published. */
export interface Publication {
  readonly key: string;
  readonly path: string;
  readonly result: PutResult;
  /** See `Placed`. */
  readonly replaced: boolean | undefined;
  /** What the store was told when it was created, and what it should say. */
  readonly given: ObjectProperties;
  readonly wanted: ObjectProperties;
}

/**
 * Corrects times and mode if need be, and tells the tree. Returns the version that came of it. Never rejects: the bytes
 * are safe already.
 */
export async function announce(volume: UploadVolume, publication: Publication): Promise<PublishedVersion> {
  const { key, given, wanted } = publication;
  let { result } = publication;
  let said = given;
  if (!sameProperties(given, wanted)) {
    try {
      result = await copyOntoItself(volume, key, result, wanted);
      said = wanted;
    } catch (error) {
      volume.log.warn({ err: error, path: publication.path }, "times of a published file could not be stored");
    }
  }
  const { etag, lastModifiedMs = volume.clock.now() } = result;
  const version = { key, size: publication.result.size, etag, lastModifiedMs };
  await volume.onPublished({
    ...version,
    replaced: publication.replaced,
    ...readTimes(said.metadata ?? {}),
    ...(said.contentType !== undefined && { contentType: said.contentType, metadata: said.metadata ?? {} }),
  });
  return version;
}

async function copyOntoItself(volume: UploadVolume, key: string, made: PutResult, wanted: ObjectProperties): Promise<PutResult> {
  try {
    return await volume.store.copy(key, key, { replaceProperties: wanted, sourceIfMatch: made.etag, sourceSize: made.size });
  } catch (error) {
    // Somebody published another version meanwhile, which has its own times.
    if (error instanceof StoreError && (error.code === "precondition-failed" || error.code === "not-found")) return made;
    throw error;
  }
}

/** The condition under which an upload may be published. */
export function conditionOf(options: { readonly exclusive: boolean; readonly baseEtag: string | undefined }): WriteCondition {
  if (options.exclusive) return { ifNoneMatch: "*" };
  return options.baseEtag === undefined ? {} : { ifMatch: options.baseEtag };
}

/**
 * Finds out what a name is, with as few requests as can be: none where it was just seen, else one round trip (HEAD of the
 * key and LIST of what lies below it side by side). A second miss in one directory is answered by listing that directory,
 * so that a client which asks for each name before it uploads costs no requests after that. Published objects only;
 * unpublished uploads are merged in by the callers.
 */
import { FsError, StoreError } from "../errors.ts";
import type { ListEntry, ObjectInfo } from "../objectstore/objectstore.ts";
import { toFsError } from "./store-fault.ts";
import { isWhole, type Known, PARENT_TRUST_MS, type SeenObject, STAT_TRUST_MS } from "./tree-cache.ts";
import { directoryKey, parentOf, type Target } from "./view.ts";
import { isDirectoryStandIn, isFolderMark, type Volume } from "./volume.ts";

/** Children learned along with a directory. */
const PEEK_SIZE = 100;
/** Children learned by listing the parent of names that are missing; less than a full page, after which stores fetch on. */
const PARENT_PAGE_SIZE = 999;
/** Two misses in one directory within this time make a streak. */
const STREAK_MS = 10_000;
/** A directory that did not fit one page is not listed for misses again within this time. */
const LARGE_MS = 60_000;
const MAX_STREAKS = 256;

/** Misses by directory key, per volume. */
const streaks = new WeakMap<Volume, Map<string, { lastMs: number; largeUntilMs: number }>>();

/**
 * As `lookup`, but asks for a file first and for a directory only where there is none: one request for what is most
 * likely a file. Rejects with an `FsError`.
 */
export async function lookupFile(target: Target): Promise<Known> {
  const { volume } = target.view;
  volume.noticeForeignChanges();
  if (volume.isAlwaysDirectory(target.key)) return { kind: "directory", marker: undefined };
  const known = volume.tree.lookup(target.key, STAT_TRUST_MS);
  if (known) return known;
  try {
    const info = await head(volume, target.key);
    return volume.tree.lookup(target.key, STAT_TRUST_MS) ?? { kind: "file", object: info };
  } catch (error) {
    if (!isMissing(error)) throw toFsError(error, target.path);
  }
  return (await isDirectory(target, STAT_TRUST_MS)) ? { kind: "directory", marker: undefined } : { kind: "absent" };
}

/** What is published at `target`, before something is made there: a name that was just found missing is not asked for again. */
export async function lookupForCreation(target: Target): Promise<Known> {
  const { volume } = target.view;
  volume.noticeForeignChanges();
  if (volume.isAlwaysDirectory(target.key)) return { kind: "directory", marker: undefined };
  return volume.tree.wasMissing(target.key, target.view.sinceTick) ? { kind: "absent" } : lookup(target);
}

/** Rejects `not-found` or `not-a-directory` unless what `target` lies in is a directory. */
export async function requireParent(target: Target): Promise<void> {
  const parent = parentOf(target);
  if (await isDirectory(parent, PARENT_TRUST_MS)) return;
  const known = await lookup(parent);
  if (known.kind === "file") throw new FsError("not-a-directory", `${parent.path}: not a directory`);
  if (known.kind === "absent") throw new FsError("not-found", `${parent.path}: no such directory`);
}

/** What is published at `target`, trusting what was seen within `maxAgeMs`. Rejects with an `FsError`. */
export async function lookup(target: Target, maxAgeMs: number = STAT_TRUST_MS): Promise<Known> {
  const { volume } = target.view;
  volume.noticeForeignChanges();
  if (volume.isAlwaysDirectory(target.key)) return { kind: "directory", marker: undefined };
  const known = volume.tree.lookup(target.key, maxAgeMs, target.view.sinceTick);
  if (known) return known;
  try {
    return (await lookInParent(target)) ?? (await ask(target));
  } catch (error) {
    throw toFsError(error, target.path);
  }
}

/** The object's properties whole, by a HEAD if need be. Rejects with the store's error. */
export async function wholeObject(volume: Volume, object: SeenObject): Promise<ObjectInfo> {
  return isWhole(object) ? object : head(volume, object.key);
}

/** Asks for the object at `key` and remembers it. Rejects with the store's error. */
export async function head(volume: Volume, key: string): Promise<ObjectInfo> {
  const tick = volume.tree.tick();
  try {
    const info = await volume.store.head(key);
    volume.learn(info, tick);
    return info;
  } catch (error) {
    if (isMissing(error)) volume.tree.learnNoFile(key, tick);
    throw error;
  }
}

/** True for the store's way of saying that there is no such object. */
export function isMissing(error: unknown): boolean {
  return error instanceof StoreError && error.code === "not-found";
}

/** Whether `target` is a directory, by one small LIST unless it was seen within `maxAgeMs`. Rejects with an `FsError`. */
export async function isDirectory(target: Target, maxAgeMs: number): Promise<boolean> {
  const { volume } = target.view;
  volume.noticeForeignChanges();
  if (volume.isAlwaysDirectory(target.key) || volume.tree.directory(directoryKey(target), maxAgeMs)) return true;
  if (volume.tree.lookup(target.key, STAT_TRUST_MS)) return false;
  try {
    return await peek(target);
  } catch (error) {
    throw toFsError(error, target.path);
  }
}

async function ask(target: Target): Promise<Known> {
  const { volume } = target.view;
  const tick = volume.tree.tick();
  const [info, directory] = await Promise.all([
    head(volume, target.key).catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    }),
    peek(target),
  ]);
  if (directory) {
    if (info && info.size > 0) volume.reportOnce(target.key, "a file and a directory have one name; the file is hidden");
    return { kind: "directory", marker: volume.tree.directory(directoryKey(target), STAT_TRUST_MS)?.marker || undefined };
  }
  if (info && isDirectoryStandIn(info)) {
    // The LIST beside it has just unlearned the directory.
    volume.learn(info, volume.tree.tick());
    return { kind: "directory", marker: info };
  }
  if (info && !isFolderMark(info)) return volume.tree.lookup(target.key, STAT_TRUST_MS) ?? { kind: "file", object: info };
  volume.tree.learnNoFile(target.key, tick);
  noteMiss(target);
  return { kind: "absent" };
}

/** One small LIST of what lies below `target`; learns it. True if that makes it a directory. */
async function peek(target: Target): Promise<boolean> {
  const { volume } = target.view;
  const key = directoryKey(target);
  const tick = volume.tree.tick();
  const { entries, complete } = await firstPage(volume, key, PEEK_SIZE);
  if (entries.length === 0) {
    volume.tree.learnNoDirectory(key, tick);
    return false;
  }
  learnPage(volume, { key, entries, complete, tick });
  return true;
}

/** Answers from a listing of the parent if names are being asked for there that do not exist; undefined if it did not help. */
async function lookInParent(target: Target): Promise<Known | undefined> {
  const { volume } = target.view;
  const parent = parentOf(target);
  const key = directoryKey(parent);
  const streak = streaks.get(volume)?.get(key);
  const nowMs = volume.clock.now();
  if (!streak || streak.lastMs < nowMs - STREAK_MS || streak.largeUntilMs > nowMs) return undefined;
  streak.lastMs = nowMs;
  const tick = volume.tree.tick();
  const { entries, complete } = await firstPage(volume, key, PARENT_PAGE_SIZE);
  if (!complete) {
    streak.largeUntilMs = nowMs + LARGE_MS;
    return undefined;
  }
  if (entries.length > 0 || volume.isAlwaysDirectory(parent.key)) learnPage(volume, { key, entries, complete, tick });
  return volume.tree.lookup(target.key, STAT_TRUST_MS, tick - 1) ?? { kind: "absent" };
}

function noteMiss(target: Target): void {
  const { volume } = target.view;
  const ofVolume = streaks.get(volume) ?? new Map<string, { lastMs: number; largeUntilMs: number }>();
  streaks.set(volume, ofVolume);
  const key = directoryKey(parentOf(target));
  const largeUntilMs = ofVolume.get(key)?.largeUntilMs ?? 0;
  ofVolume.delete(key);
  ofVolume.set(key, { lastMs: volume.clock.now(), largeUntilMs });
  const oldest = ofVolume.keys().next();
  if (ofVolume.size > MAX_STREAKS && !oldest.done) ofVolume.delete(oldest.value);
}

/** The first page of a directory, and whether that was all of it. */
async function firstPage(volume: Volume, key: string, pageSize: number): Promise<{ entries: ListEntry[]; complete: boolean }> {
  const pages = volume.store.list(key, { delimiter: "/", pageSize })[Symbol.asyncIterator]();
  const first = await pages.next();
  const entries = first.done ? [] : first.value;
  // A page that is not full is the last one with every store we know: this asks for no other.
  const complete = first.done || (entries.length < pageSize && (await pages.next()).done === true);
  if (!complete) await pages.return?.();
  return { entries, complete };
}

/** One page of a directory's listing. */
interface Page {
  /** The directory's; ends with `/`, or empty. */
  readonly key: string;
  readonly entries: readonly ListEntry[];
  /** No other page follows, and none came before. */
  readonly complete: boolean;
  readonly tick: number;
  /** Not the first page, which alone can tell whether there is a marker. */
  readonly isLaterPage?: boolean;
}

/** Remembers what a page of a directory shows; whole, if that was all. */
export function learnPage(volume: Volume, { key, entries, complete, tick, isLaterPage = false }: Page): void {
  const first = entries[0];
  const marker = first?.kind === "object" && first.key === key ? first : false;
  if (!isLaterPage) volume.learnDirectory(key, first === undefined ? undefined : marker, tick);
  for (const entry of entries) {
    if (entry.kind === "prefix") volume.learnDirectory(entry.prefix, undefined, tick);
    else if (entry.key === key || isFolderMark(entry)) continue;
    else if (isStandIn(volume, entry)) volume.learnDirectory(`${entry.key}/`, entry, tick);
    else volume.tree.learnFile(entry.key, entry, tick);
  }
  if (complete) volume.tree.learnWhole(key, tick);
}

/** An empty object that is known to stand for a directory; one that nobody asked about yet counts as a file. */
export function isStandIn(volume: Volume, object: SeenObject): boolean {
  return object.size === 0 && volume.metadata.get(volume.id, object.key, object.etag)?.isDirectory === true;
}

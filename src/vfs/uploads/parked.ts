/**
 * Publishing of uploads that were closed under a temporary name, by the client's rename: a small one, which waits on this
 * node's disk, is put under its new name; for others the store completes what it has. Nothing is copied or deleted, unless a
 * large one gets another name than its temporary one promised. Knows rows of the table; no handles and no sessions.
 */
import { FsError, StoreError } from "../../errors.ts";
import type { ObjectProperties, PutResult, WriteCondition } from "../../objectstore/objectstore.ts";
import type { UploadRow } from "../../state/upload-table.ts";
import { writeTimes } from "../object-metadata.ts";
import { PartContent } from "./part-content.ts";
import { announce, type Placed, placeUnder, propertiesOf, sameProperties } from "./publish.ts";
import { partsOf, UploadRecord } from "./upload-record.ts";
import type { UploadVolume } from "./upload-volume.ts";

/** Where to, and what of the target. */
export interface ParkedRename {
  readonly to: string;
  /** The virtual path of the target, for texts. */
  readonly path: string;
  readonly replace: boolean;
}

/** Publishes a parked upload under `to`. Rejects `exists` if that is published and not to be replaced. */
export async function publishParked(volume: UploadVolume, row: UploadRow, rename: ParkedRename): Promise<void> {
  await volume.checkQuota(row.length, { key: rename.to, size: row.length });
  if (rename.to === row.key || isHeldHere(row)) return publishAtOnce(volume, row, rename);
  return publishElsewhere(volume, row, rename);
}

async function publishAtOnce(volume: UploadVolume, row: UploadRow, { to, path, replace }: ParkedRename): Promise<void> {
  const made = await makeVisible(volume, row, to, replace ? {} : { ifNoneMatch: "*" }).catch((error: unknown) => {
    if (!isTaken(error)) throw error;
    throw new FsError("exists", `${path}: the file is already there`, { cause: error });
  });
  await announce(volume, { key: to, path, ...made });
}

/** The store knows the upload under its final key only: it appears there, is copied, and goes. */
async function publishElsewhere(volume: UploadVolume, row: UploadRow, rename: ParkedRename): Promise<void> {
  const { store } = volume;
  const { result, wanted } = await makeVisible(volume, row, row.key, { ifNoneMatch: "*" }).catch((error: unknown) => {
    if (!isTaken(error)) throw error;
    const text = "a file that was uploaded under a temporary name can only be renamed to its final name";
    throw new FsError("exists", `${rename.path}: ${text}, because that name is taken`, { cause: error });
  });
  const condition = { sourceIfMatch: result.etag, sourceSize: result.size, replaceProperties: wanted };
  const copied = await store.copy(row.key, rename.to, rename.replace ? condition : { ...condition, ifNoneMatch: "*" }).then(
    (copy) => copy,
    async (error: unknown) => {
      await announce(volume, { key: row.key, path: rename.path, result, replaced: false, given: wanted, wanted });
      if (!isTaken(error)) throw error;
      throw new FsError("exists", `${rename.path}: the file is already there`, { cause: error });
    },
  );
  await store.delete([row.key]);
  const replaced = rename.replace ? undefined : false;
  await announce(volume, { key: rename.to, path: rename.path, result: copied, replaced, given: wanted, wanted });
}

/** True if the store knows nothing of it yet. */
function isHeldHere(row: UploadRow): boolean {
  return row.uploadId === undefined;
}

/** What came of a publication; `wanted` may differ from what the store was `given`. */
interface Visible extends Placed {
  readonly given: ObjectProperties;
  readonly wanted: ObjectProperties;
}

/**
 * Publishes under `key`, which is the one it was begun for unless it is held here. An upload of one part whose times were
 * set after CLOSE is put again from this node's copy of it, which makes one version of the object instead of two.
 */
async function makeVisible(volume: UploadVolume, row: UploadRow, key: string, condition: WriteCondition): Promise<Visible> {
  const { store } = volume;
  const { given, wanted } = knownProperties(volume, row, key);
  const isPut = isHeldHere(row) || !sameProperties(given, wanted);
  const content = isPut ? await wholeContent(volume, row) : undefined;
  if (content) return { ...(await putContent(volume, row, content, { key, wanted, condition })), given: wanted, wanted };
  if (row.uploadId === undefined) throw new StoreError("no-such-upload", `the bytes of parked upload ${row.id} are gone`);
  const upload = store.openUpload(row.key, row.uploadId);
  const placed = await placeUnder(volume, row.key, condition, (only) => upload.complete(partsOf(volume, row, row.length), only));
  await UploadRecord.resting(volume, row).forget();
  return { ...placed, given, wanted };
}

/** Puts what is on this node's disk; if that fails it is still there. */
async function putContent(
  volume: UploadVolume,
  row: UploadRow,
  content: PartContent,
  { key, wanted, condition }: { readonly key: string; readonly wanted: ObjectProperties; readonly condition: WriteCondition },
): Promise<Placed> {
  const stop = new AbortController();
  const put = (only: WriteCondition): Promise<PutResult> =>
    content.load((chunks) => volume.store.put(key, chunks, { ...wanted, ...only }), stop.signal);
  const placed = await placeUnder(volume, key, condition, put).catch(async (error: unknown) => {
    await content.intoFile();
    throw error;
  });
  await content.discard();
  const record = UploadRecord.resting(volume, row);
  await record.discard().catch((error: unknown) => volume.log.warn({ err: error }, "a parked upload could not be cleaned up"));
  return placed;
}

/** All bytes from this node's disk, if it has them. */
async function wholeContent(volume: UploadVolume, row: UploadRow): Promise<PartContent | undefined> {
  if (isHeldHere(row) && row.length === 0) return new PartContent(volume);
  if (row.tail?.start !== 0 || row.tail.length !== row.length) return undefined;
  const file = await volume.tails.open(row.tail.file);
  if (file && file.length === row.length) return new PartContent(volume, file, row.length);
  await file?.close();
  return undefined;
}

/** What the store was told at creation, if it was, and what it should say now. */
function knownProperties(volume: UploadVolume, row: UploadRow, key: string): Pick<Visible, "given" | "wanted"> {
  const times = { ...(row.mtime !== undefined && { mtime: row.mtime }), ...(row.mode !== undefined && { mode: row.mode }) };
  if (!row.created) {
    const wanted = propertiesOf(volume, { key, times, base: undefined });
    return { given: wanted, wanted };
  }
  return {
    given: row.created,
    wanted: { ...row.created, metadata: writeTimes(row.created.metadata, { mtime: row.mtime, mode: row.mode }) },
  };
}

function isTaken(error: unknown): boolean {
  return error instanceof StoreError && error.code === "precondition-failed";
}

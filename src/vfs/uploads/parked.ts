/**
 * Publishing of uploads that were closed under a temporary name, by the client's rename: the store completes what it
 * has, nothing is copied or deleted. Knows rows of the table; no handles and no sessions.
 */
import { FsError, StoreError } from "../../errors.ts";
import type { ObjectProperties, PutResult, WriteCondition } from "../../objectstore/objectstore.ts";
import type { UploadRow } from "../../state/upload-table.ts";
import { writeTimes } from "../object-metadata.ts";
import { PartContent } from "./part-content.ts";
import { announce, type Placed, placeUnder, sameProperties } from "./publish.ts";
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
  if (rename.to === row.key) return publishUnderFinalName(volume, row, rename);
  return publishElsewhere(volume, row, rename);
}

async function publishUnderFinalName(volume: UploadVolume, row: UploadRow, rename: ParkedRename): Promise<void> {
  const result = await makeVisible(volume, row, rename.replace ? {} : { ifNoneMatch: "*" }).catch((error: unknown) => {
    if (!isTaken(error)) throw error;
    throw new FsError("exists", `${rename.path}: the file is already there`, { cause: error });
  });
  const { wanted } = propertiesOf(row);
  await announce(volume, { key: row.key, path: rename.path, ...result, wanted });
}

/** The store knows the upload under its final key only: it appears there, is copied, and goes. */
async function publishElsewhere(volume: UploadVolume, row: UploadRow, rename: ParkedRename): Promise<void> {
  const { store } = volume;
  const { result } = await makeVisible(volume, row, { ifNoneMatch: "*" }).catch((error: unknown) => {
    if (!isTaken(error)) throw error;
    const text = "a file that was uploaded under a temporary name can only be renamed to its final name";
    throw new FsError("exists", `${rename.path}: ${text}, because that name is taken`, { cause: error });
  });
  const { wanted } = propertiesOf(row);
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

/**
 * Publishes under the final key. An upload of one part whose times were set after CLOSE is put again from this node's
 * copy of it, which makes one version of the object instead of two.
 */
async function makeVisible(
  volume: UploadVolume,
  row: UploadRow,
  condition: WriteCondition,
): Promise<Placed & { readonly given: ObjectProperties }> {
  const { store } = volume;
  const { given, wanted } = propertiesOf(row);
  const record = UploadRecord.resting(volume, row);
  const content = sameProperties(given, wanted) ? undefined : await wholeContent(volume, row);
  if (content) {
    const stop = new AbortController();
    const put = (only: WriteCondition): Promise<PutResult> =>
      content.load((chunks) => store.put(row.key, chunks, { ...wanted, ...only }), stop.signal);
    const placed = await placeUnder(volume, row.key, condition, put);
    await content.discard();
    await record.discard().catch((error: unknown) => volume.log.warn({ err: error }, "a parked upload could not be cleaned up"));
    return { ...placed, given: wanted };
  }
  if (row.uploadId === undefined) throw new StoreError("no-such-upload", `parked upload ${row.id} has no upload at the store`);
  const upload = store.openUpload(row.key, row.uploadId);
  const placed = await placeUnder(volume, row.key, condition, (only) => upload.complete(partsOf(volume, row, row.length), only));
  await record.forget();
  return { ...placed, given };
}

/** All bytes from this node's disk, if it has them. */
async function wholeContent(volume: UploadVolume, row: UploadRow): Promise<PartContent | undefined> {
  if (row.tail?.start !== 0 || row.tail.length !== row.length) return undefined;
  const file = await volume.tails.open(row.tail.file);
  if (file && file.length === row.length) return new PartContent(volume, file, row.length);
  await file?.close();
  return undefined;
}

/** What the store was told at creation, and what it should say now. */
function propertiesOf(row: UploadRow): { readonly given: ObjectProperties; readonly wanted: ObjectProperties } {
  const given = { contentType: row.created?.contentType ?? "", metadata: row.created?.metadata ?? {} };
  return { given, wanted: { ...given, metadata: writeTimes(given.metadata, { mtime: row.mtime, mode: row.mode }) } };
}

function isTaken(error: unknown): boolean {
  return error instanceof StoreError && error.code === "precondition-failed";
}

/**
 * Times and mode of a file opened for writing: what was asked for when it was opened, what was set since, and what the
 * version it continues had. Knows no bytes and no life of an upload.
 */
import type { ObjectInfo, ObjectProperties } from "../../objectstore/objectstore.ts";
import { OWNER_ID } from "../attributes.ts";
import type { AttributeChange, Attributes } from "../file-system.ts";
import { DEFAULT_FILE_MODE, readTimes, writeTimes } from "../object-metadata.ts";
import type { WriteRequest } from "../pending-uploads.ts";
import { propertiesOf, sameProperties } from "./publish.ts";
import type { TimesAndMode } from "./upload-record.ts";
import type { UploadVolume } from "./upload-volume.ts";

/** What a new file's mode never has, as on a server with the usual umask. */
const umask = 0o022;

/** See the head of this file. */
export class UploadTimes {
  readonly #volume: UploadVolume;
  readonly #key: string;
  /** Asked for when it was opened: for a new file only. */
  readonly #initial: TimesAndMode;
  #set: TimesAndMode = {};
  #told: ObjectProperties | undefined;

  /** `key`: what the file is published under, as far as it is known when it is opened. */
  constructor(volume: UploadVolume, key: string, { attributes, oldMode }: WriteRequest) {
    const { mtime, mode: asked } = attributes;
    const mode = oldMode ?? (asked === undefined ? undefined : asked & 0o7777 & ~umask);
    this.#volume = volume;
    this.#key = key;
    this.#initial = { ...(mtime !== undefined && { mtime }), ...(mode !== undefined && { mode }) };
  }

  /** All that a client asked for, for the row of an upload that waits. */
  get wanted(): TimesAndMode {
    return { ...this.#initial, ...this.#set };
  }

  /** What the store was told last. */
  get told(): ObjectProperties | undefined {
    return this.#told;
  }

  /** Takes what a client sets. */
  set({ mtime, mode }: AttributeChange): void {
    this.#set = { ...this.#set, ...(mtime !== undefined && { mtime }), ...(mode !== undefined && { mode: mode & 0o7777 }) };
  }

  /** What the object should say. `base`: the version it continues; `row`: of an upload that an earlier session began. */
  properties(base: ObjectInfo | undefined, row: TimesAndMode | undefined): ObjectProperties {
    const before: TimesAndMode = {
      ...(row?.mtime !== undefined && { mtime: row.mtime }),
      ...(row?.mode !== undefined && { mode: row.mode }),
    };
    const times = base ? this.#set : { ...before, ...this.#initial, ...this.#set };
    return propertiesOf(this.#volume, { key: this.#key, times, base });
  }

  /** What the store is told now, remembered to see later whether it still holds. */
  tell(base: ObjectInfo | undefined, row: TimesAndMode | undefined): ObjectProperties {
    this.#told = this.properties(base, row);
    return this.#told;
  }

  /** What `published` says, and what it should say after what was set here; undefined if that is the same. */
  changeOf(published: ObjectInfo): { readonly given: ObjectProperties; readonly wanted: ObjectProperties } | undefined {
    const given = { ...(published.contentType !== undefined && { contentType: published.contentType }), metadata: published.metadata };
    const { mtime, mode } = this.#set;
    const wanted = { ...given, metadata: writeTimes(published.metadata, { mtime, mode }) };
    return sameProperties(given, wanted) ? undefined : { given, wanted };
  }

  /** Attributes to show for a file of `size` bytes. */
  attributes(size: number, base: ObjectInfo | undefined): Attributes {
    const stored = base ? readTimes(base.metadata) : { mtime: undefined, mode: undefined };
    const mtime = this.#set.mtime ?? this.#initial.mtime ?? Math.floor(this.#volume.clock.now() / 1000);
    const mode = this.#set.mode ?? stored.mode ?? this.#initial.mode ?? DEFAULT_FILE_MODE;
    return { type: "file", size, mode, uid: OWNER_ID, gid: OWNER_ID, mtime, atime: mtime };
  }
}

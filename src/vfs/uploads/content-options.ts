/** What goes into the content of a file opened for writing, and what comes out when it is ready. */
import type { ObjectInfo, ObjectProperties, WriteCondition } from "../../objectstore/objectstore.ts";
import type { OpenFlags } from "../file-system.ts";
import type { WriteRequest } from "../pending-uploads.ts";
import type { OpeningSources } from "./opening.ts";
import type { AssemblerOptions, PartAssembler } from "./part-assembler.ts";
import type { MirrorScope } from "./part-mirror.ts";
import type { UploadRecord } from "./upload-record.ts";
import type { UploadVolume } from "./upload-volume.ts";

/** What the content of a file needs to know of it. */
export interface ContentOptions {
  readonly volume: UploadVolume;
  readonly request: WriteRequest;
  readonly sources: OpeningSources;
  /** The key it will be published under. */
  readonly key: string;
  readonly user: string;
  newId(): string;
  /** True if it is to be remembered that the file was begun anew, though the process die before the store has any of it. */
  readonly isBegunAnew: boolean;
  /**
   * Told that the file is written over from its beginning though it was not truncated; and, with false, when it turns out to
   * be an edit after all.
   */
  readonly overwriting: (isSo: boolean) => void;
  /** What the store is told when the object or its multipart upload is created. */
  properties(base: ObjectInfo | undefined): ObjectProperties;
}

/** A file that is ready to be published. */
export interface ReadyContent {
  readonly assembler: PartAssembler;
  readonly condition: WriteCondition;
  readonly base: ObjectInfo | undefined;
  readonly size: number;
  /** It is there only because the file was opened: one that has come into being meanwhile is as good. */
  readonly onlyIfAbsent: boolean;
}

/** What the assembler of an upload needs to know; `announced`: the size that the client announced, 0 if none. */
export function assemblerOptions(
  { volume, request, properties }: ContentOptions,
  record: UploadRecord,
  base: ObjectInfo | undefined,
  announced: number,
): AssemblerOptions {
  return {
    store: volume.store,
    // A resumed upload that was renamed while it rested is known to the store under its old key.
    key: record.row.key,
    keeper: volume,
    announced,
    mirror: mirrorOf(request.flags),
    base,
    properties: () => properties(base),
    created: record.created.bind(record),
    stored: record.stored.bind(record),
  };
}

/** Only of clients that are known to write in order nobody expects more than a header at the beginning. */
function mirrorOf(flags: OpenFlags): MirrorScope {
  return flags.sequential === true ? "head" : "all";
}

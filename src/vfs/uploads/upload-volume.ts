/** What every upload of one volume needs: the store, where to keep what is unpublished, and whom to tell. */
import type { Logger } from "../../log.ts";
import type { ObjectStore } from "../../objectstore/objectstore.ts";
import type { UploadTable } from "../../state/upload-table.ts";
import type { PublishedChange } from "../pending-uploads.ts";
import type { WriteOrder } from "../write-order.ts";
import type { ContentKeeper } from "./part-content.ts";

/** What is about to be published: its key and its whole size. */
export interface QuotaTarget {
  readonly key: string;
  readonly size: number;
}

/** One store and key prefix, as uploads see it. */
export interface UploadVolume extends ContentKeeper {
  readonly store: ObjectStore;
  readonly table: UploadTable;
  readonly log: Logger;
  /** Whoever publishes has its turn. */
  readonly order: WriteOrder;
  /** Content type for a key. */
  contentType(key: string): string;
  /** Called, and waited for, after something was published and before the client is told. Must not reject. */
  onPublished(change: PublishedChange): Promise<void>;
  /** Whether publishing under `key` replaces a file: see `Volume.replaces`. */
  replaces(key: string): Promise<boolean | "unknown" | undefined>;
  /** Rejects with `FsError` `quota` if the volume may not grow by `bytes` (negative: it shrinks). */
  checkQuota(bytes: number, target: QuotaTarget): Promise<void>;
  /** Most bytes of tails one user may leave behind. */
  readonly tailLimitPerUser: number;
}

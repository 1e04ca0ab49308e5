/** Mends what a layout check found and can be mended without loss: markers, useless thumbnails, types. Decides nothing else. */
import { DIRECTORY_CONTENT_TYPE } from "../../vfs/content-type.ts";
import type { ObjectStore } from "../../objectstore/objectstore.ts";
import type { LayoutResult } from "./check-layout.ts";

const DELETE_BATCH = 1_000;

/** One step; `run` may be called once. */
export interface LayoutFix {
  readonly description: string;
  readonly run: () => Promise<void>;
}

/** The steps in their order. Orphans are left alone where there are no originals at all: then something else is wrong. */
export function layoutFixes(store: ObjectStore, { report, missingMarkers, deletable, wrongTypes }: LayoutResult): LayoutFix[] {
  const fixes: LayoutFix[] = [];
  for (const key of missingMarkers) {
    const run = async (): Promise<void> => {
      await store.put(key, [], { contentType: DIRECTORY_CONTENT_TYPE });
    };
    fixes.push({ description: `create ${key}`, run });
  }
  const removable = report.originals.count > 0 ? deletable : [];
  for (let start = 0; start < removable.length; start += DELETE_BATCH) {
    const keys = removable.slice(start, start + DELETE_BATCH);
    const others = keys.length > 1 ? ` and ${keys.length - 1} more thumbnails` : "";
    fixes.push({ description: `delete ${keys[0]}${others}`, run: () => store.delete(keys) });
  }
  for (const { info, contentType } of wrongTypes) {
    const run = async (): Promise<void> => {
      await store.copy(info.key, info.key, {
        sourceIfMatch: info.etag,
        sourceSize: info.size,
        replaceProperties: { contentType, metadata: info.metadata },
      });
    };
    fixes.push({ description: `set the type of ${info.key} to ${contentType}`, run });
  }
  return fixes;
}

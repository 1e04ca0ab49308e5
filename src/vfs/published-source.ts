/**
 * What a read handle tells a write handle of the same file system, so that bytes can be copied inside the store instead
 * of through the gateway.
 */
import type { ObjectStore } from "../objectstore/objectstore.ts";
import type { FileHandle } from "./file-system.ts";

/** The version of a published object that a read handle reads. */
export interface PublishedSource {
  readonly store: ObjectStore;
  readonly key: string;
  readonly etag: string;
  /** Bytes. */
  readonly size: number;
}

/** A read handle over a published object. */
export interface PublishedSourceHandle extends FileHandle {
  readonly publishedSource: PublishedSource;
}

/** What `handle` reads, if it reads a published object. */
export function publishedSourceOf(handle: FileHandle): PublishedSource | undefined {
  return isPublishedSourceHandle(handle) ? handle.publishedSource : undefined;
}

function isPublishedSourceHandle(handle: FileHandle): handle is PublishedSourceHandle {
  return "publishedSource" in handle;
}

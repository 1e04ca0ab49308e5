/** Copying from an open file into one that is written: inside the store where it can be done there, else in steps. */
import type { ObjectStore } from "../../objectstore/objectstore.ts";
import type { FileHandle } from "../file-system.ts";
import { publishedSourceOf } from "../published-source.ts";
import { chunksLength } from "./chunk-list.ts";
import { LiveReader } from "./live-reader.ts";
import type { CopySource } from "./sent-parts.ts";

/** Bytes copied at a time when the store cannot do it. */
const step = 1024 * 1024;

/** What is to be copied: see `FileHandle.copyFrom`. */
export interface CopyRange {
  readonly source: FileHandle;
  readonly sourceOffset: number;
  /** 0: up to the end. */
  readonly length: number;
  readonly offset: number;
  /** Aborted once the file that is written is given up. */
  readonly givenUp: AbortSignal;
}

/** Where it goes. */
export interface CopyTarget {
  readonly store: ObjectStore;
  /** Copies inside the store; false: nothing was done. */
  copy(source: CopySource, start: number, length: number, offset: number): Promise<boolean>;
  write(offset: number, chunks: readonly Uint8Array[]): Promise<void>;
}

/** Copies and returns how many bytes there were. Rejects as the calls of `target` and `source` do. */
export async function copyRange({ source, sourceOffset, length, offset, givenUp }: CopyRange, target: CopyTarget): Promise<number> {
  const origin = publishedSourceOf(source);
  const published = origin?.store === target.store ? origin : undefined;
  const available = origin ? origin.size - sourceOffset : Number.POSITIVE_INFINITY;
  const wanted = Math.max(0, length === 0 ? available : Math.min(length, available));
  if (published && wanted > 0 && (await target.copy(published, sourceOffset, wanted, offset))) return wanted;
  // What is copied within one file must not wait for the copy.
  const read: FileHandle["read"] = (...range) => (source instanceof LiveReader ? source.readNow(...range, givenUp) : source.read(...range));
  let done = 0;
  while (done < wanted) {
    const chunks = await read(sourceOffset + done, Math.min(step, wanted - done));
    const bytes = chunksLength(chunks);
    if (bytes === 0) break;
    await target.write(offset + done, chunks);
    done += bytes;
  }
  return done;
}
